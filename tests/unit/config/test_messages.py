"""All errors at once, each with file:line, what was expected and the nearest valid key."""

from collections.abc import Mapping
from typing import Any

import pytest

from finetrail.config.load import load_config
from finetrail.errors import FinetrailError
from tests.unit.config.fish_project import Project


def message(project: Project, config: Mapping[str, Any] | None = None, **options: Any) -> str:
    with pytest.raises(FinetrailError) as caught:
        load_config(project.root, config=config, **options)
    return str(caught.value)


def test_two_wrong_types_in_two_files_are_both_reported(project: Project) -> None:
    project.replace("recipes/fish.yaml", "top_k: 30", 'top_k: "30"')
    project.replace("recipes/fish.yaml", "rank: 128", "rank: 1.5")
    project.replace("config.yaml", "api_key_env: SOME_KEY", "api_key_env: SOME_KEY\n      timeout_s: soon")
    text = message(project)
    top_k = project.line("recipes/fish.yaml", "top_k")
    rank = project.line("recipes/fish.yaml", "rank")
    seconds = project.line("config.yaml", "timeout_s")
    assert text.startswith("3 errors in the configuration:\n")
    assert f'{top_k}: fish: recall.top_k: expected a whole number, found "30" (text)' in text
    assert f"{rank}: fish: train.models.lora.rank: expected a whole number, found 1.5" in text
    assert f'{seconds}: llm.endpoints.paid.timeout_s: expected a number, found "soon" (text)' in text


