"""Write a Hugging Face tokenizer as a GGUF vocabulary: byte-level BPE, and SentencePiece-style BPE.

llama.cpp has the tokenizers' rules in its own code and reads only the vocabulary, a name for the rule that
cuts text into words, and what is written at the start. So each rule is recognised, or refused by name.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.model_folder import read_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

# llama.cpp's token types (gguf.TokenType).
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_OTHERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Published expressions that cut text into words -> llama.cpp's name of them.
SPLITS = {
    _CONTRACTIONS + r"\p{N}{1,3}" + _OTHERS: "llama-bpe",
    _CONTRACTIONS + r"\p{N}" + _OTHERS: "qwen2",
}
_METASPACE = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """A GGUF vocabulary; ``merges`` for byte-level BPE, ``scores`` for the SentencePiece style.

    ``add_space_prefix``: llama.cpp puts a space before every text that follows a control token.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    add_space_prefix: bool
    special: dict[str, int]
    add_bos: bool
    add_eos: bool
    chat_template: str | None


def read_vocabulary(model_dir: Path, size: int) -> Vocabulary:
    """Read the tokenizer as the transformers library loads it, which is how the model met it in training.

    (For some models the library builds its own rules around the vocabulary of ``tokenizer.json``.)

    Args:
        model_dir: the model's folder.
        size: rows of the embedding; ids without a token become unused ones.

    Raises:
        FinetrailError: a tokenizer, pre-tokenizer, normalizer or added token that llama.cpp would treat
            otherwise, or more tokens than embeddings.
    """
    where = str(model_dir / "tokenizer.json")
    if not (model_dir / "tokenizer.json").is_file():
        raise FinetrailError("there is no tokenizer.json", where=str(model_dir), hint="Save a fast tokenizer there")
    tokenizer = read_tokenizer(model_dir)
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    model = stored["model"]
    if model["type"] != "BPE":
        raise FinetrailError(f"the tokenizer model {model['type']!r} is not known", where=where, hint="Known is BPE")
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    tokens, types = _tokens(stored, size, where)
    if model.get("byte_fallback"):
        kind, pre, prefix = "llama", "default", _space_prefix(stored, where)
        scores = _scores(tokens, merges, {item["content"] for item in stored["added_tokens"]}, where)
    else:
        kind, pre, prefix, scores = "gpt2", _split_name(stored, where), False, []
    add_bos, add_eos = _added_ends(tokenizer, where)
    return Vocabulary(
        model=kind,
        pre=pre,
        tokens=tokens,
        types=types,
        merges=[] if scores else [f"{left} {right}" for left, right in merges],
        scores=scores,
        add_space_prefix=prefix,
        special=_special_ids(tokenizer),
        add_bos=add_bos,
        add_eos=add_eos,
        chat_template=tokenizer.chat_template,
    )


def add_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary) -> None:
    """Write a vocabulary as GGUF metadata."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.add_space_prefix)
    else:
        writer.add_token_merges(vocabulary.merges)
    for role, number in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", number)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _tokens(stored: dict[str, Any], size: int, where: str) -> tuple[list[str], list[int]]:
    """List every id's token and type."""
    fallback = bool(stored["model"].get("byte_fallback"))
    unknown = stored["model"].get("unk_token")
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [_UNUSED] * size
    added = {item["id"]: item for item in stored["added_tokens"]}
    known = {number: token for token, number in stored["model"]["vocab"].items()}
    known |= {number: item["content"] for number, item in added.items()}
    if max(known) >= size:
        raise FinetrailError(f"the tokenizer has ids up to {max(known)}, the model {size} embeddings", where=where)
    for number, token in known.items():
        tokens[number], types[number] = token, _NORMAL
        if fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[number] = _BYTE
    for number, item in added.items():
        odd = [flag for flag in ("lstrip", "rstrip", "single_word") if item.get(flag)]
        if odd:
            raise FinetrailError(f"the added token {item['content']!r} has {odd[0]}, which is not known", where=where)
        types[number] = _CONTROL if item["special"] else _USER_DEFINED
        if item["content"] == unknown:
            types[number] = _UNKNOWN
    return tokens, types


