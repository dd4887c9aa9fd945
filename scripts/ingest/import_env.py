"""Turn a `config.env` (PIPELINE_*, FINETUNE_*, EXPORT_*) into an overlay for the recipe `documents`.

    python scripts/ingest/import_env.py config.env > mine.yaml
    snakemake --cores all --configfile mine.yaml

Every variable is reported on standard error: where it went, or why it went nowhere. Values of keys and of unknown
variables are never read into anything: a key belongs into an environment variable of its own.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from finetrail.errors import FinetrailError

RECIPE = "documents"
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
SECRET = re.compile(r"KEY|TOKEN(?!S)|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.I)
WRITER, JUDGE = "teacher", "judge"
OPENAI = "openai"  # has the models that the recipe names
# The original's names of providers, and the endpoints of config/config.yaml.
ENDPOINTS = {"openai": "openai", "claude": "anthropic", "gemini": "gemini", "local": "ollama"}
# What a provider refuses in every request (docs/llm.md), so that it is left out.
REFUSED: dict[str, dict[str, None]] = {"anthropic": {"temperature": None, "top_p": None}, "gemini": {"seed": None}}
OWN_PLACE = "every file has its place under results/documents"
# What has no key of a recipe, and why.
ELSEWHERE = {
    "PIPELINE_CHUNKS_DIR": OWN_PLACE,
    "PIPELINE_QA_DIR": OWN_PLACE,
    "PIPELINE_OUTPUT_DIR": OWN_PLACE,
    "FINETUNE_OUTPUT_DIR": OWN_PLACE,
    "EXPORT_MODEL_PATH": OWN_PLACE,
    "EXPORT_OUTPUT_DIR": OWN_PLACE,
    "PIPELINE_FILTER_THRESHOLD": "deprecated there: validation filters nothing; use PIPELINE_FORMAT_THRESHOLD",
    "PIPELINE_RESUME": "every step resumes by itself",
    "PIPELINE_VERBOSE": "every step logs its progress",
}


class Variable(NamedTuple):
    """A variable of the file."""

    name: str
    value: str
    where: str


def _number(kind: type[int] | type[float]) -> Callable[[Variable], Any]:
    def read(variable: Variable) -> Any:
        try:
            return kind(variable.value)
        except ValueError as error:
            hint = f"{variable.name} must be a number"
            raise FinetrailError("no number where one belongs", where=variable.where, hint=hint) from error

    return read


def _text(variable: Variable) -> str:
    return variable.value


def _list(variable: Variable) -> list[str]:
    return [variable.value]


def _endpoint(variable: Variable) -> str:
    provider = variable.value.lower()
    if provider not in ENDPOINTS:
        known = ", ".join(ENDPOINTS)
        raise FinetrailError(f"unknown provider in {variable.name}", where=variable.where, hint=f"Known: {known}")
    return ENDPOINTS[provider]


# Variable → dotted key of the recipe, and how its value is read.
KEYS: dict[str, tuple[str, Callable[[Variable], Any]]] = {
    "PIPELINE_INPUT_DIR": ("source.files", _list),
    "PIPELINE_CHUNK_SIZE": ("documents.chunk_size", _number(int)),
    "PIPELINE_CHUNK_OVERLAP": ("documents.overlap", _number(int)),
    "PIPELINE_LLM_PROVIDER": ("synthesize.teacher.endpoint", _endpoint),
    "PIPELINE_LLM_MODEL": ("synthesize.teacher.model", _text),
    "PIPELINE_LLM_TEMPERATURE": ("synthesize.teacher.temperature", _number(float)),
    "PIPELINE_TEMPERATURE": ("synthesize.teacher.temperature", _number(float)),
    "PIPELINE_QUESTIONS_PER_CHUNK": ("synthesize.questions", _number(int)),
    "PIPELINE_VALIDATION_PROVIDER": ("synthesize.judge.endpoint", _endpoint),
    "PIPELINE_VALIDATION_MODEL": ("synthesize.judge.model", _text),
    "PIPELINE_VALIDATION_THRESHOLD": ("synthesize.pass_score", _number(float)),
    "PIPELINE_FORMAT_THRESHOLD": ("synthesize.threshold", _number(float)),
    "PIPELINE_FORMAT_TEMPLATE": ("synthesize.templates", _list),
    "PIPELINE_TEMPLATE": ("synthesize.templates", _list),
    "FINETUNE_MODEL_NAME": ("base_model.hub", _text),
    "FINETUNE_MODEL_TYPE": ("base_model.family", _text),
    "EXPORT_MODEL_NAME": ("export.name", _text),
}


def read_env(path: Path) -> Iterator[Variable]:
    """Read the variables of a file: `NAME=value`, quoted or not, with or without `export` and comments.

    Raises:
        FinetrailError: the file cannot be read, or a line is none of these; the line itself is not shown.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FinetrailError(f"cannot be read: {type(error).__name__}", where=str(path)) from error
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = LINE.fullmatch(stripped)
        if match is None:
            raise FinetrailError("no NAME=value", where=f"{path}:{number}", hint="Mend or remove the line")
        yield Variable(match[1], _unquoted(match[2]), f"{path}:{number}")


