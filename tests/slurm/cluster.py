"""A real SLURM cluster on this machine: munge, slurmctld and three slurmd, in a mount namespace of their own.

Its configuration is mounted over /etc/slurm inside the namespace only, since the executor's job step deletes the
variable SLURM_CONF: a real cluster's configuration on this machine stays as it is. Nodes `cpu1` and `cpu2` are in the
partition `cpu`, `gpu1` with two GPUs (device files that lead nowhere) in the partition `gpu`. Wants root, and SLURM's
Debian packages (see `MISSING_HINT`).
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "nsenter")
MISSING_HINT = (
    "sudo apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"
)
NODES = ("cpu1", "cpu2", "gpu1")
PARTITIONS = ("cpu", "gpu", "scavenge")
GPUS = 2
START_S = 60.0
# How long tests wait for what must happen: it decides nothing, and a loaded machine may need it.
PATIENCE_S = 400.0
STOP_S = 20.0

CONFIGURATION = """\
ClusterName=finetrail_test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
# A job that is queued again waits until its credential has expired, two minutes by default.
AuthType=auth/munge
AuthInfo=socket={base}/munge/munge.sock,cred_expire=30
StateSaveLocation={base}/ctld
SlurmctldPidFile={base}/ctld/slurmctld.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdPidFile={base}/node/%n.pid
SlurmdSpoolDir={base}/node/%n
SlurmdLogFile={base}/log/slurmd-%n.log
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2,sched_interval=5,sched_min_interval=200000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=15
KillWait=5
# No database: finished jobs stay in the controller's memory for as long as the tests run.
MinJobAge=86400
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=cpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} {node}
NodeName=cpu2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} {node}
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} {node} Gres=gpu:a100:{gpus} Feature=hbm80
PartitionName=cpu Nodes=cpu1,cpu2 Default=YES MaxTime=60 DefaultTime=10 DefMemPerCPU=200 PriorityTier=1
PartitionName=gpu Nodes=gpu1 MaxTime=60 DefaultTime=10 DefMemPerCPU=200 PriorityTier=1
PartitionName=scavenge Nodes=cpu1,cpu2 MaxTime=60 DefaultTime=10 DefMemPerCPU=200 PriorityTier=0
"""
NODE = "CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000"
GRES = "AutoDetect=off\nNodeName=gpu1 Name=gpu Type=a100 File={base}/dev/nvidia[0-{last}]\n"


class ClusterError(RuntimeError):
    """The cluster did not do what it was asked for; holds the ends of its logs."""


def missing_programs() -> list[str]:
    """Return the programs that this machine lacks for a cluster."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def wait_until(reached: Callable[[], bool], seconds: float, what: str) -> None:
    """Look again and again whether something is reached.

    Raises:
        ClusterError: it was not within the seconds.
    """
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True)
class Job:
    """What SLURM knows about a job, as `scontrol show job --details` says it."""

    facts: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.facts["JobId"]

    @property
    def rule(self) -> str:
        """The rule that the executor wrote into the comment; empty for jobs that are not the workflow's."""
        found = re.match(r"(?:rule_)(\w+?)(?:_wildcards_.*)?$", self.facts.get("Comment", ""))
        return found[1] if found else ""

    @property
    def state(self) -> str:
        return self.facts["JobState"]

    @property
    def node(self) -> str:
        return self.facts["NodeList"]

    @property
    def partition(self) -> str:
        return self.facts["Partition"]

    @property
    def gpus(self) -> str:
        """What was allocated of GPUs, such as `gpu:a100:1`; empty for none."""
        return self.facts["JOB_GRES"].replace("(null)", "")


