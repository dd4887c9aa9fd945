"""Parallel jobs of one run share an endpoint: together they keep to its ceiling, and none waits for ever."""

import json
from collections.abc import Callable

import pytest

from tests.chain.slow_endpoint import MODEL, slow_endpoint
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

CEILING = 4
LABELLED = "pointwise_labeled.jsonl"
OTHER_TOKENS = 77
# A recipe beside the first, with questions of its own to the same endpoint.
OTHER = f"extends: crag_mm\nlabel: {{model: {{max_tokens: {OTHER_TOKENS}}}}}\n"


def recipes_waiting(waiting: list[dict[str, object]]) -> int:
    """Count the recipes whose requests wait."""
    return len({body["max_tokens"] == OTHER_TOKENS for body in waiting})


@pytest.mark.parametrize(
    ("options", "asked", "jobs"),
    [
        (("--resources", "llm=2"), 1, 2),
        ((), 1, 1),
        pytest.param(("--resources", "gpu=1"), 1, 1, marks=pytest.mark.long),
        pytest.param(("--resources", "llm=2"), 9, 1, marks=pytest.mark.long),
        pytest.param(("--resources", "llm=6"), 1, 2, marks=pytest.mark.long),
    ],
    ids=["halves", "the profile", "no cap named", "more than there is", "more shares than calls"],
)
def test_jobs_together_keep_to_the_ceiling(
    with_data: Workspace, copy_of: Copy, options: tuple[str, ...], asked: int, jobs: int
) -> None:
    workspace = copy_of(with_data)
    (workspace.root / "config/recipes/other.yaml").write_text(OTHER)
    reference = f"{{endpoint: slow, model: {MODEL}}}"
    targets = [str(RESULTS / LABELLED), str(RESULTS.with_name("other") / LABELLED)]
    with slow_endpoint() as server:
        config = (
            "recipes=[crag_mm, other]",
            f"llm={{endpoints: {{slow: {{kind: openai, base_url: '{server.base_url}', max_concurrency: {CEILING}}}}}}}",
            f"overrides={{crag_mm: {{label: {{model: {reference}}}}}}}",
            f"resources={{label_relevance: {{llm: {asked}}}}}",
        )
        process = workspace.start(*targets, config=config, options=options)
        try:
            shares = int(options[1].partition("=")[2]) if "llm" in "".join(options) else 1
            most = expected_at_once(shares, asked, jobs)
            assert server.wait_for(most), server.waiting
            assert not server.wait_for(most + 1, 1.0), "more than the jobs may ask together"
            assert recipes_waiting(server.waiting) == jobs
            server.release.set()
            printed, _ = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, printed[-3000:]
    assert server.most_at_once <= CEILING
    beats = [json.loads(path.read_text()) for path in workspace.root.glob("logs/tutorial/runs/*/heartbeats/label_*")]
    labelled = {beat["recipe"]: beat for beat in beats if beat["llm"]["models"][0]["asked"] == MODEL}
    assert sorted(labelled) == ["crag_mm", "other"]
    for beat in labelled.values():
        assert beat["status"] == "complete" and beat["progress"]["done"] == beat["counts"]["kept"]
        assert beat["llm"]["calls_made"] > 0 and beat["llm"]["usd"] is None


def expected_at_once(shares: int, asked: int, jobs: int) -> int:
    """Return how many calls the jobs that run together may have under way."""
    held = max(min(asked, shares), -(-shares // CEILING))
    return jobs * max(1, CEILING * held // shares)
