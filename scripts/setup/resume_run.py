"""Go on with a run whose master was killed: no two jobs ever write one output, and no work is lost.

Refuses while a master lives. Jobs that it left behind in the queue are cancelled where they wait, and waited for where
they run (or cancelled as well). Then the folder is unlocked, what they published unseen is adopted if its meta file
says that it is what the run would make (adopt_outputs.py), and Snakemake is started as it was before.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from finetrail.cluster import queue, runs
from finetrail.cluster.master import check_alone
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json

LOOK_S = 2.0
LOCK = Path("logs/resume.lock")
ADOPT = Path(__file__).with_name("adopt_outputs.py")
Orphans = Literal["wait", "cancel"]


def main(argv: Sequence[str] | None = None) -> int:
    """Find orphans, end or await them, unlock, adopt what they published, go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orphans", choices=("wait", "cancel"), default="wait", help="what to do with running jobs")
    parser.add_argument("--master-is-gone", action="store_true", help="you looked: the master on another host is dead")
    parser.add_argument("arguments", nargs="*", help="Snakemake's, where they are not to be those of the run")
    given = parser.parse_args(argv)
    try:
        with alone(Path.cwd()):
            return resume(Path.cwd(), given.orphans, given.arguments, master_is_gone=given.master_is_gone)
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep a second `make resume` away, which would unlock the folder of the run that the first one starts.

    Raises:
        FinetrailError: one is at work.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FinetrailError("another `make resume` is at work in this folder", hint="Let it work") from error
        except OSError:
            pass  # a file system without locks
        yield


def resume(root: Path, orphans: Orphans, arguments: Sequence[str], *, master_is_gone: bool) -> int:
    """Make a working folder safe to run in, and run.

    Args:
        root: the working folder.
        orphans: what to do with jobs that run.
        arguments: Snakemake's; without any, those of the last run that was cut off.
        master_is_gone: whether somebody looked at masters on other machines.

    Raises:
        FinetrailError: nothing is to be resumed, or a master may still live.
    """
    left = runs.unended(root)
    if not left:
        raise FinetrailError(
            "no run of this folder was cut off", hint="Start it as usual: snakemake --profile slurm all"
        )
    # A local run has nothing in a queue, and SLURM may not answer on the machine that it ran on.
    in_queue = queue.has_slurm() and any(read_json(run / runs.MASTER).get("submits", True) for run in left)
    if in_queue:
        check_alone(root)
    runs.check_masters(left, trust=master_is_gone)
    if in_queue:
        settle_queue(root, orphans)
    for run in left:
        settle_local(run, orphans)
    before = read_json(left[-1] / runs.MASTER)["arguments"]
    for run in left:
        runs.note_end(run)
    return start_again(arguments or before)


def settle_queue(root: Path, orphans: Orphans) -> None:
    """Wait until no job of this folder is in SLURM's queue."""
    jobs = queue.queued_jobs(root)
    unwanted = jobs if orphans == "cancel" else [job for job in jobs if job.is_waiting]
    for job in jobs:
        print(f"orphan: job {job.id} {job.rule} {job.state}: {'cancelled' if job in unwanted else 'waited for'}")
    queue.cancel(unwanted)
    wait(lambda: len(queue.queued_jobs(root)), "in SLURM's queue")


def settle_local(run: Path, orphans: Orphans) -> None:
    """Wait until no job that ran beside the master goes on."""
    for beat in runs.local_orphans(run):
        print(f"orphan: process {beat['pid']} {beat['rule']}: {'cancelled' if orphans == 'cancel' else 'waited for'}")
        if orphans == "cancel":
            os.kill(beat["pid"], signal.SIGTERM)
    wait(lambda: len(runs.local_orphans(run)), "on this machine")


def wait(count: Callable[[], int], where: str) -> None:
    """Wait until nothing is left; say so when the number changes."""
    said = 0
    while left := count():
        if left != said:
            print(f"waiting for {left} orphans {where}; `make resume ORPHANS=cancel` ends them", flush=True)
            said = left
        time.sleep(LOOK_S)


def start_again(arguments: Sequence[str]) -> int:
    """Unlock the folder, adopt what Snakemake did not see finish, and start it as it was started before."""
    snakemake = [sys.executable, "-m", "snakemake"]
    commands = (
        [*snakemake, "--unlock", *arguments],
        [sys.executable, str(ADOPT), "--", *arguments],
        [*snakemake, *arguments],
    )
    for command in commands:
        if code := subprocess.run(command, check=False).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
