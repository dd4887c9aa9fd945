"""A fresh tiny model can copy: what followed a token before is likelier than chance, before any training."""

import pytest

from finetrail.tiny.tiny_base import new_model
from finetrail.tiny.tiny_settings import ARCHITECTURES, Architecture, TinyBaseSettings
from finetrail.tiny.tiny_tokenizer import train_tokenizer

pytestmark = pytest.mark.heavy

TEXTS = ["rain and snow fall on the high hills of the north", "a slow river runs to the sea"]


def losses_of_halves(architecture: Architecture, key_value_heads: int) -> tuple[float, float]:
    """Mean loss on random tokens seen for the first time, and on the same tokens again."""
    import torch

    tokenizer = train_tokenizer(architecture, TEXTS, vocabulary_size=512, context=256)
    torch.manual_seed(7)
    model = new_model(architecture, tokenizer, TinyBaseSettings(key_value_heads=key_value_heads)).eval()
    vocabulary = model.get_output_embeddings().weight.shape[0]
    half = torch.stack([torch.randperm(vocabulary)[:48] for _ in range(16)])
    ids = torch.cat([half, half], dim=1)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return float(loss[:, :47].mean()), float(loss[:, 48:].mean())


@pytest.mark.parametrize("key_value_heads", [1, 2, 4])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fresh_model_copies_what_it_saw(architecture: Architecture, key_value_heads: int) -> None:
    first, again = losses_of_halves(architecture, key_value_heads)
    assert again < first - 0.25
