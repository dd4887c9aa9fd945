"""The section `site`: what differs between clusters."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from finetrail.config.sections.fields import Count, Section, Text, operation

# May hold $VARIABLES, which the job's own shell fills in; nothing that ends the quotes or runs a command.
Place = Annotated[str, StringConstraints(pattern=r'^[^"`\\\n(]+$')]
Line = Annotated[str, StringConstraints(pattern=r"^[^\n]+$")]

# Every cache that a job would put into the home folder, whose quota is small on most clusters.
CACHES = {
    "HF_HOME": "huggingface",
    "XDG_CACHE_HOME": "xdg",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TORCH_EXTENSIONS_DIR": "torch_extensions",
    "VLLM_CACHE_ROOT": "vllm",
    "WANDB_CACHE_DIR": "wandb",
    "WANDB_DATA_DIR": "wandb_data",
}


_CREDENTIALS = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?([^/@]*)@", re.I)
_VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})")


def _without_password(proxy: str) -> str:
    """Refuse a proxy whose password is written out; one that a variable holds is filled in by the job's shell.

    Raises:
        ValueError: it is.
    """
    credentials = _CREDENTIALS.match(proxy)
    if credentials and not _VARIABLE.fullmatch(credentials[1].partition(":")[2] or credentials[1]):
        raise ValueError(
            "a password would land in logs and records. Name a variable that holds it, which every job's environment "
            "has: http://NAME:$PROXY_PASSWORD@HOST:PORT"
        )
    return proxy


Proxy = Annotated[Place, AfterValidator(_without_password)]


class Proxies(Section):
    """How jobs reach the internet."""

    http: Proxy | None = operation(None, "proxy for http, such as http://proxy.example.org:3128")
    https: Proxy | None = operation(None, "proxy for https")
    none: Place | None = operation(None, "hosts that are reached without it, separated by commas; 127.0.0.1 always is")

    def variables(self) -> dict[str, str]:
        """Return the environment variables, in both spellings that programs read."""
        given = {"http_proxy": self.http, "https_proxy": self.https}
        found = {name: value for name, value in given.items() if value}
        if found:
            found["no_proxy"] = ",".join(["127.0.0.1", "localhost", *([self.none] if self.none else [])])
        return found | {name.upper(): value for name, value in found.items()}


class Master(Section):
    """The job of `make submit`, in which Snakemake itself runs."""

    partition: Text | None = operation(None, "partition of the master; none for `site.cpu_partition`")
    account: Text | None = operation(None, "account of the master; none for the cluster's default")
    runtime: Count = operation(
        1440, "time limit, in minutes; a run that takes longer is led on by the same job, queued again"
    )
    mem_mb: Count = operation(4000, "memory, in MB, which rules that are `local` share")
    threads: Count = operation(2, "CPU cores, which rules that are `local` share")


class Site(Section):
    """What differs between clusters; see docs/slurm.md."""

    cpu_partition: Text | None = operation(None, "partition of jobs without a GPU; none for the cluster's default")
    gpu_partition: Text | None = operation(None, "partition of jobs with GPUs; none for the cluster's default")
    preemptible: list[Text] = operation(
        [], "partitions whose jobs SLURM may preempt: it queues them again itself, which uses up no retry"
    )
    setup: list[Line] = operation([], "lines of shell before every job's command, such as `module load gcc/13`")
    scratch: Place | None = operation(None, "folder for temporary files (TMPDIR); it is made in every job")
    cache: Place | None = operation(
        None, f"one folder for the caches of all tools ({', '.join(CACHES)}), which compute nodes see too"
    )
    conda_prefix: Place | None = operation(None, "folder of conda environments, for `--sdm conda`")
    master: Master = operation(Master(), "the job of `make submit`, in which Snakemake itself runs")
    free_gb: Annotated[float, Field(ge=0)] = operation(
        10.0, "GB that `make preflight` wants free where results, caches and environments go"
    )
    gpu_gb: Annotated[float, Field(gt=0)] | None = operation(
        None, "memory of a GPU of `gpu_partition`, in GB; where it is said, what does not fit is refused before it runs"
    )
    gpu_tflops: Annotated[float, Field(gt=0)] = operation(
        50.0,
        "10^12 operations a second that a GPU does in training, not its peak; time limits of jobs follow from it: 50 "
        "is a cautious figure for an A100, 120 for an H100, 15 for a T4",
    )
    container: Text | None = operation(
        None, "image that rules run in with `--sdm apptainer`: a .sif file, or docker://…; see containers/Containerfile"
    )
    proxies: Proxies = operation(Proxies(), "proxies of the compute nodes")
