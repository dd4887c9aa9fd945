"""Models are opened at one place, which runs no code of theirs and reads no pickle; read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
LOADER = "finetrail/models/model_folder.py"
# Other calls of `from_pretrained`, each with the reason.
OTHERS = {"ingest/chunk_documents.py": "the tokenizers library, which has no code of a model to run"}
REFUSES = "finetrail/config/sections/serve.py"
# Classes of sentence-transformers, which load by themselves.
SELF_LOADING = {"SentenceTransformer", "CrossEncoder"}
SOURCES = sorted(SCRIPTS.rglob("*.py"))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of a file by the last part of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            yield name, node


def value(call: ast.Call, name: str) -> object:
    """Return a literal keyword of a call."""
    return next((getattr(word.value, "value", ...) for word in call.keywords if word.arg == name), None)


def name_of(path: Path) -> str:
    return path.relative_to(SCRIPTS).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_models_are_opened_by_the_one_loader_without_code_or_pickles(path: Path) -> None:
    for called, call in calls(path):
        where = f"{name_of(path)}:{call.lineno}"
        if called == "from_pretrained":
            assert name_of(path) in {LOADER, *OTHERS}, f"{where}: use finetrail.models.model_folder"
        if called in SELF_LOADING:
            assert value(call, "trust_remote_code") is False, where
            assert any(word.arg == "model_kwargs" for word in call.keywords), f"{where}: use_safetensors"
        if called in ("load", "torch_load") and ast.unparse(call.func) in ("torch.load", "joblib.load", "pickle.load"):
            assert value(call, "weights_only") is True, where
        assert value(call, "trust_remote_code") in (None, False), where
    text = path.read_text(encoding="utf-8")
    assert "import pickle" not in text
    assert "trust-remote-code" not in text or name_of(path) == REFUSES, "nothing hands it on"


def test_the_loader_says_no_each_time() -> None:
    found = [call for called, call in calls(SCRIPTS / LOADER) if called == "from_pretrained"]
    spread = [call for call in found if any(ast.unparse(word.value) == "_safely(source)" for word in call.keywords)]
    assert len(spread) == 4, "configuration, tokenizer, processor, weights"
    others = [ast.unparse(call.func) for call in found if call not in spread]
    assert others == ["PeftModel.from_pretrained", "PeftConfig.from_pretrained"], "which have no code of a model to run"
