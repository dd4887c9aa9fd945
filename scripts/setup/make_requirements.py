"""Write requirements.txt from the pip sections of envs/*.yaml, which are the one source of every pin.

Torch stands first: it is installed alone, so that nothing that depends on it chooses another build.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# The vLLM environment pins a torch of its own and stays apart.
ENVIRONMENTS = ("workflow", "data", "dense", "train", "export", "plots", "texts", "versioning", "dev")
HEADER = (
    "# Generated from envs/*.yaml by scripts/setup/make_requirements.py: edit those, then run `make requirements`.\n"
)


def pip_pins(path: Path) -> list[str]:
    """Return the pinned requirements of an environment file's pip section.

    Raises:
        ValueError: a requirement is not pinned to one version.
    """
    dependencies = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    pins = [pin for entry in dependencies if isinstance(entry, dict) for pin in entry["pip"]]
    for pin in pins:
        if "==" not in pin:
            raise ValueError(f"{path}: {pin!r} is not pinned with ==")
    return pins


def merged_pins(folder: Path) -> list[str]:
    """Merge the pins of all environments, torch first.

    Raises:
        ValueError: two environments pin one package to different versions.
    """
    versions: dict[str, str] = {}
    for name in ENVIRONMENTS:
        for pin in pip_pins(folder / f"{name}.yaml"):
            package = pin.partition("==")[0]
            if versions.setdefault(package, pin) != pin:
                raise ValueError(f"envs/{name}.yaml pins {pin}, another environment {versions[package]}")
    return sorted(versions.values(), key=lambda pin: (not pin.startswith("torch=="), pin.lower()))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, or with ``--check`` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file differs, write nothing")
    arguments = parser.parse_args(argv)
    target = ROOT / "requirements.txt"
    text = HEADER + "\n".join(merged_pins(ROOT / "envs")) + "\n"
    if not arguments.check:
        target.write_text(text, encoding="utf-8")
    elif not target.exists() or target.read_text(encoding="utf-8") != text:
        print("requirements.txt differs from envs/*.yaml: run `make requirements`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
