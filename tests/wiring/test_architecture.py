"""The layering of docs/architecture.md, read from the sources."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from finetrail.config.recipe import ProjectConfig, RecipeConfig
from finetrail.config.sections.fields import Section
from finetrail.config.sections.schema import kind_of, walk_keys
from finetrail.digests.code_digest import direct_imports, imported_files
from finetrail.workflow.declared import Declared, read_declared

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
PHASES = ("ingest", "recall", "label", "synthesize", "folds", "train", "evaluate", "export", "audit")
GROUND = ("errors", "rows")
RECIPES = sorted(path.stem for path in (ROOT / "config" / "recipes").glob("*.yaml"))
LIBRARY = sorted((SCRIPTS / "finetrail").rglob("*.py"))
PHASE_FILES = sorted(path for phase in PHASES for path in (SCRIPTS / phase).rglob("*.py"))
RULE_FILES = sorted((ROOT / "rules").rglob("*.smk"))
# Keys that code takes over with their whole section, or in a loop over their names.
NEVER_NAMED = {"source.licence", "source.citation", "splits.train", "splits.dev", "splits.test"}
NEVER_NAMED |= {f"export.parameters.{key}" for key in ("num_ctx", "num_predict", "temperature", "top_p")}
SHARD_RULE = re.compile(r"^use rule (\w+) as (\w+) with:\n(.*?)(?=^\S|\Z)", re.M | re.S)
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", re.M | re.S)


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def names_called(path: Path) -> set[str]:
    nodes = ast.walk(tree_of(path))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


@cache
def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def top_names(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def rules() -> list[tuple[Path, str, str]]:
    return [(path, name, body) for path in RULE_FILES for name, body in RULE.findall(text_of(path))]


def twins() -> list[tuple[str, str, str]]:
    """Return the rules that are another rule with other files: its name, their own, and what they change."""
    return [twin for path in RULE_FILES for twin in SHARD_RULE.findall(text_of(path))]


def judging_twins(name: str) -> list[tuple[str, str]]:
    """Return the twins of a rule that are no shards of it, with what they change."""
    return [(other, body) for base, other, body in twins() if base == name and "shard_of(" not in body]


# Recipes whose name is a word that the library needs: these are looked for beside the word recipe only.
WORDS = {"documents"}


# One test looks at all files, and names each that offends: a test a file would be a thousand tests.
Offenders = dict[str, set[str]]


def offenders(files: Iterable[Path], found: Callable[[Path], set[str]]) -> Offenders:
    """Return what is found in each file that has something to be found, by the file's path."""
    return {str(path.relative_to(ROOT)): names for path in files if (names := found(path))}


def test_the_library_knows_no_phase_and_no_snakemake() -> None:
    assert len(LIBRARY) > 300
    assert offenders(LIBRARY, lambda path: top_names(path) & {*PHASES, "setup", "snakemake"}) == {}


def test_a_phase_imports_itself_and_the_library_only() -> None:
    def others(path: Path) -> set[str]:
        return top_names(path) & ({*PHASES, "setup", "snakemake"} - {path.relative_to(SCRIPTS).parts[0]})

    assert len(PHASE_FILES) > 90
    assert offenders(PHASE_FILES, others) == {}


def test_no_recipe_is_named_outside_its_configuration() -> None:
    names = re.compile(rf"\b({'|'.join({'crag_mm', 'weatherqa', 'hotpotqa', *RECIPES} - WORDS)})\b")
    common = re.compile(rf"""recipe\w*\W{{1,6}}["']({"|".join(WORDS)})["']""")
    files = [*LIBRARY, *RULE_FILES]
    assert offenders(files, lambda path: {*names.findall(text_of(path))}) == {}
    assert offenders(files, lambda path: {*common.findall(text_of(path))}) == {}, "a recipe whose name is a common word"


def test_no_import_escapes_the_code_digest() -> None:
    dynamic = {"importlib", "importlib.import_module", "__import__", "exec", "eval"}
    assert offenders([*LIBRARY, *PHASE_FILES], lambda path: (imports_of(path) | names_called(path)) & dynamic) == {}


