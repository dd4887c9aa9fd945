"""What a run would trip over in a base model, tried on a copy of its small files; of weights the headers are read."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.models.model_files import SMALL
from finetrail.preflight.finding import Finding

CHANGES_NO_RESULT = "It refuses a model, and changes none."


def attempt(where: str, look: Callable[[], object]) -> Iterator[Finding]:
    """Return what a function refuses."""
    try:
        look()
    except FinetrailError as error:
        yield Finding("error", where, error.cause, error.hint or "Choose another model")


def findings(name: str, recipe: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    """Try what the run will do with a base model.

    Args:
        name: of the recipe.
        recipe: its settings, as plain data.
        folder: with the model's configuration and tokenizer.
    """
    from finetrail.models.base_model import BaseModel
    from finetrail.models.base_tokenizer import prepare_tokenizer

    choice = recipe["base_model"]
    broken = [path for path in sorted(folder.glob("*.json")) if path.is_file() and _is_broken(path)]
    for path in broken:
        fix = "The download may be incomplete: copy the folder again"
        yield Finding("error", f"recipes.{name}.base_model", f"{path} is not valid JSON", fix)
    if broken:
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for path in (path for pattern in SMALL for path in folder.glob(pattern) if path.is_file()):
            shutil.copyfile(path, copy / path.name)
        wanted = {key: choice[key] for key in ("template", "family", "pad_token", "new_tokens")}
        refused = list(attempt(f"recipes.{name}.base_model", partial(prepare_tokenizer, copy, **wanted)))
        yield from refused
        if not refused:
            base = BaseModel(copy)
            yield from _trained(name, recipe, base)
            yield from _exported(name, recipe, base)
    if choice["path"] is not None:  # of the hub, the weights may not be here yet
        yield from attempt(f"recipes.{name}.base_model.path", lambda: BaseModel(folder).parameters)


def _is_broken(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return True
    return False


def _trained(name: str, recipe: Mapping[str, Any], base: Any) -> Iterator[Finding]:
    faults: list[Finding] = []
    for key, model in ((recipe["train"] or {}).get("models") or {}).items():
        where = f"recipes.{name}.train.models.{key}"
        faults += attempt(where, partial(base.check, loss=model["loss"], max_length=recipe["limits"]["max_length"]))
        faults += attempt(where, partial(base.vision, None))
        if model["method"] in ("lora", "qlora"):
            faults += attempt(f"{where}.modules_to_save", partial(base.check_new_tokens, model["modules_to_save"]))
    yield from dict.fromkeys(faults)
    if not faults and recipe["folds"]["system_prompt"] and not base.chat.keeps_system:
        what = "the chat template drops or refuses the system message"
        fix = "Name a layout in base_model.template, or set folds.system_prompt to nothing"
        yield Finding("error", f"recipes.{name}.folds.system_prompt", what, fix)


def _exported(name: str, recipe: Mapping[str, Any], base: Any) -> Iterator[Finding]:
    if recipe["export"] is None or recipe["export"]["format"] == "none":
        return
    yield from attempt(f"recipes.{name}.base_model.template", lambda: base.layout)
    if recipe["export"]["format"] == "gguf":
        yield from attempt(f"recipes.{name}.export.format", lambda: _written_as_gguf(base))


def _written_as_gguf(base: Any) -> None:
    """Read the folder as the export will: saved by the library, which names the architecture and the tokenizer.

    Raises:
        FinetrailError: the export would refuse it.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from finetrail.export.gguf_config import read_shape
    from finetrail.export.gguf_tokenizer import read_vocabulary

    config, tokenizer = base.config, base.tokenizer
    if not config.architectures:
        config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, "none")]
    config.save_pretrained(base.folder)
    tokenizer.save_pretrained(base.folder)
    read_vocabulary(base.folder, max(read_shape(base.folder).vocabulary, len(tokenizer)))
