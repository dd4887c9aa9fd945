"""Push results to where DVC keeps them, and pull them: ``dvc_results.py push|pull|checkout --scale S --recipes R ...``.

push      writes dvc.yaml, dvc.lock and the call store's pointer, and uploads what they name
pull      downloads what dvc.lock and the pointers name, puts it in place, reads every byte of it, and lets Snakemake
          take it over, so that nothing of it is made again
checkout  the same without a download, after `git checkout` of another commit or branch

Nothing is ever forced: files that DVC does not have stay, and what stands in the way is named. The call store is
united, never replaced.
"""

import argparse
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetrail.cluster import runs
from finetrail.config.yaml_lines import read_yaml
from finetrail.digests.pinned_files import (
    LOCK,
    SCALES,
    SetAside,
    locked_outputs,
    pinned_files,
    pointed_output,
    stage_name,
    unfaithful,
)
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json

ADOPT = Path(__file__).with_name("adopt_outputs.py")
WRITE_STAGES = Path(__file__).with_name("write_dvc_stages.py")
IN_THE_WAY = "DVC would overwrite what it does not have, named above: `make push` it first, or move it away"


@dataclass(frozen=True)
class Chosen:
    """What is pushed or pulled.

    Attributes:
        snakemake: arguments that make Snakemake lay out the same.
    """

    scale: str
    recipes: Sequence[str]
    cores: str
    snakemake: list[str] = field(init=False)

    def __post_init__(self) -> None:
        config = ["--config", f"scale={self.scale}", f"recipes=[{','.join(self.recipes)}]"]
        object.__setattr__(self, "snakemake", ["--cores", self.cores, *config, "--", "all", "data"])

    @property
    def stages(self) -> list[str]:
        """The stages of dvc.yaml."""
        return [stage_name(recipe, self.scale) for recipe in self.recipes]

    @property
    def store(self) -> Path:
        """The call store."""
        return Path("results", *(["tutorial"] if self.scale == "tutorial" else []), "calls")

    @property
    def store_pointer(self) -> Path:
        """The pointer of the call store."""
        return self.store.with_name(f"{self.store.name}.dvc")

    def pointers(self) -> list[Path]:
        """List the pointers that are here: of the original data that the stages read, and of the call store."""
        stages = read_yaml(Path("dvc.yaml"))["stages"]
        read = {Path(dep) for stage in self.stages for dep in stages.get(stage, {}).get("deps", [])}
        data = [path for path in sorted(Path("data").rglob("*.dvc")) if _is_read(path.with_suffix(""), read)]
        return [*data, *([self.store_pointer] if self.store_pointer.exists() else [])]


def _is_read(path: Path, read: Collection[Path]) -> bool:
    """Tell whether a path is one of those that are read, holds one, or lies in one."""
    return any(path.is_relative_to(other) or other.is_relative_to(path) for other in read)


def dvc(*arguments: str, hint: str | None = None) -> None:
    """Run a command of DVC; its messages are shown.

    Raises:
        FinetrailError: it failed.
    """
    from dvc.cli import main as run_dvc

    if run_dvc(list(arguments)):
        raise FinetrailError(f"dvc {arguments[0]} failed", hint=hint or "Its message stands above; see docs/dvc.md")


def cache_folder() -> Path:
    """Return where DVC keeps files by their MD5."""
    from dvc.repo import Repo

    with Repo(".") as repo:
        return Path(repo.cache.local.path)


def check_idle(root: Path) -> None:
    """Stop while a run may still write: a file must be whole before it is kept or replaced.

    Raises:
        FinetrailError: a run is under way, or was cut off.
    """
    if locked := sorted((root / ".snakemake/locks").glob("*")):
        hint = "Wait until it has ended; if it was killed: make resume"
        raise FinetrailError("a run of this folder is under way", where=str(locked[0]), hint=hint)
    for run in runs.unended(root):
        master = read_json(run / runs.MASTER)
        raise FinetrailError(
            f"the run was cut off, or is under way on {master['host']}", where=str(run), hint="make resume ends it"
        )


def write_stages(chosen: Chosen) -> None:
    """Let their stages in dvc.yaml follow the present settings: overrides decide which outputs there are.

    Raises:
        FinetrailError: they cannot be described.
    """
    command = [sys.executable, str(WRITE_STAGES), "--scale", chosen.scale, "--recipes", *chosen.recipes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FinetrailError(f"dvc.yaml cannot be written: {done.stderr.strip()}", hint="Mend the configuration")


def push(chosen: Chosen) -> None:
    """Pin what a finished run left, and upload it.

    Raises:
        FinetrailError: jobs are still to be run, or DVC failed.
    """
    check_idle(Path())
    command = [sys.executable, "-m", "snakemake", "--dry-run", *chosen.snakemake]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Nothing to be done" not in done.stdout + done.stderr:
        print((done.stdout + done.stderr)[-3000:], file=sys.stderr)
        hint = "Run them first; what is missing stands above"
        raise FinetrailError("the results are not those of the present files", hint=hint)
    write_stages(chosen)
    if chosen.store.is_dir():
        dvc("add", chosen.store.as_posix())
    dvc("commit", "--force", *chosen.stages)
    dvc("push", *chosen.stages, *map(str, chosen.pointers()))
    named = ["dvc.yaml", str(LOCK), *map(str, chosen.pointers())]
    print(f"pushed; keep the pins: git add {' '.join(named)} && git commit")


def pull(chosen: Chosen, *, fetch: bool) -> bool:
    """Put in place what is pinned, check it, and let Snakemake take it over; return whether all was as pinned.

    Raises:
        FinetrailError: nothing is pinned, something unsaved stands in the way, or DVC failed.
    """
    check_idle(Path())
    pinned = locked_outputs(LOCK, chosen.stages)
    targets = [*chosen.stages, *map(str, chosen.pointers())]
    if fetch:
        dvc("fetch", *targets)
    cache = cache_folder()
    pinned += [pointed_output(pointer) for pointer in chosen.pointers()]
    aside = SetAside(chosen.store, chosen.store.with_name("calls.aside"))
    aside.give_back()
    try:
        aside.take(_known_calls(chosen, cache))
        dvc("checkout", *targets, hint=IN_THE_WAY)
    finally:
        for path in aside.give_back():
            print(f"kept: {path}: the pulled store has another file of this name", file=sys.stderr)
    damaged = dict(unfaithful(pinned, cache))
    for path, reason in damaged.items():
        print(f"not as pinned, and not taken over: {path}: {reason}", file=sys.stderr)
    distrusted = [word for path in damaged for word in ("--distrust", str(path))]
    command = [sys.executable, str(ADOPT), "--every", *distrusted, "--", *chosen.snakemake]
    if subprocess.run(command, check=False).returncode:
        raise FinetrailError("the results were put in place, and not taken over", hint="What failed stands above")
    return not damaged


def _known_calls(chosen: Chosen, cache: Path) -> dict[Path, str]:
    if not chosen.store_pointer.exists():
        return {}
    return pinned_files(pointed_output(chosen.store_pointer), cache)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("push", "pull", "checkout"))
    parser.add_argument("--scale", choices=SCALES, required=True)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--cores", default="all", help="for Snakemake, which runs nothing here")
    given = parser.parse_args(argv)
    chosen = Chosen(given.scale, given.recipes, given.cores)
    try:
        if given.command == "push":
            push(chosen)
            return 0
        if pull(chosen, fetch=given.command == "pull"):
            return 0
        hint = "A copy in DVC's cache or at the remote is damaged: docs/dvc.md says how it is replaced"
        raise FinetrailError("some files are not as they were pinned", hint=hint)
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
