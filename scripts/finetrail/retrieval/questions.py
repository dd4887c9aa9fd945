"""What was found for a question whose supporting facts are known: its gold passages beside the retrieved ones."""

from collections.abc import Iterable

from finetrail.chat.bundles import Shown, cite
from finetrail.errors import FinetrailError
from finetrail.examples.curriculum import Question
from finetrail.retrieval.passage_file import PassageFile
from finetrail.rows.records import Row

NEGATIVES = 50
"""Candidates among which hard negatives are looked for: the best by retrieval."""


class Pages:
    """Finds the passages that supporting facts name: by the question's own pages, else by the title in the corpus."""

    def __init__(self, passages: Iterable[Row]) -> None:
        self._of: dict[str, list[str]] = {}
        self._titled: dict[str, str] = {}
        for passage in passages:
            page: str = passage.get("page") or passage["id"]
            self._of.setdefault(page, []).append(passage["id"])
            self._titled.setdefault(passage["title"], page)

    def passages(self, context: Iterable[str], titles: Iterable[str]) -> list[str]:
        """Return the ids of the passages of pages, and of the first page of each title."""
        named = [*context, *(self._titled[title] for title in titles if title in self._titled)]
        return [name for page in dict.fromkeys(named) for name in self._of.get(page, ())]


def question_of(row: Row, pages: Pages, texts: PassageFile) -> Question:
    """Gather what was found for a record.

    Raises:
        FinetrailError: the record has no supporting facts.
    """
    if "hops" not in row:
        raise FinetrailError("the record has no supporting facts", where=row["id"], hint="`kind: bundles` needs them")
    facts = [(str(title), int(sentence)) for title, sentence in row["hops"]["supporting_facts"]]
    titles = list(dict.fromkeys(title for title, _ in facts))
    own = [texts[name] for name in pages.passages(row["hops"]["context"], titles)]
    gold = [passage for passage in own if cite([Shown.of(passage)], facts)]
    gold.sort(key=lambda passage: titles.index(passage["title"]))
    return Question(
        row_id=row["id"],
        answer=row["answer"],
        facts=facts,
        gold=gold,
        retrieved=[texts[candidate["passage_id"]] for candidate in row["candidates"][:NEGATIVES]],
        ranked=[texts[chunk["passage_id"]] for chunk in row.get("chunks", ())],
    )
