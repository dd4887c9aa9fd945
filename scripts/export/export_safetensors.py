"""Lay out a merged model for Ollama's own converter, and say what could and could not be checked.

llama.cpp cannot load these architectures, so that answers are not compared: the recipe has to allow it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.export.ollama_folder import modelfile_for, parity_conversations, parity_rows
from finetrail.export.parity import unverified_parity
from finetrail.models.base_model import BaseModel
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("export", "folds.system_prompt", "predict.max_answer_tokens")
ENVIRONMENT = "export"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write parity.json and a Modelfile that names the merged folder."""
    settings, system = step.settings["export"], step.settings["folds"]["system_prompt"]
    if not settings["allow_unverified"]:
        raise FinetrailError(
            "safetensors cannot be checked against a runtime",
            where="export.allow_unverified",
            hint="Set it to true to export all the same, or export.format to gguf",
        )
    merged: Path = args.merged.parent
    model = BaseModel.verified(args.merged)
    conversations = parity_conversations(parity_rows(read_rows(args.test)), system)
    parity = unverified_parity(model, conversations)
    if parity["verdict"] == "fail":
        raise FinetrailError("; ".join(parity["reasons"]), where=str(merged))
    step.file(args.parity).write_text(render_json(parity), encoding="utf-8")
    modelfile = modelfile_for(
        model,
        source=os.path.relpath(merged, args.modelfile.parent),
        system=system,
        parameters=settings["parameters"],
        answer_tokens=step.settings["predict"]["max_answer_tokens"],
    )
    step.file(args.modelfile).write_text(modelfile, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--test", "the fold's test.jsonl, of which some prompts of each kind are rendered")
    add_input(parser, "--merged", "manifest.json of the merged model")
    add_output(parser, "--parity", "parity.json")
    add_output(parser, "--modelfile", "Modelfile")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
