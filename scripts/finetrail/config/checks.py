"""Checks across sections; each runs on whatever sections are valid, so that no error hides another."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from finetrail.config.hints import did_you_mean, dotted
from finetrail.config.recipe import RecipeConfig
from finetrail.config.sections.fields import Section
from finetrail.config.sections.llm import OFFLINE_PREFIX, ModelReference
from finetrail.config.sections.recall import ELSEWHERE
from finetrail.config.sections.schema import as_section, child, is_mapping
from finetrail.config.sections.serve import pin_problem
from finetrail.config.sections.train import BaseModelChoice
from finetrail.config.yaml_lines import KeyPath
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json


class Finding(NamedTuple):
    """Something wrong at a path of a recipe."""

    path: KeyPath
    text: str
    hint: str | None = None


def _leans_on(
    name: str, needed: str, only: Callable[[Any], bool] = bool
) -> Callable[[RecipeConfig], Iterator[Finding]]:
    """Make the check that a section is not there without another that it works on."""

    def check(recipe: RecipeConfig) -> Iterator[Finding]:
        section = getattr(recipe, name)
        if section is not None and only(section) and getattr(recipe, needed) is None:
            text = f"{name} needs the section {needed}, which is missing"
            yield Finding((needed,), text, f"Write {needed}, or leave {name} out too (`{name}: null`)")

    return check


def _folds_have_tests(recipe: RecipeConfig) -> Iterator[Finding]:
    """One fold is tested on records of its own, several are tested on each other's."""
    splits, names = recipe.splits, recipe.folds.names
    held_out = recipe.source.held_out
    if held_out and (splits.test or len(names) > 1):
        text = "source.held_out names the tests, and splits.test or a second fold would be others"
        yield Finding(
            ("source", "held_out"), text, "Set splits.test to 0 and name one fold, or move the files to files"
        )
    if len(names) == 1 and not ((splits.test or held_out) and splits.dev):
        none = "test" if not (splits.test or held_out) else "dev"
        yield Finding(("splits", none), f"splits.{none} is 0, and there is one fold", "Leave it some records")
    if len(names) > 1 and splits.test:
        text = f"splits.test is {splits.test:g}, but each of {len(names)} folds is tested on another's records"
        yield Finding(("splits", "test"), text, "Set it to 0, and let train and dev sum to 1")
    if len(names) == 1 and recipe.folds.train_on == "others":
        yield Finding(("folds", "train_on"), "folds.train_on: there is one fold, and no others", "Name several folds")
    if splits.fold_shares and len(splits.fold_shares) != len(names):
        text = f"splits.fold_shares has {len(splits.fold_shares)} shares for {len(names)} folds"
        yield Finding(("splits", "fold_shares"), text)
    if len(set(names)) < len(names):
        yield Finding(("folds", "names"), "folds.names: a name occurs twice")


def _paths_have_no_braces(recipe: RecipeConfig) -> Iterator[Finding]:
    """Snakemake takes what stands in braces for a wildcard."""
    for key in ("files", "held_out", "questions", "corpus", "images"):
        named = getattr(recipe.source, key)
        for path in [named] if isinstance(named, str) else named or []:
            if {*"{}"} & {*path}:
                text = f"source.{key}: the path {path!r} holds a brace, which Snakemake takes for a wildcard"
                yield Finding(("source", key), text, "Give the file or folder another name")


def _documents_are_cut(recipe: RecipeConfig) -> Iterator[Finding]:
    """Chunks are made of documents, and questions of chunks."""
    reads = recipe.source.format == DOCUMENTS
    if reads != (recipe.documents is not None):
        text = (
            f"source.format is {recipe.source.format}, and the section documents is {'missing' if reads else 'there'}"
        )
        yield Finding(("documents",), text, f"The reader `{DOCUMENTS}`, and no other, has this section")
    if recipe.source.questions and not reads:
        yield Finding(("source", "questions"), f"source.questions goes along with the reader `{DOCUMENTS}` only")


