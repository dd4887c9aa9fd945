"""Train a small tokenizer of a published kind on given texts, byte for byte the same each time.

``llama``, ``mllama``, ``qwen2`` and ``qwen3`` get a byte-level BPE with the published split expressions, ``mistral`` a
SentencePiece-style BPE with byte fallback (as Llama 2 and Mistral v0.2/v0.3): exporters meet both kinds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.errors import FinetrailError
from finetrail.tiny.tiny_settings import Architecture

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# Published pre-tokenizer expressions; GGUF readers know them as "llama-bpe" and "qwen2".
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_SPLIT = _LETTERS + r"\p{N}{1,3}" + _REST
QWEN2_SPLIT = _LETTERS + r"\p{N}" + _REST

_BYTES = 256
_ALPHABET = 200  # characters that get a token of their own; rarer ones fall back to their bytes
_METASPACE = "▁"


@dataclass(frozen=True)
class _Kind:
    """What sets one tokenizer family apart; ``split`` is None for the SentencePiece style."""

    layout: str
    split: str | None
    control: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str
    bos_by_post_processor: bool


_LLAMA = _Kind(
    layout="llama3",
    split=LLAMA3_SPLIT,
    control=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|finetune_right_pad_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ),
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    pad="<|finetune_right_pad_id|>",
    bos_by_post_processor=True,
)
_QWEN = _Kind(
    layout="qwen",
    split=QWEN2_SPLIT,
    control=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    bos=None,
    eos="<|im_end|>",
    pad="<|endoftext|>",
    bos_by_post_processor=False,
)
_MISTRAL = _Kind(
    layout="mistral",
    split=None,
    control=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"),
    bos="<s>",
    eos="</s>",
    pad="<pad>",
    bos_by_post_processor=True,
)
# Mllama's image token has to be the last one: the head has no row for it.
_MLLAMA = replace(_LLAMA, control=(*_LLAMA.control, "<|image|>"))
_KINDS: dict[Architecture, _Kind] = {
    "llama": _LLAMA,
    "mistral": _MISTRAL,
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "mllama": _MLLAMA,
}


def layout_of(architecture: Architecture) -> str:
    """Name the chat layout that a tiny model of an architecture is made with."""
    return _KINDS[architecture].layout


def train_tokenizer(
    architecture: Architecture, texts: Iterable[str], *, vocabulary_size: int, context: int
) -> "PreTrainedTokenizerFast":
    """Train the tokenizer of an architecture on texts.

    Args:
        architecture: decides the kind, the control tokens and the chat template.
        texts: what the vocabulary is learned from.
        vocabulary_size: tokens in all; fewer come out where the texts offer fewer.
        context: the model's longest sequence, in tokens.

    Raises:
        FinetrailError: the vocabulary cannot hold the bytes and the control tokens.
    """
    from transformers import PreTrainedTokenizerFast

    kind = _KINDS[architecture]
    learned = vocabulary_size - len(kind.control)
    if learned <= _BYTES:
        raise FinetrailError(
            f"a vocabulary of {vocabulary_size} tokens cannot hold the bytes and the control tokens",
            where="vocabulary_size",
            hint="Use at least 512",
        )
    tokenizer = _byte_level(kind, texts, learned) if kind.split else _sentencepiece_style(kind, texts, learned)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=kind.bos,
        eos_token=kind.eos,
        pad_token=kind.pad,
        unk_token="<unk>" if "<unk>" in kind.control else None,
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = LAYOUTS[kind.layout].jinja
    return wrapped


def _byte_level(kind: _Kind, texts: Iterable[str], learned: int) -> "Tokenizer":
    """Byte-level BPE; control tokens stand after the learned ones, as in the published vocabularies."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(str(kind.split)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=learned, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    _finish(tokenizer, kind)
    return tokenizer


def _sentencepiece_style(kind: _Kind, texts: Iterable[str], learned: int) -> "Tokenizer":
    """BPE over characters with byte fallback: control tokens, the 256 bytes, then what was learned."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    # Pieces cross neither words nor scripts, as SentencePiece trains them.
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_METASPACE, prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(_METASPACE + r"?\p{L}+|\p{N}|[^\s\p{L}\p{N}]"), behavior="isolated"),
        ]
    )
    lines = list(_lines(texts))
    trainer = trainers.BpeTrainer(
        vocab_size=learned - _BYTES,
        initial_alphabet=_alphabet(lines),
        limit_alphabet=_ALPHABET,
        show_progress=False,
    )
    trained.train_from_iterator(lines, trainer)
    pieces = [piece for piece, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])]
    vocabulary = list(kind.control) + [f"<0x{byte:02X}>" for byte in range(_BYTES)] + pieces
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(
        models.BPE(vocab=ids, merges=_all_merges(pieces), byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_METASPACE, prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_METASPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    _finish(tokenizer, kind)
    return tokenizer


def _all_merges(pieces: list[str]) -> list[tuple[str, str]]:
    """Every way to make each piece of two others, in the pieces' order.

    SentencePiece merges any two neighbours whose union is a piece, best piece first; listing all ways makes
    the BPE do the same.
    """
    known = set(pieces)
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


def _alphabet(lines: list[str]) -> list[str]:
    """Return the most frequent characters; of equally frequent ones the lower code points.

    The trainer alone would choose among equally frequent ones by the order of a hash table, anew in each run.
    """
    counts = Counter(sign for line in lines for sign in line if sign not in (" ", _METASPACE))
    return [_METASPACE, *sorted(counts, key=lambda sign: (-counts[sign], sign))[: _ALPHABET - 1]]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Cut texts into lines: a newline is never part of a piece, it falls back to its byte."""
    for text in texts:
        yield from text.splitlines()


def _finish(tokenizer: "Tokenizer", kind: _Kind) -> None:
    """Add the control tokens and, where the family does so, the BOS that the post-processor writes."""
    from tokenizers import AddedToken, processors

    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in kind.control])
    if kind.bos is not None and kind.bos_by_post_processor:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{kind.bos} $A",
            pair=f"{kind.bos} $A {kind.bos} $B",
            special_tokens=[(kind.bos, tokenizer.token_to_id(kind.bos))],
        )
