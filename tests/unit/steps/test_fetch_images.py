"""Images of original records: by address, within a record or a local file; a failure costs its own record only."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row, read_rows, write_jsonl
from finetrail.vision.row_images import images_of
from ingest import fetch_images, ingest_records
from tests.unit.web.site import Site
from tests.unit.web.test_image_downloads import BLUE, picture


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def records(folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a run's configuration, and five sessions: three good images, a bad file and a bad address."""
    operation = {"timeout_s": 5.0, "max_redirects": 2, "max_retries": 0, "max_concurrency": 4}
    fetch = operation | {"allow_private": True, "refresh": False}
    run = {"scale": "full", "results_dir": "results", "llm": {"mode": "live"}}
    run["recipes"] = {"by_hand": {"source": {"fetch": fetch}}}
    (folder / "run_config.yaml").write_text(json.dumps(run))
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))
    (folder / "img").mkdir()
    (folder / "img/good.png").write_bytes(picture())
    (folder / "img/bad.png").write_bytes(b"no image")
    url = site.page("/a.png", picture(colour=BLUE), kind="image/png")
    embedded = f"data:image/png;base64,{base64.b64encode(picture(colour=BLUE)).decode()}"
    images: list[Row] = [{"image_url": url}, {"image": embedded}, {"image": "good.png"}]
    images += [{"image": "bad.png"}, {"image_url": site.url + "/gone.png"}]
    rows = (
        {"session_id": f"s{n}", "interaction_id": f"s{n}-1", "query": f"What is {n}?", "ans_full": "It is."} | image
        for n, image in enumerate(images)
    )
    write_jsonl(folder / "turns.jsonl", rows)


def settings(**fetch: Any) -> str:
    chosen = {"max_bytes": 100_000, "max_pixels": 1_000_000, "on_failure": "drop"} | fetch
    source = {"format": "crag_mm", "images": "img", "fetch": chosen}
    return json.dumps({"source": source, "limit": None})


def ingest(**fetch: Any) -> list[Row]:
    given = ["--files", "turns.jsonl", "--settings", settings(**fetch), "--meta", "i.json"]
    assert fetch_images.main([*given, "--out", "images.jsonl", "--failed", "failed.jsonl"]) == 0
    given[-1] = "r.meta.json"
    given += ["--held-out", "--fetched", "images.jsonl", "--failed", "failed.jsonl"]
    assert ingest_records.main([*given, "--out", "records.jsonl"]) == 0
    return list(read_rows(Path("records.jsonl")))


def test_records_get_their_images_and_a_failure_costs_one_record(folder: Path) -> None:
    rows = ingest()
    assert [row["session_id"] for row in rows] == ["s0", "s1", "s2"]
    assert rows[0]["image"]["fetched"] and rows[0]["image"]["sha256"] == rows[1]["image"]["sha256"]
    assert rows[0]["group_keys"]["image"] == rows[1]["group_keys"]["image"], "one picture, however it came"
    assert rows[2]["image"]["path"] == "good.png"
    for row in rows:
        (image,) = images_of(row, "img")
        assert image.path is not None and image.path.is_file()
    failed = {row["name"].partition(":")[0]: row["reason"] for row in read_rows(folder / "failed.jsonl")}
    assert failed["url"] == "HTTP 404" and "no PNG" in failed["path"]
    assert read_json(folder / "r.meta.json")["counts"]["dropped"] == {ingest_records.NO_IMAGE: 2}
    assert read_json(folder / "i.json")["images"] == {"kept": 2, "failed": 2, "asked_for": 2}


def test_records_may_stay_with_their_text_alone(site: Site) -> None:
    assert [row["image"] is None for row in ingest(on_failure="text")] == [False, False, False, True, True]
    before = len(site.visits)
    again = ingest(on_failure="text")
    assert len(again) == 5 and len(site.visits) == before + 1, "only the address that failed is asked again"


ODD_ADDRESSES = [
    "http://[::1", "http://a:99999999/x.png", "http://exa mple.org/", "http://\u2603.example/\u2028",
    "http://" + "a" * 5000, "http://a..b/", "http://user:secret@example.org/a.png", "http:///a.png", "https://.", "http://127.0.0.1:0/a.png",
]  # fmt: skip
ODD_PATHS = ["a\0.png", "x" * 300 + ".png", "/".join(["d"] * 3000), "..", "."]


def test_no_address_and_no_path_ends_the_step(folder: Path) -> None:
    rows = [{"image_url": address} for address in ODD_ADDRESSES] + [{"image": path} for path in ODD_PATHS]
    rows += [{"image": "data:image/png;base64,\u00e9"}, {"image": "data:image/png;base64," + "A" * 1001}]
    named = ({"session_id": f"o{n}", "interaction_id": f"o{n}-1"} | row for n, row in enumerate(rows))
    write_jsonl(folder / "odd.jsonl", named)
    given = ["--files", "odd.jsonl", "--settings", settings(), "--meta", "i.json"]
    assert fetch_images.main([*given, "--out", "images.jsonl", "--failed", "failed.jsonl"]) == 0
    failed = {row["name"]: row["reason"] for row in read_rows(folder / "failed.jsonl")}
    assert {f"url:{address}" for address in ODD_ADDRESSES} <= failed.keys()
    assert "secret" not in " ".join(failed.values())
    assert len([name for name in failed if name.startswith("embedded:")]) == 2
    assert list(read_rows(folder / "images.jsonl")) == []


def test_half_a_character_in_an_address_costs_its_record_only(folder: Path, site: Site) -> None:
    (folder / "odd.jsonl").write_text(
        '{"session_id": "a", "image_url": "http://\\ud83d.example/"}\n'
        f'{{"session_id": "b", "image_url": "{site.url}/a.png"}}\n'
    )
    given = ["--files", "odd.jsonl", "--settings", settings(), "--meta", "i.json"]
    assert fetch_images.main([*given, "--out", "images.jsonl", "--failed", "failed.jsonl"]) == 0
    (failed,) = read_rows(folder / "failed.jsonl")
    assert failed["name"] == "url:http://\\ud83d.example/" and "not a URL" in failed["reason"]
    assert len(list(read_rows(folder / "images.jsonl"))) == 1
