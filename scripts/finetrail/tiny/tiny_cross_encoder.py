"""A tiny cross-encoder with random weights and a WordPiece tokenizer of the recipe's own words: nothing to download."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_VOCABULARY = 4000
_WIDTH, _LAYERS, _HEADS = 64, 2, 4


def save_tiny_cross_encoder(texts: Iterable[str], folder: Path, *, max_tokens: int, seed: int) -> None:
    """Train the tokenizer and save the model in the layout of the transformers library, with one output."""
    import torch
    from tokenizers import processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = _word_pieces(list(texts))
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_tokens,
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=_WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        intermediate_size=2 * _WIDTH,
        max_position_embeddings=max_tokens,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def _word_pieces(texts: Sequence[str]) -> "Tokenizer":
    """Train a WordPiece tokenizer, the same one each time.

    The library numbers the letters inside of words in an order that changes from run to run, and breaks ties by these
    numbers. So they are given as its special tokens, which have fixed numbers, and only the vocabulary is kept.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    cut, normal = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True)
    letters = sorted(
        {sign for text in texts for word, _ in cut.pre_tokenize_str(normal.normalize_str(text)) for sign in word}
    )
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normal, cut
    trainer = trainers.WordPieceTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[*_SPECIAL, *(f"##{letter}" for letter in letters)],
        initial_alphabet=letters,
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    tokenizer = Tokenizer(models.WordPiece(vocab=trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normal, cut
    return tokenizer
