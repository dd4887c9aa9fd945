"""Bad input: one clear message that names the place, a failure, and nothing half-written."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]
Row = dict[str, Any]

SOURCE = "data/crag_mm/turns.jsonl"
RECORDS = str(RESULTS / "records.jsonl")
QUERIES = str(RESULTS / "queries.jsonl")


def flat(number: int, **changes: Any) -> Row:
    """Make a record of the flattened layout, one turn."""
    row = {
        "session_id": f"s{number}",
        "interaction_id": f"s{number}-1",
        "query": "When was the bridge opened?",
        "ans_full": "In 1937.",
    }
    return {name: value for name, value in (row | changes).items() if value is not None}


def session(number: int, turns: list[Row], answers: list[Row], **changes: Any) -> Row:
    """Make a record of the official layout, one session."""
    return {
        "session_id": f"s{number}",
        "image_url": "https://localhost/a.jpg",
        "turns": turns,
        "answers": answers,
    } | changes


def text(*rows: Row) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


TURN = {"interaction_id": "s2-1", "query": "When was the bridge opened?"}
ANSWER = {"interaction_id": "s2-1", "ans_full": "In 1937."}
STRAY = {"interaction_id": "nowhere", "ans_full": "In 1938."}
WHOLE = text(flat(1), flat(2))

CASES: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", rf"{SOURCE}: the file is empty"),
    "a truncated last line": (WHOLE[:-20], rf"{SOURCE}:2: .*(truncated|cut|incomplete|not valid JSON)"),
    "invalid UTF-8": (text(flat(1)) + b'{"query": "\xff"}\n', rf"{SOURCE}:2: .*UTF-8"),
    "no query": (text(flat(1), flat(2, query=None)), rf"{SOURCE}:2 \(s2-1\): `query` is missing or empty"),
    "a duplicate id": (
        text(flat(1), flat(2), flat(2, session_id="s3")),
        rf"{SOURCE}:3 \(s2-1\): duplicate interaction_id s2-1, first seen at {SOURCE}:2",
    ),
    "an answer that joins no turn": (
        text(flat(1), session(2, [TURN], [ANSWER, STRAY])),
        rf"{SOURCE}:2 \(s2\): the answer 'nowhere' joins no turn",
    ),
    "a missing image": (
        text(flat(1), session(2, [TURN], [ANSWER], image="lost.jpg", image_url=None)),
        rf"{SOURCE}:2 \(s2\): image 'lost\.jpg' is missing",
    ),
}


def files(workspace: Workspace) -> set[str]:
    """Return the names of all files among the results but the run's configuration; hidden ones too."""
    results = workspace.root / "results"
    return {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()} - {
        "tutorial/run_config.yaml"
    }


def last_words(printed: str) -> str:
    """Return what the failed rule's log says, as Snakemake shows it at the end."""
    shown = re.findall(r"^Logfile .*:\n=+\n(.*?)\n=+\n", printed, re.M | re.S)
    assert len(shown) == 1, printed[-3000:]
    return str(shown[0])


@pytest.fixture(scope="module")
def refused(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One run of a recipe for each case, in which every recipe's records are read."""
    workspace = fresh.copy(tmp_path_factory.mktemp("bad") / "project")
    (workspace.root / "images").mkdir()
    names = [recipe_of(case) for case in CASES]
    for name, (content, _) in zip(names, CASES.values(), strict=True):
        (workspace.root / f"config/recipes/{name}.yaml").write_text("extends: crag_mm\n")
        (workspace.root / f"data/{name}.jsonl").write_bytes(content)
    sources = ", ".join(f"{name}: {{source: {{files: [data/{name}.jsonl], images: images}}}}" for name in names)
    config = (f"recipes=[{', '.join(names)}]", f"overrides={{{sources}}}")
    targets = [str(RESULTS.with_name(name) / "records.jsonl") for name in names]
    workspace.snakemake(*targets, config=config, options=("--keep-going",), fails=True)
    return workspace


def recipe_of(case: str) -> str:
    return f"bad_{[*CASES].index(case)}"


@pytest.mark.parametrize("case", CASES)
def test_a_bad_record_stops_the_run_with_its_place(refused: Workspace, case: str) -> None:
    name, message = recipe_of(case), CASES[case][1]
    said = (refused.root / f"logs/tutorial/{name}/ingest_records.log").read_text().rstrip()
    assert re.search(message.replace(SOURCE, f"data/{name}.jsonl"), said), said
    assert "Traceback" not in said
    assert said.splitlines()[0].split(" ", 1)[1].startswith("ERROR ingest_records failed: ")
    assert files(refused) == set()


def test_all_bad_records_are_shown_at_once(fresh: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(fresh)
    (workspace.root / SOURCE).write_bytes(text(flat(1, query=None), flat(2), flat(3, ans_full="")) + b"{\n")
    said = last_words(workspace.snakemake(RECORDS, fails=True))
    assert [re.search(rf"{SOURCE}:{line}\b", said) is not None for line in (1, 2, 3, 4)] == [True, False, True, True]


def test_a_missing_source_is_named_before_any_job(fresh: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(fresh)
    (workspace.root / SOURCE).unlink()
    printed = workspace.snakemake(RECORDS, fails=True)
    assert f"crag_mm: source.files: {SOURCE} does not exist" in printed
    assert "Traceback (most recent call last)" not in printed
    assert files(workspace) == set()


def test_a_source_that_is_gone_is_named_also_when_all_was_made(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    (workspace.root / SOURCE).unlink()
    printed = workspace.snakemake("data", fails=True)
    assert f"crag_mm: source.files: {SOURCE} does not exist" in printed


def test_everything_that_is_wrong_in_the_configuration_is_shown_at_once(fresh: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(fresh)
    tutorial, main = "config/tutorial/crag_mm.yaml", "config/config.yaml"
    workspace.edit(tutorial, "synthesize:\n", "recal: {top_k: 30}\n\nsynthesize:\n")
    workspace.edit(tutorial, "history_turns: 1\n", "history_turns: one\n")
    workspace.edit(main, "max_concurrency: 16", "max_concurrency: many")
    printed = workspace.snakemake(RECORDS, fails=True)
    for name, line in (
        (tutorial, "recal: "),
        (tutorial, "  history_turns: one"),
        (main, "      max_concurrency: many"),
    ):
        numbers = [n for n, found in enumerate((workspace.root / name).read_text().splitlines(), 1) if line in found]
        assert f"{name}:{numbers[0]}: " in printed
    assert "recal" in printed and "recall" in printed, "the nearest valid key"
    assert "one" in printed and "many" in printed
    assert "Traceback" not in printed
    assert not (workspace.root / "results").exists()


def test_an_endpoint_that_refuses_is_named(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        config = (
            f"llm={{endpoints: {{gone: {{kind: openai, base_url: '{address}', max_retries: 0}}}}}}",
            "overrides={crag_mm: {queries: {model: {endpoint: gone, model: other-1}}}}",
        )
        made = files(workspace)
        printed = workspace.snakemake(QUERIES, config=config, fails=True)
    said = last_words(printed)
    last = said.splitlines()[-1]
    assert "make_queries failed" in last
    assert address in last and "gone" in last
    assert "Traceback" not in said
    crag_mm = Path("tutorial/crag_mm")
    assert made - files(workspace) == {str(crag_mm / "queries.jsonl"), str(crag_mm / "queries.meta.json")}
    assert files(workspace) <= made, "nothing half-written is left"
