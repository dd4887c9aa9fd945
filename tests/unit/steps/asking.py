"""A step that asks a model, in a folder of its own: its files, its configuration and its command line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetrail.rows.records import Row, write_jsonl
from tests.unit.llm.fake_llm import LLM_KEYS

PROMPTS = Path(__file__).resolve().parents[3] / "config" / "prompts" / "crag_mm"
MODEL: dict[str, Any] = {
    "model": "m",
    "revision": None,
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 50,
    "extra_body": {},
    "logprobs": None,
}
REFERENCE = {"endpoint": "fake"}
SETTINGS: dict[str, Any] = {
    "queries": {"enabled": True, "count": 1, "model": MODEL},
    "label": {"model": MODEL, "scale": "binary", "show_answer": False, "show_image": True},
    "synthesize": {"turns": "comb", "versions": 2, "teacher": MODEL | {"temperature": 0.7}, "judge": MODEL},
    "source": {"images": None},
}


def record(number: int) -> Row:
    """Make a record as far as asking about it goes."""
    question = f"What is number {number}?"
    return {
        "id": f"s{number}:1",
        "session_id": f"s{number}",
        "question": question,
        "answer": f"It is {number}.",
        "image": None,
        "history": [],
    }


def prepare(folder: Path, url: str, rows: Iterable[Row], endpoint: dict[str, Any] | None = None, **llm: Any) -> None:
    """Write the run's configuration and the records."""
    settings = LLM_KEYS | llm
    settings["endpoints"] = {"fake": {"kind": "openai", "base_url": url, "prices": {}} | (endpoint or {})}
    recipe = {
        "queries": {"model": REFERENCE},
        "label": {"model": REFERENCE, "listwise": REFERENCE},
        "synthesize": {"teacher": REFERENCE, "judge": REFERENCE},
    }
    run = {"scale": "full", "results_dir": "results", "llm": settings, "recipes": {"by_hand": recipe}}
    (folder / "run_config.yaml").write_text(json.dumps(run))
    write_jsonl(folder / "records.jsonl", rows)


def arguments(rule: str, out: str, *more: str, prompt: Path | None = None) -> list[str]:
    """Return the arguments of a step that writes `out`.jsonl."""
    given = ["--out", f"{out}.jsonl", "--meta", f"{out}.meta.json", "--settings", json.dumps(SETTINGS)]
    return [*given, "--prompt", str(prompt or PROMPTS / f"{rule}.md"), *more]
