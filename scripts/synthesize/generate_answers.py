"""Write several versions of each train record's answer, from the passages that were judged relevant.

A record without a relevant passage gets no version: it can only become a refusal. Versions of a record that say the
same are counted; they share one call to the judge, whose requests are equal.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.chat.conversations import Conversations
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import GROUNDED_ANSWER
from finetrail.retrieval.passage_file import PassageFile
from finetrail.rows.records import Row, content_id, derive_seed, read_rows
from finetrail.step.step import Step, add_input, add_output
from finetrail.text.chunks import sentence_spans
from finetrail.text.equal import normalise
from finetrail.vision.row_images import images_of

SETTINGS = ("synthesize.turns", "synthesize.versions", "source.images")
ASKS = "synthesize.teacher"
PROMPT = "generate_answers"

ENDS = ".!?\u2026\"')]\u201d\u3002"


def relevant_chunks(row: Row) -> list[Row]:
    """Return the chunks of a labelled row that were judged relevant, best first."""
    pairs = zip(row["chunks"], row["labels"], strict=True)
    return [chunk for chunk, label in pairs if label["relevant"]]


def mended(answer: str, finish_reason: str) -> tuple[str, str | None]:
    """Give a version that was cut at its greatest length its last whole sentence as its end.

    Returns:
        The answer, and None, ``mended``, or ``broken`` where not one sentence is whole: it is dropped in the end.
    """
    if finish_reason != "length":
        return answer, None
    ends = [end for _, end in sentence_spans(answer, 0, len(answer)) if answer[end - 1] in ENDS]
    return (answer[: ends[-1]], "mended") if ends else (answer, "broken")


class Repeats:
    """Counts versions that say what an earlier version of their record says."""

    def __init__(self) -> None:
        self.count = 0
        self._record = ""
        self._seen: set[str] = set()

    def note(self, record: str, answer: str) -> bool:
        """Say whether the record, whose versions come one after another, had this answer before."""
        if record != self._record:
            self._record, self._seen = record, set()
        said = normalise(answer)
        is_repeated = said in self._seen
        self.count += is_repeated
        self._seen.add(said)
        return is_repeated


def version_rows(rows: Iterable[Row], versions: int) -> Iterator[Row]:
    """Yield each record once a version: one that fails is set aside alone."""
    for row in rows:
        for version in range(versions if relevant_chunks(row) else 1):
            yield row | {"version": version}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row an answer version."""
    settings = step.settings["synthesize"]
    folder: str | None = step.settings["source"]["images"]
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()
    conversations = Conversations(read_rows(args.records))
    kinds: Counter[str] = Counter()

    def wanted() -> Iterator[Row]:
        for row in step.rows(args.rows):
            kinds[conversations.turns(row)] += 1
            if conversations.takes(row, settings["turns"]):
                yield row

    with PassageFile(args.passages) as passages, open_engine(step) as engine:

        def requests(row: Row) -> list[ChatRequest]:
            evidence = [passages.evidence(chunk) for chunk in relevant_chunks(row)]
            if not evidence:
                return []
            messages = render(
                images=images_of(row, folder), question=row["question"], history=row["history"], passages=evidence
            )
            seed = derive_seed(row["id"], step.rule)
            return [
                model.request(row["id"], step.rule, messages, GROUNDED_ANSWER, sample=row["version"], seed=seed),
            ]

        out = step.writer(args.out)
        without, repeats = 0, Repeats()
        for row, answers in ask_rows(step, engine, version_rows(wanted(), settings["versions"]), requests):
            without += not answers
            spans = [{key: chunk[key] for key in ("passage_id", "start", "end")} for chunk in relevant_chunks(row)]
            for answer in answers:
                said, cut = mended(answer.parsed["answer"].strip(), answer.finish_reason)
                out.write(
                    {
                        "id": content_id("answer", row["id"], str(row["version"]), answer.key, answer.answer_sha256),
                        "parents": [row["id"]],
                        "record_id": row["id"],
                        "turns": conversations.turns(row),
                        "version": row["version"],
                        "answer": said,
                        "repeats": repeats.note(row["id"], said),
                        "finish_reason": answer.finish_reason,
                        "cut": cut,
                        "passages": spans,
                        "calls": [answer.key],
                        "answer_sha256": answer.answer_sha256,
                    }
                )
    step.facts["answers"] = {
        "versions": out.count,
        "repeated_versions": repeats.count,
        "records_without_relevant_passage": without,
    }
    step.facts["records"] = {f"{kind}_turn": kinds[kind] for kind in ("single", "multi")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "relevant.jsonl")
    add_input(parser, "--records", "records.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "answers.jsonl")
    return run_asking_step(parser, argv, __file__, work, key="record_id")


if __name__ == "__main__":
    sys.exit(main())
