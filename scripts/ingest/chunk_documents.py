"""Cut documents into chunks; each chunk's text is `text[start:end]` of its document, to the last character."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetrail.documents.chunking import Characters, Chunk, Measure, Tokens, chunk, headings_over, page_of, token_starts
from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, content_id
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("documents.unit", "documents.chunk_size", "documents.overlap", "documents.tokenizer")
ENVIRONMENT = "data"


def measure_of(settings: Mapping[str, Any]) -> Callable[[str], Measure]:
    """Return what measures a text: in characters, or in tokens of the named tokenizer.

    Raises:
        FinetrailError: the tokenizer cannot be loaded.
    """
    if settings["unit"] == "characters":
        return lambda text: Characters()
    named = settings["tokenizer"]
    from tokenizers import Tokenizer

    place = named["path"] or f"{named['hub']} at {named['revision']}"
    try:
        if named["path"]:
            tokenizer = Tokenizer.from_file(named["path"])
        else:
            tokenizer = Tokenizer.from_pretrained(named["hub"], revision=named["revision"])
    except Exception as error:  # the library raises nothing narrower
        raise FinetrailError(f"the tokenizer cannot be loaded: {error}", where=place) from error
    tokenizer.no_truncation()

    def offsets(text: str) -> Sequence[tuple[int, int]]:
        spans: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    return lambda text: Tokens(token_starts(offsets, text))


def row_of(document: Row, span: Chunk, number: int, copy: int, length: int) -> Row:
    """Make a chunk's row; its id is that of its words, so that an edit elsewhere in the document does not change it."""
    text = document["text"][span.start : span.end]
    return {
        "id": content_id("chunk", document["id"], text, str(copy)),
        "parents": [document["id"]],
        "document": document["id"],
        "file": document["file"],
        "document_text": document["text_sha256"],
        "title": document["title"],
        "number": number,
        "headings": headings_over(document, span),
        "page": page_of(document, span),
        "start": span.start,
        "end": span.end,
        "length": length,
        "text": text,
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the chunks of each document."""
    settings = step.settings["documents"]
    measure = measure_of(settings)
    out = step.writer(args.out)
    documents = 0
    for document in step.rows(args.rows, "documents"):
        documents += 1
        text = measure(document["text"])
        copies: Counter[str] = Counter()
        for number, span in enumerate(chunk(document, settings["chunk_size"], settings["overlap"], text)):
            words = document["text"][span.start : span.end]
            out.write(row_of(document, span, number, copies[words], text.size(*span)))
            copies[words] += 1
    step.count(rows_in=out.count, kept=out.count)
    step.facts["documents"] = {"documents": documents, "chunks": out.count}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "documents.jsonl")
    add_output(parser, "--out", "chunks.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
