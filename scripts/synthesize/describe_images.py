"""Let a multimodal teacher write the first three sentences about each image: two of what is seen, one of what it means.

It sees the image and the name of what it shows, never the text that goes with it. What is not exactly one sentence
sets the image aside. Images that have a caption already are passed by; dev and test images are described too, for the
tasks that only a teacher has answers to.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.calls.paying_step import asking_parser, check_quarantine, run_asking_step
from finetrail.errors import FinetrailError
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import IMAGE_SENTENCES
from finetrail.rows.records import Row, content_id, derive_seed
from finetrail.step.step import Step, add_input, add_output
from finetrail.text.sentences import sentences
from finetrail.vision.image import Image
from finetrail.vision.rgb import as_rgb

SETTINGS = ("vision.classes", "source.images")
ASKS = "synthesize.teacher"
PROMPT = "describe_images"

FIELDS = ("visual_1", "visual_2", "physical")


def images_of(record: Row) -> Iterator[Row]:
    """Yield a row for each image of a record that has no caption yet."""
    for image in record["case"]["images"]:
        if image["caption"] is None:
            row_id = content_id("image", record["id"], image["path"])
            yield {"id": row_id, "record_id": record["id"], "image": image}


def still(image: Row, folder: Path, frames: Path) -> Image:
    """Return the image as endpoints take it: of an animated one its first frame."""
    path = folder / image["path"]
    if image["frames"] == 1:
        return Image(image["sha256"], path)
    from PIL import Image as Picture

    target = frames / f"{image['sha256']}.png"
    with Picture.open(path) as opened:
        opened.seek(0)
        as_rgb(opened).save(target)
    return Image.from_file(target)


def meaning_of(classes: dict[str, str], row: Row) -> str:
    """Return what the images of a class show.

    Raises:
        FinetrailError: the recipe has no such class.
    """
    name = row["image"]["cond_name"]
    if name not in classes:
        raise FinetrailError(
            f"the image {row['image']['path']} is of the class {name}, which vision.classes does not name",
            where=row["record_id"],
            hint=f"Add it; there are: {', '.join(classes)}",
        )
    return classes[name]


def fault_of(sentence: str) -> str | None:
    """Say what is wrong with what should be one sentence."""
    count = len(sentences(sentence))
    return None if count == 1 and sentence.rstrip("\"')").endswith((".", "!", "?")) else f"has {count} sentences, not 1"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row an image with its three sentences."""
    classes, folder = step.settings["vision"]["classes"], step.settings["source"]["images"]
    if folder is None:
        raise FinetrailError("no images folder is configured", where="source.images", hint="Name it")
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()
    out = step.writer(args.out, may_be_empty=True)
    with tempfile.TemporaryDirectory() as frames, open_engine(step) as engine:

        def rows() -> Iterator[Row]:
            for record in step.rows(args.rows):
                yield from images_of(record)

        def requests(row: Row) -> list[ChatRequest]:
            name, meaning = row["image"]["cond_name"], meaning_of(classes, row)
            shown = still(row["image"], Path(folder), Path(frames))
            messages = render(images=[shown], name=name, meaning=meaning)
            seed = derive_seed(row["id"], step.rule)
            return [model.request(row["id"], step.rule, messages, IMAGE_SENTENCES, seed=seed)]

        faulty: list[Row] = []
        for row, (answer,) in ask_rows(step, engine, rows(), requests):
            told = [" ".join(answer.parsed[field].split()) for field in FIELDS]
            faults = [f"{field} {fault}" for field, text in zip(FIELDS, told, strict=True) if (fault := fault_of(text))]
            if faults:
                faulty.append({"id": row["id"], "error": "; ".join(faults), "row": row, "answer": answer.text})
                continue
            out.write({**row, "sentences": told, "calls": [answer.key], "answer_sha256": answer.answer_sha256})
    if faulty:  # set aside what came back in another form than was asked for, and record the balance anew
        failed = step.counts["quarantined"] + step.quarantine(faulty)
        check_quarantine(step, step.counts["in"], failed, f"{faulty[0]['id']}: {faulty[0]['error']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_output(parser, "--out", "descriptions.jsonl")
    return run_asking_step(parser, argv, __file__, work, key="record_id")


if __name__ == "__main__":
    sys.exit(main())
