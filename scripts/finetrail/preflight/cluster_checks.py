"""Whether the cluster has what the jobs ask for: partitions, time, memory, cores, GPUs, features, accounts."""

import getpass
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from finetrail.errors import FinetrailError
from finetrail.preflight.finding import Finding, one_of
from finetrail.preflight.partitions import NodeKind, Partition, ask_slurm, joined
from finetrail.preflight.requested_resources import Asked

Check = Callable[[Asked, Partition, Sequence[NodeKind]], Iterator[Finding]]


def check_jobs(
    jobs: Sequence[Asked], partitions: Mapping[str, Partition], most_mem: Mapping[str, int]
) -> list[Finding]:
    """Compare what jobs ask for with their partitions.

    Args:
        jobs: those that SLURM would be given.
        partitions: by name.
        most_mem: the memory in MB that a rule's last attempt asks for.
    """
    found: list[Finding] = []
    for job in jobs:
        partition = _partition(job, partitions)
        if isinstance(partition, Finding):
            found.append(partition)
            continue
        nodes = partition.nodes
        for check in (_state, _time, _size, _gpus, _features):
            found += check(job, partition, nodes)
        largest = max((node.mem_mb for node in nodes), default=0)
        if job.number("mem_mb") <= largest < most_mem.get(job.rule, 0):
            what = f"a later attempt may ask for {most_mem[job.rule]} MB, nodes of {partition.name} have {largest}"
            found.append(Finding("warning", f"resources.{job.rule}.max_mem_mb", what, f"Set it to {largest} or less"))
    return list(dict.fromkeys(found))


def _partition(job: Asked, partitions: Mapping[str, Partition]) -> Partition | Finding:
    named = job.get("slurm_partition")
    if named is not None and (known := joined(named, partitions)) is not None:
        return known
    key = "site.gpu_partition" if job.gpus_a_node else "site.cpu_partition"
    if named:
        where = f"{key} or resources.{job.rule}.partition"
        wrong = next(name for name in named.split(",") if name not in partitions)
        return Finding("error", where, f"this cluster has no partition {wrong}", one_of(partitions, wrong))
    default = next((one for one in partitions.values() if one.is_default), None)
    fix = f"Name one of {', '.join(sorted(partitions))}"
    return default or Finding("error", key, "no partition is named, and this cluster has no default", fix)


def _state(job: Asked, partition: Partition, nodes: Sequence[NodeKind]) -> Iterator[Finding]:
    wait = "Jobs will wait until an administrator changes that; scontrol show partition says more, or name another one"
    where = f"partition {partition.name}"
    if partition.state != "up":
        yield Finding("warning", where, f"it is {partition.state}", wait)
    elif not any(node.takes_jobs for node in nodes):
        yield Finding("warning", where, f"all its nodes are {nodes[0].state if nodes else 'gone'}", wait)


def _time(job: Asked, partition: Partition, nodes: Sequence[NodeKind]) -> Iterator[Finding]:
    if job.number("runtime") > partition.max_minutes:
        what = f"{job.number('runtime')} minutes are more than the {partition.max_minutes} that {partition.name} allows"
        yield Finding("error", f"resources.{job.rule}.runtime", what, f"Set it to {partition.max_minutes} or less")


def _size(job: Asked, partition: Partition, nodes: Sequence[NodeKind]) -> Iterator[Finding]:
    for name, asked, most, unit in (
        ("mem_mb", job.number("mem_mb"), max((node.mem_mb for node in nodes), default=0), "MB"),
        ("threads", job.threads, max((node.cpus for node in nodes), default=0), "cores"),
    ):
        if asked > most:
            what = f"{asked} {unit} are more than any node of {partition.name} has ({most})"
            yield Finding(
                "error", f"resources.{job.rule}.{name}", what, f"Set it to {most} or less, or name a partition"
            )
    if job.nodes > len(nodes):
        what = f"{job.nodes} nodes are asked for, {partition.name} has {len(nodes)}"
        yield Finding("error", "train.models.<model>.launch.nodes", what, f"Set it to {len(nodes)} or less")


def _gpus(job: Asked, partition: Partition, nodes: Sequence[NodeKind]) -> Iterator[Finding]:
    with_gpus = [node for node in nodes if node.gpus]
    where = f"resources.{job.rule}"
    if not job.gpus_a_node:
        if nodes and len(with_gpus) == len(nodes):
            what = f"a job without a GPU would go to {partition.name}, whose nodes all have GPUs"
            yield Finding("warning", "site.cpu_partition", what, "Name a partition of nodes without GPUs")
        return
    if not with_gpus:
        what = f"a job with {job.gpus_a_node} GPUs would go to {partition.name}, which has none"
        yield Finding("error", "site.gpu_partition", what, "Name the partition of the GPU nodes: sinfo -o '%P %G'")
        return
    models = {model for node in with_gpus for model, _ in node.gpus}
    if job.gpu_model is not None and job.gpu_model not in models:
        what = f"{partition.name} has no GPU that SLURM calls {job.gpu_model}"
        yield Finding("error", f"{where}.gpu_model", what, one_of(models - {""} or {"(no names)"}, job.gpu_model))
    elif job.gpus_a_node > (most := max(node.gpu_count(job.gpu_model) for node in with_gpus)):
        what = f"{job.gpus_a_node} GPUs are more than a node of {partition.name} has ({most})"
        yield Finding("error", f"{where}.gpus", what, f"Set it to {most} or less; nodes are train's launch.nodes")


