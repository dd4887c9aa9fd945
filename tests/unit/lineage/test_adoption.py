"""What keeps outputs from being adopted: other words in the command, other inputs, other bytes, nothing to go by."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.lineage.adoption import Command, Judge
from finetrail.rows.artifacts import describe_file, write_json

WORDS = ("scripts/a/step.py", "--rows", "in.jsonl", "--code", "abc", "--out", "out.jsonl", "--meta", "out.meta.json")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A job that is done, with its meta file, in the present folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("in.jsonl", "out.jsonl"):
        Path(name).write_text(f'{{"id": "{name}"}}\n')
    describe("out.meta.json", ["in.jsonl"], ["out.jsonl"], WORDS)
    return Command("step r", WORDS, Path("out.meta.json"), (Path("in.jsonl"),), (Path("out.jsonl"),))


def describe(meta: str, inputs: list[str], outputs: list[str], words: tuple[str, ...], **changes: Any) -> None:
    described = {"inputs": inputs, "outputs": outputs}
    files = {name: [describe_file(Path(path)) for path in paths] for name, paths in described.items()}
    write_json(Path(meta), {"status": "complete", "command": list(words), **files} | changes)


def refusal(job: Command, made_here: tuple[Path, ...] = ()) -> str:
    with pytest.raises(FinetrailError) as error:
        Judge().judge(job, made_here)
    return str(error.value)


def test_what_fits_is_adopted_however_it_was_shared_out(job: Command) -> None:
    Judge().judge(job, [])
    Judge().judge(replace(job, words=(*WORDS, "--shares", "4", "--shards", "a", "b")), [])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((*WORDS[:4], "abd", *WORDS[5:]), "--code"),
        ((*WORDS, "--shuffle-targets"), "--shuffle-targets"),
        (("scripts/a/other.py", *WORDS[1:]), "script"),
        (WORDS[:3] + WORDS[5:], "--code"),
    ],
)
def test_another_command_is_named_by_its_options(job: Command, words: tuple[str, ...], named: str) -> None:
    assert f"out.meta.json: was made with other values of {named}" in refusal(replace(job, words=words))


def test_other_bytes_of_inputs_or_outputs_are_named(job: Command) -> None:
    Path("in.jsonl").write_text("{}\n")
    assert refusal(job) == "in.jsonl: is not what step r read"
    Path("out.jsonl").write_text("{}\n")
    assert refusal(job) == "out.jsonl: is not what out.meta.json describes"


def test_an_input_or_output_that_the_meta_file_leaves_out_is_named(job: Command) -> None:
    Path("more").write_text("more")
    assert "more: is an input that" in refusal(replace(job, inputs=(*job.inputs, Path("more"))))
    assert "more: is not described" in refusal(replace(job, outputs=(*job.outputs, Path("more"))))


def test_a_meta_file_that_does_not_tell_enough_is_named(job: Command) -> None:
    for changes in ({"status": "failed"}, {"command": None}):
        describe("out.meta.json", ["in.jsonl"], ["out.jsonl"], WORDS, **changes)
        assert "does not say by which command" in refusal(job)
    Path("out.meta.json").unlink()
    assert "out.meta.json: cannot be read" in refusal(job)


def test_an_input_that_is_gone_is_vouched_for_by_its_maker(job: Command) -> None:
    Path("end.jsonl").write_text("{}\n")
    words = ("scripts/a/end.py", "--rows", "out.jsonl")
    describe("end.meta.json", ["out.jsonl"], ["end.jsonl"], words)
    last = Command("end r", words, Path("end.meta.json"), (Path("out.jsonl"),), (Path("end.jsonl"),))
    Path("out.jsonl").unlink()
    assert "out.jsonl: is not here, and neither is how it was made" in refusal(last, (Path("out.jsonl"),))
    judge = Judge()
    judge.judge(job, [])
    judge.judge(last, [Path("out.jsonl")])
