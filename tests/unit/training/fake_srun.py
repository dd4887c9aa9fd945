"""What srun does of what we ask: one task a node with its number, and a task that fails ends the others.

Every node is this machine, so that nothing is shown of networks, nor of SLURM itself: see tests/slurm.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from finetrail.training.worker import die_with_parent


def install(folder: Path) -> dict[str, str]:
    """Write the program ``srun``, and a ``squeue`` that knows a job of two nodes; return an environment with them."""
    folder.mkdir()
    program = folder / "srun"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {__name__} "$@"\n')
    queue = folder / "squeue"
    queue.write_text("#!/bin/sh\necho 2\n")
    for path in (program, queue):
        path.chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "9999999999"}
    return job | {"PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


def main(arguments: list[str]) -> int:
    """Run the command behind the options once a node."""
    command = next(place for place, argument in enumerate(arguments) if not argument.startswith("-"))
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments[:command])
    assert options["nodes"] == options["ntasks"] and options["ntasks-per-node"] == "1"
    tasks = [
        # The job's end ends all of its tasks.
        subprocess.Popen(arguments[command:], env=os.environ | {"SLURM_NODEID": str(node)}, preexec_fn=die_with_parent)
        for node in range(int(options["nodes"]))
    ]
    while any(task.poll() is None for task in tasks):
        failed = [task.returncode for task in tasks if task.returncode]
        if failed and "kill-on-bad-exit" in options:
            for task in tasks:
                task.kill()
        time.sleep(0.1)
    return max(abs(task.wait()) for task in tasks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