def test_errors_of_every_kind_show_together(project: Project) -> None:
    project.write(
        "recipes/fish.yaml",
        "description: no\ndescription: twice\nsource: {format: fish, files: [], licence: MIT}\n"
        "splits: {train: 0.9}\nrecal: {}\nlabel:\n  model: {endpoint: payed, model: judge-1}\n",
    )
    text = message(project)
    assert "config/recipes/fish.yaml:2: the key `description` stands here and on line 1" in text
    assert "config/recipes/fish.yaml:3: fish: source.files: expected at least 1 of them, found an empty list" in text
    assert "config/recipes/fish.yaml:4: fish: splits: train, dev and test must sum to 1, their sum is 1.1" in text
    assert "config/recipes/fish.yaml:5: fish: unknown key recal. Did you mean `recall`?" in text
    assert "config/recipes/fish.yaml:7: fish: label.model.endpoint: no endpoint `payed`" in text
    assert "Did you mean `paid`?" in text


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "recipes/fish.yaml",
            "      rank: 128",
            "      rnak: 128",
            "unknown key train.models.lora.rnak. Did you mean `rank`?",
        ),
        (
            "recipes/fish.yaml",
            "recall:",
            "dropout: 0.1\nrecall:",
            "unknown key dropout. Did you mean `train.models.<name>.dropout`?",
        ),
        (
            "recipes/fish.yaml",
            "format: fish",
            "format: no",
            "expected text, found `no`, which YAML reads as false",
        ),
        (
            "recipes/fish.yaml",
            "method: lora",
            "method: lra",
            "expected one of 'lora', 'qlora', 'full', 'image_prefix', found \"lra\" (text). Did you mean `lora`?",
        ),
        (
            "recipes/fish.yaml",
            "method: lora",
            "seed: 1",
            "train.models.lora.method is missing. It says: kind of tuning",
        ),
        (
            "recipes/fish.yaml",
            "epochs: 10",
            "epochs: 10\n      max_steps: 3",
            "exactly one of `epochs` and `max_steps` is needed",
        ),
        (
            "recipes/fish.yaml",
            "recall:",
            "splits: {train: 0.9, dev: 0.0}\nrecall:",
            "splits.dev is 0, and there is one fold",
        ),
        ("recipes/fish.yaml", "rank: 128", "rank: 0", "expected a number of at least 1, found 0"),
        ("recipes/fish.yaml", "learning_rate: 5e-5", "learning_rate: .inf", "expected a finite number"),
        ("recipes/fish.yaml", "learning_rate: 5e-5", "learning_rate: true", "expected a number, found true"),
        (
            "recipes/fish.yaml",
            "learning_rate: 5e-5",
            "target_modules: [q_proj, lm_head]\n      learning_rate: 5e-5",
            "`lm_head` gets no adapter: name it in `modules_to_save`",
        ),
        (
            "recipes/fish.yaml",
            "    lora:",
            "    LoRA:",
            "fish: the name `LoRA` in train.models does not fit. Use small letters",
        ),
        (
            "recipes/fish.yaml",
            "recall:\n  top_k: 30",
            "recall: bm25",
            'fish: recall: expected a mapping, found "bm25" (text)',
        ),
        (
            "recipes/fish.yaml",
            "  revision: 9eb2daaa8597bf192a8b0e73f848f3a102794df5\n",
            "",
            "`hub` needs a `revision`",
        ),
        ("recipes/fish.yaml", "  revision: 9eb", "  tiny: llama\n  revision: 9eb", "found tiny and hub"),
        (
            "recipes/fish.yaml",
            "revision: 9eb2daaa8597bf192a8b0e73f848f3a102794df5",
            "revision: main",
            "base_model.revision: expected text of the form",
        ),
        ("recipes/fish.yaml", "hub: some", "layers: 2\n  hub: some", "`layers` belongs to `tiny`"),
        (
            "recipes/fish.yaml",
            "judge-2",
            "judge-1",
            "Score with another model, or set `evaluate.allow_same_judge: true`",
        ),
        ("recipes/fish.yaml", "judge-2", "offline-teacher-1", "cannot be served by the endpoint paid"),
        (
            "recipes/fish.yaml",
            "endpoint: paid, model: judge-2",
            "endpoint: offline, model: judge-2",
            "cannot be served by the endpoint offline",
        ),
        (
            "recipes/fish.yaml",
            "top_k: 30",
            "top_k: 5",
            "rerank.keep_passages is 10, but recall.top_k finds only 5",
        ),
        ("recipes/fish.yaml", "  corpus: [data/ponds.jsonl]\n", "", "Name their files in `source.corpus`"),
        ("recipes/fish.yaml", "recall:\n  top_k: 30\n", "", "fish: label needs the section recall, which is missing"),
        ("recipes/fish.yaml", "recall:", "splits: {train: 0.9, dev: 0.1, test: 0.0}\nrecall:", "and there is one fold"),
        (
            "recipes/fish.yaml",
            "recall:",
            "splits: {fold_shares: [1.0]}\nfolds: {names: [a, b]}\nrecall:",
            "1 shares for 2",
        ),
        ("recipes/fish.yaml", "recall:", "splits: {fold_shares: [0.5]}\nrecall:", "must sum to 1, their sum is 0.5"),
        ("recipes/fish.yaml", "recall:", "folds: {layout: prompt}\nrecall:", "no place for the passages of recall"),
        (
            "recipes/fish.yaml",
            "synthesize:",
            "synthesize:\n  kind: reasoning",
            "`judge` means nothing for `kind: reason",
        ),
        ("recipes/fish.yaml", "  judge: {endpoint: paid, model: judge-1}\n", "", "`kind: answers` needs a `judge`"),
        ("recipes/fish.yaml", "evaluate:", "evaluate:\n  metric: choices", "`judge` means nothing for `metric: choi"),
        (
            "recipes/fish.yaml",
            "format: none",
            "format: safetensors\n  quantization: q8_0",
            "`quantization` belongs to the format gguf",
        ),
        (
            "recipes/fish.yaml",
            "recall:",
            "folds: {names: [a, b]}\nrecall:",
            "splits.test is 0.1, but each of 2 folds is tested on another's records",
        ),
        (
            "recipes/fish.yaml",
            "recall:",
            "folds: {names: [D-A]}\nrecall:",
            "folds.names[0]: expected text of the form",
        ),
        (
            "recipes/fish.yaml",
            "evaluate:\n  judge: {endpoint: paid, model: judge-2}",
            "evaluate:\n  metric: texts\n  judge: {endpoint: paid, model: teacher-1}",
            "evaluate.judge.model is teacher-1, which writes the texts that are learned as synthesize.teacher.model",
        ),
        (
            "recipes/fish.yaml",
            "evaluate:",
            "evaluate:\n  metric: texts\n  criteria: [overall]",
            "`overall` is asked for anyway, beside the `criteria`",
        ),
        (
            "recipes/fish.yaml",
            "recall:\n  top_k: 30",
            "student: {}\nrecall:\n  backend: cragmm",
            "its own queries search a corpus of the recipe, and recall.backend is cragmm",
        ),
        (
            "recipes/fish.yaml",
            "recall:",
            "student: {}\nrerank: {train: {tiny: true}}\nrecall:",
            "chunks are ranked by `rerank.method`, and rerank.train ranks whole passages",
        ),
        (
            "recipes/fish.yaml",
            "synthesize:\n  teacher: {endpoint: paid, model: teacher-1, revision: abc, temperature: 0.8}\n"
            "  judge: {endpoint: paid, model: judge-1}\n",
            "student: {choice: reranker}\n",
            "searching and choosing are taught beside answers from passages",
        ),
        (
            "recipes/fish.yaml",
            "evaluate:\n  judge: {endpoint: paid, model: judge-2}",
            "student: {}\nevaluate:\n  metric: spans",
            "it is scored in conversations, and evaluate.metric is spans",
        ),
        ("recipes/fish.yaml", "recall:", "student: {choice: me}\nrecall:", "expected one of 'model', 'reranker'"),
        (
            "config.yaml",
            "recipes: [fish]",
            "recipes: [fihs]",
            "recipes: there is no recipe `fihs`. Did you mean `fish`?",
        ),
        ("config.yaml", "recipes: [fish]", "recipes: [fish]\nscale: tutorail", "Did you mean `tutorial`?"),
        ("config.yaml", "recipes: [fish]", "recipes: fish", 'recipes: expected a list, found "fish" (text)'),
        (
            "config.yaml",
            "recipes: [fish]",
            "recipes: [fish]\noverrides: {fsh: {}}",
            "overrides: there is no recipe `fsh`",
        ),
        (
            "config.yaml",
            "recipes: [fish]",
            "recipes: [fish]\noverrides: {fish: 3}",
            "overrides.fish: expected a mapping",
        ),
        ("config.yaml", "recipes: [fish]", "recipes: [fish]\noverrides: 3", "overrides: expected a mapping"),
        (
            "config.yaml",
            "recipes: [fish]",
            "recipes: [fish]\noverrides: {fish: {extends: fish}}",
            "extends stands in a recipe file only",
        ),
        (
            "config.yaml",
            "recipes: [fish]",
            "recipes: [fish]\noverrides: {fish: {limt: 3}}",
            "unknown key limt. Did you mean `limit`?",
        ),
        (
            "config.yaml",
            "kind: offline",
            "kind: offline, base_url: 'http://x'",
            "the offline teacher has neither",
        ),
        ("config.yaml", "      base_url: https://example.org/v1\n", "", "needs a `base_url`"),
    ],
)
def test_one_error(project: Project, name: str, old: str, new: str, expected: str) -> None:
    project.replace(name, old, new)
    assert expected in message(project).replace("\n", " ")


