"""The one loader of models: it runs no code that comes with a model, and reads no pickle.

A folder may be anybody's. The transformers library asks on the terminal whether to run a model's own code, unless it is
told not to. `tests/wiring/test_loaders.py` forbids other loaders.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_CONVERT = "Convert them: other formats may run code when they are read"


def read_config(source: Path | str, **options: Any) -> "PreTrainedConfig":
    """Read a model's configuration.

    Args:
        source: a folder in the layout of the transformers library, or a model's id on the hub.
        options: of ``from_pretrained``, as for all functions here.

    Raises:
        FinetrailError: it cannot be read, or the model is one that runs code of its own; so for all functions here.
    """
    from transformers import AutoConfig

    with _explained(source):
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, **_safely(source), **options)
    return config


def read_tokenizer(source: Path | str, **options: Any) -> "PreTrainedTokenizerBase":
    """Read a model's tokenizer, with its chat template."""
    from transformers import AutoTokenizer

    with _explained(source):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **_safely(source), **options)
    return tokenizer


def read_processor(source: Path | str, kind: Any = None, **options: Any) -> Any:
    """Read what makes a model's inputs of texts and images; ``kind`` names another class than the library's choice."""
    from transformers import AutoProcessor

    with _explained(source):
        return (kind or AutoProcessor).from_pretrained(source, **_safely(source), **options)


def load_weights(kind: Any, source: Path | str, **options: Any) -> Any:
    """Load a model of a class of the transformers library, from safetensors alone."""
    for index in source.glob("*.index.json") if isinstance(source, Path) else ():
        if any(not name.endswith(".safetensors") for name in read_json(index).get("weight_map", {}).values()):
            raise FinetrailError(
                f"{index.name} names weights that are no safetensors",
                where=str(source),
                hint=_CONVERT,
            )
    with _explained(source):
        return kind.from_pretrained(source, use_safetensors=True, **_safely(source), **options)


def stored_parameters(folder: Path) -> int | None:
    """Count a model's parameters as they are stored, by the headers of its files: no weight is read.

    Args:
        folder: of the model, not a hub's id.

    Returns:
        None where the folder holds no safetensors at all.

    Raises:
        FinetrailError: a file that the index names is missing, or one is cut off.
    """
    from safetensors import SafetensorError, safe_open

    if not any(folder.glob("*.safetensors")):
        return None
    index = folder / "model.safetensors.index.json"
    names = set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    total = 0
    for path in (folder / name for name in sorted(names)):
        if not path.is_file():
            raise FinetrailError("a file of the weights is missing", where=str(path), hint="Copy the whole model")
        try:
            with safe_open(path, "numpy") as stored:
                tensors = stored.keys()
                total += sum(prod(stored.get_slice(tensor).get_shape()) for tensor in tensors)
        except (SafetensorError, OSError) as error:
            said = f"the weights are not whole: {error}"
            raise FinetrailError(said, where=str(path), hint="Copy the whole model") from error
    return total


def load_adapter(model: Any, folder: Path) -> Any:
    """Put an adapter on a model.

    Raises:
        FinetrailError: the folder holds no adapter as safetensors.
    """
    from peft import PeftModel

    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise FinetrailError(
            f"there is no {ADAPTER_WEIGHTS}",
            where=str(folder),
            hint="Save the adapter as safetensors, and name its folder",
        )
    with _explained(folder):
        return PeftModel.from_pretrained(model, folder)


def read_adapter_config(folder: Path) -> "PeftConfig":
    """Read what an adapter is."""
    from peft import PeftConfig

    with _explained(folder):
        return PeftConfig.from_pretrained(folder)


def _safely(source: Path | str) -> dict[str, bool]:
    return {"trust_remote_code": False, **({"local_files_only": True} if isinstance(source, Path) else {})}


@contextmanager
def _explained(source: Path | str) -> Iterator[None]:
    """Say what is wrong with a model in this project's words."""
    try:
        yield
    except (ValueError, OSError, KeyError) as error:
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            raise FinetrailError(
                "the model wants to run code of its own, which finetrail never does",
                where=str(source),
                hint="Choose a model whose architecture the transformers library has",
            ) from error
        if "safetensors" in said:
            raise FinetrailError(
                f"its weights cannot be read as safetensors: {said[:200]}",
                where=str(source),
                hint=_CONVERT,
            ) from error
        raise FinetrailError(f"the model cannot be read: {said[:400]}", where=str(source)) from error
