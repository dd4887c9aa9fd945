"""The shell lines that a site puts before every job's command."""

import shlex
from pathlib import Path

from finetrail.config.sections.site import CACHES, Site


def shell_lines(site: Site) -> list[str]:
    """Return what a job's shell runs before its command: the set-up lines, then the variables."""
    lines = ["set +u", *site.setup, "set -u"] if site.setup else []  # module systems read unset variables
    if site.scratch:
        lines += [f'export TMPDIR="{site.scratch}"', 'mkdir -p "$TMPDIR"']
    caches = {name: f"{site.cache}/{folder}" for name, folder in CACHES.items()} if site.cache else {}
    return lines + [f'export {name}="{value}"' for name, value in (caches | site.proxies.variables()).items()]


def library_line(scripts: Path) -> str:
    """Return what lets a job's Python find the library, whatever the folder above it is called."""
    return f"export PYTHONNOUSERSITE=1 PYTHONPATH={shlex.quote(str(scripts))}\n"