def _features(job: Asked, partition: Partition, nodes: Sequence[NodeKind]) -> Iterator[Finding]:
    wanted = job.get("constraint")
    known = {feature for node in nodes for feature in node.features}
    # Anything else is an expression of SLURM's own, which sbatch checks.
    if wanted and wanted.replace("_", "a").replace("-", "a").isalnum() and wanted not in known:
        what = f"no node of {partition.name} has the feature {wanted}"
        yield Finding("error", f"resources.{job.rule}.constraint", what, one_of(known or {"(none)"}, wanted))


def check_accounts(jobs: Sequence[Asked], settings: Mapping[str, str]) -> Iterator[Finding]:
    """Compare accounts and qualities of service with those that this user has; nothing where SLURM keeps none."""
    if settings.get("AccountingStorageType", "").endswith("/none") or shutil.which("sacctmgr") is None:
        return
    command = ["sacctmgr", "-nP", "show", "associations", f"user={getpass.getuser()}", "format=account,qos"]
    try:
        listed = ask_slurm(command)
    except FinetrailError as error:
        yield Finding(
            "warning", "sacctmgr", f"accounts could not be looked at: {error}", "sbatch will name a wrong one"
        )
        return
    rows = [line.split("|") for line in listed.splitlines() if line]
    accounts = {row[0] for row in rows}
    if not accounts:
        return
    enforced = settings.get("AccountingStorageEnforce", "none")
    for job in jobs:
        account, qos = job.get("slurm_account"), job.get("qos")
        if account is not None and account not in accounts:
            what = f"{getpass.getuser()} has no account {account}"
            yield Finding("error", f"resources.{job.rule}.account or default", what, one_of(accounts, account))
        elif account is None and len(accounts) > 1 and "associations" in enforced:
            what = f"no account is named, and {getpass.getuser()} has several"
            yield Finding("warning", "resources.default.account", what, f"Name one of {', '.join(sorted(accounts))}")
        allowed = {name for row in rows if account in (None, row[0]) for name in row[1].split(",") if name}
        if qos is not None and allowed and qos not in allowed:
            what = f"the quality of service {qos} is not yours"
            yield Finding("error", f"resources.{job.rule}.qos", what, one_of(allowed, qos))


def check_settings(settings: Mapping[str, str], preemptible: Sequence[str], first_look: int) -> Iterator[Finding]:
    """Look at the cluster's own settings.

    Args:
        settings: what `scontrol show config` says.
        preemptible: the partitions of `site.preemptible`.
        first_look: seconds to Snakemake's first look at its jobs.
    """
    age = settings.get("MinJobAge", "").partition(" ")[0]
    if age.isdecimal() and int(age) < 3 * first_look:
        what = f"MinJobAge of this cluster is {age} s: ended jobs are forgotten before Snakemake looks three times"
        fix = f"Set slurm-init-seconds-before-status-checks to {max(1, int(age) // 3)} in profiles/slurm/config.yaml"
        yield Finding("warning", "profiles/slurm", what, fix)
    if preemptible and "REQUEUE" not in settings.get("PreemptMode", "REQUEUE"):
        what = f"this cluster does not queue preempted jobs again (PreemptMode {settings['PreemptMode']})"
        yield Finding("warning", "site.preemptible", what, "A preempted job uses up a retry there: raise `retries`")


def try_submissions(jobs: Sequence[Asked], explained: set[str]) -> Iterator[Finding]:
    """Ask SLURM itself whether it would take the jobs: it knows rules of the site that no list shows.

    Args:
        jobs: those that SLURM would be given; each set of demands is tried once.
        explained: rules whose jobs are known to fail already.
    """
    tried: set[tuple[str, ...]] = set()
    for job in jobs:
        options = tuple(_options(job))
        if job.rule in explained or options in tried:
            continue
        tried.add(options)
        command = ["sbatch", "--test-only", *options, "--wrap", "true"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            yield Finding(
                "warning", "sbatch", f"it does not answer: {error}", "Is the controller up? scontrol ping says"
            )
            return
        if done.returncode:
            said = " ".join(done.stderr.split())
            yield Finding(
                "error", f"resources.{job.rule}", f"SLURM would refuse the job: {said}", "Try: " + " ".join(command)
            )


def _options(job: Asked) -> Iterator[str]:
    for name, option in (("slurm_partition", "-p"), ("slurm_account", "-A"), ("constraint", "-C"), ("qos", "--qos")):
        if value := job.get(name):
            yield f"{option}={value}" if option.startswith("--") else f"{option}{value}"
    yield from (f"-t{job.number('runtime')}", f"--mem={job.number('mem_mb')}M", f"-c{job.threads}", f"-N{job.nodes}")
    if job.gpus_a_node:
        yield f"--gpus-per-node={job.gpu_model + ':' if job.gpu_model else ''}{job.gpus_a_node}"
