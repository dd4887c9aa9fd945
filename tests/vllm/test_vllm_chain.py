"""The chain with a judge that a job serves for itself with vLLM: run, run again, and replayed without vLLM."""

from pathlib import Path

import pytest

from tests.unit.export.tiny_models import build_model
from tests.vllm.conftest import PYTHON
from tests.workspace import RESULTS, Workspace, copy_project

JUDGED = (RESULTS / "judged.jsonl").as_posix()


def judge(workspace: Workspace) -> str:
    """Name the judge; a random model would never end a text by itself, so quotation marks are made likely."""
    from transformers import AutoTokenizer

    quote = AutoTokenizer.from_pretrained(workspace.root / "judge").convert_tokens_to_ids('"')
    reference = f"endpoint: own, model: ./judge, max_tokens: 64, extra_body: {{logit_bias: {{'{quote}': 100}}}}"
    return f"overrides={{crag_mm: {{synthesize: {{judge: {{{reference}}}}}}}}}"


def llm(python: Path | str, mode: str = "live") -> str:
    serve = f"device: cpu, dtype: float32, python: {python}, cpu_cache_gb: 1, max_model_len: 16384, ready_s: 900.0"
    return f"llm={{mode: {mode}, endpoints: {{own: {{kind: vllm, timeout_s: 300.0, serve: {{{serve}}}}}}}}}"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    project = copy_project(tmp_path_factory.mktemp("chain") / "project")
    build_model(project.root / "judge", "qwen2", hidden_size=128, max_position_embeddings=16384)
    return project


def test_a_judge_of_our_own_is_started_stored_and_replayed(workspace: Workspace) -> None:
    asked = judge(workspace)
    ran = workspace.executed(JUDGED, config=(llm(PYTHON), asked))
    assert ran["judge_answers"] == 1
    judged = (workspace.root / JUDGED).read_bytes()
    calls = workspace.meta("judged.meta.json")["llm"]
    assert calls["calls_made"] > 0
    assert calls["calls_made"] + calls["from_store"] == len(workspace.rows("judged.jsonl")), (
        "equal versions share a call"
    )
    assert [entry["asked"] for entry in calls["models"]] == ["./judge"]
    assert workspace.executed(JUDGED, config=(llm("/nowhere/python"), asked)) == {}
    (workspace.root / JUDGED).unlink()
    assert workspace.executed(JUDGED, config=(llm("/nowhere/python", "replay"), asked)) == {"judge_answers": 1}
    assert (workspace.root / JUDGED).read_bytes() == judged
