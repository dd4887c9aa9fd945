"""A step run in shards: what the merged files hold is what one job writes, and what is wrong with a shard is named."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.rows.artifacts import describe_file, read_json, write_json
from finetrail.rows.records import read_rows, write_jsonl
from finetrail.rows.shards import Shard
from synthesize.generate_answers import main
from tests.unit.llm.fake_llm import LLM_KEYS, FakeServer, asked, completion

PROMPT = Path(__file__).resolve().parents[3] / "config" / "prompts" / "crag_mm" / "generate_answers.md"
MODEL: dict[str, Any] = {
    "model": "m",
    "revision": None,
    "temperature": 0.7,
    "top_p": 1.0,
    "max_tokens": 50,
    "extra_body": {},
    "logprobs": None,
}
VERSIONS = 2
ROWS = [
    {
        "id": f"s:{number}",
        "session_id": "s",
        "question": f"question {number}?",
        "image": None,
        "history": [],
        "chunks": [{"passage_id": "p", "start": 0, "end": 4}],
        "labels": [{"passage_id": "p", "relevant": number % 5 != 0}],  # every fifth has no relevant passage
    }
    for number in range(23)
]
BAD = "s:7"


def units(rows: Iterable[Any]) -> int:
    """Count what the step counts: versions, and records that get none."""
    return sum(VERSIONS if row["labels"][0]["relevant"] else 1 for row in rows)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.handler = answer
    yield fake
    fake.close()


async def answer(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Answer with a number that no second call would give, and one question never in the right form."""
    if "question 7?" in json.dumps(body):
        return completion("no JSON")
    return completion(json.dumps({"answer": f"{asked(body)[-40:]} {number}"}))


@pytest.fixture(autouse=True)
def inputs(folder: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    prices = {"m": {"input": 1.0, "output": 2.0}}
    run_config = {
        "scale": "full",
        "results_dir": "results",
        "llm": {
            **LLM_KEYS,
            "max_quarantined_share": 1.0,
            "endpoints": {"fake": {"kind": "openai", "base_url": server.url, "prices": prices}},
        },
        "recipes": {"by_hand": {"synthesize": {"teacher": {"endpoint": "fake"}}}},
    }
    (folder / "run_config.yaml").write_text(json.dumps(run_config))
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))
    write_jsonl(folder / "rows.jsonl", ROWS)
    write_jsonl(folder / "passages.jsonl", [{"id": "p", "title": "P", "text": "Pike and perch"}])


def start(out: str, *more: str, versions: int = VERSIONS) -> int:
    settings = {"synthesize": {"turns": "comb", "versions": versions, "teacher": MODEL}, "source": {"images": None}}
    files = ["--rows", "rows.jsonl", "--records", "rows.jsonl", "--passages", "passages.jsonl", "--out", f"{out}.jsonl"]
    more = ("--meta", f"{out}.meta.json", "--prompt", str(PROMPT), *more)
    return main([*files, "--settings", json.dumps(settings), *more])


def shard(index: int, count: int) -> list[str]:
    """Run one shard, and name what it wrote."""
    out = f"shards/{index}-of-{count}"
    assert start(out, "--shard", f"{index}/{count}") == 0
    return [f"{out}.jsonl", f"{out}.meta.json"]


def shards(count: int) -> list[str]:
    return [path for index in range(1, count + 1) for path in shard(index, count)]


def merged(count: int) -> dict[str, Any]:
    """Run all shards and the merge; return the merged meta file."""
    files = shards(count)
    assert start("merged", "--shards", *files) == 0
    meta: dict[str, Any] = read_json(Path("merged.meta.json"))
    return meta


