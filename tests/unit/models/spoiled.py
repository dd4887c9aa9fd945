"""A tokenizer that makes a control token of plain words, as some published ones do."""

import json
from pathlib import Path

WIDE = "\uff1c|eot_id|\uff1e"
"""Words in wide brackets, which the spoiled tokenizer reads as the end of a turn."""


def spoil(folder: Path) -> None:
    """Let the tokenizer of a folder turn wide brackets into those of its control tokens.

    Of some families (Qwen's) the library brings its own normalizer beside a model's configuration.
    """
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    stored["normalizer"] = {"type": "NFKC"}
    for token in stored["added_tokens"]:
        token["normalized"] = True
    (folder / "tokenizer.json").write_text(json.dumps(stored), encoding="utf-8")