def _steps(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """Flatten a sequence of normalizers or pre-tokenizers."""
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _split_name(stored: dict[str, Any], where: str) -> str:
    """Name llama.cpp's pre-tokenizer for a byte-level BPE."""
    normalizers = [step["type"] for step in _steps(stored["normalizer"], "normalizers")]
    if normalizers not in ([], ["NFC"]):
        raise FinetrailError(f"the normalizers {normalizers} are not known with byte-level BPE", where=where)
    steps = _steps(stored["pre_tokenizer"], "pretokenizers")
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True) and not steps[0]["add_prefix_space"]:
        return "gpt-2"
    plain = kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex", True)
    if not plain or steps[1]["add_prefix_space"] or steps[0]["behavior"] != "Isolated" or steps[0]["invert"]:
        raise FinetrailError(
            f"the pre-tokenizer {kinds} is not known",
            where=where,
            hint="Known are a published Split before ByteLevel(use_regex=False), and ByteLevel alone",
        )
    expression = steps[0]["pattern"].get("Regex", "")
    if expression not in SPLITS:
        raise FinetrailError(
            f"the pre-tokenizer's regular expression is not known: {expression}",
            where=where,
            hint=f"Known are those of {', '.join(SPLITS.values())}",
        )
    return SPLITS[expression]


def _space_prefix(stored: dict[str, Any], where: str) -> bool:
    """Tell whether every text gets a space in front (Llama 2), or only one that starts a prompt.

    ``first`` counts as no: chat prompts start with a control token, so no text of theirs stands at the start.
    """
    normalizers = _steps(stored["normalizer"], "normalizers")
    steps = _steps(stored["pre_tokenizer"], "pretokenizers")
    kinds = [step["type"] for step in (*normalizers, *steps)]
    if kinds == ["Prepend", "Replace"] and normalizers[0]["prepend"] == _METASPACE:
        return True
    if kinds == ["Metaspace"] and not steps[0]["split"] and steps[0]["replacement"] == _METASPACE:
        scheme = steps[0]["prepend_scheme"]
        if scheme in ("first", "never"):
            return False
        kinds = [f"Metaspace(prepend_scheme={scheme})"]
    raise FinetrailError(
        f"the normalizer and pre-tokenizer {kinds} are not known with byte fallback",
        where=where,
        hint="Known are Prepend and Replace, and Metaspace(split=False) with the scheme first or never",
    )


def _scores(tokens: list[str], merges: list[tuple[str, ...]], added: set[str], where: str) -> list[float]:
    """Give each piece a score, best first in the order of the merges.

    llama.cpp joins the two neighbours whose union scores best, whatever the two are. That is the same as the
    merges only if these list every way to make a piece, piece by piece, as SentencePiece's do.
    """
    rank: dict[str, int] = {}
    for left, right in merges:
        rank.setdefault(left + right, len(rank))
    order = [rank[left + right] for left, right in merges]
    listed = set(merges)
    known = set(tokens) - added
    unlisted = (
        piece
        for piece in tokens
        if piece in known and not piece.startswith(("<0x", "[PAD"))
        if any(
            piece[:cut] in known and piece[cut:] in known and (piece[:cut], piece[cut:]) not in listed
            for cut in range(1, len(piece))
        )
    )
    broken = next(unlisted, None)
    if broken is not None or order != sorted(order):
        what = f"not every way to make {broken!r} is listed" if broken else "they are not listed piece by piece"
        raise FinetrailError(f"the merges are not SentencePiece's: {what}", where=where)
    last = len(rank)
    return [-float(rank.get(token, last)) if token in known else 0.0 for token in tokens]


def _special_ids(tokenizer: Any) -> dict[str, int]:
    roles = {
        "bos": "bos_token_id",
        "eos": "eos_token_id",
        "unknown": "unk_token_id",
        "padding": "pad_token_id",
    }
    ids = {role: getattr(tokenizer, name) for role, name in roles.items()}
    return {role: int(number) for role, number in ids.items() if number is not None}


def _added_ends(tokenizer: Any, where: str) -> tuple[bool, bool]:
    """Ask the tokenizer what it writes around a text: BOS, EOS, or something that GGUF cannot say."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    before = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    after = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    if full == plain:
        return False, False
    for bos, eos in ((True, False), (False, True), (True, True)):
        if full == (before if bos else []) + plain + (after if eos else []):
            return bos, eos
    raise FinetrailError("the tokenizer's post-processor writes more than BOS and EOS", where=where)
