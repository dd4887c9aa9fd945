"""Write about test images by a model or a baseline, and measure how much the right image helps.

Models: a tuned one; `base`, the untuned language model, which sees the text of the prompt alone; `frequent`, the
commonest train text; `nearest`, the text of the train image whose latent is nearest; `class_name`, what the classifier
names the image. The class in a prompt is always the classifier's, never the record's. Beside each text stand the nats
of the reference behind the right image and behind those of other cases; of `base` behind a prefix that nobody trained.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finetrail.examples.picture_tasks import SHOWN_IMAGES
from finetrail.examples.swapped_images import swapped_rows
from finetrail.rows.artifacts import check_manifest
from finetrail.rows.records import Row, read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("predict.texts", "predict.max_answer_tokens", "limits", "source.images", "vision.classes")
ENVIRONMENT = "train"

BASELINES = ("frequent", "nearest", "class_name")


def sampled(rows: Sequence[Row], most: int | None) -> list[Row]:
    """Return the rows about images, or so many of them, evenly from all over the file."""
    shown = [row for row in rows if row["kind"] in SHOWN_IMAGES]
    if most is None or most >= len(shown):
        return shown
    return [shown[place * len(shown) // most] for place in range(most)]


def baseline(name: str, train: Sequence[Row], describer: Any, classes: dict[str, str]) -> Callable[[Row], str]:
    """Return the function that writes a baseline's text."""
    of_kind = {kind: [row for row in train if row["kind"] == kind] for kind in SHOWN_IMAGES}
    if name == "frequent":
        counted = {kind: Counter(row["answer"] for row in rows) for kind, rows in of_kind.items()}
        most = {kind: min(found, key=lambda text: (-found[text], text)) for kind, found in counted.items() if found}
        return lambda row: most.get(row["kind"], "")
    if name == "class_name":
        return lambda row: f"The chart shows {classes[describer.look(row)[1]]}."
    import torch

    def latent(row: Row) -> torch.Tensor:
        with torch.inference_mode():
            made: torch.Tensor = describer.eyes.encoder(describer.look(row)[0])[0]
        unit: torch.Tensor = made / made.norm()
        return unit

    latents = {kind: torch.stack([latent(row) for row in rows]) for kind, rows in of_kind.items() if rows}

    def nearest(row: Row) -> str:
        if row["kind"] not in latents:
            return ""
        likeness = (latents[row["kind"]] @ latent(row)).round(decimals=6)
        return str(of_kind[row["kind"]][int(likeness.argmax())]["answer"])

    return nearest


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one prediction a test row that shows an image."""
    from finetrail.models.control_tokens import SetAside
    from finetrail.models.model_folder import read_tokenizer
    from finetrail.training.prefix.describe import Decoding, Describer
    from finetrail.training.prefix.image_prefix import load_for_answers
    from finetrail.vision.image_encoder import load_eyes

    for manifest in [args.base, args.vision, *args.adapter]:
        check_manifest(manifest.parent, manifest)
    predict, vision = step.settings["predict"], step.settings["vision"]
    rows = sampled(list(read_rows(args.test)), predict["texts"]["samples"])
    eyes = load_eyes(args.vision.parent)
    folder: Path | None = args.adapter[0].parent if args.adapter else None
    tuned = args.model not in ("base", *BASELINES)
    model = load_for_answers(args.base.parent, eyes, folder if tuned else None, args.image_tokens)
    describer = Describer(
        model,
        read_tokenizer(args.base.parent),
        eyes,
        step.settings["source"]["images"],
        step.settings["limits"]["max_length"],
        blind=not tuned,
    )
    texts = predict["texts"]
    decoding = Decoding(
        predict["max_answer_tokens"], texts["beams"], texts["no_repeat_ngram"], texts["repetition_penalty"]
    )
    simple = None
    if args.model in BASELINES:
        simple = baseline(args.model, list(read_rows(args.train)), describer, vision["classes"])
    out = step.writer(args.out)
    agreed, aside = 0, SetAside()
    for row in step.progress("rows").over(rows):
        name = describer.look(row)[1]
        text = simple(row) if simple is not None else ""
        measured: dict[str, Any] = {}
        if simple is None:
            with aside.unfit(row["id"]):
                text = describer.write(row, decoding)
                nats, tokens = describer.nats(row, row)
                others = swapped_rows(row, rows)
                swapped = [{"id": other["id"], "nats": describer.nats(row, other)[0]} for other in others]
                measured = {"loss": {"nats": nats, "tokens": tokens}, "swapped": swapped}
        agreed += name == row["task"]["cond_name"]
        made: dict[str, Any] = {
            **{key: row[key] for key in ("id", "parents", "record_id", "group", "kind")},
            "answer": text,
            "reference": row["answer"],
            "rests_on": row["task"]["rests_on"],
            "class": name,
            "image": row["image"],
        }
        if row["id"] in aside.reasons:
            measured = {"set_aside": aside.reasons[row["id"]]}
        out.write(made | measured)
    aside.check(len(rows))
    step.facts["set_aside"] = len(aside.reasons)
    step.facts["classifier_agrees"] = {"rows": len(rows), "agree": agreed}
    step.count(rows_in=len(rows), kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--train", "the fold's train.jsonl")
    add_input(parser, "--test", "the fold's test.jsonl")
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(parser, "--vision", "manifest.json of encoder and classifier")
    add_input(
        parser,
        "--adapter",
        "manifest.json of the tuned model; none of baselines",
        nargs="*",
        default=[],
        required=False,
    )
    parser.add_argument("--model", required=True, help="a tuned model's name, base, frequent, nearest or class_name")
    parser.add_argument("--image-tokens", type=int, default=4, help="soft tokens of an image")
    add_output(parser, "--out", "predictions")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
