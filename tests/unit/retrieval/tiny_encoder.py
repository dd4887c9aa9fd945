"""A bi-encoder and a cross-encoder of a few thousand random weights, in folders as transformers saves them."""

from pathlib import Path
from typing import Any

COLOURS = ["red", "green", "blue", "old"]
WORDS = [*COLOURS, "fox", "hound", "cat", "dog", "bird", "runs", "sleeps", "the", "a", "fast", "slow", "over", "under"]
WORDS += ["house", "tree", "river", "by"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_tiny_encoder(folder: Path, width: int = 32) -> Path:
    from transformers import BertModel

    return _save(BertModel, folder, width)


def save_tiny_scorer(folder: Path, labels: int = 1) -> Path:
    from transformers import BertForSequenceClassification

    return _save(BertForSequenceClassification, folder, 32, num_labels=labels)


def _save(kind: Any, folder: Path, width: int, **options: Any) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=32,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=width, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=64, initializer_range=0.5, **options,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    return folder
