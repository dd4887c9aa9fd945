"""Runs a script on small file systems of its own that are full, and again once there is space: for test_full_disk.py.

It wants a mount namespace (unshare -m), so that nobody else sees the file systems and they vanish with the process.
Each run is forked from this process, which has imported what the script imports. Each report is one line of JSON;
a line on standard input is waited for between the runs.

Usage: python full_disk.py FOLDER SIZE FREE[,FREE...] SCRIPT ARGUMENT...
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp  # noqa: F401
import numpy  # noqa: F401
import openai  # noqa: F401

BALLAST = "ballast"


def run(command: list[str], folder: Path) -> None:
    """Run the script in the folder and report how it ended."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.chdir(folder)
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = command
            sys.path[0] = str(Path(command[0]).parent)
            runpy.run_path(command[0], run_name="__main__")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        lines = said.read().decode().splitlines()
    left = sorted(path.name for path in folder.rglob("*.tmp"))
    print(json.dumps({"code": code, "said": lines, "left": left}), flush=True)


def main() -> None:
    """For each amount of free space: mount, fill, run, free, run."""
    folder, size, amounts, command = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(","), sys.argv[4:]
    runpy.run_path(command[0], run_name="only_imports")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for free in map(int, amounts):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        for name, content in before.items():
            (folder / name).write_bytes(content)
        with (folder / BALLAST).open("wb") as ballast:
            ballast.write(bytes(max(0, shutil.disk_usage(folder).free - free)))
        run(command, folder)
        sys.stdin.readline()
        (folder / BALLAST).unlink()
        run(command, folder)
        calls = [path.read_text() for path in sorted((folder / "results" / "calls").glob("*.jsonl"))]
        print(json.dumps({"out": (folder / "queries.jsonl").read_text(), "segments": calls}), flush=True)


if __name__ == "__main__":
    main()
