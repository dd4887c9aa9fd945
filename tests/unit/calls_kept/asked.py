"""What every step that asks would ask about the rows of `rows/`: the keys of its calls, from the step's own `--plan`.

A recipe is loaded as published, at full scale. Settings that no published recipe uses, and that users switch on, are
laid over one of them (`SWITCHED_ON`).
"""

import contextlib
import importlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.config.load import LoadedConfig, load_config
from finetrail.rows.records import Row, read_rows, write_jsonl

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
COMMIT = "a" * 40
Keys = dict[str, dict[str, list[str]]]
"""By rule and row, the keys of the row's calls in the order in which the step asks."""


@dataclass(frozen=True)
class Asking:
    """A rule that asks: its script, the files of `rows/` that it reads, and the model's key in the recipe.

    Args:
        script: module below scripts/.
        rows: options whose files are given with one row at a time.
        files: further options and their files, given whole.
        asks: the key of the model reference; None for a search service.
        prompt: name of the prompt; None for no prompt.
        options: further arguments.
    """

    script: str
    rows: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    asks: str | None = None
    prompt: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A recipe, what is laid over it, and the rules that ask in it.

    Args:
        recipe: the published recipe.
        rules: names in `ASKING`.
        overrides: changes to the recipe.
        endpoints: entries of `llm.endpoints` besides those of `ENDPOINTS`.
        prompts: rules whose prompt is another one than `ASKING` says.
    """

    recipe: str
    rules: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    endpoints: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)


TALKS = {"--rows": "conversations"}
SPLITS = {"--splits": "splits"}
LABELLING = {**SPLITS, "--passages": "passages"}
RECORDS = {"--records": "conversations"}
RELEVANCE, JUDGING = "label_relevance", "judge_answers"
ASKING = {
    "make_queries": Asking("recall.make_queries", TALKS, SPLITS, "queries.model", "make_queries"),
    "search_passages": Asking("recall.search_passages", TALKS, options=("--passages", "passages.out")),
    "label_listwise": Asking("label.label_listwise", TALKS, LABELLING, "label.listwise", "label_listwise"),
    "label_relevance": Asking("label.label_relevance", TALKS, LABELLING, "label.model", RELEVANCE),
    "label_gold": Asking("label.label_relevance", TALKS, LABELLING, "label.model", RELEVANCE, ("--every-split",)),
    "label_relevance_second": Asking(
        "label.label_relevance", TALKS, LABELLING, "label.second", RELEVANCE, ("--asks", "label.second")
    ),
    "generate_answers": Asking(
        "synthesize.generate_answers",
        TALKS,
        {**RECORDS, "--passages": "passages"},
        "synthesize.teacher",
        "generate_answers",
    ),
    "judge_answers": Asking("synthesize.judge_answers", {"--rows": "versions"}, RECORDS, "synthesize.judge", JUDGING),
    "judge_predictions": Asking(
        "evaluate.judge_predictions",
        {"--rows": "predictions", "--test": "conversations"},
        asks="evaluate.judge",
        prompt=JUDGING,
    ),
    "write_reasoning": Asking(
        "synthesize.write_reasoning", {"--rows": "choices"}, SPLITS, "synthesize.teacher", "write_reasoning"
    ),
    "generate_qa": Asking("synthesize.generate_qa", {"--rows": "chunks"}, {}, "synthesize.teacher", "generate_qa"),
    "validate_qa": Asking("synthesize.validate_qa", {"--rows": "pairs"}, {}, "synthesize.judge", "validate_qa"),
    "describe_images": Asking(
        "synthesize.describe_images", {"--rows": "cases"}, {}, "synthesize.teacher", "describe_images"
    ),
    "link_captions": Asking(
        "synthesize.link_captions",
        {"--rows": "descriptions"},
        {"--records": "cases"},
        "synthesize.teacher",
        "link_captions",
    ),
    "summarize_discussions": Asking(
        "synthesize.summarize_discussions", {"--rows": "cases"}, SPLITS, "synthesize.teacher", "summarize_discussions"
    ),
    "judge_texts": Asking("evaluate.judge_texts", {"--rows": "texts"}, {}, "evaluate.judge", "judge_texts"),
}
CONVERSATIONS = (
    "make_queries",
    "label_listwise",
    "label_relevance",
    "label_gold",
    "generate_answers",
    "judge_answers",
    "judge_predictions",
)
PUBLISHED = {
    "cal": Case("cal", ("write_reasoning",)),
    "crag_mm": Case("crag_mm", CONVERSATIONS),
    "crag_mm_images": Case("crag_mm_images", CONVERSATIONS),
    "documents": Case("documents", ("generate_qa", "validate_qa")),
    "documents_local": Case("documents_local", ("generate_qa", "validate_qa")),
    "hotpotqa": Case("hotpotqa", ()),
    "weatherqa": Case("weatherqa", ("describe_images", "link_captions", "summarize_discussions")),
}


def searching(**http: Any) -> Case:
    """Return the recipe of conversations with a search service in place of its corpus."""
    recall = {"backend": "http", "http": {"search_endpoint": "service", **http}}
    return Case("crag_mm", ("search_passages",), {"recall": recall, "student": None})


FULLER_MODEL = {
    "endpoint": "openai",
    "model": "gpt-4.1",
    "revision": "2025-04-14",
    "temperature": 0.3,
    "top_p": 0.9,
    "max_tokens": 77,
    "logprobs": 2,
    "extra_body": {"reasoning_effort": "low", "user": None},
}
SWITCHED_ON = {
    "crag_mm: two judges give grades, and see the answer": Case(
        "crag_mm",
        ("label_relevance", "label_relevance_second", "label_gold"),
        {"label": {"scale": "graded", "show_answer": True, "show_image": False, "second": FULLER_MODEL}},
        prompts=dict.fromkeys(("label_relevance", "label_relevance_second", "label_gold"), "grade_relevance"),
    ),
    "crag_mm: servers of our own": Case(
        "crag_mm",
        ("label_relevance", "generate_answers", "judge_answers"),
        {
            "label": {"model": {"endpoint": "plain", "model": "org/judge", "revision": COMMIT}},
            "synthesize": {
                "versions": 2,
                "teacher": {"endpoint": "full", "model": "mine"},
                "judge": {"endpoint": "simple", "model": "./base"},
            },
        },
        {
            "plain": {"kind": "vllm"},
            "full": {
                "kind": "vllm",
                "serve": {
                    "dtype": "float16",
                    "quantization": "fp8",
                    "chat_template": "template.jinja",
                    "structured_output": "xgrammar",
                    "extra_args": ["--max-num-seqs=8"],
                    "speed_args": ["--enable-chunked-prefill"],
                    "lora_modules": {"mine": {"path": "./adapter", "base": "org/base", "revision": COMMIT}},
                },
            },
            "simple": {"kind": "transformers", "serve": {"quantization": "nf4"}},
        },
    ),
    "crag_mm: searched with SearXNG": searching(service="searxng"),
    "crag_mm: searched with Brave, another edition": searching(
        service="brave", edition="2026-06", params={"country": "CH", "spellcheck": False}, page_size=7
    ),
    "crag_mm: searched with Tavily, snippets only": searching(service="tavily", pages=False),
    "crag_mm: searched with a service of one's own": searching(
        service="mine",
        custom={
            "method": "POST",
            "path": "/find/<query>",
            "params": {"ask": {"text": "<query>", "most": "<count>"}, "tags": ["<query>", 1]},
            "results": "results",
            "fields": {"url": "url", "title": "title"},
            "key_header": "X-Key",
        },
    ),
    "cal: three versions, options in their orders": Case("cal", ("write_reasoning",), {"synthesize": {"versions": 3}}),
    "documents: other kinds of questions, other criteria": Case(
        "documents",
        ("generate_qa", "validate_qa"),
        {"synthesize": {"questions": 4, "styles": ["a fact", "“why”"], "criteria": ["accuracy", "naivety"]}},
    ),
    "weatherqa: texts are judged": Case(
        "weatherqa", ("judge_texts",), {"evaluate": {"judge": {"endpoint": "openai", "model": "gpt-4.1"}}}
    ),
}
CASES = PUBLISHED | SWITCHED_ON
# Where a model is asked, and for what price, is no part of a key: the project file's own entries may be edited. What a
# server of ours loads is.
ENDPOINTS = {
    name: entry
    if entry["kind"] in ("vllm", "transformers")
    else {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    for name, entry in yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["llm"]["endpoints"].items()
    if entry["kind"] != "offline"
}
PAGES = ("HTTPS://Example.org/a b?x=1#top", "https://example.org/caf\u00e9", "https://example.org/a%20b?x=1")
FOUND = [{"url": url, "title": f"Page {number}"} for number, url in enumerate(PAGES)]


def load_case(case: Case, folder: Path) -> LoadedConfig:
    """Load a case's recipe at full scale, from a project in a folder whose recipes and prompts are ours."""
    config = folder / "config"
    config.mkdir()
    for name in ("recipes", "prompts"):
        (config / name).symlink_to(ROOT / "config" / name)
    project = {
        "recipes": [case.recipe],
        "scale": "full",
        "llm": {"endpoints": {**ENDPOINTS, **case.endpoints}},
        "search": {"endpoints": {"service": {"base_url": "http://127.0.0.1:9"}}},
        "overrides": {case.recipe: dict(case.overrides)},
    }
    (config / "config.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    return load_config(folder)


def asked_keys(case: Case, folder: Path) -> Keys:
    """Return the keys of all calls that a case's steps would make.

    Args:
        case: the recipe and its steps.
        folder: an empty folder, which the steps run in.
    """
    config = load_case(case, folder)
    run_config = folder / "run_config.yaml"
    run_config.write_text(yaml.safe_dump(config.merged()), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FINETRAIL_")]:
            patch.delenv(name)
        patch.setenv(RUN_CONFIG_VARIABLE, str(run_config))
        patch.chdir(folder)
        _lay_out_models_and_images()
        return {rule: dict(_keys_by_row(case, rule, config, folder, patch)) for rule in case.rules}


def _lay_out_models_and_images() -> None:
    """Write what enters a key by its content: a chat template, model folders, and an animated image."""
    Path("template.jinja").write_text("{{ messages }} “as it is”\n", encoding="utf-8")
    for name in ("adapter", "base"):
        Path(name).mkdir()
        Path(name, "config.json").write_text(json.dumps({"name": name}), encoding="utf-8")
    images = Path("data/weatherqa/md_image")
    images.mkdir(parents=True)
    frames = [Image.new("RGB", (6, 6), (90 * number, 0, 0)) for number in range(2)]
    frames[0].save(images / "moving.gif", save_all=True, append_images=frames[1:])


def _keys_by_row(
    case: Case, rule: str, config: LoadedConfig, folder: Path, patch: pytest.MonkeyPatch
) -> Iterator[tuple[str, list[str]]]:
    asking = ASKING[rule]
    main: Callable[[Sequence[str]], int] = importlib.import_module(asking.script).main
    settings = json.dumps(config.result_settings(case.recipe))
    given = ["--plan", "--recipe", case.recipe, "--settings", settings, "--out", "out.jsonl", "--meta", "out.meta.json"]
    if asking.prompt:
        prompt = config.prompt_path(case.recipe, case.prompts.get(rule, asking.prompt))
        given += ["--prompt", str(folder / prompt)]
    for option, name in asking.files.items():
        given += [option, str(HERE / "rows" / f"{name}.jsonl")]
    tables = {option: _table(name) for option, name in asking.rows.items()}
    for row_id in next(iter(tables.values())):
        one: list[str] = []
        for option, table in tables.items():
            write_jsonl(folder / f"one{option}.jsonl", [table[row_id]])
            one += [option, f"one{option}.jsonl"]
        yield row_id, _looked_up(main, [*given, *one, *asking.options], patch, searches=asking.asks is None)


def _table(name: str) -> dict[str, Row]:
    return {row["id"]: row for row in read_rows(HERE / "rows" / f"{name}.jsonl")}


def _looked_up(
    main: Callable[[Sequence[str]], int], words: Sequence[str], patch: pytest.MonkeyPatch, *, searches: bool
) -> list[str]:
    """Return the keys that a step looks for in the call store."""
    keys: list[str] = []
    stored: dict[str, StoredCall] = {}

    def get(store: CallStore, key: str, answer_sha256: str | None = None) -> StoredCall | None:
        keys.append(key)
        return stored.get(key)

    patch.setattr(CallStore, "get", get)
    assert _calls_planned(main, words) == len(keys), "a call is planned that is not looked up, or the other way round"
    if searches:  # pages are looked for once it is known what the searches have found
        body = {"results": FOUND, "web": {"results": FOUND}}
        stored |= {key: StoredCall.make(key, {"body": body}, {}, {}) for key in keys}
        keys.clear()
        _calls_planned(main, words)
    return keys


def _calls_planned(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(words) == 0
    calls: int = json.loads(said.getvalue())["calls"]
    return calls
