"""Names in a saved model's settings that released tools know."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetrail.rows.artifacts import read_json

# What transformers 5 keeps beside the positions' scaling, and older versions at the top.
_AT_THE_TOP = ("rope_theta", "partial_rotary_factor")


def name_as_released(folder: Path) -> None:
    """Name what transformers 5 writes under names of its own as released tools do; it reads the older names as well.

    Transformers 4 and the programs built on it do not know the class ``TokenizersBackend``, and take a list of
    ``extra_special_tokens`` for a mapping. Of ``rope_parameters`` they read nothing: a model whose positions have
    another base than the library's default would be loaded without a word, and answer otherwise.

    Args:
        folder: of a tokenizer or a model; a file that holds only known names, or all of them, stays as it is.
    """
    _rewrite(folder / "tokenizer_config.json", _named_tokenizer)
    _rewrite(folder / "config.json", _with_older_rope)


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if not path.is_file():
        return
    known = read_json(path)
    named = change(known)
    if named != known:
        path.write_text(json.dumps(named, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _named_tokenizer(known: dict[str, Any]) -> dict[str, Any]:
    named = dict(known)
    if named.get("tokenizer_class") == "TokenizersBackend":
        named["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(named.get("extra_special_tokens"), list):
        named["additional_special_tokens"] = named.pop("extra_special_tokens")
    return named


def _with_older_rope(known: dict[str, Any]) -> dict[str, Any]:
    """Add ``rope_theta`` and ``rope_scaling`` beside ``rope_parameters``, in the parts of a configuration as well.

    Parameters that differ by kinds of layers have an older form in each architecture alone: they stay as they are.
    """
    named = {key: _with_older_rope(value) if key.endswith("_config") and isinstance(value, dict) else value
             for key, value in known.items()}  # fmt: skip
    rope = named.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return named
    named |= {key: rope[key] for key in _AT_THE_TOP if key in rope}
    if rope.get("rope_type", "default") != "default":
        named["rope_scaling"] = {key: value for key, value in rope.items() if key not in _AT_THE_TOP}
    return named
