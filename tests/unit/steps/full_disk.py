"""Runs a script on a small file system of its own that is full, and again once there is space: for test_full_disk.py.

It wants a mount namespace (unshare -m), so that nobody else sees the file system and it vanishes with the process.
Each report is one line of JSON; a line on standard input is waited for between the runs.

Usage: python full_disk.py FOLDER SIZE FREE COMMAND...
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

BALLAST = "ballast"


def run(command: list[str], folder: Path) -> None:
    """Run the script in the folder and report how it ended."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    left = sorted(path.name for path in folder.rglob("*.tmp"))
    print(json.dumps({"code": done.returncode, "said": done.stderr.splitlines(), "left": left}), flush=True)


def main() -> None:
    """Mount, fill, run, free, run."""
    folder, size, free, command = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    for name, content in before.items():
        (folder / name).write_bytes(content)
    with (folder / BALLAST).open("wb") as ballast:
        ballast.write(bytes(max(0, shutil.disk_usage(folder).free - free)))
    os.chdir("/")
    run(command, folder)
    sys.stdin.readline()
    (folder / BALLAST).unlink()
    run(command, folder)
    calls = [path.read_text() for path in sorted((folder / "results" / "calls").glob("*.jsonl"))]
    print(json.dumps({"out": (folder / "queries.jsonl").read_text(), "segments": calls}), flush=True)


if __name__ == "__main__":
    main()
