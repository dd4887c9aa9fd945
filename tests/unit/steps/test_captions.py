"""Captions of four sentences: what the teacher is shown, what is set aside, and the tasks that come of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.examples.picture_tasks import shorter, task_prompt
from finetrail.rows.records import Row, read_rows, sha256_file, write_jsonl
from synthesize import describe_images, lay_out_tasks, link_captions, summarize_discussions
from tests.unit.llm.fake_llm import FakeServer, asked, completion
from tests.unit.steps.asking import MODEL, prepare

PROMPTS = Path(__file__).resolve().parents[3] / "config/prompts/weatherqa"
SECRET = "Hail is expected over Ohio"
DISCUSSION = f"SUMMARY...{SECRET}. DISCUSSION...Shear is strong."
SETTINGS: dict[str, Any] = {
    "synthesize": {
        "teacher": MODEL,
        "task_weights": {"caption": 1.0, "summary": 2.0, "link": 0.5, "text_summary": 1.0},
    },
    "vision": {"classes": {"shr6": "wind shear", "scp": "supercells"}},
    "source": {"images": "images"},
}


async def teach(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Two sentences in one field for supercells; one everywhere else."""
    name, text = body["response_format"]["json_schema"]["name"], asked(body)
    if name == "image_sentences":
        second = "It is red. And round." if "supercells" in text else "It is red."
        return completion(json.dumps({"visual_1": "A dot.", "visual_2": second, "physical": "Air rises."}))
    return completion(json.dumps({"link": "So hail forms."} if name == "link_sentence" else {"summary": "Hail, Ohio."}))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.handler = teach
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def cases(folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("images").mkdir()
    frames = [Image.new("RGB", (6, 6), (90 * number, 0, 0)) for number in range(3)]
    frames[0].save("images/still.gif")
    frames[0].save("images/moving.gif", save_all=True, append_images=frames[1:])
    records = [
        case("train", "still.gif"),
        case("test", "moving.gif", frames=3),
        case("bare", "still.gif", summary=None),
    ]
    prepare(folder, server.url, records, max_quarantined_share=1.0)
    splits = {"train": "train", "test": "test", "bare": "test"}
    write_jsonl(Path("splits.jsonl"), [{"id": name, "split": split} for name, split in splits.items()])
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))


def case(name: str, image: str, *, summary: str | None = SECRET, frames: int = 1, **more: Any) -> Row:
    shown = {"path": image, "sha256": sha256_file(Path("images") / image), "cond_name": "shr6", "frames": frames}
    told: Row = {"name": name, "discussion": DISCUSSION, "summary": summary, "missing": []}
    return {"id": name, "case": told | {"images": [shown | {"caption": None} | more]}}


def run(main: Any, prompt: str | None, *files: str, out: str) -> None:
    given = ["--prompt", str(PROMPTS / f"{prompt}.md")] if prompt else []
    settings = ["--settings", json.dumps(SETTINGS), "--meta", f"{out}.meta.json"]
    assert main([*files, "--out", f"{out}.jsonl", *settings, *given]) == 0


def synthesize() -> None:
    run(describe_images.main, "describe_images", "--rows", "records.jsonl", out="descriptions")
    run(
        link_captions.main,
        "link_captions",
        "--rows",
        "descriptions.jsonl",
        "--records",
        "records.jsonl",
        out="captions",
    )
    files = ["--rows", "records.jsonl", "--splits", "splits.jsonl"]
    run(summarize_discussions.main, "summarize_discussions", *files, out="summaries")
    files = ["--rows", "captions.jsonl", "--records", "records.jsonl", "--splits", "splits.jsonl"]
    files += ["--summaries", "summaries.jsonl", "--held-out", "held.jsonl", "--dropped", "dropped.jsonl"]
    run(lay_out_tasks.main, None, *files, "--augmented", "augmented.json", out="synthetic")


