"""Both kinds of tokenizers: what goes in comes out, byte for byte the same each time."""

from pathlib import Path
from typing import get_args

import pytest

from finetrail.errors import FinetrailError
from finetrail.tiny.tiny_settings import Architecture
from finetrail.tiny.tiny_tokenizer import train_tokenizer

pytestmark = pytest.mark.heavy

ARCHITECTURES = get_args(Architecture)
HARD = [
    "plain words",
    "Größe, naïve café — 100 %",
    "two\nlines\n\n\tand a tab",
    "emoji 🦜🏽 and 漢字",
    "1234567 a  b   c",
    "don't",
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("text", HARD)
def test_text_comes_back(architecture: Architecture, text: str, texts: list[str]) -> None:
    tokenizer = train_tokenizer(architecture, texts, vocabulary_size=512, context=256)
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"] or tokenizer.unk_token_id is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_bytes_and_it_loads(architecture: Architecture, texts: list[str], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    saved = []
    for name in ("one", "two"):
        tokenizer = train_tokenizer(architecture, texts, vocabulary_size=512, context=256)
        tokenizer.save_pretrained(tmp_path / name)
        saved.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert saved[0] == saved[1]
    loaded = AutoTokenizer.from_pretrained(tmp_path / "one")
    messages = [{"role": "user", "content": "Hi there 🦜"}]
    assert loaded.apply_chat_template(messages, return_dict=False) == tokenizer.apply_chat_template(
        messages, return_dict=False
    )
    assert len(loaded) <= 512


@pytest.mark.parametrize(("architecture", "bos"), [("llama", 1), ("mistral", 1), ("qwen2", 0), ("qwen3", 0)])
def test_bos_once_and_pad_is_not_eos(architecture: Architecture, bos: int, texts: list[str]) -> None:
    tokenizer = train_tokenizer(architecture, texts, vocabulary_size=512, context=256)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id, tokenizer.bos_token_id)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_dict=False)
    for ids in (tokenizer("Hi")["input_ids"], chat):
        assert (ids.count(tokenizer.bos_token_id) if tokenizer.bos_token else 0) == bos


def test_newlines_and_rare_letters_fall_back_to_bytes(texts: list[str]) -> None:
    tokenizer = train_tokenizer("mistral", texts, vocabulary_size=512, context=256)
    assert "<0x0A>" in tokenizer.tokenize("a\nb", add_special_tokens=False)
    assert [token[:3] for token in tokenizer.tokenize("漢", add_special_tokens=False)][-3:] == ["<0x"] * 3


def test_too_small_a_vocabulary_is_refused(texts: list[str]) -> None:
    with pytest.raises(FinetrailError, match="cannot hold"):
        train_tokenizer("llama", texts, vocabulary_size=200, context=256)


def test_letters_as_rare_as_each_other_are_kept_in_the_order_of_unicode() -> None:
    """The trainer breaks such ties anew in each run: a base of a real language would differ from itself."""
    rare = [chr(0x4E00 + number) for number in range(300)]
    texts = ["plain words", *rare]
    kept = []
    for order in (texts, texts[::-1]):
        vocabulary = train_tokenizer("mistral", order, vocabulary_size=512, context=256).get_vocab()
        kept.append([sign for sign in rare if sign in vocabulary])
    assert kept == [rare[: 200 - len({*"▁plainwords"})]] * 2
