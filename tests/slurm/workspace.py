"""A copy of the project whose workflow runs with `--profile slurm` on the test cluster."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.cluster import Cluster, Job
from tests.workspace import BIN, Workspace

# A line of set-up: the job begins its work when the test lets it, however slow the machine is.
WAIT = "while [ -e $HOME/hold ]; do sleep 0.2; done"
SITE = Path(__file__).with_name("site.yaml")


@dataclass
class SlurmWorkspace(Workspace):
    """A workspace on the cluster."""

    cluster: Cluster = field(kw_only=True)

    def environment(self) -> dict[str, str]:
        home = {"HOME": str(self.cluster.home), "XDG_CONFIG_HOME": str(self.cluster.home / ".config")}
        return self.cluster.environment() | super().environment() | home

    def command(self, *arguments: str, config: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> list[str]:
        files = ["--configfile", *self.configfiles] if self.configfiles else []
        # The site has no conda; jobs are short: a first look after eight seconds, which SLURM's own time suits.
        given = ["--profile", "slurm", "--sdm", "env-modules", "--slurm-init-seconds-before-status-checks", "8"]
        given += [*options, "--jobs", "4", *files, "--config", *self.config, *config, "--", *arguments]
        return self.cluster.command(str(BIN / "snakemake"), *given, cwd=self.root)

    def set_up(self, line: str) -> None:
        """Add a line of shell that every job runs before its command."""
        self.edit("config/site.yaml", "  setup:\n", f"  setup:\n    - {line}\n")

    def jobs(self) -> list[Job]:
        """Return SLURM's records of the jobs that this workspace submitted."""
        return [job for job in self.cluster.jobs() if job.facts["WorkDir"] == str(self.root)]


def slurm_workspace(fresh: Workspace, target: Path, cluster: Cluster) -> SlurmWorkspace:
    """Copy a workspace, describe the test cluster in its config/site.yaml, and install its profiles."""
    shutil.copytree(fresh.root, target, symlinks=True)
    shutil.copy(SITE, target / "config/site.yaml")
    workspace = SlurmWorkspace(target, configfiles=fresh.configfiles, cluster=cluster)
    subprocess.run(["make", "-s", "install-profiles"], cwd=target, env=workspace.environment(), check=True)
    return workspace