def counts(step: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{step}.meta.json").read_text())["counts"]
    return found


def test_the_first_three_sentences_are_written_without_sight_of_the_discussion(server: FakeServer) -> None:
    synthesize()
    for body in server.bodies:
        seen = SECRET in json.dumps(body["messages"])
        images = [part for part in body["messages"][-1]["content"] if isinstance(part, dict) and "image_url" in part]
        describing = body["response_format"]["json_schema"]["name"] == "image_sentences"
        assert describing == (not seen) == (len(images) == 1)
    kinds = [images for body in server.bodies for images in [json.dumps(body["messages"])] if "image_url" in images]
    assert sum("data:image/png" in one for one in kinds) == 1  # of the animated image its first frame


def test_each_case_has_its_four_tasks_and_held_out_rows_keep_their_own_summary() -> None:
    synthesize()
    train = {row["kind"]: row for row in read_rows(Path("synthetic.jsonl"))}
    assert set(train) == {"caption", "summary", "link", "text_summary"}
    assert train["summary"]["answer"] == "Hail, Ohio." and train["summary"]["task"]["rests_on"] == "teacher"
    assert train["caption"]["answer"] == "A dot. It is red. Air rises. So hail forms."
    assert train["link"]["answer"] == "So hail forms." and train["link"]["image"] is None
    assert "So hail forms" not in train["link"]["question"] + train["text_summary"]["question"]
    assert {kind: row["task"]["weight"] for kind, row in train.items()} == SETTINGS["synthesize"]["task_weights"]
    held = [row for row in read_rows(Path("held.jsonl")) if row["record_id"] == "test"]
    assert {row["answer"] for row in held if "summary" in row["kind"]} == {SECRET}
    assert {row["task"]["rests_on"] for row in held if "summary" in row["kind"]} == {"record"}
    dropped = [(row["record_id"], row["kind"]) for row in read_rows(Path("dropped.jsonl"))]
    assert sorted(dropped) == [("bare", "link"), ("bare", "summary"), ("bare", "text_summary")]
    element = json.loads(Path("augmented.json").read_text())["train"]["elements"][0]
    assert element == {"image_rel_path": "still.gif", "cond_name": "shr6", "caption": train["caption"]["answer"]}


def test_another_count_of_sentences_is_set_aside() -> None:
    records = list(read_rows(Path("records.jsonl")))
    records[0]["case"]["images"][0]["cond_name"] = "scp"
    write_jsonl(Path("records.jsonl"), records)
    synthesize()
    assert counts("descriptions") == {"in": 3, "kept": 2, "dropped": {}, "quarantined": 1}
    (path,) = Path("run").rglob("*quarantine*.jsonl")
    (row,) = read_rows(path)
    assert row["error"] == "visual_2 has 2 sentences, not 1"
    assert {row["kind"] for row in read_rows(Path("synthetic.jsonl"))} == {"summary"}


def test_a_caption_that_is_there_costs_no_call(server: FakeServer) -> None:
    caption = "One. Two. Three. Four."
    records = [case("train", "still.gif", caption=caption), case("test", "still.gif", caption=caption)]
    write_jsonl(Path("records.jsonl"), records)
    write_jsonl(Path("splits.jsonl"), [{"id": name, "split": name} for name in ("train", "test")])
    synthesize()
    assert [body["response_format"]["json_schema"]["name"] for body in server.bodies] == ["summary"]
    assert {row["answer"] for row in read_rows(Path("synthetic.jsonl")) if row["kind"] == "caption"} == {caption}


def test_a_class_without_a_meaning_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    records = list(read_rows(Path("records.jsonl")))
    records[0]["case"]["images"][0]["cond_name"] = "tadv"
    write_jsonl(Path("records.jsonl"), records)
    settings = ["--settings", json.dumps(SETTINGS), "--meta", "d.meta.json", "--out", "d.jsonl"]
    prompt = ["--prompt", str(PROMPTS / "describe_images.md")]
    assert describe_images.main(["--rows", "records.jsonl", *settings, *prompt]) == 1
    assert "is of the class tadv, which vision.classes does not name" in capsys.readouterr().err


def test_long_prompts_lose_their_last_pieces() -> None:
    parts = {"captions": ["- a: one", "- b: two"]}
    fewer = shorter("text_summary", parts)
    assert fewer == {"captions": ["- a: one"]}
    assert "- b" in task_prompt("text_summary", parts) and "- b" not in task_prompt("text_summary", fewer)
    assert shorter("text_summary", fewer) is None and shorter("caption", {}) is None
