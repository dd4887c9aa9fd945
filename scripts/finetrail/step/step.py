"""The skeleton of every script: arguments, logging, the digest gate, atomic publishing and the meta file.

A script has a `main(argv)` that declares its files with `add_input` and `add_output` and hands its work to `run_step`.
Outputs appear together, when the work is done, and their meta file last; a failure leaves none of them behind.
"""

import argparse
import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import (
    describe_file,
    publish_file,
    publish_folder,
    temporary_name,
    write_json,
    write_manifest,
)
from finetrail.rows.records import Row, dump_row, read_rows
from finetrail.rows.shards import Shard
from finetrail.step import gate
from finetrail.step.journal import Journal, git_state
from finetrail.step.progress import Progress
from finetrail.step.reporter import Pulse, TerminalHandler

T = TypeVar("T")
LOGGER = logging.getLogger("finetrail.step.step")
LIBRARY_ROOT = Path(__file__).resolve().parents[2]
# Options that say how a step goes about its work, and not what comes out of it.
OPERATION_OPTIONS = ("plan", "shard", "shards", "shares", "processes", "threads")
# What is said of an output without rows: so many reasons why rows were dropped, and what to do.
REASONS_SHOWN = 3
EMPTY_HINT = "Mend the records, or the settings that leave none of them; nothing was published"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Interrupted(BaseException):
    """The job was told to stop by a signal."""


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with the arguments that every step takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="by_hand", help="whose operation settings apply; names the records")
    parser.add_argument("--settings", default="{}", help="the phase's result settings as JSON")
    parser.add_argument("--code", default=None, help="digest of this script and of all that it imports")
    parser.add_argument("--prompt", type=Path, default=None, help="the prompt file")
    parser.add_argument("--prompt-digest", default=None, help="digest of the prompt's content")
    parser.add_argument("--environment", default=None, help="digest of the environment file")
    parser.add_argument("--source", default=None, help="digest of the original input files")
    parser.add_argument("--meta", type=Path, required=True, help="where the description of the outputs goes")
    parser.set_defaults(input_names=(), output_names=(), plan=False, shard=Shard(), shards=())
    return parser


def add_input(parser: argparse.ArgumentParser, name: str, help: str, **options: Any) -> None:
    """Declare an argument that names one or several input files."""
    parser.add_argument(name, type=Path, help=help, **({"required": True} | options))
    parser.set_defaults(input_names=(*parser.get_default("input_names"), name.lstrip("-").replace("-", "_")))


def add_output(parser: argparse.ArgumentParser, name: str, help: str, **options: Any) -> None:
    """Declare an argument that names an output file."""
    parser.add_argument(name, type=Path, help=help, **({"required": True} | options))
    parser.set_defaults(output_names=(*parser.get_default("output_names"), name.lstrip("-").replace("-", "_")))