@pytest.mark.parametrize(
    ("section", "leaning"),
    [("recall", "label"), ("label", "synthesize"), ("base_model", "train"), ("train", "evaluate")],
)
def test_a_section_that_others_lean_on_is_missed_where_it_was_taken_back(
    project: Project, section: str, leaning: str
) -> None:
    project.write("tutorial/fish.yaml", f"limit: 3\n{section}: null\n")
    load_config(project.root)
    text = message(project, {"scale": "tutorial"})
    assert text.startswith(f"config/tutorial/fish.yaml:2: fish: {leaning} needs the section {section}")


def test_a_key_in_the_place_of_its_variable_is_not_shown(project: Project) -> None:
    project.replace("config.yaml", "SOME_KEY", "sk-secret123")
    text = message(project)
    assert "api_key_env: expected text of the form" in text
    assert "secret123" not in text


def test_a_recipe_without_tutorial_is_refused_at_that_scale(project: Project) -> None:
    (project.root / "config/tutorial/fish.yaml").unlink()
    load_config(project.root)
    assert "config/tutorial/fish.yaml is missing" in message(project, {"scale": "tutorial"})


def test_a_missing_tutorial_is_no_news_where_the_base_or_the_file_is_wrong(project: Project) -> None:
    project.write("recipes/eel.yaml", "extends: fihs\n")
    project.write("recipes/pike.yaml", "extends: fish\nsource: {files: [a]\n")
    text = message(project, {"recipes": ["eel", "pike"], "scale": "tutorial"})
    assert "there is no recipe `fihs`" in text
    assert "not valid YAML" in text
    assert "has no tutorial" not in text


