"""Stand before SLURM's sbatch: a refusal that will pass is waited out, any other is handed on at once.

The executor counts a refused submission as a failed attempt of the job, and would use up all of them within a second. A
controller that is busy, a partition that is drained, or a limit of submitted jobs that this user's own jobs fill are no
failures of the job. Each wait leaves a line in logs/slurm/refused.log.
"""

import getpass
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

LOG = Path("logs/slurm/refused.log")
WAIT_S = (5, 10, 20, 40, 60)
# What sbatch says of a controller or partition that will be back.
PASSING = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Zero Bytes were transmitted",
    "Resource temporarily unavailable",
    "temporarily unable to accept job",
    "Required partition not available (inactive or drain)",
    "Slurm backup controller in standby mode",
)
# What it says of limits on submitted jobs; the last is said of jobs that are too big, too.
FULL = ("MaxSubmitJob", "MaxJobs", "Job violates accounting/QOS policy (job submit limit")


def will_pass(refusal: str, own_jobs: int) -> bool:
    """Tell whether a refused submission is worth trying again.

    Args:
        refusal: what sbatch said.
        own_jobs: jobs that this user has in the queue; without any, no limit of submitted jobs can be full.
    """
    return any(text in refusal for text in PASSING) or (own_jobs > 0 and any(text in refusal for text in FULL))


def real_sbatch() -> str | None:
    """Find SLURM's own program, behind the folder that this one is called from."""
    ours = Path(__file__).resolve().parents[2] / "profiles/slurm/bin"
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which("sbatch", path=os.pathsep.join(name for name in folders if Path(name).resolve() != ours))


def count_own_jobs() -> int:
    """Count this user's jobs in the queue; 0 where SLURM does not say."""
    command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return len(done.stdout.split()) if done.returncode == 0 else 0


def main(arguments: list[str]) -> int:
    """Submit, as often as it takes."""
    program = real_sbatch()
    if program is None:
        print("sbatch: command not found. Is this a login node of the cluster?", file=sys.stderr)
        return 127
    script = None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    attempt = 0
    while True:
        done = subprocess.run([program, *arguments], input=script, capture_output=True, text=True, check=False)
        if done.returncode == 0 or not will_pass(done.stderr, count_own_jobs()):
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.returncode
        wait = WAIT_S[min(attempt, len(WAIT_S) - 1)]
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a", encoding="utf-8") as stream:
            said = " ".join(done.stderr.split())
            stream.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} again in {wait} s: {said}\n")
        time.sleep(wait)
        attempt += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
