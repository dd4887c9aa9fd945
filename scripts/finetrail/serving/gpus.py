"""The GPUs that this job may use, as nvidia-smi tells."""

import logging
import os
import subprocess
from pathlib import Path

LOGGER = logging.getLogger(__name__)
DEVICES = Path("/dev")
FIELDS = ("index", "uuid", "mig.mode.current", "memory.total")
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")


def gpu_memory() -> list[int] | None:
    """Return the memory in bytes of each GPU that this job may use, in the order in which CUDA counts them.

    Returns:
        None where there may be GPUs whose memory cannot be told: slices of one (MIG), memory that is shared with the
        CPU, another maker's devices, a container without nvidia-smi.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if allowed is None else [part.strip() for part in allowed.split(",")]
    if chosen and chosen[0].startswith("MIG-"):
        return None
    try:
        printed = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        return None if _has_devices() else []
    except subprocess.CalledProcessError as error:
        LOGGER.warning("nvidia-smi fails: %s", (error.stdout + error.stderr).strip())
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        LOGGER.warning("nvidia-smi fails: %s", error)
        return None
    found = [
        part for line in printed.splitlines() if len(part := [cell.strip() for cell in line.split(",")]) == len(FIELDS)
    ]
    sizes = [memory if sliced != "Enabled" else "sliced" for _, _, sliced, memory in _visible(found, chosen)]
    return [int(size) << 20 for size in sizes] if all(map(str.isdigit, sizes)) else None


def _visible(found: list[list[str]], chosen: list[str] | None) -> list[list[str]]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names; as CUDA does, stop at the first name that is none."""
    if chosen is None:
        return found
    visible = []
    for name in chosen:
        gpu = next((gpu for gpu in found if name and (gpu[0] == name or gpu[1].startswith(name))), None)
        if gpu is None:
            break
        visible.append(gpu)
    return visible


def _has_devices() -> bool:
    return (DEVICES / "kfd").exists() or any(DEVICES.glob("nvidia[0-9]*"))
