"""What is known of a base model from its small files is said before the first job, with the key to change."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.config.load import LoadedConfig, load_config
from finetrail.config.sections.schema import plain
from finetrail.errors import FinetrailError
from finetrail.preflight import base_checks
from finetrail.preflight.base_checks import check_hub_bases, refuse_unfit_bases, unseen_bases
from finetrail.preflight.base_findings import findings
from tests.unit.config.fish_project import Project
from tests.unit.export.tiny_models import build_model

pytestmark = pytest.mark.heavy

SMOL = LAYOUTS["chatml"].jinja.replace(
    "{%- for message", "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nI am Smol<|im_end|>\\n' }}"
    "{%- endif %}\n{%- for message", 1
)  # fmt: skip
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
ENDLESS += "{% endfor %}x"

REVISION = 40 * "a"
HUB = {"path": None, "hub": "some/model", "revision": REVISION}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base") / "qwen2", "qwen2")


@pytest.fixture
def base(qwen: Path, tmp_path: Path) -> Path:
    return shutil.copytree(qwen, tmp_path / "base")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def loaded(project: Project, base: Path, **changes: Any) -> LoadedConfig:
    choice = {"hub": None, "revision": None, "path": str(base)} | changes.pop("base_model", {})
    changes = {"base_model": choice, "export": {"format": "gguf"}, "limits": {"max_length": 256}} | changes
    return load_config(project.root, config={"overrides": {"fish": changes}})


def said(run: LoadedConfig) -> str:
    with pytest.raises(FinetrailError) as refused:
        refuse_unfit_bases(run)
    return str(refused.value)


def test_a_base_that_fits_is_passed(project: Project, base: Path) -> None:
    refuse_unfit_bases(loaded(project, base))


def test_a_file_that_came_in_part_is_named_once(project: Project, base: Path) -> None:
    (base / "config.json").write_text('{"model_type": "llama",\n')
    text = said(loaded(project, base))
    assert "base_model" in text and "config.json is not valid JSON" in text and "copy the folder again" in text
    assert "\n" not in text


def gemma(base: Path) -> None:
    edit(base / "config.json", lambda config: config | {"architectures": ["Gemma3ForCausalLM"]})


def stretched(base: Path) -> None:
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    edit(base / "config.json", lambda config: config | {"rope_parameters": rope})


def other_split(base: Path) -> None:
    def change(stored: Any) -> None:
        stored["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\w+|\W+"}

    edit(base / "tokenizer.json", change)


def stripping_token(base: Path) -> None:
    def change(stored: Any) -> None:
        stored["added_tokens"][0]["lstrip"] = True

    edit(base / "tokenizer.json", change)


def smol(base: Path) -> None:
    (base / "chat_template.jinja").write_text(SMOL)


def endless(base: Path) -> None:
    (base / "chat_template.jinja").write_text(ENDLESS)


def own_code(base: Path) -> None:
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    edit(base / "config.json", lambda config: config | own)
    (base / "own.py").write_text(f"open({str(base / 'mark')!r}, 'w')")


@pytest.mark.parametrize(
    ("spoil", "changes", "key", "cause"),
    [
        (gemma, {}, "export.format", "the architecture Gemma3ForCausalLM cannot be written as GGUF"),
        (stretched, {}, "export.format", "the rope type 'yarn' is not known"),
        (other_split, {}, "export.format", "the pre-tokenizer's regular expression is not known"),
        (stripping_token, {}, "export.format", "has lstrip, which is not known"),
        (smol, {}, "base_model.template", "no known chat layout writes what the tokenizer's template writes"),
        (smol, {}, "base_model.template", "Set base_model.template to qwen"),
        (endless, {}, "train.models.lora", "it takes more than 200000 steps"),
        (own_code, {}, "train.models.lora", "the model wants to run code of its own"),
        (None, {"limits": {"max_length": 1024}}, "train.models.lora", "limits.max_length is 1024, but the model's"),
        (None, {"base_model": {"template": "gemma"}}, "base_model", "'<end_of_turn>' is no token of the vocabulary"),
        (None, {"base_model": {"new_tokens": ["<new>"]}}, "train.models.lora.modules_to_save", "1 new tokens (<new>)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_what_would_fail_later_is_said_at_once(
    spoil: Callable[[Path], None] | None,
    changes: dict[str, Any],
    key: str,
    cause: str,
    project: Project,
    base: Path,
    tmp_path: Path,
) -> None:
    if spoil in (other_split, stripping_token):  # the library gives Qwen's tokenizer its published expression
        base = build_model(tmp_path / "llama", "llama")
    if spoil:
        spoil(base)
    found = list(findings("fish", plain(loaded(project, base, **changes).recipes["fish"]), base))
    assert found and {one.level for one in found} == {"error"}
    assert any(one.where == f"recipes.fish.{key}" and cause in f"{one.what}. {one.fix}" for one in found), found


@pytest.mark.parametrize(
    ("prompt", "cause"),
    [('Say """x"""', 'the text holds """, which ends'), ("zero\u200bwidth", "U+200B), which Ollama drops")],
)
def test_a_system_prompt_that_a_modelfile_cannot_hold(prompt: str, cause: str, project: Project) -> None:
    tiny = {"tiny": "qwen2", "hub": None, "revision": None}
    changes: dict[str, Any] = {"base_model": tiny, "export": {"format": "gguf"}, "folds": {"system_prompt": prompt}}
    message = said(load_config(project.root, config={"overrides": {"fish": changes}}))
    assert cause in message and "recipes.fish.folds.system_prompt (user --config)" in message


