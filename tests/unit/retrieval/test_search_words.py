"""Words in every script: English as ever, marks with their letters, pairs of characters where there are no spaces."""

import re
import time
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.postings import Corpus, count_words
from finetrail.retrieval.search_words import asked_words, words
from finetrail.retrieval.tfidf import TfidfIndex

JAPANESE = {
    "harbour": "港湾局は午前七時に開きます。船が六メートルを超える場合は許可証が必要です。",
    "dogs": "犬は北の桟橋だけで散歩できます。盲導犬は例外です。",
    "fees": "係留料は一週間あたり四十クローネで、現金では払えません。",
    "storm": "台風が近づくと、港長は桟橋を閉鎖し、赤い旗を掲げます。",
    "fish": "魚市場は火曜日と金曜日に開かれ、カタカナの看板が目印です。",
    "english": "The harbour office (港湾局) opens at seven in the morning and closes at nine.",
}
HINDI = {
    "harbour": "बंदरगाह का कार्यालय सुबह सात बजे खुलता है और नौ बजे बंद होता है।",
    "dogs": "कुत्तों को केवल उत्तरी घाट पर घुमाया जा सकता है।",
    "fees": "नाव बाँधने का शुल्क प्रति सप्ताह चालीस रुपये है।",
    "storm": "तूफ़ान आने पर बंदरगाह का अधिकारी घाट बंद कर देता है।",
    "fish": "मछली बाज़ार मंगलवार और शुक्रवार को लगता है।",
}
ASKED = {
    "ja": {
        "港湾局は何時に開きますか": "harbour", "盲導犬": "dogs", "係留料はいくら": "fees", "台風のとき": "storm",
        "ｶﾀｶﾅ": "fish",
    },
    "hi": {
        "कार्यालय कब खुलता है": "harbour", "कुत्तों का घाट": "dogs", "शुल्क कितना": "fees",
        "तूफ़ान": "storm", "बाज़ार किस दिन": "fish",
    },
}  # fmt: skip


def rows(texts: dict[str, str]) -> list[dict[str, str]]:
    return [{"id": name, "title": "", "text": text} for name, text in texts.items()]


def best(texts: dict[str, str], queries: Sequence[str], backend: str) -> list[list[str]]:
    corpus = Corpus([count_words(rows(texts))])
    index = BM25Index(corpus, k1=0.9, b=0.4) if backend == "bm25" else TfidfIndex(corpus)
    return [[hit.passage_id for hit in hits] for hits in index.search(queries, 3)]


@pytest.mark.parametrize("backend", ["bm25", "tfidf"])
@pytest.mark.parametrize(("language", "texts"), [("ja", JAPANESE), ("hi", HINDI)])
def test_questions_find_what_they_should(backend: str, language: str, texts: dict[str, str]) -> None:
    found = best(texts, list(ASKED[language]), backend)
    assert [names[0] for names in found] == list(ASKED[language].values())


def test_a_japanese_name_is_found_in_english_and_in_japanese_texts() -> None:
    assert {*best(JAPANESE, ["港湾局"], "bm25")[0]} == {"harbour", "english"}
    assert "harbour" in best(JAPANESE, ["What is the 港湾局?"], "bm25")[0]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("東京港", ["東京", "京港"]), ("港", ["港"]), ("AI技術と\uff21\uff29", ["ai", "技術", "術と", "ai"]),
        ("हिन्दी में", ["हिन्दी", "में"]), ("தமிழ் மொழி", ["தமிழ்", "மொழி"]), ("ท่าเรือ", ["ท่า", "าเ", "เรื", "รือ"]),
        ("ສະບາຍ", ["ສະ", "ະບ", "ບາ", "າຍ"]), ("ភាសាខ្មែរ", ["ភាសា", "សាខ្", "ខ្មែ", "មែរ"]),
        ("မြန်မာ 12", ["မြန်", "န်မာ", "12"]),
        ("한국어 단어", ["한국어", "단어"]), ("שָׁלוֹם", ["שָׁלוֹם"]), ("Москва й", ["москва", "й"]), ("مدرّسة", ["مدرّسة"]),
    ],
)  # fmt: skip
def test_words_of_other_scripts(text: str, cut: list[str]) -> None:
    assert words(text) == [unicodedata.normalize("NFC", word) for word in cut]


def test_accents_that_stand_for_themselves_are_those_that_do_not() -> None:
    text = "Le café naïf de Zürich, İstanbul"
    assert words(unicodedata.normalize("NFD", text)) == words(text)
    assert words("İstanbul") == ["istanbul"]


ENGLISH = "abcXYZ 019_-.,'\u2019\u201c\u00e9\u00df\u0153\u20ac\u2014\u00b2\U0001f600\ufe0f\u20e3\n"


@given(st.text(alphabet=ENGLISH, max_size=60))
def test_english_is_cut_as_it_always_was(text: str) -> None:
    assert words(text) == asked_words(text) == re.findall(r"\w+", text.lower())


def test_a_mostly_english_text_keeps_its_words_whatever_names_it_holds() -> None:
    text = "The band 義烈空挺隊 and the play राष्ट्रिय were known in Paris and London."
    assert words(text) == re.findall(r"\w+", text.lower())


def test_long_texts_are_cut_in_linear_time() -> None:
    for text in ("港" * 200_000, "ก" + "\u0e34" * 200_000, "a\u0301" * 200_000, "ह\u094d" * 200_000):
        started = time.process_time()
        assert words(text)
        assert time.process_time() - started < 10
