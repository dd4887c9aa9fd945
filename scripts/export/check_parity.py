"""The parity gate: the exported file must answer like the trained model, in llama.cpp, or there is no Modelfile."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.export.gguf_writer import convert_to_gguf
from finetrail.export.ollama_folder import fitting, modelfile_for, parity_conversations, parity_rows
from finetrail.export.parity import check_parity
from finetrail.models.base_model import BaseModel
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("export", "limits.max_length", "folds.system_prompt", "predict.max_answer_tokens")
ENVIRONMENT = "export"


def conversations_of(step: Step, args: argparse.Namespace, model: BaseModel) -> list[list[dict[str, str]]]:
    """Choose test rows, and lay them out as the model is asked them."""
    most: int = step.settings["limits"]["max_length"]
    rows = [
        fitting(row, lambda text: len(model.tokenizer(text)["input_ids"]), most)
        for row in parity_rows(read_rows(args.test))
    ]
    return parity_conversations(rows, step.settings["folds"]["system_prompt"])


def compared(step: Step, args: argparse.Namespace, model: BaseModel) -> dict[str, Any]:
    """Compare the unquantized file, and the file that ships where it is another one."""
    settings, conversations = step.settings["export"], conversations_of(step, args, model)
    bounds = {"max_difference": settings["parity_bound"], "max_shipped_kl": settings["quantized_bound"]}
    if settings["quantization"] == "f32":
        return check_parity(model, args.gguf, conversations, **bounds)
    with tempfile.TemporaryDirectory(dir=args.gguf.parent, prefix=".exact-") as scratch:
        exact = Path(scratch) / "model-f32.gguf"
        convert_to_gguf(args.merged.parent, exact, quantization="F32")
        return check_parity(model, exact, conversations, shipped_path=args.gguf, **bounds)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write parity.json and, when the gate is passed, the Modelfile."""
    model = BaseModel.verified(args.merged)
    parity = compared(step, args, model)
    if parity["verdict"] != "pass":
        step.journal.facts["parity"] = parity
        raise FinetrailError(
            "the exported model does not answer like the trained one: " + "; ".join(parity["reasons"]),
            where=str(args.gguf),
            hint="No Modelfile is written; the whole comparison is in the run's record",
        )
    step.file(args.parity).write_text(render_json(parity), encoding="utf-8")
    modelfile = modelfile_for(
        model,
        source="./model.gguf",
        system=step.settings["folds"]["system_prompt"],
        parameters=step.settings["export"]["parameters"],
        answer_tokens=step.settings["predict"]["max_answer_tokens"],
    )
    step.file(args.modelfile).write_text(modelfile, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--test", "the fold's test.jsonl, of which some prompts of each kind are compared")
    add_input(parser, "--merged", "manifest.json of the merged model")
    add_input(parser, "--gguf", "model.gguf")
    add_output(parser, "--parity", "parity.json")
    add_output(parser, "--modelfile", "Modelfile")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