def _unquoted(value: str) -> str:
    quoted = re.match(r"""(["'])(.*?)\1\s*(?:#.*)?$""", value)
    return quoted[2] if quoted else re.sub(r"(^|\s+)#.*$", "", value).strip()


def overlay(variables: Sequence[Variable]) -> tuple[dict[str, Any], list[str]]:
    """Return the recipe's changed keys, and a line for each variable that says what became of it.

    Raises:
        FinetrailError: a value is of no use.
    """
    tree: dict[str, Any] = {}
    said: list[str] = []
    for variable in variables:
        if SECRET.search(variable.name):
            said.append(f"{variable.name}: not copied; set it in the environment, and name it in `api_key_env`")
        elif variable.name in KEYS and variable.value:
            key, read = KEYS[variable.name]
            _set(tree, key, read(variable))
            said.append(f"{variable.name}: {key}")
        elif variable.name in KEYS:
            said.append(f"{variable.name}: empty, the recipe's value stays")
        else:
            reason = ELSEWHERE.get(variable.name, "unknown, nothing was taken over")
            said.append(f"{variable.name}: {reason}")
    said += _same_for_judge(tree)
    return tree, said + _left_out(tree) + _left_to_do(tree)


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *above, last = dotted.split(".")
    for name in above:
        tree = tree.setdefault(name, {})
    tree[last] = value


def _same_for_judge(tree: dict[str, Any]) -> list[str]:
    """Let the pairs be validated where they are written, as the original does, unless that has settings of its own."""
    models = tree.get("synthesize", {})
    writer, judge = models.get(WRITER, {}), models.get(JUDGE, {})
    if judge.get("endpoint", writer.get("endpoint")) != writer.get("endpoint"):
        return []  # another provider does not have the writer's model
    taken = {name: writer[name] for name in ("endpoint", "model") if name in writer and name not in judge}
    for name, value in taken.items():
        _set(tree, f"synthesize.{JUDGE}.{name}", value)
    return [f"no PIPELINE_VALIDATION_* for synthesize.{JUDGE}.{name}: as for synthesize.{WRITER}" for name in taken]


def _left_out(tree: dict[str, Any]) -> list[str]:
    """Leave out of each request what its provider refuses."""
    said = []
    for name in (WRITER, JUDGE):
        endpoint = tree.get("synthesize", {}).get(name, {}).get("endpoint")
        if refused := REFUSED.get(endpoint):
            _set(tree, f"synthesize.{name}.extra_body", dict(refused))
            said.append(f"synthesize.{name}.extra_body: {', '.join(refused)} not sent, which {endpoint} refuses")
    return said


def _left_to_do(tree: dict[str, Any]) -> list[str]:
    todo = []
    if "hub" in tree.get("base_model", {}):
        todo.append("to do: base_model.revision, the commit of the hub that the model is taken from")
    for name in (WRITER, JUDGE):
        model = tree.get("synthesize", {}).get(name, {})
        if model.get("endpoint", OPENAI) != OPENAI and "model" not in model:
            todo.append(f"to do: synthesize.{name}.model, a model of {model['endpoint']}")
    return todo


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the config.env")
    args = parser.parse_args(argv)
    try:
        tree, said = overlay(list(read_env(args.file)))
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(said), file=sys.stderr)
    print(
        yaml.safe_dump({"recipes": [RECIPE], "overrides": {RECIPE: tree}}, sort_keys=False, allow_unicode=True), end=""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
