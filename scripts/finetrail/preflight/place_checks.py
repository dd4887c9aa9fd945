"""Whether folders and tools are there: room, quotas, shared file systems, variables, conda, the login node."""

import os
import re
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from finetrail.config.sections.site import Site
from finetrail.preflight.finding import Finding

GIB = 1 << 30
OLDEST_CONDA = (24, 7, 1)
# Folders that every machine has for itself.
OF_ONE_MACHINE = ("/tmp", "/var/tmp", "/dev/shm", "/run")
VARIABLE = re.compile(r"\$\{?(\w+)(:-)?")


def check_places(root: Path, results: Path, site: Site) -> list[Finding]:
    """Look at the folders that a run writes to.

    Args:
        root: the working folder.
        results: the results folder, below it or elsewhere.
        site: `site` of the configuration.
    """
    found: list[Finding] = []
    for key, place in (("results_dir", str(root / results)), *_site_places(site)):
        unset = sorted({name for name, default in VARIABLE.findall(place) if not default and _is_unset(name)})
        if unset:
            what = f"{place} holds ${unset[0]}, which is not set: every job's shell would stop there"
            found.append(Finding("error", key, what, f"export {unset[0]} in ~/.bashrc, or write the path"))
        elif key != "site.scratch":  # a place of the compute node's
            found += _check_room(key, Path(os.path.expandvars(place)), site.free_gb)
    return found


def _site_places(site: Site) -> Iterator[tuple[str, str]]:
    for name in ("cache", "conda_prefix", "scratch"):
        if value := getattr(site, name):
            yield f"site.{name}", value


def _is_unset(name: str) -> bool:
    return name not in os.environ and not name.startswith("SLURM_")


def _check_room(key: str, folder: Path, free_gb: float) -> Iterator[Finding]:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Finding("error", key, f"{there} may not be written to", "Name a folder of your own")
        return
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize / GIB
    if free < free_gb:
        what = f"{there} has {free:.1f} GB left, site.free_gb asks for {free_gb:g}"
        yield Finding("error", key, what, "Free space there, name another folder, or lower site.free_gb")
    if status.f_files and status.f_favail < 10_000:
        what = f"the file system of {there} has room for {status.f_favail} more files"
        yield Finding("error", key, what, "Remove files there, or name another folder")


def check_quota() -> Iterator[Finding]:
    """Say which quota of this user is used up, where the site has the program `quota`."""
    if shutil.which("quota") is None:
        return
    try:
        done = subprocess.run(["quota", "-w"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("warning", "quota", "it does not answer within 20 s", "A file server may be down: df -h")
        return
    for line in filter(str.strip, done.stdout.splitlines()[2:]):
        name, *cells = line.split()
        numbers = [int(cell.rstrip("*")) for cell in cells if cell.rstrip("*").isdecimal()]
        if len(numbers) >= 3 and (limit := numbers[1] or numbers[2]) and numbers[0] >= 0.95 * limit:
            what = f"{numbers[0] / (1 << 20):.1f} of {limit / (1 << 20):.1f} GB of the quota on {name} are used"
            yield Finding("error", "quota", what, "Free space there; set site.cache to a folder outside of it")


def check_shared(root: Path, hosts: set[str]) -> Iterator[Finding]:
    """Say whether the working folder is one that other nodes cannot see."""
    others = hosts - {socket.gethostname(), socket.gethostname().partition(".")[0]}
    if others and any(root.is_relative_to(place) for place in OF_ONE_MACHINE):
        what = f"{root} is on this machine alone, and jobs would run on {', '.join(sorted(others)[:3])} …"
        yield Finding("error", "working folder", what, "Move it to a file system that all nodes share")


def check_tools(deployment: set[str], root: Path) -> Iterator[Finding]:
    """Look for what rules run in: conda, or the project's own environment.

    Args:
        deployment: Snakemake's methods of software deployment, such as `conda`.
        root: the working folder.
    """
    if "conda" not in deployment:
        if not (root / ".venv").exists():
            what = "rules run without conda, and there is no .venv"
            yield Finding("error", ".venv", what, "make env")
        return
    where = "profiles/slurm software-deployment-method"
    if shutil.which("conda") is None:
        what = "rules are to run in conda environments, and there is no conda on the PATH"
        yield Finding("error", where, what, "Install or load conda, or add --sdm env-modules: jobs then use .venv")
        return
    done = subprocess.run(["conda", "--version"], capture_output=True, text=True, timeout=60, check=False)
    version = tuple(int(number) for number in re.findall(r"\d+", done.stdout)[:3])
    if version < OLDEST_CONDA:
        needed = ".".join(map(str, OLDEST_CONDA))
        what = f"`conda --version` says {done.stdout.strip() or 'nothing'}, Snakemake needs {needed}"
        yield Finding("error", where, what, "conda update -n base conda, or add --sdm env-modules")


def check_login_node(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether this machine ends processes that live as long as a run does."""
    seconds, _ = resource.getrlimit(resource.RLIMIT_CPU)
    if seconds != resource.RLIM_INFINITY:
        what = f"this machine ends a process after {seconds} s of CPU time, and a run's master lives as long as the run"
        yield Finding("warning", "login node", what, "make submit runs the master as a job")
    elif not {"TMUX", "STY", "SLURM_JOB_ID"} & set(variables):
        what = "this terminal is neither tmux nor screen: the run ends when the connection does"
        yield Finding("warning", "login node", what, "Start tmux first, or run make submit")
