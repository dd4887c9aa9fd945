"""The benchmark's own search behind a module with its interface, and without it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.records import read_rows, write_jsonl
from finetrail.web.benchmark_search import open_pipeline
from tests.unit.retrieval.conftest import SCRIPTS

# As in cragmm-search-pipeline 0.5.1: what a text query returns, and what it takes for the place of an image.
STAND_IN = """
import os
class UnifiedSearchPipeline:
    def __init__(self, image_model_name, image_hf_dataset_id, image_hf_dataset_tag=None, text_model_name=None,
                 web_hf_dataset_id=None, web_hf_dataset_tag=None, web_hf_dataset_id_private=None, **kwargs):
        assert image_model_name and image_hf_dataset_id and text_model_name == "some/encoder"
        assert (web_hf_dataset_id, web_hf_dataset_tag) == ("some/index", "v1")
    def __call__(self, inputs, k=5):
        assert not os.path.isfile(inputs) and not inputs.startswith("http"), "would open it as an image"
        pages = [("b", 0.9), ("a", 0.9), ("c", 0.5)] if "fox" in inputs else []
        return [{"index": f"https://x.example/{name}_chunk_0", "score": score, "page_name": f"{name} &amp; co",
                 "page_url": f"https://x.example/{name}",
                 "page_snippet": f"{name} says that the &quot;fox&quot; " + " ".join(name + str(i) for i in range(30))}
                for name, score in pages[:k]]
"""
SETTINGS = """{"recall": {"backend": "cragmm", "top_k": 2, "cragmm": {"text_model": "some/encoder",
    "web_index": "some/index", "web_revision": "v1", "image_model": "some/clip", "image_index": "some/images"}}}"""


def run(folder: Path, rows: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    write_jsonl(folder / "queries.jsonl", rows)
    command = [
        sys.executable,
        str(SCRIPTS / "recall/search_mock.py"),
        "--rows",
        "queries.jsonl",
        "--settings",
        SETTINGS,
    ]
    command += ["--out", "recall.jsonl", "--passages", "passages.jsonl", "--meta", "recall.meta.json"]
    path = os.pathsep.join([str(folder), str(SCRIPTS)])
    return subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


def row(name: str, *queries: str) -> dict[str, Any]:
    return {"id": name, "queries": [{"text": text, "origin": "model"} for text in queries]}


def test_results_become_candidates_and_passages(tmp_path: Path) -> None:
    (tmp_path / "cragmm_search").mkdir()
    (tmp_path / "cragmm_search/__init__.py").touch()
    (tmp_path / "cragmm_search/search.py").write_text(STAND_IN)
    done = run(
        tmp_path, [row("r1", "red fox"), row("r2", "http://127.0.0.1/a.png", "queries.jsonl"), row("r3", "fox", "fox")]
    )
    assert done.returncode == 0, done.stderr
    first, second, third = read_rows(tmp_path / "recall.jsonl")
    assert [c["url"] for c in first["candidates"]] == ["https://x.example/a", "https://x.example/b"], "ties by URL"
    assert [c["rank"] for c in first["candidates"]] == [1, 2]
    assert first["candidates"][0]["found_by"] == [{"query": 0, "rank": 1}]
    assert second["candidates"] == []
    assert third["candidates"][0]["found_by"] == [{"query": 0, "rank": 1}, {"query": 1, "rank": 1}]
    passages = {p["id"]: p for p in read_rows(tmp_path / "passages.jsonl")}
    assert len(passages) == 2
    found = passages[first["candidates"][0]["passage_id"]]
    assert found["title"] == "a & co"
    assert '"fox"' in found["text"]


def test_without_the_package_the_step_says_what_to_do() -> None:
    with pytest.raises(FinetrailError, match="own search is not installed") as caught:
        open_pipeline({})
    assert "pip install cragmm-search-pipeline" in str(caught.value)