class Loop(Progress):
    """A count that also passes through what it counts."""

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Pass items through and count them."""
        for item in items:
            yield item
            self.advance()
        self.close()


class RowWriter:
    """Writes rows to a temporary file; the step publishes it."""

    def __init__(self, temporary: Path) -> None:
        self.count = 0
        self._stream = temporary.open("w", encoding="utf-8", newline="\n")

    def write(self, row: Row) -> None:
        """Append one row."""
        self._stream.write(dump_row(row) + "\n")
        self.count += 1

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


def _seeds(settings: Mapping[str, Any], above: str = "") -> dict[str, int]:
    """Find the seeds among nested settings, by their dotted keys."""
    seeds: dict[str, int] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            seeds |= _seeds(value, f"{above}{name}.")
        elif name == "seed":
            seeds[f"{above}{name}"] = value
    return seeds


class Step:
    """One attempt at one job: what it reads, writes and counts.

    Args:
        script: the script that runs.
        args: its parsed arguments.

    Attributes:
        programs: what the gate holds to the run's digests: the script, and programs of ours that it starts.
    """

    def __init__(self, script: Path, args: argparse.Namespace) -> None:
        self.script = script
        self.programs = [script]
        self.args = args
        self.rule = script.stem
        self.recipe: str = args.recipe
        self.prompt: Path | None = args.prompt
        self.planning: bool = args.plan
        self.shard: Shard = args.shard
        self.settings: dict[str, Any] = json.loads(args.settings)
        self.counts: dict[str, Any] = {}
        self._digests = gate.current_digests()
        self.facts: dict[str, Any] = {}
        self._writers: dict[Path, RowWriter] = {}
        self._files: dict[Path, Path] = {}
        self._folders: dict[Path, tuple[Path, Path, dict[str, Any]]] = {}
        self._may_be_empty: set[Path] = set()
        self._stamps = {path: _stamp(path) for path in self._paths(args.input_names)}
        self.journal = Journal(self.rule, self.recipe, self._job_name(), self._first_facts())
        self.pulse = Pulse(self.journal)

    def _job_name(self) -> str:
        """Name the job by its meta file, whose path holds all its wildcards."""
        place = self.args.meta.with_suffix("").with_suffix("").parts[-4:]
        return ".".join([self.rule, *place])

    def _first_facts(self) -> dict[str, Any]:
        files = {*self.args.input_names, *self.args.output_names, "meta"}
        no_parameters = {"input_names", "output_names", "command", *OPERATION_OPTIONS}
        given = ((key, value) for key, value in sorted(vars(self.args).items()) if key not in files | no_parameters)
        parameters = {key: value.as_posix() if isinstance(value, Path) else value for key, value in given}
        parameters["settings"] = self.settings
        git = self._digests["git"] if self._digests else git_state(self.script.parent)
        facts = {"command": self.args.command, "parameters": parameters, "seeds": _seeds(self.settings), "git": git}
        return facts if self.shard.is_whole else facts | {"shard": str(self.shard)}

    def _paths(self, names: Iterable[str]) -> list[Path]:
        values = (getattr(self.args, name) for name in names)
        lists = (value if isinstance(value, list) else [value] for value in values if value is not None)
        return [path for group in lists for path in group]

    def input_paths(self) -> list[Path]:
        """Return all input files, in the order in which they were declared."""
        return list(self._stamps)

    def check_digests(self) -> None:
        """Compare this job's code, prompt and settings with what the run was started with.

        Raises:
            FinetrailError: names the file that was edited meanwhile.
        """
        if self._digests is None:
            return
        for program in self.programs:
            gate.check_code(self._digests, program, LIBRARY_ROOT)
        gate.check_prompts(self._digests, [self.prompt] if self.prompt else [])
        gate.check_settings(self._digests, self.recipe, self.settings)

    def _describe_inputs(self) -> list[dict[str, Any]]:
        """Describe the inputs as they were read.

        Raises:
            FinetrailError: names the input that was changed since the step began.
        """
        described = [describe_file(path) for path in self._stamps if path.is_file()]
        for path, stamp in self._stamps.items():  # after hashing, so that the hashes are those of what was read
            if _stamp(path) != stamp:
                hint = "Nothing was published: start the run again"
                raise FinetrailError("was changed while this step read it", where=str(path), hint=hint)
        return described

    def rows(self, path: Path, label: str = "rows") -> Iterator[Row]:
        """Stream the rows that the step works through, of a shard its own, and report progress."""
        rows = self.progress(label, path).over(read_rows(path))
        return rows if self.shard.is_whole else (row for row in rows if self.shard.holds(row["id"]))

    def progress(self, label: str, total: int | Path | None = None) -> Loop:
        """Count a loop of the step, and report it.

        Args:
            label: what is counted.
            total: how many there will be, or the file whose lines they are.
        """
        progress = Loop(label, total, None if self.planning else self.pulse.ended)
        self.pulse.watch(progress)
        return progress

    def writer(self, path: Path, *, may_be_empty: bool = False) -> RowWriter:
        """Open an output for rows; it is published when the step ends well.

        Args:
            path: the output's final name.
            may_be_empty: whether no row at all is a result (a list of what was dropped), not an error; a shard's
                rows may be few, so that it always is one there.
        """
        if self.planning:
            self._writers[path] = RowWriter(Path(os.devnull))
            return self._writers[path]
        if may_be_empty or not self.shard.is_whole:
            self._may_be_empty.add(path)
        self._writers[path] = RowWriter(self.file(path))
        return self._writers[path]

    def file(self, path: Path) -> Path:
        """Return a temporary file that is published under `path` when the step ends well."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._files.setdefault(path, temporary_name(path))

    def folder(self, path: Path, manifest: Path, facts: Mapping[str, Any] | None = None) -> Path:
        """Return a temporary folder whose files are published under `path`, its manifest last."""
        temporary = temporary_name(path)
        temporary.mkdir(parents=True)
        self._folders[path] = (temporary, manifest, dict(facts or {}))
        return temporary

    def manifest_facts(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Add to what a folder's manifest will say."""
        self._folders[path][2].update(facts)

    def quarantine(self, rows: Iterable[Row]) -> int:
        """Keep rows that could not be processed, with their errors, among the run's records."""
        self.journal.folder.mkdir(parents=True, exist_ok=True)
        count = 0
        with self.journal.quarantine_path.open("a", encoding="utf-8") as stream:
            for row in rows:
                stream.write(dump_row(row) + "\n")
                count += 1
        return count

    def count(self, *, rows_in: int, kept: int, dropped: Mapping[str, int] | None = None, quarantined: int = 0) -> None:
        """Record the step's balance.

        Raises:
            FinetrailError: rows in differ from kept, dropped and quarantined together.
        """
        reasons = {reason: number for reason, number in sorted((dropped or {}).items()) if number}
        if rows_in != kept + sum(reasons.values()) + quarantined:
            raise FinetrailError(
                f"{rows_in} rows came in and {kept} kept + {sum(reasons.values())} dropped + {quarantined} "
                "quarantined went out",
                hint="This is a bug in the step: nothing was published",
            )
        self.counts |= {"in": rows_in, "kept": kept, "dropped": reasons, "quarantined": quarantined}

    def publish(self) -> None:
        """Move all outputs to their names, then write the meta file.

        Raises:
            FinetrailError: an output without rows, or sources or inputs edited while the step ran.
        """
        for path, writer in self._writers.items():
            writer.close()
            if writer.count == 0 and path not in self._may_be_empty:
                raise FinetrailError(self._why_empty(), where=str(path), hint=EMPTY_HINT)
        self.check_digests()
        inputs = self._describe_inputs()
        for path, temporary in self._files.items():
            publish_file(temporary, path)
        for path, (temporary, manifest, facts) in self._folders.items():
            publish_folder(temporary, path)
            write_manifest(path, manifest, facts)
        self._write_meta(inputs)

    def _why_empty(self) -> str:
        """Say what became of the rows; files of dropped rows are not published with an empty output."""
        dropped: dict[str, int] = self.counts.get("dropped", {})
        commonest = sorted(dropped.items(), key=lambda pair: (-pair[1], pair[0]))[:REASONS_SHOWN]
        said = "; ".join(f"{reason} ({number})" for reason, number in commonest)
        more = f"; {len(dropped) - REASONS_SHOWN} other reasons" if len(dropped) > REASONS_SHOWN else ""
        cause = f" of {self.counts['in']} that came in: {said}{more}" if said else ""
        return f"no row came out of this step{cause}"

    def _write_meta(self, inputs: list[dict[str, Any]]) -> None:
        rows = {path: writer.count for path, writer in self._writers.items()}
        outputs = self._paths(self.args.output_names)
        described = [
            describe_file(path) | ({"rows": rows[path]} if path in rows else {}) for path in outputs if path.is_file()
        ]
        self.journal.facts |= {"inputs": inputs, "outputs": described, "counts": self.counts, **self.facts}
        self.journal.end("complete")
        write_json(self.args.meta, self.journal.facts)

    def clean(self) -> None:
        """Remove what was not published."""
        for writer in self._writers.values():
            with contextlib.suppress(OSError):  # a full disk: what is removed anyway need not be whole
                writer.close()
        for temporary in self._files.values():
            temporary.unlink(missing_ok=True)
        for temporary, _, _ in self._folders.values():
            shutil.rmtree(temporary, ignore_errors=True)


def _script_name(script: str) -> str:
    """Name a script as rules do: from the folder that holds all scripts, so that no machine's folders are recorded."""
    path = Path(script).resolve()
    return path.relative_to(LIBRARY_ROOT.parent).as_posix() if path.is_relative_to(LIBRARY_ROOT) else path.name


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from what it was before, without reading it; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _raise_interrupted(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(signal.Signals(number).name)


class _KeptLog(logging.FileHandler):
    """The log beside the attempt's record; the same lines go to stderr."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Let a full disk pass: the traceback would come after the cause, which is the last line."""


def _set_up_logging(log_path: Path) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    kept = _KeptLog(log_path, encoding="utf-8")
    handlers: list[logging.Handler] = [TerminalHandler(), kept]
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", handlers=handlers, force=True)


def _last_line(rule: str, message: str) -> None:
    LOGGER.error("%s failed: %s", rule, message)


def _fail(step: Step, status: str, error: str, shown: str | None = None) -> int:
    """Put the cause into the attempt's record and on the last line, also where the disk is full."""
    step.clean()  # the space is needed
    try:
        step.journal.end(status, error)
    except OSError as problem:
        LOGGER.warning("the record of this attempt cannot be written: %s", problem)
    step.pulse.stop()  # its last heartbeat may fail, too, and say so
    _last_line(step.rule, shown or error)
    return 1


def _as_full_disk(step: Step, error: Exception) -> FinetrailError | None:
    """Name the folders that a step writes to, if what failed is that there is no room."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return None
    named = [Path(error.filename).parent] if error.filename else [step.args.meta.parent, step.journal.folder]
    where = " or ".join(sorted({str(folder) for folder in named}))
    hint = "Free space there, then run again: what was paid is kept"
    return FinetrailError(f"cannot be written: {error.strerror}", where=where, hint=hint)


def _plan(step: Step, args: argparse.Namespace, work: Callable[[Step, argparse.Namespace], None]) -> int:
    """Go through the step's work with nothing asked and nothing written, and print what it would ask."""
    try:
        work(step, args)
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        step.clean()
    print(json.dumps(step.facts["plan"]))
    return 0


def run_step(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    script: str,
    work: Callable[[Step, argparse.Namespace], None],
    *,
    offline: bool = False,
) -> int:
    """Run a step's work between the digest gate and publishing.

    Args:
        parser: made by `step_parser`.
        argv: the command line; None takes the process's own.
        script: the script's ``__file__``.
        work: reads its inputs, writes through the step, and returns when all is written.
        offline: libraries must not ask the hub, whatever they would like from there: models are in folders.

    Returns:
        0, or 1 after a failure whose cause is the last line of the log.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(words)
    args.command = [_script_name(script), *words]
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which is in `work`
    try:
        step = Step(Path(script).resolve(), args)
    except FinetrailError as error:
        _last_line(Path(script).stem, str(error))
        return 1
    if step.planning:
        return _plan(step, args, work)
    try:
        _set_up_logging(step.journal.log_path)
        signal.signal(signal.SIGTERM, _raise_interrupted)
        step.journal.write()
        step.pulse.start()
        step.check_digests()
        work(step, args)
        step.publish()
    except FinetrailError as error:
        return _fail(step, "failed", str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        return _fail(step, "interrupted", f"{type(error).__name__} {error}", f"interrupted {error}".strip())
    except Exception as error:
        if (full := _as_full_disk(step, error)) is not None:
            return _fail(step, "failed", str(full))
        LOGGER.error("%s", traceback.format_exc())
        what = f"{type(error).__name__}: {error}"
        return _fail(step, "failed", what, f"unexpected {what}. The traceback above says where")
    finally:
        step.clean()
        step.pulse.stop()
    LOGGER.info("%s: %s", step.rule, json.dumps(step.counts or "done"))
    return 0