@dataclass
class Cluster:
    """The cluster while it runs.

    Args:
        base: folder for its state and logs.

    Attributes:
        home: home folder for what runs in the cluster, so that no user's profile is read or written.
    """

    base: Path
    home: Path = field(init=False)
    _holder: "subprocess.Popen[bytes] | None" = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.home = self.base / "home"

    def start(self) -> None:
        """Start all daemons and wait until every node is idle."""
        self._write_files()
        # One process holds the namespace; all else enters it.
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", self._mount()], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"mounted\n":
            raise ClusterError("no mount namespace: this wants root (in a container, the capability SYS_ADMIN)")
        munge = self.base / "munge"
        self.check(
            "munged", "--force", f"--key-file={munge}/munge.key", f"--socket={munge}/munge.sock",
            f"--pid-file={munge}/munged.pid", f"--log-file={munge}/munged.log", f"--seed-file={munge}/munged.seed",
        )  # fmt: skip
        self.check("slurmctld")
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self.check("slurmd", "-N", node)

    def break_node(self, node: str) -> None:
        """End the daemon of a node and all that runs there at once, as a power failure does."""
        jobs = {job.id for job in self.jobs() if job.state == "RUNNING" and job.node == node}
        daemon = _read_pid(self.base / "node" / f"{node}.pid")
        assert daemon is not None, f"no daemon of {node}"
        os.kill(daemon, signal.SIGKILL)
        for pid in list(self._inhabitants()):
            if _job_of(pid) in jobs:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def mend(self) -> None:
        """Start the daemons of broken nodes again, open all partitions, and wait until every node takes jobs."""
        for node in NODES:
            pid = _read_pid(self.base / "node" / f"{node}.pid")
            if pid is None or not _is_alive(pid):
                self.start_node(node)
        for name in PARTITIONS:
            self.check("scontrol", "update", f"partitionname={name}", "state=up")
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Wait until all nodes take jobs."""
        idle = ["idle"] * len(NODES)
        wait_until(
            lambda: self.run("sinfo", "-h", "-N", "-o", "%N %t", "-p", "cpu,gpu").stdout.split()[1::2] == idle,
            START_S,
            "all nodes idle",
        )

    def stop(self) -> None:
        """Cancel what runs and end every process of the cluster, by its id."""
        if self._holder is None:
            return
        with suppress(OSError, subprocess.SubprocessError):
            self.run("scancel", "--signal=KILL", "--user=root")
            wait_until(lambda: not self.run("squeue", "-h", "-o", "%i").stdout.split(), STOP_S, "no job is left")
        files = [*(self.base / "node" / f"{node}.pid" for node in NODES)]
        files += [self.base / "ctld/slurmctld.pid", self.base / "munge/munged.pid"]
        pids = [pid for pid in map(_read_pid, files) if pid is not None]
        # Whatever else lives in the namespace, such as a master that a test left: found by the namespace itself.
        pids += [pid for pid in self._inhabitants() if pid not in {*pids, self._holder.pid}]
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            with suppress(ClusterError):
                wait_until(lambda: not any(map(_is_alive, pids)), STOP_S, "all daemons ended")
        self._holder.kill()
        self._holder.wait()
        self._holder = None

    def command(self, *arguments: str, cwd: Path | None = None) -> list[str]:
        """Return the command that runs another within the cluster's namespace, in a folder (the base)."""
        assert self._holder is not None, "the cluster is not running"
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wdns={cwd or self.base}", *arguments]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command, such as `squeue`, within the cluster."""
        command = self.command(*arguments)
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60, check=False)

    def check(self, *arguments: str) -> str:
        """Run a command within the cluster; return what it printed.

        Raises:
            ClusterError: it failed.
        """
        done = self.run(*arguments)
        if done.returncode != 0:
            logs = [f"{path}:\n{path.read_text()[-1500:]}" for path in sorted((self.base / "log").glob("*.log"))]
            raise ClusterError(f"{arguments}: {done.stdout}{done.stderr}\n" + "\n".join(logs))
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return an environment for what runs within the cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "FINETRAIL_"))}
        return kept | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(self.home)}

    def jobs(self) -> list[Job]:
        """Return all jobs since the start, finished ones too, in order of submission."""
        printed = self.check("scontrol", "--details", "--oneliner", "show", "job")
        lines = [line for line in printed.splitlines() if line.startswith("JobId=")]
        # `Key=value`, where a value may hold blanks: it ends where the next key begins.
        found = [
            Job(dict(re.findall(r"(?:^| )([A-Za-z][\w/:]*)=(.*?) *(?= [A-Za-z][\w/:]*=|$)", line))) for line in lines
        ]
        return sorted(found, key=lambda job: int(job.facts["JobId"]))

    def _inhabitants(self) -> Iterator[int]:
        assert self._holder is not None
        namespace = Path(f"/proc/{self._holder.pid}/ns/mnt").readlink()
        for pid, _ in _processes():
            with suppress(OSError):
                if Path(f"/proc/{pid}/ns/mnt").readlink() == namespace:
                    yield pid

    def _mount(self) -> str:
        # `mount` follows no link that it does not see: the configuration lies in a folder of the cluster's own.
        return f"mkdir -p /etc/slurm && mount --bind {self.base}/etc /etc/slurm && echo mounted && exec sleep infinity"

    def _write_files(self) -> None:
        for name in ("etc", "munge", "ctld", "log", "dev", "home", *(f"node/{node}" for node in NODES)):
            (self.base / name).mkdir(parents=True)
        (self.base / "munge").chmod(0o700)
        key = self.base / "munge/munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        for number in range(GPUS):
            # The null device: SLURM only wants a device file there.
            os.mknod(self.base / f"dev/nvidia{number}", 0o666 | 0o020000, os.makedev(1, 3))
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(base=self.base, host=host, ports=free_ports(4), node=NODE, gpus=GPUS)
        (self.base / "etc/slurm.conf").write_text(text)
        (self.base / "etc/gres.conf").write_text(GRES.format(base=self.base, last=GPUS - 1))
        (self.base / "etc/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")


@contextmanager
def running_cluster(base: Path) -> Iterator[Cluster]:
    """Run a cluster; it is stopped at the end, also when it failed to start or what it was for failed.

    Args:
        base: folder for its state and logs, on a short path (sockets stand in it).
    """
    cluster = Cluster(base)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _processes() -> Iterator[tuple[int, str]]:
    """List the processes of this machine with their command lines."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _job_of(pid: int) -> str | None:
    """Return the number of the job that a process belongs to, by its environment, or its name where SLURM gave one."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes()
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    found = re.search(rb"(?:^|\0)SLURM_JOB_ID=(\d+)", variables) or re.match(rb"slurmstepd: \[(\d+)\.", name)
    return found[1].decode() if found else None


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