def test_shards_merge_to_the_bytes_of_one_job_without_another_call(server: FakeServer) -> None:
    """Each reply holds its own number, so that a call made twice would change the bytes."""
    assert start("whole") == 0
    paid = [body for body in server.bodies if "question 7?" not in json.dumps(body)]
    for count in (3, 2, 23):
        merged(count)
        assert Path("merged.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert [body for body in server.bodies if "question 7?" not in json.dumps(body)] == paid


def test_one_job_after_shards_makes_no_call(server: FakeServer) -> None:
    merged(3)
    assert len({json.dumps(body) for body in server.bodies}) == len(server.bodies)
    paid = len(server.bodies)
    assert start("whole") == 0
    assert Path("whole.jsonl").read_bytes() == Path("merged.jsonl").read_bytes()
    assert all("question 7?" in json.dumps(body) for body in server.bodies[paid:])


def test_the_merged_meta_file_says_what_one_job_says() -> None:
    meta = merged(3)
    shutil.rmtree("results/calls")
    assert start("whole") == 0
    whole = read_json(Path("whole.meta.json"))
    for name in ("rule", "recipe", "status", "parameters", "seeds", "inputs", "counts", "answers", "schema", "git"):
        assert meta[name] == whole[name], name
    assert meta["counts"]["quarantined"] == VERSIONS, "each version is a row of its own"
    assert meta["llm"] == whole["llm"]
    assert meta["llm"]["phases"]["generate_answers"]["usd"] > 0
    assert meta["llm"]["answers"]["rows"] == units(ROWS) - VERSIONS
    assert [output["rows"] for output in meta["outputs"]] == [output["rows"] for output in whole["outputs"]]
    assert meta.keys() - whole.keys() == {"shards"}


def test_the_merged_meta_file_keeps_the_origin_of_each_shard() -> None:
    entries = merged(3)["shards"]
    assert [entry["shard"] for entry in entries] == ["1/3", "2/3", "3/3"]
    own = [units(row for row in ROWS if Shard(index, 3).holds(str(row["id"]))) for index in (1, 2, 3)]
    assert [entry["counts"]["in"] for entry in entries] == own
    (aside,) = [entry["shard"] for entry in entries if entry["counts"]["quarantined"]]
    assert Shard.parse(aside).holds(BAD)
    assert all(entry["outputs"][0]["sha256"] for entry in entries)


def test_a_shard_without_rows_is_no_error_and_a_merged_file_without_rows_is(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(folder / "rows.jsonl", ROWS[1:2])
    assert merged(3)["counts"]["in"] == VERSIONS
    write_jsonl(folder / "rows.jsonl", ROWS[:1])  # has no relevant passage
    assert start("merged", "--shards", *shards(3)) == 1
    assert "no row came out of this step" in capfd.readouterr().err


def test_a_shard_plans_its_own_rows(capfd: pytest.CaptureFixture[str]) -> None:
    def plan(*more: str) -> dict[str, Any]:
        capfd.readouterr()
        assert start("whole", "--plan", *more) == 0
        found: dict[str, Any] = json.loads(capfd.readouterr().out)
        return found

    whole, parts = plan(), [plan("--shard", f"{index}/3") for index in (1, 2, 3)]
    for name in ("rows", "calls", "to_make"):
        assert sum(part[name] for part in parts) == whole[name] > 0
    assert not Path("whole.jsonl").exists()


def test_records_of_shards_do_not_share_a_name(folder: Path) -> None:
    shards(3)
    names = [path.name for path in (folder / "run" / "jobs").glob("*.json")]
    assert sorted(re.findall(r"\.shards\.(\d-of-\d)\.", " ".join(names))) == ["1-of-3", "2-of-3", "3-of-3"]


def lose_a_row(path: Path) -> None:
    write_jsonl(path, list(read_rows(path))[1:])


def double_a_row(path: Path) -> None:
    """Double a row with a meta file that agrees, as a faulty step would."""
    rows = list(read_rows(path))
    write_jsonl(path, [rows[0], *rows])
    rewrite_meta(path)


def rewrite_meta(path: Path) -> None:
    place = path.with_suffix(".meta.json")
    meta = read_json(place)
    write_json(place, meta | {"outputs": [describe_file(path) | {"rows": len(path.read_text().splitlines())}]})


def edit_parameter(path: Path) -> None:
    place = path.with_suffix(".meta.json")
    meta = read_json(place)
    write_json(place, meta | {"parameters": meta["parameters"] | {"settings": {}}})


def edit_input(path: Path) -> None:
    write_jsonl(Path("rows.jsonl"), ROWS[:-1])


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a row is missing": (lose_a_row, "shards/2-of-3.jsonl: is not what shards/2-of-3.meta.json describes"),
    "a row is doubled": (double_a_row, "the row occurs twice"),
    "other settings": (edit_parameter, "shards/2-of-3.meta.json: this shard was made with another settings"),
    "another input": (edit_input, "shards/1-of-3.meta.json: this shard was made when rows.jsonl held other bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_shard_is_named(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    break_it, message = FAULTS[fault]
    files = shards(3)
    break_it(Path("shards/2-of-3.jsonl"))
    assert start("merged", "--shards", *files) == 1
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not Path("merged.jsonl").exists()


def test_a_missing_shard_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    files = shards(3)
    assert start("merged", "--shards", *files[:2], *files[4:]) == 1
    assert "the shard 2 of 3 is not among these" in capfd.readouterr().err.splitlines()[-1]
    assert start("merged", "--shards", *shard(1, 2), *files[2:]) == 1
    assert "is not among these" in capfd.readouterr().err.splitlines()[-1]


def test_a_shard_has_its_own_bound_of_rows_set_aside(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """1 row of 23 is less than the bound; of the fewer rows of its shard it is more."""
    place = folder / "run_config.yaml"
    config = json.loads(place.read_text())
    config["llm"]["max_quarantined_share"] = 0.1
    other = folder / "other.yaml"
    other.write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RUN_CONFIG_VARIABLE, str(other))
        assert start("whole") == 0
        index = next(index for index in range(1, 9) if Shard(index, 8).holds(BAD))
        assert start("part", "--shard", f"{index}/8") == 1
    assert "llm.max_quarantined_share" in capfd.readouterr().err


def test_concurrency_changes_no_byte_and_makes_no_call(folder: Path, server: FakeServer) -> None:
    assert start("whole") == 0
    paid = [body for body in server.bodies if "question 7?" not in json.dumps(body)]
    place = folder / "run_config.yaml"
    for most in (1, 3, 64):
        config = json.loads(place.read_text())
        config["llm"]["endpoints"]["fake"]["max_concurrency"] = most
        other = folder / f"concurrency-{most}.yaml"
        other.write_text(json.dumps(config))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(RUN_CONFIG_VARIABLE, str(other))
            assert start("again") == 0
        assert Path("again.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert [body for body in server.bodies if "question 7?" not in json.dumps(body)] == paid


def test_replay_in_shards_makes_the_same_bytes_and_sets_the_same_row_aside(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies of no use are stored as such."""
    assert start("whole") == 0
    server.close()
    config = json.loads((folder / "run_config.yaml").read_text())
    config["llm"]["mode"] = "replay"
    (folder / "replay.yaml").write_text(json.dumps(config))
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "replay.yaml"))
    merged(3)
    assert Path("merged.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