def test_circles_and_unknown_bases(project: Project) -> None:
    project.write("recipes/trout.yaml", "extends: pike\n")
    project.write("recipes/pike.yaml", "description: x\nextends: trout\n")
    project.write("recipes/eel.yaml", "extends: fihs\n")
    text = message(project, {"recipes": ["trout", "eel"]})
    assert "config/recipes/pike.yaml:2: extends goes in a circle: trout → pike → trout" in text
    assert "config/recipes/eel.yaml:1: extends: there is no recipe `fihs`. Did you mean `fish`?" in text
    project.write("recipes/pike.yaml", "extends: pike\n")
    assert "circle: pike → pike" in message(project, {"recipes": ["pike"]})


def test_an_unreadable_file_hides_no_error_of_another_and_adds_none(project: Project) -> None:
    project.write("recipes/fish.yaml", "description: [\n")
    project.replace("config.yaml", "kind: offline", "kind: offlin")
    text = message(project)
    assert text.startswith("2 errors")
    assert "config/recipes/fish.yaml:2: not valid YAML" in text
    assert "config/config.yaml:4: llm.endpoints.offline.kind" in text


def test_missing_files_are_named(project: Project) -> None:
    (project.root / "config/config.yaml").unlink()
    assert message(project).startswith("config/config.yaml: cannot be read")
    assert "cannot be read" in message(Project(project.root), configfiles=[project.root / "nowhere.yaml"])


def test_errors_of_the_command_line_are_named_so(project: Project) -> None:
    assert "--config: scale: expected one of" in message(project, {"scale": "tiny"})
    assert '--config: fish: limit: expected a whole number, found "few" (text)' in message(
        project, {"overrides": {"fish": {"limit": "few"}}}
    )
    assert "--config: unknown key recipe. Did you mean `recipes`?" in message(project, {"recipe": "fish"})
    assert "--config: not valid YAML" in message(project, {"recipes": "[fish"})


def test_resources_of_unknown_rules(project: Project) -> None:
    text = message(project, {"resources": {"train_adaptor": {"gpus": 1}}}, rule_names=["train_adapter"])
    assert "resources: there is no rule `train_adaptor`. Did you mean `train_adapter`?" in text


PRICED = """\
      prices:
        judge-1: {input: 1.0, output: 2.0}
        judge-2: {input: 1.0, output: 2.0, cached: 0.5}
  budget_usd: 5.0
"""


def test_a_budget_in_dollars_needs_prices(project: Project) -> None:
    project.write("config.yaml", (project.root / "config/config.yaml").read_text() + PRICED)
    text = message(project)
    line = project.line("recipes/fish.yaml", "teacher-1")
    assert text.startswith(
        f"{line}: fish: synthesize.teacher.model: llm.budget_usd cannot be held, since teacher-1 has no price at paid. "
        "Add it to llm.endpoints.paid.prices (input and output 0 for a server of your own), or bound llm.budget_calls"
    )
    project.replace("config.yaml", "budget_usd: 5.0", "budget_calls: 5")
    load_config(project.root)
    project.replace("config.yaml", "budget_calls: 5", "budget_usd: 5.0")
    project.replace("config.yaml", "        judge-1:", "        teacher-1: {input: 0, output: 0}\n        judge-1:")
    load_config(project.root)
    project.replace("recipes/fish.yaml", "recall:\n", "queries: {model: {endpoint: paid, model: writer}}\nrecall:\n")
    load_config(project.root)
    project.replace("recipes/fish.yaml", "queries: {", "queries: {enabled: true, ")
    assert "queries.model.model: llm.budget_usd cannot be held" in message(project), "asked only where enabled"


WEB = "recall:\n  backend: http\n  http: {search_endpoint: finder, service: brave}\n"
FINDER = "search: {endpoints: {finder: {base_url: https://example.org}}}\n"


