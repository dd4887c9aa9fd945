"""Facts of a model that decide what its jobs need; none of them is asked of the network.

In this order they come from a local folder's config.json, from what is kept here of the models that shipped recipes
name (base_facts.json), from a folder that a run fetched, and from the hub's cache. Of any other model of the hub
nothing is known before it is fetched: `ASSUMED` stands in, with as many weights as its name says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json

KEPT = Path(__file__).with_name("base_facts.json")
SMALL = 20_000_000
"""Weights below which a model is tiny: its jobs ask for what `resources` says, as if there were none."""
NEEDS_GPU = 200_000_000
"""Weights from which a model that is trained or asked needs a GPU."""
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
_IN_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.I)
_UNITS = {"b": 10**9, "m": 10**6}
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Facts:
    """What is known of a model.

    Attributes:
        parameters: weights in all.
        layers, hidden, intermediate, heads, key_value_heads, head_width: of the transformer that reads text.
        vocabulary: tokens.
        context: longest sequence, in tokens.
        tied: whether the embeddings are the head as well.
        weight_bytes: bytes of a weight as it is stored.
        gated: whether the hub gives it to those only who accepted its licence.
        known_from: where this is known from; empty where it is assumed.
    """

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    context: int
    tied: bool = False
    weight_bytes: int = 2
    gated: bool = False
    known_from: str = ""

    @property
    def is_small(self) -> bool:
        """Its jobs need nothing that others do not."""
        return self.parameters < SMALL

    @property
    def stored(self) -> int:
        """Bytes of the weights as they are stored."""
        return self.parameters * self.weight_bytes


ASSUMED = Facts(8_000_000_000, 32, 4096, 14336, 32, 8, 128, 128256, 8192)
"""What stands in for a model of which nothing is known: the shape of Llama 3.1 8B."""
TINY = Facts(1_000_000, 2, 128, 384, 4, 4, 32, 1024, 1024, known_from="made here")
"""What stands in for a model that is made here, or comes with a package."""


@cache
def kept_facts() -> dict[str, dict[str, Any]]:
    """Read the facts that are kept of models of the hub, by id; each names the revision that they were read at."""
    kept: dict[str, dict[str, Any]] = read_json(KEPT)
    return kept


def hub_facts(hub: str, revision: str | None, fetched: Path | None = None) -> Facts:
    """Return the facts of a model of the hub.

    Args:
        hub: its id.
        revision: the commit.
        fetched: folder that a run fetched it to, or will.
    """
    kept = dict(kept_facts().get(hub, {}))
    if kept and kept.pop("revision") == revision:
        return Facts(**kept, known_from="workflow/base_facts.json")
    if fetched is not None and (found := folder_facts(fetched)) is not None:
        return found
    if (cached := _cached(hub, revision)) is not None and (found := folder_facts(cached)) is not None:
        return found
    named = _IN_NAME.search(hub.rpartition("/")[2])
    weights = int(float(named[1]) * _UNITS[named[2].lower()]) if named else ASSUMED.parameters
    return replace(ASSUMED, parameters=weights)


def folder_facts(folder: Path) -> Facts | None:
    """Return the facts of a model's folder, from config.json and the sizes of its files; None where there is none.

    Where a folder holds no weights, they are counted from the shape; image encoders are then left out.
    """
    try:
        config = read_json(folder / "config.json")
        text = config.get("text_config") or config
        return _read(config, text, folder)
    except (OSError, FinetrailError, AttributeError, TypeError, ValueError, LookupError, ZeroDivisionError):
        return None  # what cannot be read is refused by who loads it, with the reason


def _read(config: Mapping[str, Any], text: Mapping[str, Any], folder: Path) -> Facts:
    def number(*names: str) -> int:
        found = [text[name] for name in names if text.get(name) is not None]
        return int(found[0])

    hidden, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head", "num_heads")
    layers = number("num_hidden_layers", "n_layer", "num_layers")
    named = str(config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype"))
    found = Facts(
        parameters=0,
        layers=layers,
        hidden=hidden,
        intermediate=int(text.get("intermediate_size") or text.get("n_inner") or 4 * hidden),
        heads=heads,
        key_value_heads=int(text.get("num_key_value_heads") or heads),
        head_width=int(text.get("head_dim") or hidden // heads),
        vocabulary=number("vocab_size"),
        context=int(text.get("max_position_embeddings") or text.get("n_positions") or 2048),
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))),
        weight_bytes=_WIDTHS.get(named, 4),
        known_from=f"{folder}/config.json",
    )
    stored = _stored(folder)
    return replace(found, parameters=stored // found.weight_bytes if stored else counted(found))


def counted(facts: Facts) -> int:
    """Count the weights of a plain transformer of a shape: attention, gated feed-forward layers, embeddings, head."""
    attention = 2 * facts.hidden * facts.head_width * (facts.heads + facts.key_value_heads)
    layer = attention + 3 * facts.hidden * facts.intermediate
    return facts.layers * layer + facts.vocabulary * facts.hidden * (1 if facts.tied else 2)


def _stored(folder: Path) -> int:
    """Return the bytes of a folder's weights; 0 where there are none."""
    if (folder / _INDEX).is_file():
        return int(read_json(folder / _INDEX)["metadata"]["total_size"])
    files = list(folder.glob("model*.safetensors")) or list(folder.glob("*.safetensors"))
    return sum(path.stat().st_size for path in files)


def _cached(hub: str, revision: str | None) -> Path | None:
    """Return the folder of a model in the hub's cache; None where it is not there."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None  # a Python that only submits jobs
    try:
        found = try_to_load_from_cache(hub, "config.json", revision=revision)
    except ValueError:  # no id of the hub
        return None
    return Path(found).parent if isinstance(found, str) else None
