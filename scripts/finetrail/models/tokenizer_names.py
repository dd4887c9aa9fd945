"""Names in a saved tokenizer's settings that released tools know."""

import json
from pathlib import Path

from finetrail.rows.artifacts import read_json

_SETTINGS = "tokenizer_config.json"


def name_as_released(folder: Path) -> None:
    """Rename what transformers 5 writes under names of its own; it reads the older ones as well.

    Transformers 4 and the programs built on it do not know the class ``TokenizersBackend``, and take a list of
    ``extra_special_tokens`` for a mapping.

    Args:
        folder: of a tokenizer; left as it is where it has no settings or only known names.
    """
    path = folder / _SETTINGS
    if not path.is_file():
        return
    known = read_json(path)
    named = dict(known)
    if named.get("tokenizer_class") == "TokenizersBackend":
        named["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(named.get("extra_special_tokens"), list):
        named["additional_special_tokens"] = named.pop("extra_special_tokens")
    if named != known:
        path.write_text(json.dumps(named, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