@pytest.mark.parametrize(
    ("spoil", "cause"), [(endless, "it takes more than 200000 steps"), (own_code, "wants to run code of its own")]
)
def test_a_strangers_files_are_looked_at_by_a_process_of_its_own(
    spoil: Callable[[Path], None], cause: str, project: Project, base: Path
) -> None:
    spoil(base)
    assert cause in said(loaded(project, base)) and not (base / "mark").exists()


def test_a_template_of_the_configuration_takes_the_place_of_one_that_no_layout_writes(
    project: Project, base: Path
) -> None:
    smol(base)
    recipe = loaded(project, base, base_model={"template": "chatml"}).recipes["fish"]
    assert list(findings("fish", plain(recipe), base)) == []


def test_a_process_that_never_ends_is_ended(project: Project, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_checks, "MOST_SECONDS", 0.01)
    assert "was not read within 0.01 s" in said(loaded(project, base))


def test_preflight_fetches_the_small_files_of_a_hub_model_and_looks_at_them(
    project: Project, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemma(base)
    asked: list[str] = []

    def give(hub: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.extend([hub, revision])
        for path in (path for pattern in allow_patterns for path in base.glob(pattern)):
            shutil.copyfile(path, local_dir / path.name)
        assert not (local_dir / "model.safetensors").exists()

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    run = loaded(project, base, base_model=HUB)
    refuse_unfit_bases(run)
    (found,) = check_hub_bases(run)
    assert asked == ["some/model", REVISION]
    assert (found.level, found.where) == ("error", "recipes.fish.export.format")


@pytest.fixture
def cache(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with a model's files; nothing is answered from anywhere else."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    return shutil.copytree(base, tmp_path / "hub" / "models--some--model" / "snapshots" / REVISION)


def test_a_hub_model_in_the_cache_is_looked_at_without_the_hub(project: Project, base: Path, cache: Path) -> None:
    run = loaded(project, base, base_model=HUB)
    refuse_unfit_bases(run)
    assert list(unseen_bases(run)) == [] == list(check_hub_bases(run))
    gemma(cache)
    assert "the architecture Gemma3ForCausalLM cannot be written as GGUF" in said(run)


@pytest.mark.parametrize("missing", ["tokenizer.json", "generation_config.json", "chat_template.jinja"])
def test_a_cache_that_lacks_a_part_decides_nothing_and_the_plan_says_so(
    missing: str, project: Project, base: Path, cache: Path
) -> None:
    gemma(cache)
    (cache / missing).unlink()
    run = loaded(project, base, base_model=HUB)
    refuse_unfit_bases(run)
    assert list(unseen_bases(run)) == [
        "The base model of fish, some/model, has not been looked at: `make preflight` looks at it, and fetch_model"
    ]


def test_a_file_that_the_hub_is_known_not_to_have_is_not_waited_for(project: Project, base: Path, cache: Path) -> None:
    gemma(cache)
    (cache / "generation_config.json").unlink()
    known = cache.parents[1] / ".no_exist" / REVISION / "generation_config.json"
    known.parent.mkdir(parents=True)
    known.touch()
    assert "Gemma3ForCausalLM" in said(loaded(project, base, base_model=HUB))


def test_every_fault_is_listed(project: Project, base: Path) -> None:
    gemma(base)
    smol(base)
    message = said(loaded(project, base, folds={"system_prompt": 'a """'}))
    assert message.startswith("3 errors about base models:")
