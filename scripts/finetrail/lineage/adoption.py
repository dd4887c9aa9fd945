"""Outputs that Snakemake has no record of: which are as good as made now, by what their meta files say.

They are where the job's command is the same word by word, and with it the digests of settings, code, prompt,
environment and original files; where the inputs have the bytes that were read then; and where the outputs have the
bytes that were published.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import MANIFEST_NAME, check_manifest, read_json
from finetrail.rows.records import sha256_file
from finetrail.step.step import OPERATION_OPTIONS


@dataclass(frozen=True)
class Command:
    """A job as the present workflow would run it.

    Attributes:
        name: rule and wildcards, for people.
        words: the script and its arguments.
        meta: the meta file.
        inputs: files that it reads; of shards that it would merge, none.
        outputs: files that it writes, the meta file left out.
    """

    name: str
    words: tuple[str, ...]
    meta: Path
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]

    def files(self) -> set[Path]:
        """Return its files, those of a folder that a manifest describes as well."""
        folders = [path.parent for path in self.outputs if path.name == MANIFEST_NAME]
        return {self.meta, *self.outputs, *(path for folder in folders for path in folder.rglob("*"))}

    def is_here(self) -> bool:
        """Tell whether any of its files exist."""
        return any(path.exists() for path in (self.meta, *self.outputs))


class Judge:
    """Judges jobs in the order in which they follow from each other, so that what is not here can be vouched for.

    A file that does not exist counts as what its maker's meta file says, as long as that job is judged to be as good as
    made now; so a clone without the files in between can be judged, too.
    """

    def __init__(self) -> None:
        self._vouched: dict[Path, str] = {}
        self._hashes: dict[Path, str] = {}

    def judge(self, job: Command, made_here: Sequence[Path]) -> None:
        """Compare a job with what its meta file says.

        Args:
            job: the job.
            made_here: those of its inputs that other jobs make; others are originals, whose digest is in the command.

        Raises:
            FinetrailError: the outputs may not be adopted, and why.
        """
        record = read_json(job.meta)
        _compare_words(record, job)
        outputs = {Path(one["path"]): str(one["sha256"]) for one in record["outputs"]}
        self._check_outputs(job, outputs)
        self._check_inputs(job, record, set(made_here))
        self._vouched |= {path: digest for path, digest in outputs.items() if not path.exists()}

    def _check_outputs(self, job: Command, described: Mapping[Path, str]) -> None:
        for path in job.outputs:
            if path not in described:
                raise FinetrailError(f"is not described in {job.meta}", where=str(path))
            if path.exists() and self._sha256(path) != described[path]:
                raise FinetrailError(f"is not what {job.meta} describes", where=str(path))
            if path.exists() and path.name == MANIFEST_NAME:
                check_manifest(path.parent, path)

    def _check_inputs(self, job: Command, record: Mapping[str, Any], made_here: set[Path]) -> None:
        read = {Path(one["path"]): str(one["sha256"]) for one in record["inputs"]}
        for path in dict.fromkeys([*job.inputs, *read]):
            if path.is_dir():
                continue  # its digest is in the command
            if path not in read:
                raise FinetrailError(f"is an input that {job.meta} does not describe", where=str(path))
            if path.exists():
                present: str | None = self._sha256(path)
            else:
                present = self._vouched.get(path) if path in made_here else read[path]
            if present is None:
                raise FinetrailError("is not here, and neither is how it was made", where=str(path))
            if present != read[path]:
                raise FinetrailError(f"is not what {job.name} read", where=str(path))

    def _sha256(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = sha256_file(path)
        return self._hashes[path]


def _compare_words(record: Mapping[str, Any], job: Command) -> None:
    """Compare the recorded command with the present one.

    Raises:
        FinetrailError: they differ; names the options.
    """
    if record.get("status") != "complete" or not record.get("command"):
        raise FinetrailError("does not say by which command its files were made", where=str(job.meta))
    then, now = _options(record["command"]), _options(job.words)
    if differing := sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name)):
        raise FinetrailError(f"was made with other values of {', '.join(differing)}", where=str(job.meta))


def _options(words: Sequence[str]) -> dict[str, list[str]]:
    """Split a command into its options with their values; what stands before the first one is under `script`."""
    return {
        name: values for name, values in _groups(words) if name.lstrip("-").replace("-", "_") not in OPERATION_OPTIONS
    }


def _groups(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    name, values = "script", list[str]()
    for word in words:
        if word.startswith("--"):
            yield name, values
            name, values = word, []
        else:
            values.append(word)
    yield name, values
