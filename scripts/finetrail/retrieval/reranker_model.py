"""The trained reranker's models, as sentence-transformers loads them."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def load_cross_encoder(folder: Path, max_tokens: int | None) -> "CrossEncoder":
    """Load a cross-encoder of one output from a folder; no code of its own is run, no pickle is read."""
    from sentence_transformers import CrossEncoder

    return CrossEncoder(
        str(folder),
        num_labels=1,
        max_length=max_tokens,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )
