"""What asks a server that others ask takes its share of the ceilings, whether this is a model or a search service."""

import re

import pytest

from tests.workspace import Workspace

SEARCHED = """overrides={crag_mm: {recall: {backend: http, http: {service: searxng, search_endpoint: here}}}}"""
TEACHER = "overrides={cal: {synthesize: {shards: 2, teacher: {endpoint: paid, model: m}}}}"
PAID = "llm={endpoints: {paid: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}}}"


@pytest.fixture(scope="module")
def project(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fresh.copy(tmp_path_factory.mktemp("shared") / "project")


def shares(project: Workspace, recipe: str, rule: str, *config: str, cap: int) -> list[int]:
    """Return how many shares the jobs of a rule, and of its shards, ask for."""
    options = ("--resources", f"llm={cap}")
    printed = project.dry_run("data", config=(f"recipes=[{recipe}]", *config), options=options)
    blocks = re.findall(rf"^rule {rule}(?:_shard)?:\n((?:    .*\n)+)", printed, re.M)
    return sorted(int(found[1]) if (found := re.search(r"\bllm=(\d+)", block)) else 0 for block in blocks)


@pytest.mark.parametrize(("ceiling", "cap", "expected"), [(60, 1, 1), (60, 4, 1), (2, 4, 2)])
def test_searches_take_a_share(project: Workspace, ceiling: int, cap: int, expected: int) -> None:
    service = f"search={{endpoints: {{here: {{base_url: 'http://127.0.0.1:9', requests_per_minute: {ceiling}}}}}}}"
    assert shares(project, "crag_mm", "search_passages", SEARCHED, service, cap=cap) == [expected]


def test_each_shard_takes_a_share_and_the_merge_none(project: Workspace) -> None:
    project.configfiles = ()
    assert shares(project, "cal", "write_reasoning", PAID, TEACHER, cap=2) == [0, 1, 1]
    assert shares(project, "cal", "write_reasoning", cap=2) == [0], "the offline teacher belongs to its job"