def _questions_have_chunks(recipe: RecipeConfig) -> Iterator[Finding]:
    asked = recipe.synthesize is not None and recipe.synthesize.kind == "questions"
    if asked != (recipe.documents is not None):
        text = "questions are made of documents, and documents are for questions"
        yield Finding(("synthesize",), text, "Use the section documents and `synthesize.kind: questions` together")
    if asked and recipe.folds.layout != "prompt":
        yield Finding(("folds", "layout"), "folds.layout: a question is shown as it is", "Use `layout: prompt`")


def _captions_have_classes(recipe: RecipeConfig) -> Iterator[Finding]:
    written = recipe.synthesize is not None and recipe.synthesize.kind == "captions"
    if written and recipe.vision is None:
        text = "captions are written about images of known classes, and the section vision is missing"
        yield Finding(("vision",), text, "Name the classes in `vision.classes`")
    if written and recipe.source.images is None:
        yield Finding(("source", "images"), "source.images: captions need the folder of the images")
    if written and recipe.folds.layout != "prompt":
        yield Finding(("folds", "layout"), "folds.layout: a task is shown as it is", "Use `layout: prompt`")
    if recipe.vision is not None and len(recipe.folds.names) > 1:
        text = "vision learns from the train records of one fold, and there are several"
        yield Finding(("folds", "names"), text, "Name one fold")
    drawing = [name for name, model in (recipe.train.models if recipe.train else {}).items() if model.prefix]
    if drawing and not written:
        text = f"train.models.{drawing[0]} draws tasks about images, which `synthesize.kind: captions` lays out"
        yield Finding(("train", "models", drawing[0]), text)


