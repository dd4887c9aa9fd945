"""Let Snakemake take over outputs that it has no record of: ``adopt_outputs.py [--every] -- SNAKEMAKE_ARGUMENTS ...``.

For results that were pulled or copied from elsewhere, checked out of another commit, or finished by a job whose master
was killed. A job's outputs are adopted only if their meta file names the command, the inputs and the bytes that the
present workflow would; all others are listed with the reason, and will be made anew. Nothing is removed.
"""

import argparse
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake.cli import args_to_api, parse_args
from snakemake.settings.types import ExecutionSettings
from snakemake.workflow import Workflow

from finetrail.errors import FinetrailError
from finetrail.lineage.adoption import Command, Judge

META_SUFFIX = ".meta.json"
UNKNOWN_YET = "its inputs are known only when a checkpoint before it has been made"


@dataclass
class Adoption:
    """What became of the jobs whose outputs are here.

    Attributes:
        every: whether jobs are judged, too, that Snakemake would not run.
        distrusted: files that are not to be believed, whatever their meta file says.
        adopted: their names.
        refused: reasons, by name.
    """

    every: bool
    distrusted: frozenset[Path] = frozenset()
    judge: Judge = field(default_factory=Judge)
    adopted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    async def look(self, workflow: Any) -> None:
        """Judge the jobs of a graph that were not judged before; a checkpoint's adoption shows what lies behind it."""
        self.waiting = []
        for level in workflow.dag.toposorted():
            for job in sorted(level, key=lambda job: [str(path) for path in job.output]):
                if job.output and not job.is_norun:
                    await self._look_at(workflow, job)

    async def _look_at(self, workflow: Any, job: Any) -> None:
        known = workflow.persistence
        name = " ".join([job.rule.name, *map(str, job.wildcards)])
        if name in self.adopted or name in self.refused:
            return
        would_run = workflow.dag.needrun(job)
        if not self.every and not would_run and known.has_metadata(job):
            return
        if any(path.flags.get("checkpoint_target") for path in job.input):
            self.waiting.append(name)
            return
        command = as_command(name, job)
        if not command.is_here():
            return
        makers = [Path(path) for files in workflow.dag.dependencies[job].values() for path in files]
        try:
            if bad := sorted(self.distrusted.intersection(command.files())):
                raise FinetrailError("is not as it was pinned", where=str(bad[0]))
            self.judge.judge(command, makers)
        except FinetrailError as error:
            self.refused[name] = str(error)
            if not (would_run and known.has_metadata(job)):
                known.started(job)  # as if it had been cut off: Snakemake makes it anew
            return
        self.adopted.append(name)
        await known.finished(job)


def as_command(name: str, job: Any) -> Command:
    """Take from a job of Snakemake what an adoption is judged by."""
    words = shlex.split(job.shellcmd)
    outputs = [Path(path) for path in job.output]
    (meta,) = (path for path in outputs if path.name.endswith(META_SUFFIX))
    merged = set(getattr(job.input, "shards", []))
    inputs = tuple(Path(path) for path in job.input if path not in merged)
    others = tuple(path for path in outputs if path != meta)
    return Command(name, tuple(words[1 : words.index("2>")]), meta, inputs, others)


@contextmanager
def summary_replaced(look: Callable[[Any], Awaitable[None]]) -> Iterator[None]:
    """Let `snakemake --summary` show its graph to a function: profiles and options are then read as ever."""
    original = Workflow.summary

    def instead(workflow: Any, detailed: bool = False) -> None:
        del detailed
        # Outputs that were cut off count as any others here, and a lock may stand: nothing is run.
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        workflow.execution_settings = ExecutionSettings()  # whether records are kept: yes, as by default
        workflow.async_run(look(workflow))

    Workflow.summary = instead
    try:
        yield
    finally:
        Workflow.summary = original


def adopt(arguments: Sequence[str], *, every: bool, distrusted: frozenset[Path] = frozenset()) -> Adoption:
    """Judge the jobs of a workflow, again for each checkpoint that was adopted.

    Raises:
        FinetrailError: Snakemake cannot lay out the jobs; it has said why.
    """
    adoption = Adoption(every, distrusted)
    before = -1
    while before < 0 or (adoption.waiting and before < len(adoption.adopted)):
        before = len(adoption.adopted)
        with summary_replaced(adoption.look):
            parser, options = parse_args(["--summary", *arguments])
            if not args_to_api(options, parser):
                raise FinetrailError("Snakemake cannot lay out the jobs", hint="What it said stands above")
    return adoption


def main(argv: Sequence[str] | None = None) -> int:
    """Adopt, and say what was adopted and what was not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="store_true", help="check also what Snakemake holds to be up to date")
    parser.add_argument(
        "--distrust", action="append", default=[], type=Path, help="a file that is not as it was pinned"
    )
    parser.add_argument("arguments", nargs="*", help="the arguments of the run that is to follow")
    given = parser.parse_args(argv)
    try:
        adoption = adopt(given.arguments, every=given.every, distrusted=frozenset(given.distrust))
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    for name in adoption.adopted:
        print(f"adopted: {name}")
    for name, reason in adoption.refused.items():
        print(f"will be made anew: {name}: {reason}")
    for name in adoption.waiting:
        print(f"not judged: {name}: {UNKNOWN_YET}")
    print(f"{len(adoption.adopted)} jobs adopted, {len(adoption.refused) + len(adoption.waiting)} not")
    return 0


if __name__ == "__main__":
    sys.exit(main())
