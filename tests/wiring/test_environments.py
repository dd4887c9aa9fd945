"""Every rule's environment holds what its script imports, directly or through local modules, and pins it."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finetrail.digests.code_digest import imported_files

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", re.M | re.S)
LOCAL = {path.stem for path in SCRIPTS.iterdir()}
USED = ("data", "dense", "train", "export", "plots", "texts")
REUSED = re.compile(r"^use rule (\w+) as (\w+) with:\n(.*?)(?=^\S|\Z)", re.M | re.S)
# Imports inside functions that a rule does not come to: which modules, and why.
NOT_REACHED = {
    "recall_passages": (
        {"faiss", "sentence_transformers"},
        "recipes with a bi-encoder have a rule of their own",
    ),
    "evaluate_retrieval": ({"faiss", "sentence_transformers"}, "likewise"),
    "rerank_passages": (
        {"sentence_transformers", "torch"},
        "recipes with a cross-encoder have a rule of their own",
    ),
    "fetch_model": ({"gguf"}, "what can be written as GGUF is asked, and nothing is written"),
    "format_qa": (
        {"transformers", "peft", "safetensors"},
        "the template of a tokenizer has a rule of its own; no adapter is loaded, and no weights are counted",
    ),
    "measure_targets": ({"datasets", "peft"}, "tokens are counted; no data set is made, and no adapter loaded"),
    "search_mock": ({"cragmm_search"}, "wants another transformers: its absence is an error that says so"),
}


def rules() -> Iterator[tuple[str, str, Path]]:
    """Yield each rule with its environment and its script, also those that take over another rule's script."""
    for path in sorted((ROOT / "rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        for script, name, body in [*((name, name, body) for name, body in RULE.findall(text)), *REUSED.findall(text)]:
            for environment in re.findall(r'"\.\./envs/(\w+)\.yaml"', body):
                yield name, environment, SCRIPTS / path.stem / f"{script}.py"


@cache
def pinned(environment: str) -> dict[str, Requirement]:
    content = yaml.safe_load((ROOT / "envs" / f"{environment}.yaml").read_text(encoding="utf-8"))
    found = [Requirement(pin) for entry in content["dependencies"] if isinstance(entry, dict) for pin in entry["pip"]]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@cache
def providers() -> dict[str, set[str]]:
    return {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}


@cache
def installed(name: str) -> tuple[str, list[Requirement]]:
    """Return the version of a distribution that the tests run with, and what it requires."""
    found = distribution(name)
    return found.version, [*map(Requirement, found.requires or ())]


@cache
def foreign_imports(path: Path) -> dict[str, int]:
    """Return the modules of others that a file imports when it runs, with the line of the first import."""
    found: dict[str, int] = {}
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        for name in names:
            found.setdefault(name.partition(".")[0], getattr(node, "lineno", 0))
    siblings = {sibling.stem for sibling in path.parent.iterdir()}
    return {name: line for name, line in found.items() if name not in sys.stdlib_module_names | LOCAL | siblings}


@pytest.mark.parametrize(("rule", "environment", "script"), [pytest.param(*one, id=one[0]) for one in rules()])
def test_a_rules_environment_pins_all_that_its_script_imports(rule: str, environment: str, script: Path) -> None:
    missing = {
        module: f"{path.relative_to(ROOT)}:{line}"
        for path in imported_files(script, SCRIPTS)
        for module, line in foreign_imports(path).items()
        if providers().get(module, {module}).isdisjoint(pinned(environment))
    }
    expected, _why = NOT_REACHED.get(rule, (set(), ""))
    assert missing.keys() == expected, f"{rule} runs in envs/{environment}.yaml: {missing}"


def test_the_rules_use_these_environments() -> None:
    assert {environment for _, environment, _ in rules()} == set(USED)


@pytest.mark.parametrize("environment", [*USED, "workflow"])
def test_the_tested_versions_are_a_solution_of_each_environment(environment: str) -> None:
    """What an environment pins, with all that this requires, fits the versions that the tests run with.

    So its pins do not contradict one another, without the gigabytes that installing all of them would take.
    """
    waiting = [(environment, requirement) for requirement in pinned(environment).values()]
    seen: set[str] = set()
    while waiting:
        asker, requirement = waiting.pop()
        version, needed = installed(canonicalize_name(requirement.name))
        assert requirement.specifier.contains(version, prereleases=True), f"{asker} wants {requirement}"
        for extra in ["", *requirement.extras]:
            if (key := f"{canonicalize_name(requirement.name)}[{extra}]") not in seen:
                seen.add(key)
                waiting += [
                    (requirement.name, one)
                    for one in needed
                    if one.marker is None or one.marker.evaluate({"extra": extra})
                ]
