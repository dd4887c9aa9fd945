"""How alike two texts are: the cosine of their embeddings, by a named model or by a stand-in that needs none."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    import numpy as np

STAND_IN = "hashed words (stand-in: no language model)"
_FEATURES = 4096


def embedder_name(settings: Mapping[str, Any] | None) -> str:
    """Return what embeds the texts, as reports name it."""
    if settings is None:
        return STAND_IN
    return str(settings.get("path") or f"{settings['hub']}@{settings['revision']}")


def embed(texts: Sequence[str], settings: Mapping[str, Any] | None) -> "np.ndarray[Any, Any]":
    """Return unit vectors [texts, width].

    Args:
        texts: at least one.
        settings: ``{"path"}`` or ``{"hub", "revision"}`` of a sentence-transformers model; None for the stand-in, which
            hashes words and pairs of words.

    Raises:
        FinetrailError: the package is not there.
    """
    import numpy as np

    if settings is None:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashed = HashingVectorizer(n_features=_FEATURES, ngram_range=(1, 2), alternate_sign=False, norm="l2")
        return np.asarray(hashed.transform(list(texts)).todense(), dtype=np.float64)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise FinetrailError(
            "evaluate.embedding needs the package sentence-transformers",
            where="evaluate.embedding",
            hint="Run with `--sdm conda`, install what envs/texts.yaml pins, or set `evaluate.embedding: null`",
        ) from error
    model = SentenceTransformer(
        settings.get("path") or settings["hub"],
        revision=None if settings.get("path") else settings["revision"],
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )
    return np.asarray(model.encode(list(texts), normalize_embeddings=True), dtype=np.float64)
