"""Which jobs run again after which change: the jobs that were executed, by their own records, and no others."""

import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from finetrail.config.recipe import RecipeConfig, Resources
from finetrail.config.sections.fields import Section
from finetrail.config.sections.llm import Endpoint, Llm, ModelReference
from finetrail.config.sections.recall import Recall
from finetrail.config.sections.schema import kind_of, walk_keys
from finetrail.config.sections.search import Search, SearchEndpoint
from finetrail.config.sections.site import Site
from finetrail.config.sections.train import Train, Wandb
from finetrail.rows.records import sha256_text
from finetrail.splits.assign import assign
from finetrail.splits.grouping import group_rows
from tests.chain.stand_in_conda import StandInConda
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

SELECTION = ["select_answers", "make_folds"]
JUDGING = ["judge_answers", *SELECTION]
LABELLING = ["label_relevance", "filter_passages", "generate_answers", *JUDGING]
INDEXED = ["load_passages", "index_words"]
RECALL = ["recall_passages", "rerank_passages", *LABELLING]
RECORDS = ["ingest_records", "make_splits", "make_queries", *RECALL]
MODELS = ["make_tiny_base", "predict_trivial", "score_answers", "merge_adapter", "convert_gguf", "check_parity"]
MODELS += [
    "plot_training",
    "plot_risk_coverage",
    "describe_fold",
    "evaluate_retrieval",
    "plot_retrieval",
    "list_artifacts",
]
SOURCE = "data/crag_mm/turns.jsonl"
CORPUS = "data/crag_mm/corpus.jsonl"
NO_CHANGE_OF_BYTES = "\nADDED_BY_A_TEST = 1\n"

# One change of every result key of recall; the other keys' jobs are those behind it, which one case runs too.
RECALL_CHANGES = {
    "top_k": ("top_k: 20", "data", RECALL),
    "k1": ("k1: 1.5", f"{RESULTS}/recall.jsonl", ["recall_passages"]),
    "b": ("b: 0.1", f"{RESULTS}/recall.jsonl", ["recall_passages"]),
    "chunk_tokens": ("chunk_tokens: 40", f"{RESULTS}/passages.jsonl", ["load_passages"]),
}
# `replay` is a change as well: all answers are stored.
OPERATION_LLM = """llm={mode: replay, run_on: submit, max_quarantined_share: 0.5,
    budget_usd: 1.0, budget_calls: 9, max_wait_s: 9.0, ask_again: true, endpoints: {
    offline: {kind: offline, timeout_s: 33.0, max_concurrency: 3, max_retries: 1},
    other: {kind: offline},
    own: {kind: vllm, serve: {device: cpu, python: python3, tensor_parallel: 2, gpu_memory_utilization: 0.5,
          max_model_len: 99, cpu_cache_gb: 1, batch_size: 2, ready_s: 9.0, speed_args: ['--max-num-seqs=4']}},
    openai: {kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key_env: OTHER_KEY, supports_n: true,
             max_image_bytes: 9, max_image_pixels: 9, requests_per_minute: 9, tokens_per_minute: 9,
             allow_http: true, prices: {some-model: {input: 1.0, output: 2.0, cached: 0.5,
             source: 'https://example.org/prices', read_on: '2026-11-01'}}}}}"""
OPERATION_SEARCH = """search={endpoints: {other: {base_url: 'http://127.0.0.1:9', api_key_env: OTHER_KEY,
    allow_http: true, timeout_s: 9.0, max_concurrency: 3, max_retries: 1, requests_per_minute: 9, usd_per_1000: 9.0,
    source: 'https://example.org/prices', read_on: '2026-11-01'}},
    pages: {timeout_s: 9.0, max_bytes: 9, max_redirects: 9, max_concurrency: 9, allow_private: true, robots: false,
    contact: 'https://example.org'}}"""
OPERATION_RESOURCES = """resources={default: {mem_mb: 900, max_mem_mb: 990, runtime: 7, threads: 2},
    train_adapter: {threads: 2, gpus: 1, partition: long, gpu_model: a100, constraint: big, account: ours, qos: high},
    judge_answers: {llm: 2, retries: 3}, score_answers: {local: false}}"""
OPERATION_SITE = """site={cpu_partition: cpu, gpu_partition: gpu, preemptible: [cpu], setup: ['true'], scratch: /tmp,
    cache: /tmp/cache, conda_prefix: /tmp/conda, container: /tmp/none.sif, free_gb: 1, gpu_gb: 24.0, gpu_tflops: 9.0,
    proxies: {http: 'http://127.0.0.1:9',
    https: 'http://127.0.0.1:9', none: localhost},
    master: {partition: cpu, account: ours, runtime: 9, mem_mb: 99, threads: 3}}"""
OPERATION_OVERRIDES = """overrides={crag_mm: {source: {records: 9},
    queries: {model: {endpoint: other}},
    recall: {http: {search_endpoint: other, service: mine, custom: {params: {}, results: r, fields: {url: u},
        key_header: X-Key, key_param: key}}}, label: {model: {endpoint: other}},
    synthesize: {teacher: {endpoint: other}, judge: {endpoint: other}}, evaluate: {judge: {endpoint: other}},
    train: {save_strategy: epoch, save_steps: 7, keep_checkpoints: 3, on_code_change: restart, max_hours: 9.0,
            save_before_minutes: 1.0, gpus: [0],
            wandb: {mode: online, project: other, entity: us, resume: best, answers: 0}}}}"""
# The only keys of kind operation that say what is made and where, and so make other files.
PLACE = {"extends", "templates"}
# Makes its steps again, from the call store: see test_shards.py.
SHARES = {"shards", "index_shards"}
# Of sections that this recipe lacks: tests/unit/config/test_load.py holds that they change no settings.
OTHERS = {"refresh", "sample_steps", "sample_tokens", "workers"}


def once(rules: list[str]) -> dict[str, int]:
    return dict.fromkeys(rules, 1)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.smoke
def test_a_first_run_makes_everything_and_a_second_one_nothing(with_data: Workspace, copy_of: Copy) -> None:
    assert with_data.made == once([*INDEXED, *RECORDS])
    assert copy_of(with_data).executed("data") == {}