def _prompts_are_whole(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.recall is not None and recipe.folds.layout == "prompt":
        yield Finding(
            ("folds", "layout"),
            "folds.layout: a prompt that is shown as it is has no place for the passages of recall",
            "Use `layout: evidence`, or leave recall out",
        )


def _bundles_are_shown(recipe: RecipeConfig) -> Iterator[Finding]:
    """Bundles need passages, their own layout, and a training that sees each of them once, in order."""
    made = recipe.synthesize is not None and recipe.synthesize.kind == "bundles"
    if made and recipe.recall is None:
        yield Finding(("recall",), "bundles are made of retrieved passages, and recall is missing", "Write recall")
    if made != (recipe.folds.layout == "bundle"):
        text = "bundles, and nothing else, are shown by `folds.layout: bundle`"
        yield Finding(("folds", "layout"), text, "Use it together with `synthesize.kind: bundles`")
    for name, model in (recipe.train.models if recipe.train and made else {}).items():
        if model.row_order != "written":
            text = f"train.models.{name}.row_order is {model.row_order}, which would mix the epochs of the bundles"
            yield Finding(("train", "models", name, "row_order"), text, "Set it to `written`")
        if model.epochs != 1:
            text = f"train.models.{name}: one pass over the written rows is all epochs of the bundles"
            yield Finding(
                ("train", "models", name),
                f"{text}; {'max_steps' if model.max_steps else f'epochs {model.epochs:g}'} would end elsewhere",
                "Set `epochs: 1.0`, and the number of epochs in `synthesize.epochs`",
            )


def _student_can_search(recipe: RecipeConfig) -> Iterator[Finding]:
    """What the student does when it is deployed must be taught, and be possible here."""
    if recipe.student is None:
        return
    kind = recipe.synthesize.kind if recipe.synthesize else None
    if kind != "answers":
        text = "student: searching and choosing are taught beside answers from passages (`synthesize.kind: answers`)"
        yield Finding(("student",), text, "Leave it out (`student: null`)")
    elif recipe.recall is not None and recipe.recall.backend in ELSEWHERE:
        text = f"student: its own queries search a corpus of the recipe, and recall.backend is {recipe.recall.backend}"
        yield Finding(("student",), text, "Name a corpus and a backend that searches it, or set `student: null`")
    elif recipe.rerank.train is not None:
        text = "student: chunks are ranked by `rerank.method`, and rerank.train ranks whole passages"
        yield Finding(("student",), text, "Set `rerank.train: null`, or `student: null`")
    elif recipe.evaluate is not None and recipe.evaluate.metric != "turns":
        text = f"student: it is scored in conversations, and evaluate.metric is {recipe.evaluate.metric}"
        yield Finding(("student",), text, "Set `evaluate.metric: turns`, or `student: null`")


def _hops_have_passages(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.evaluate is not None and recipe.evaluate.metric == "hops" and recipe.folds.layout != "bundle":
        text = "evaluate.metric is hops, which scores answers that cite numbered sentences"
        yield Finding(("evaluate", "metric"), text, "Show them by `folds.layout: bundle`")


def _recall_has_passages(recipe: RecipeConfig) -> Iterator[Finding]:
    recall = recipe.recall
    if recall is None:
        return
    if recall.backend == "http" and recall.http is None:
        yield Finding(("recall",), "the backend http needs a search service", "Describe it in `recall.http`")
    if "dense" in recall.members and recipe.encoder is None:
        yield Finding(
            ("recall",), f"the backend {recall.backend} needs a bi-encoder", "Name it in the section `encoder`"
        )
    if recall.backend not in ELSEWHERE and not recipe.source.corpus:
        yield Finding(("recall",), "recall needs passages to search", "Name their files in `source.corpus`")
    if recipe.rerank.method == "cross_encoder" and recipe.rerank.model is None:
        yield Finding(("rerank",), "the method cross_encoder needs a model", "Name it in `rerank.model`")


def _report_can_be_made(recipe: RecipeConfig) -> Iterator[Finding]:
    report = recipe.retrieval_report
    if report is None:
        return
    key = ("retrieval_report",)
    if recipe.recall is None:
        yield Finding(key, "a report on retrieval needs recall, whose corpus it searches", "Leave it out")
    elif recipe.recall.backend not in ELSEWHERE and "dense" in report.members and recipe.encoder is None:
        yield Finding(key, "the report on dense needs a bi-encoder", "Name it in the section `encoder`")


def _counts_fit(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.recall is None:
        return
    kept, found = recipe.rerank.keep_passages, recipe.recall.top_k
    if recipe.rerank.train is not None:
        if recipe.rerank.keep_chunks > found:
            text = f"rerank.keep_chunks is {recipe.rerank.keep_chunks}, but recall.top_k finds only {found}"
            yield Finding(("rerank", "keep_chunks"), text)
    elif kept > found:
        yield Finding(
            ("rerank", "keep_passages"),
            f"rerank.keep_passages is {kept}, but recall.top_k finds only {found}",
        )
    shown, chunks = recipe.folds.evidence, recipe.rerank.keep_chunks
    if shown > chunks:
        yield Finding(
            ("folds", "evidence"),
            f"folds.evidence is {shown}, but rerank.keep_chunks keeps only {chunks}",
        )


def _judges_differ(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.synthesize is None or recipe.evaluate is None or recipe.evaluate.judge is None:
        return
    model, made, texts = recipe.evaluate.judge.model, recipe.synthesize, recipe.evaluate.metric == "texts"
    other = made.teacher if texts else made.judge
    if other is None or model != other.model or recipe.evaluate.allow_same_judge:
        return
    said = (
        "writes the texts that are learned as synthesize.teacher"
        if texts
        else "filters the train rows as synthesize.judge"
    )
    yield Finding(
        ("evaluate", "judge", "model"),
        f"evaluate.judge.model is {model}, which {said}.model",
        "Score with another model, or set `evaluate.allow_same_judge: true` (the report says so)",
    )


# The reader whose records are chunks of documents.
DOCUMENTS = "documents"

# The presets of `finetrail.web.services`; a test compares them.
SEARCH_PRESETS = ("searxng", "brave", "tavily")


def _whole_answers_carry_loss(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.train is None or recipe.limits.history_answer_tokens is None:
        return
    for name, model in recipe.train.models.items():
        if model.loss == "assistant":
            yield Finding(
                ("train", "models", name, "loss"),
                f"train.models.{name}.loss is assistant, but limits.history_answer_tokens cuts earlier answers:"
                " the model would learn to stop in the middle",
                "Set `loss: answer`, or `history_answer_tokens: null`",
            )


def _vision_fits(recipe: RecipeConfig) -> Iterator[Finding]:
    """What is known not to work for a vision model, as far as the configuration tells that it is one."""
    if recipe.base_model is None or not reads_images(recipe.base_model):
        return
    if recipe.export is not None and recipe.export.format == "gguf":
        yield Finding(
            ("export", "format"),
            "export.format is gguf, but llama.cpp's file format has no Mllama",
            "Set `safetensors`, which Ollama converts itself",
        )
    for name, model in (recipe.train.models if recipe.train else {}).items():
        if model.packing and recipe.limits.images == "show":
            yield Finding(
                ("train", "models", name, "packing"),
                f"train.models.{name}.packing is true, but rows with images cannot share a sequence",
                "Set it to false, or `limits.images` to drop",
            )


def reads_images(choice: BaseModelChoice) -> bool:
    """Whether the base is a vision model, as far as can be told before it is fetched."""
    if choice.path is not None:
        config = Path(choice.path, "config.json")
        try:
            return config.is_file() and "vision_config" in read_json(config)
        except FinetrailError:  # the check of base models names it, with its key
            return False
    name = (choice.hub or "").lower()
    return choice.tiny == "mllama" or ("llama-3.2" in name and "vision" in name)


# Families that models read, by their architecture (`model_type` of config.json) and by what stands in a hub's names.
# Whatever is not here is held to the family by its tokenizer, once that is there.
_FREE = {"chatml", "alpaca"}  # what any base can be taught
_BY_ARCHITECTURE = {
    "llama": {"llama3", "mistral"}, "mllama": {"llama3"}, "mistral": {"mistral"}, "qwen2": {"qwen"}, "qwen3": {"qwen"},
    "gemma": {"gemma"}, "gemma2": {"gemma"}, "gemma3": {"gemma"}, "gpt2": set(), "gpt_neox": set(), "opt": set(),
}  # fmt: skip
_BY_NAME = {
    "mistral": {"mistral"}, "llama-3": {"llama3"}, "qwen": {"qwen"}, "gemma": {"gemma"},
    "dialogpt": set(), "gpt2": set(), "pythia": set(), "/opt-": set(),
}  # fmt: skip
TINY_FAMILIES = {"llama": "llama3", "mllama": "llama3", "mistral": "mistral", "qwen2": "qwen", "qwen3": "qwen"}


def families_of(choice: BaseModelChoice) -> set[str] | None:
    """Return the families that a base model can be of, as far as the configuration tells; None where it does not."""
    if choice.template is not None:
        return None  # the layout is written into the model; which family it has is known to the layouts
    if choice.tiny is not None:
        return {TINY_FAMILIES[choice.tiny]}
    if choice.path is not None:
        config = Path(choice.path, "config.json")
        known = _BY_ARCHITECTURE.get(read_json(config).get("model_type")) if config.is_file() else None
        return None if known is None else known | _FREE
    named = [families for part, families in _BY_NAME.items() if part in (choice.hub or "").lower()]
    return _FREE.union(*named) if named else None


def _family_fits(recipe: RecipeConfig) -> Iterator[Finding]:
    """A model that is asked in another family's prompts answers badly, and nobody sees why."""
    choice = recipe.base_model
    if choice is None or choice.family is None:
        return
    known = families_of(choice)
    if known is not None and choice.family not in known:
        name = choice.hub or choice.path or f"a tiny {choice.tiny}"
        own = ", ".join(sorted(known - _FREE)) or "none that is known"
        yield Finding(
            ("base_model", "family"),
            f"base_model.family is {choice.family}, but the family of {name} is {own}",
            "Name the model's own family, another model, or a layout to teach it in base_model.template",
        )


def _templates_can_be_written(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.synthesize is None or "tokenizer" not in recipe.synthesize.templates:
        return
    if recipe.base_model is None or len(recipe.folds.names) > 1:
        text = "synthesize.templates: `tokenizer` is the template of the base model of a recipe with one fold"
        yield Finding(("synthesize", "templates"), text, "Name a base_model, or leave `tokenizer` out")


Check = Callable[[RecipeConfig], Iterator[Finding]]

# Each check, and the sections that must be valid for it to run.
CHECKS: tuple[tuple[Check, frozenset[str]], ...] = (
    (_leans_on("label", "recall"), frozenset({"label", "recall"})),
    (_leans_on("synthesize", "label", lambda section: section.kind == "answers"), frozenset({"synthesize", "label"})),
    (_leans_on("train", "base_model"), frozenset({"train", "base_model"})),
    (_leans_on("evaluate", "train"), frozenset({"evaluate", "train"})),
    (_leans_on("export", "train", lambda section: section.format != "none"), frozenset({"export", "train"})),
    (_folds_have_tests, frozenset({"source", "splits", "folds"})),
    (_paths_have_no_braces, frozenset({"source"})),
    (_documents_are_cut, frozenset({"source", "documents"})),
    (_questions_have_chunks, frozenset({"documents", "synthesize", "folds"})),
    (_captions_have_classes, frozenset({"source", "synthesize", "vision", "folds", "train"})),
    (_prompts_are_whole, frozenset({"recall", "folds"})),
    (_bundles_are_shown, frozenset({"recall", "synthesize", "folds", "train"})),
    (_hops_have_passages, frozenset({"evaluate", "folds"})),
    (_recall_has_passages, frozenset({"source", "recall", "encoder", "rerank"})),
    (_report_can_be_made, frozenset({"recall", "encoder", "retrieval_report"})),
    (_student_can_search, frozenset({"student", "recall", "rerank", "synthesize", "evaluate"})),
    (_counts_fit, frozenset({"recall", "rerank", "folds"})),
    (_judges_differ, frozenset({"synthesize", "evaluate"})),
    (_whole_answers_carry_loss, frozenset({"train", "limits"})),
    (_family_fits, frozenset({"base_model"})),
    (_templates_can_be_written, frozenset({"synthesize", "base_model", "folds"})),
    (_vision_fits, frozenset({"base_model", "train", "limits", "export"})),
)


def cross_check(tree: Mapping[str, Any], broken: set[str]) -> Iterator[Finding]:
    """Run the checks whose sections are valid.

    Args:
        tree: a recipe's merged values.
        broken: names of its sections that are not valid.
    """
    values: dict[str, Any] = {}
    for name, value in tree.items():
        section = as_section(child(RecipeConfig, name))
        if name in RecipeConfig.model_fields and name not in broken:
            values[name] = section.model_validate(value) if section else value
    partial = RecipeConfig.model_construct(**values)
    for check, needed in CHECKS:
        if not needed & broken:
            yield from check(partial)


def check_reader(tree: Mapping[str, Any], known: Collection[str]) -> Iterator[Finding]:
    """Check that the original records have a reader, where the readers are known."""
    source = tree.get("source")
    name = source.get("format") if isinstance(source, dict) else None
    if known and isinstance(name, str) and name not in known:
        text = f"source.format: there is no reader `{name}`"
        yield Finding(("source", "format"), text, did_you_mean(name, known))


def check_endpoints(tree: Any, endpoints: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that every model reference names an endpoint, and that the offline teacher has its own name."""
    for path, reference in _references(RecipeConfig, tree, ()):
        name, model = reference.get("endpoint"), str(reference.get("model"))
        if not isinstance(name, str):
            continue
        key = dotted(path)
        if name not in endpoints:
            yield Finding(
                (*path, "endpoint"),
                f"{key}.endpoint: no endpoint `{name}` in llm.endpoints",
                did_you_mean(name, endpoints),
            )
            continue
        yield from _served_model(path, reference, endpoints[name])
        offline = isinstance(endpoints[name], dict) and endpoints[name].get("kind") == "offline"
        if offline != model.startswith(OFFLINE_PREFIX):
            text = f"{key}.model: {model} cannot be served by the endpoint {name}"
            yield Finding(
                (*path, "model"),
                text,
                f"The offline teacher, and nothing else, has names with {OFFLINE_PREFIX}",
            )


def _served_model(path: KeyPath, reference: Mapping[str, Any], entry: Any) -> Iterator[Finding]:
    """Check that a server of our own is told exactly which weights to serve."""
    if not isinstance(entry, dict) or entry.get("kind") not in ("vllm", "transformers"):
        return
    serve = entry.get("serve")
    adapters = serve.get("lora_modules") if isinstance(serve, dict) else None
    model, revision = str(reference.get("model")), reference.get("revision")
    if isinstance(adapters, dict) and model in adapters:
        problem = None if revision is None else f"the adapter {model} takes no `revision`: its base has one"
    else:
        problem = pin_problem(model, revision if isinstance(revision, str) else None)
    if problem:
        hint = "A folder starts with `./` or `/`, or is deeper than owner/name; adapters stand in `serve.lora_modules`"
        yield Finding((*path, "model"), f"{dotted(path)}.model: {problem}", hint)


def check_prices(tree: Any, llm: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that a bound in US dollars can be held: every model that is asked for money has a price."""
    if llm.get("budget_usd") is None or not isinstance(llm.get("endpoints"), dict):
        return
    for path, reference in _references(RecipeConfig, tree, ()):
        name, model = reference.get("endpoint"), reference.get("model")
        entry = llm["endpoints"].get(name) if isinstance(name, str) else None
        unused = path[0] == "queries" and not tree["queries"].get("enabled")
        if unused or not isinstance(entry, dict) or entry.get("kind") != "openai":
            continue
        if model not in (entry.get("prices") or {}):
            yield Finding(
                (*path, "model"),
                f"{dotted(path)}.model: llm.budget_usd cannot be held, since {model} has no price at {name}",
                f"Add it to llm.endpoints.{name}.prices (input and output 0 for a server of your own), or bound "
                "llm.budget_calls instead",
            )


def check_search(tree: Any, project: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the search service of a recipe that uses one: its endpoint, its preset, and its price under a budget."""
    recall = tree.get("recall")
    http = recall.get("http") if isinstance(recall, dict) and recall.get("backend") == "http" else None
    search, llm = project.get("search"), project.get("llm")
    endpoints = search.get("endpoints") if isinstance(search, dict) else None
    endpoints = endpoints if isinstance(endpoints, dict) else {}
    if not isinstance(http, dict):
        return
    service, name = http.get("service"), http.get("search_endpoint")
    if isinstance(service, str) and http.get("custom") is None and service not in SEARCH_PRESETS:
        text = f"recall.http.service: there is no preset `{service}`, and recall.http.custom describes none"
        yield Finding(("recall", "http", "service"), text, did_you_mean(service, SEARCH_PRESETS))
    if isinstance(name, str) and name not in endpoints:
        text = f"recall.http.search_endpoint: no endpoint `{name}` in search.endpoints"
        yield Finding(("recall", "http", "search_endpoint"), text, did_you_mean(name, endpoints))
    entry = endpoints.get(name) if isinstance(name, str) else None
    bounded = isinstance(llm, dict) and llm.get("budget_usd") is not None
    if bounded and isinstance(entry, dict) and entry.get("usd_per_1000") is None:
        yield Finding(
            ("recall", "http", "search_endpoint"),
            f"recall.http.search_endpoint: llm.budget_usd cannot be held, since a search at {name} has no price",
            f"Set search.endpoints.{name}.usd_per_1000 (0 for a service of your own), or bound llm.budget_calls",
        )


def _references(annotation: Any, value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield the model references in a tree of values that may be wrong."""
    section: type[Section] | None = as_section(annotation)
    if not isinstance(value, dict):
        return
    if section is ModelReference:
        yield path, value
    elif is_mapping(annotation):
        for key, item in value.items():
            yield from _references(child(annotation, key), item, (*path, key))