def test_recall_from_a_search_service(project: Project) -> None:
    project.replace("recipes/fish.yaml", "recall:\n", WEB)
    text = message(project)
    assert "recall.http.search_endpoint: no endpoint `finder` in search.endpoints" in text
    config = (project.root / "config/config.yaml").read_text()
    project.write("config.yaml", config + FINDER)
    assert "http" in load_config(project.root).settings_at("fish", "recall")["recall"]
    project.replace("recipes/fish.yaml", "service: brave", "service: brv")
    assert "there is no preset `brv`, and recall.http.custom describes none. Did you mean `brave`?" in message(project)
    project.replace("recipes/fish.yaml", "service: brv", "service: brave, params: {api_key: secret123}")
    text = message(project)
    assert "`api_key` looks like a key" in text and "secret123" not in text
    project.replace("recipes/fish.yaml", "params: {api_key: secret123}", "params: {account: [{token: secret123}]}")
    assert "`token` looks like a key" in (text := message(project)) and "secret123" not in text
    project.replace("recipes/fish.yaml", ", params: {account: [{token: secret123}]}", "")
    project.replace("recipes/fish.yaml", "  http: {search_endpoint: finder, service: brave}\n", "")
    assert "the backend http needs a search service" in message(project)


def test_searches_need_a_price_under_a_budget_in_dollars(project: Project) -> None:
    project.replace("recipes/fish.yaml", "recall:\n", WEB)
    search = {"endpoints": {"finder": {"base_url": "https://example.org"}}}
    changes = {"search": search, "llm": {"budget_usd": 5.0}}
    assert "llm.budget_usd cannot be held, since a search at finder has no price" in message(project, changes)
    changes["search"] = {"endpoints": {"finder": {"base_url": "https://example.org", "usd_per_1000": 0.0}}}
    assert "finder has no price" not in message(project, changes)


def test_a_reader_that_is_not_there(project: Project) -> None:
    project.replace("recipes/fish.yaml", "format: fish", "format: fihs")
    place = project.line("recipes/fish.yaml", "format: fihs")
    text = message(project, reader_names=["fish", "fowl"])
    assert text == f"{place}: fish: source.format: there is no reader `fihs`. Did you mean `fish`?"


def test_what_is_missing_at_the_top_is_missing_in_the_file_that_others_change(project: Project) -> None:
    project.replace("recipes/fish.yaml", "description: Questions about fish\n", "")
    changes = {"scale": "tutorial", "overrides": {"fish": {"limit": 3}}}
    missing = "description is missing. It says: what the recipe makes, in one sentence"
    assert message(project, changes) == f"config/recipes/fish.yaml:1: fish: {missing}"
    project.write("recipes/trout.yaml", "extends: fish\n")
    assert f"config/recipes/trout.yaml:1: trout: {missing}" in message(project, changes | {"recipes": ["trout"]})
    project.replace("config.yaml", "recipes: [fish]\n", "")
    extra = project.write("extra.yaml", "scale: full\n")
    assert "config/config.yaml:1: recipes is missing" in message(project, {"results_dir": "x"}, configfiles=[extra])


def test_a_key_in_an_address_is_refused_and_not_shown(project: Project) -> None:
    project.replace("config.yaml", "https://example.org/v1", "https://example.org/v1?key=secret123")
    text = message(project)
    assert "llm.endpoints.paid.base_url: no `?` may stand in it" in text and "api_key_env" in text
    assert "secret123" not in text


@pytest.mark.parametrize(
    "extra",
    [
        "{api_key: secret123}",
        "{metadata: {Authorization: secret123}}",
        "{plugins: [{x-api-key: secret123}]}",
        "{token: sk-secret1234567890}",
    ],
)
def test_a_key_in_the_body_of_a_request_is_refused_and_not_shown(project: Project, extra: str) -> None:
    """Fields of the body are part of the key of a call: they would stand in the store, in params and in meta files."""
    project.replace("recipes/fish.yaml", "model: judge-1}\nsyn", f"model: judge-1, extra_body: {extra}}}\nsyn")
    text = message(project)
    assert "label.model.extra_body: " in text and "looks like a key" in text and "`api_key_env`" in text
    assert "secret1" not in text


def test_settings_that_only_sound_like_keys_are_none(project: Project) -> None:
    extra = "{prompt_cache_key: fish, stop_token_ids: [2], max_completion_tokens: 9, seed: null}"
    project.replace("recipes/fish.yaml", "model: judge-1}\nsyn", f"model: judge-1, extra_body: {extra}}}\nsyn")
    body = load_config(project.root).settings_at("fish", "label")["label"]["model"]["extra_body"]
    assert body["prompt_cache_key"] == "fish"