def test_touching_every_file_reruns_nothing(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    for path in sorted(workspace.root.rglob("*"), reverse=True):
        if path.is_file() and not {".git", ".snakemake"} & set(path.parts):
            path.touch()
    assert workspace.executed("all") == {}


def test_an_upstream_edit_that_leaves_the_bytes_equal_trains_nothing(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    append(workspace.root / "scripts/ingest/ingest_records.py", NO_CHANGE_OF_BYTES)
    assert workspace.executed("all") == once([*RECORDS, "list_artifacts"])
    assert workspace.executed("all") == {}


def test_an_upstream_change_of_the_bytes_goes_through(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    target, change = f"{RESULTS}/bases/fold0/manifest.json", "overrides={crag_mm: {folds: {evidence: 2}}}"
    assert workspace.executed(target, config=(change,)) == once(["make_folds", "make_tiny_base"])


def test_a_comment_in_a_library_module_reruns_nothing(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    for name in ("rows/records", "step/step", "llm/ask"):
        append(workspace.root / f"scripts/finetrail/{name}.py", "\n\n# A comment, and blank lines.\n")
    workspace.edit("scripts/finetrail/llm/ask.py", '"""How a step', '"""Another docstring. How a step')
    append(workspace.root / "envs/data.yaml", "# A comment\n")
    assert workspace.executed("data") == {}


def test_a_module_of_one_rule_reruns_this_rule(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    append(workspace.root / "scripts/finetrail/splits/overlap/contamination.py", NO_CHANGE_OF_BYTES)
    assert workspace.executed("data") == once(["make_folds"])


def test_a_prompt_reruns_its_rule_and_the_note_above_it_nothing(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    prompt = "config/prompts/crag_mm/judge_answers.md"
    path = workspace.root / prompt
    path.write_text("A note to those who edit this file.\n" + path.read_text())
    assert workspace.executed("data") == {}
    workspace.edit(prompt, "# User\n", "# User\nRead with care.\n")
    assert workspace.executed("data") == once(JUDGING)


def test_the_changes_cover_every_result_key_of_recall() -> None:
    elsewhere = {"backend", "http", "hybrid", "cragmm", "index_shards"}  # test_web_recall.py, test_backends.py
    assert set(RECALL_CHANGES) | elsewhere == set(Recall.model_fields)


def test_the_rest_of_the_chain_builds_on_the_folds(with_all: Workspace) -> None:
    assert with_all.made == once(MODELS) | {"train_adapter": 2, "predict_answers": 3, "judge_predictions": 4}


@pytest.mark.parametrize("key", RECALL_CHANGES)
def test_a_result_key_reruns_its_phase(with_data: Workspace, copy_of: Copy, key: str) -> None:
    workspace = copy_of(with_data)
    change, target, rules = RECALL_CHANGES[key]
    assert workspace.executed(target, config=(f"overrides={{crag_mm: {{recall: {{{change}}}}}}}",)) == once(rules)


def test_the_changes_cover_every_operation_key() -> None:
    sections: list[type[Section]] = [RecipeConfig, Llm, Endpoint, ModelReference, Resources, Train]
    sections += [Site, Search, SearchEndpoint, Wandb]
    keys = {
        dotted.rpartition(".")[2]
        for section in sections
        for dotted, field in walk_keys(section)
        if kind_of(field) == "operation"
    }
    changed = OPERATION_LLM + OPERATION_SEARCH + OPERATION_RESOURCES + OPERATION_SITE + OPERATION_OVERRIDES
    assert {key for key in keys - PLACE - SHARES - OTHERS if f"{key}:" not in changed} == set()


def test_operation_keys_rerun_nothing(with_all: Workspace, copy_of: Copy) -> None:
    """All at once: what any one of them would rerun, all of them would."""
    workspace = copy_of(with_all)
    changes = (OPERATION_LLM, OPERATION_SEARCH, OPERATION_RESOURCES, OPERATION_SITE, OPERATION_OVERRIDES)
    assert workspace.executed("all", config=tuple(map(one_line, changes))) == {}


def new_record(workspace: Workspace) -> dict[str, object]:
    """Make a record that the pilot takes first and that falls into train."""
    settings = {"train": 0.5, "dev": 0.2, "test": 0.3}
    groups = {row["id"]: row["group"] for row in workspace.rows("splits.jsonl")}
    least = min(sha256_text(row["session_id"]) for row in workspace.rows("records.jsonl"))
    for number in count():
        session = f"new-{number}"
        (group,) = group_rows([{"id": session, "group_keys": {"session": session, "image": None}}]).values()
        split = {row["id"]: row["split"] for row in assign(groups | {session: group}, settings, 43)}[session]
        if sha256_text(session) < least and split == "train":
            break
    last: dict[str, object] = json.loads((workspace.root / SOURCE).read_text().splitlines()[-1])
    question = "How does California protect tenants from sudden rent increases?"
    return last | {"session_id": session, "interaction_id": f"{session}-1", "turn_idx": 0, "query": question}


def calls(workspace: Workspace, records: set[str] | None = None) -> dict[str, set[str]]:
    """Return the keys of the calls that each phase made, for some records or for all."""
    found: dict[str, set[str]] = {"queries": set(), "pointwise_labeled": set(), "answers": set(), "judged": set()}
    for phase, keys in found.items():
        for row in workspace.rows(f"{phase}.jsonl"):
            if records is None or row.get("record_id", row["id"]) in records:
                labels = [label["call"] for label in row.get("labels", [])]
                verdict = [row["verdict"]["call"]] if "verdict" in row else []
                keys |= {*(labels or verdict or row["calls"])} if phase != "pointwise_labeled" else {*labels}
    return found


def test_an_appended_record_asks_for_itself_alone(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    before = {row["id"] for row in workspace.rows("records.jsonl")}
    paid = calls(workspace)
    append(workspace.root / SOURCE, json.dumps(new_record(workspace)) + "\n")
    assert workspace.executed("data") == once(RECORDS)
    after = {row["id"] for row in workspace.rows("records.jsonl")}
    assert before < after and len(after - before) == 1
    for phase, keys in calls(workspace, after - before).items():
        assert len(keys) >= 1, phase
        assert workspace.meta(f"{phase}.meta.json")["llm"]["calls_made"] == len(keys - paid[phase]), phase
        assert keys.isdisjoint(paid[phase]), phase


def test_an_input_replaced_by_an_older_file_is_seen(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    workspace.edit(SOURCE, '"ans_full": "The', '"ans_full": "Indeed, the')
    workspace.edit(CORPUS, '"title": "', '"title": "The ')
    for name in (SOURCE, CORPUS):
        os.utime(workspace.root / name, (1_000_000_000, 1_000_000_000))
    targets = (f"{RESULTS}/records.jsonl", f"{RESULTS}/passages.jsonl")
    assert workspace.executed(*targets) == once(["ingest_records", "load_passages"])


def test_a_branch_switch_and_back_reruns_nothing(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    workspace.git("checkout", "-q", "-b", "other")
    append(workspace.root / "scripts/finetrail/examples/select.py", NO_CHANGE_OF_BYTES)
    append(workspace.root / "scripts/finetrail/rows/records.py", NO_CHANGE_OF_BYTES)
    append(workspace.root / SOURCE, "\n")
    workspace.edit("config/prompts/crag_mm/judge_answers.md", "# User\n", "# User\nRead with care.\n")
    workspace.git("commit", "-q", "-a", "-m", "other")
    workspace.git("checkout", "-q", "main")
    assert workspace.executed("data") == {}


def test_the_work_of_a_branch_is_done_there_and_undone_on_return(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    workspace.git("checkout", "-q", "-b", "other")
    append(workspace.root / "scripts/folds/make_folds.py", NO_CHANGE_OF_BYTES)
    workspace.git("commit", "-q", "-a", "-m", "other")
    assert workspace.executed("data") == once(["make_folds"])
    assert workspace.meta("folds/fold0/fold.meta.json")["git"]["dirty"] is False
    workspace.git("checkout", "-q", "main")
    assert workspace.executed("data") == once(["make_folds"])


def test_conda_switched_on_and_off_reruns_nothing(with_data: Workspace, copy_of: Copy, tmp_path: Path) -> None:
    workspace = copy_of(with_data)
    conda = StandInConda(tmp_path / "conda")
    workspace.variables["PATH"] = os.pathsep.join([str(conda.bin), workspace.environment()["PATH"]])
    with_conda = ("--sdm", "conda")
    assert workspace.executed("data", options=with_conda) == {}
    append(workspace.root / "scripts/synthesize/select_answers.py", NO_CHANGE_OF_BYTES)
    assert workspace.executed("data", options=with_conda) == once(SELECTION)
    assert len(conda.activated()) == 2, "the jobs ran in environments of conda"
    assert workspace.executed("data", options=with_conda) == {}
    del workspace.variables["PATH"]
    assert workspace.executed("data") == {}


def test_results_of_a_folder_that_was_moved_are_still_good(with_data: Workspace, tmp_path: Path) -> None:
    workspace = with_data.copy(tmp_path / "first")
    moved = Path(shutil.move(workspace.root, tmp_path / "elsewhere"))
    assert Workspace(moved).executed("data") == {}