def test_there_is_no_circle_among_the_modules() -> None:
    modules = {
        "finetrail." + ".".join(path.relative_to(SCRIPTS / "finetrail").with_suffix("").parts): path for path in LIBRARY
    }
    graph = {name: imports_at_load(path) & modules.keys() - {name} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail, name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def imports_at_load(path: Path) -> set[str]:
    """Imports outside functions and outside `if TYPE_CHECKING`."""
    found: set[str] = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room_of(path: Path) -> str:
    """Return the folder that a module of the library stands in; one at its top is a room of its own."""
    inner = path.relative_to(SCRIPTS / "finetrail")
    return inner.parent.as_posix() if len(inner.parts) > 1 else inner.stem


def test_there_is_no_circle_among_the_rooms() -> None:
    """Imports count wherever they stand: also inside functions and for types only."""
    graph: dict[str, set[str]] = {}
    for path in LIBRARY:
        others = {room_of(other) for other in direct_imports(path, SCRIPTS) if other.name != "__init__.py"}
        graph.setdefault(room_of(path), set()).update(others - {room_of(path)})
    assert len(graph) > 25
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_two_modules_of_the_library_have_one_name() -> None:
    """A section of the configuration is named as its key, whatever else is."""
    names = Counter(path.name for path in LIBRARY if path.parent.name != "sections" and "__" not in path.stem)
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_the_ground_floor_leans_on_itself_only() -> None:
    for name in GROUND:
        files = [SCRIPTS / "finetrail" / f"{name}.py"]
        files = files if files[0].exists() else sorted((SCRIPTS / "finetrail" / name).glob("*.py"))
        for path in files:
            inner = {part.split(".")[1] for part in imports_of(path) if part.startswith("finetrail.")}
            assert inner <= {*GROUND}, path


def test_every_rule_has_its_script_and_every_script_its_rule() -> None:
    named = {name for _, name, _ in rules()}
    scripts = {
        path.stem
        for phase in PHASES
        for path in (SCRIPTS / phase).glob("*.py")
        if re.search(r"\brun_(asking_|plot_)?step\(", path.read_text())
    }
    assert scripts == named
    for path, name, body in rules():
        assert f'**of("{path.stem}/{name}.py"' in re.sub(r"\(\s+", "(", body), name


def test_a_rule_has_all_its_directives() -> None:
    assert len(rules()) > 70
    for path, name, body in rules():
        where = f"{path.name}: {name}"
        assert re.match(r'    """[A-Z].*\."""\n', body), f"{where}: a docstring of one line"
        written = re.findall(r"^    (\w+):", body, re.M)
        must = ("output", "conda", "params", "shell")
        assert tuple(directive for directive in written if directive in must) == must, where
        assert {*written} <= {*must, "input", "wildcard_constraints"}, f"{where}: the rest follows"
        assert body.rstrip().endswith("shell:\n        STEP"), where


def declared(path: Path, name: str) -> Declared:
    """Return what the script of a rule declares."""
    return read_declared(SCRIPTS / path.stem / f"{name}.py")


def test_every_rule_behind_the_folds_asks_for_their_checkpoint() -> None:
    """One that does not is run whenever something upstream is, whether or not its own inputs changed."""
    shared = "\n".join(path.read_text() for path in sorted((ROOT / "rules/common").glob("*.smk")))
    functions = re.findall(r"^def (\w+)\(.*?\):\n(.*?)(?=^\S|\Z)", shared, re.M | re.S)
    asking = {name for name, body in functions if "made_fold(wildcards)" in body} - {"made_fold"}
    for _, name, body in rules():
        parts = re.search(r"^    input:\n(.*?)^    output:\n(.*?)^    \w+:", body, re.M | re.S)
        if name != "make_folds" and parts and "{fold}" in parts[2]:
            assert asking & set(re.findall(r"\w+", parts[1])), name


def model_references() -> set[str]:
    """Return the dotted keys of a recipe that refer to a language model."""
    return {key.removesuffix(".endpoint") for key, _ in walk_keys(RecipeConfig) if key.endswith(".endpoint")}


def script_of(path: Path, name: str) -> str:
    return text_of(SCRIPTS / path.stem / f"{name}.py")


def test_what_trains_or_exports_never_asks_the_hub() -> None:
    """Compute nodes have no way out, and a library that looks for a newer file waits for it: one rule fetches."""
    heavy = {
        name: script_of(path, name) for path, name, body in rules() if re.search(r"envs/(train|export)\.yaml", body)
    }
    online = {name for name, script in heavy.items() if "offline=True)" not in script}
    assert online == {"fetch_model"} and len(heavy) > 10


def test_every_rule_that_asks_a_model_reruns_with_the_offline_teacher() -> None:
    asked_by_some: set[str] = set()
    for path, name, _ in rules():
        script = script_of(path, name)
        said = declared(path, name).asks
        asked = re.findall(r'model_at\(step, "([a-z.]+)"\)', script)
        told = "model_at(step, args.asks)" in script  # by the rule: several judges, one script
        assert len(asked) + told == len(re.findall(r"\bmodel_at\(", script)), name
        others = [re.findall(r'asks="([a-z.]+)"', more) for _, more in judging_twins(name)]
        keys = {*([said] if said else []), *(key for found in others for key in found)}
        assert told or {*asked} == keys, name
        asked_by_some |= keys
    assert asked_by_some == model_references()


def test_every_rule_that_asks_a_model_can_be_shared_out() -> None:
    """A rule of its own makes a shard, and nothing else; its files are gone once they are merged."""
    shared = {base: (name, body) for base, name, body in twins() if "shard_of(" in body}
    asking = {name: body for path, name, body in rules() if "model_at(" in script_of(path, name)}
    for base in list(asking):
        # What only a report needs is too little to be shared out.
        asking |= {name: body for name, body in judging_twins(base) if "shards=" in body}
    assert shared.keys() == asking.keys()
    for name, (other, body) in shared.items():
        assert other == f"{name}_shard"
        assert re.findall(r"^    (\w+):", body, re.M) == ["output"], other
        (step,) = re.findall(r'shards="([^"]+)"', asking[name])
        assert f'**shard_of("{step}")' in body, other


def test_every_rule_that_asks_a_server_has_its_share_and_can_be_planned() -> None:
    """Beside the models' servers these are services of search; what asks must also be known to the plan's bounds."""
    asking = {name: (path, body) for path, name, body in rules() if "asking_parser(" in script_of(path, name)}
    bounds = (SCRIPTS / "finetrail/workflow/call_counts.py").read_text(encoding="utf-8")
    for name, (path, body) in asking.items():
        said = declared(path, name)
        assert f'"{name}": ' in bounds, name
        assert said.searches == (said.asks is None), name
        assert re.findall(r'\*\*asking\("([a-z.]+)"', body) == ([said.asks] if said.asks else []), name
    assert {name for path, name, _ in rules() if declared(path, name).searches} == {"search_passages"}


def test_the_snakefile_stays_small() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 60


def leaves(section: type[Section], kind: str) -> set[str]:
    """Return the keys of a kind that hold a value, not other keys; `<name>` stands for a name of the user's."""
    walked = dict(walk_keys(section))
    above = {dotted.rpartition(".")[0].removesuffix(".<name>") for dotted in walked}
    return {dotted for dotted, field in walked.items() if kind_of(field) == kind and dotted not in above}


@cache
def settings_given() -> list[tuple[str, set[str]]]:
    """Return the script of each rule with the dotted keys whose result settings enter its params."""
    found = []
    for path, name, _ in rules():
        said = declared(path, name)
        keys = {key.replace(".{model}", "") for key in (*said.settings, *([said.asks] if said.asks else []))}
        found.append((name, keys))
    for base, _, body in twins():
        named = re.findall(r"settings=\(([^)]*)\)", body)
        keys = {*re.findall(r'"([a-z_.]+)"', " ".join(named)), *re.findall(r'asks="([a-z.]+)"', body)}
        found.append((base, keys))
    return found


def keys_in_params() -> set[str]:
    """Return the dotted keys whose result settings enter the params of some rule."""
    named = re.findall(r"source_of\((.*?)\)", all_rules())
    files = {f"source.{key}" for keys in named for key in re.findall(r"\w+", keys)}
    return files.union(*(keys for _, keys in settings_given()))


@cache
def names_read(path: Path) -> set[str]:
    """Return the names of what code takes: as an item, an attribute or a field."""
    forms = (r"""(?<=["'.])(\w+)(?=["'])""", r"\.(\w+)", r"^    (\w+): ")
    return {name for form in forms for name in re.findall(form, text_of(path), re.M)}


@cache
def names_taken(path: Path) -> set[str]:
    """Return the settings that code takes out of their section, renames, or has a field for in a class."""
    forms = (r'\["(\w+)"\]', r'\.pop\("(\w+)"\)', r'"(\w+)": "', r"^    (\w+): .*[^,\n]$")
    return {name for form in forms for name in re.findall(form, text_of(path), re.M)}


def test_every_result_key_enters_the_params_of_a_rule() -> None:
    asked = keys_in_params()
    unread = {
        key
        for key in leaves(RecipeConfig, "result")
        if not any(key == entry or key.startswith(f"{entry}.") for entry in asked)
    }
    assert unread == set()


@cache
def code_of_rules() -> dict[str, set[Path]]:
    """Return each rule's script and all that it imports."""
    return {name: {*imported_files(SCRIPTS / path.stem / f"{name}.py", SCRIPTS)} for path, name, _ in rules()}


@cache
def shared_code() -> set[Path]:
    """Return what every rule's script imports."""
    return set.intersection(*code_of_rules().values())


def files_given(key: str) -> set[Path]:
    """Return the code of the rules whose params hold a result key, without what every rule's script imports."""
    code = code_of_rules()
    given: set[Path] = set()
    for name, entries in settings_given():
        if any(key == entry or key.startswith(f"{entry}.") for entry in entries):
            given |= code.get(name, set()) - shared_code()
    return {path for path in given if not path.is_relative_to(SCRIPTS / "finetrail/config")}


def test_every_result_key_is_read_by_a_script_that_is_given_it() -> None:
    """The same name in other code (`seed`, `model`) does not count, nor in what all scripts share."""
    named = " ".join(re.findall(r"source_of\((.*?)\)", all_rules()))
    read_by_rules = {f"source.{key}" for key in re.findall(r'"(\w+)"', named)}
    unread = {
        key
        for key in leaves(RecipeConfig, "result") - read_by_rules - NEVER_NAMED
        if f".{key}" not in all_rules()
        and not any(key.rpartition(".")[2] in names_taken(path) for path in files_given(key))
    }
    assert unread == set()


def test_every_operation_key_is_read_by_code() -> None:
    files = [
        path for path in [*LIBRARY, *PHASE_FILES, *RULE_FILES] if not path.is_relative_to(SCRIPTS / "finetrail/config")
    ]
    read = set().union(*map(names_read, [*files, SCRIPTS / "finetrail/config/current.py"]))
    keys = leaves(RecipeConfig, "operation") | leaves(ProjectConfig, "operation")
    read_by_the_loader = {key for key in keys if key == "extends" or key.startswith("overrides.")}
    unread = {key for key in keys - read_by_the_loader if key.rpartition(".")[2] not in read}
    assert unread == set()


def all_rules() -> str:
    return "\n".join(map(text_of, RULE_FILES))


def test_code_digests_reach_the_library() -> None:
    files = {path.name for path in imported_files(SCRIPTS / "label" / "label_relevance.py", SCRIPTS)}
    assert {"records.py", "engine.py", "prompt_file.py", "step.py", "row_file.py"} <= files
    assert "bm25.py" not in files
