"""Sections of a recipe's data side: source, splits, queries, recall, rerank, label, synthesize, folds."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from finetrail.config.sections.fields import Count, FoldName, Name, Section, Share, Text, operation, result
from finetrail.config.sections.llm import ModelReference, shards_key
from finetrail.config.sections.vision import Rate, TaskName

_SUM_TOLERANCE = 1e-9

SplitShare = Annotated[float, Field(gt=0)]
MaybeShare = Annotated[float, Field(ge=0)]


class FetchImages(Section):
    """How images are had that records name by address, or hold themselves."""

    max_bytes: Count = result(20_000_000, "largest image file")
    max_pixels: Count = result(40_000_000, "largest image, as width times height, known before it is decoded")
    on_failure: Literal["drop", "text"] = result(
        "drop", "records whose image could not be had: left out, or kept with their text alone"
    )
    timeout_s: float = operation(30.0, "seconds from the first connection to the last byte, redirects included", gt=0)
    max_redirects: int = operation(5, "redirects that are followed", ge=0)
    max_retries: int = operation(2, "further tries of an image that failed for a passing cause", ge=0)
    max_concurrency: Count = operation(16, "most images under way at once; two of one host")
    allow_private: bool = operation(False, "addresses of the inner network may be read: for tests and intranets only")
    refresh: bool = operation(False, "ask again for images that are there, which a server may answer with 'unchanged'")


class Source(Section):
    """The original records."""

    format: Name = result(..., "reader of the records: a module of `scripts/ingest/readers`")
    files: list[Text] = result(
        ..., "files of original records, in order; of documents also folders, with all that is below", min_length=1
    )
    held_out: list[Text] = result(
        [], "further files of records, a published test set: they are the test split, whole, and never trained on"
    )
    questions: list[Text] = result(
        [], "documents: files of existing questions and answers (JSON, JSONL, CSV) that go along with generated ones"
    )
    images: Text | None = result(None, "folder that image paths of the records are relative to")
    fetch: FetchImages | None = result(
        None, "images by address or within the records are fetched, checked and kept; none where all are local files"
    )
    corpus: list[Text] = result(
        [],
        "what recall searches: files of passages (JSON Lines), folders in the layout of BEIR (`corpus.jsonl`), and "
        "folders of documents of any kind that the reader `documents` knows",
    )
    records: Count | None = operation(
        None,
        "about how many original records the files hold: time limits of jobs follow from it until the records were "
        "read; 10000 where nothing is said",
    )
    licence: Text = result(..., "licence of the original records, for the cards")
    citation: Text | None = result(None, "how to cite the original records, for the cards")


class NearDuplicates(Section):
    """When two texts are near-duplicates: MinHash proposes pairs, the exact Jaccard similarity of word runs decides."""

    threshold: Annotated[float, Field(gt=0, le=1)] = result(0.8, "least Jaccard similarity of near-duplicates")
    shingle_words: Count = result(5, "words and signs of a compared run")
    least_words: Annotated[int, Field(ge=0)] = result(
        0, "texts of fewer words and signs are like no other: headings, lines about a licence"
    )


class SplitValues(Section):
    """Values of a field that decide a split; what has none of them is divided by the shares of train and dev."""

    field: Name = result(..., "a field of the records, such as `year`")
    test: list[Text] = result(..., "values whose records are test", min_length=1)
    dev: list[Text] = result([], "values whose records are dev; none: a share of the others")


class Splits(Section):
    """Shares of the original records for train, dev and test; groups stay together."""

    train: SplitShare = result(0.8, "share of the groups that training may see")
    dev: MaybeShare = result(0.1, "share for choices (checkpoint, threshold)")
    test: MaybeShare = result(
        0.1, "share that only the final score reads; 0 where there are several folds, each tested on the others"
    )
    seed: int = result(42, "seed of the assignment")
    method: Literal["hash", "shuffle", "shuffle_groups", "values"] = result(
        "hash",
        "`hash`: whole groups, by a hash, so that new records move no old ones; `shuffle`: single records in exact "
        "numbers, which lets groups straddle (the reports count them); `shuffle_groups`: whole groups, shuffled, in "
        "the nearest numbers that their sizes allow; `values`: by `values`, such as a year that is held out",
    )
    values: SplitValues | None = result(None, "which values of a field are test and dev (`method: values`)")
    previous: Text | None = result(
        None, "splits.jsonl of an earlier run, kept outside the results: its records stay where they are (`hash`)"
    )
    fold_shares: list[SplitShare] = result([], "share of each of several folds; none for equal ones")
    group_by: list[Name] = result(
        ["session", "image"], "records that share any of these keys stay together", min_length=1
    )
    near_duplicates: NearDuplicates | None = result(
        None, "records whose texts are near-duplicates stay together, too; none to compare no texts"
    )
    stratify_by: Text | None = result(
        None, "a field of the records: the shuffles hold the shares within each of its values"
    )
    largest_group: Annotated[float, Field(gt=0, le=1)] = result(
        0.2, "largest share of the rows that one group may hold; pilots (`limit`) are exempt"
    )

    @model_validator(mode="after")
    def _check_sum(self) -> "Splits":
        total = self.train + self.dev + self.test
        if abs(total - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"train, dev and test must sum to 1, their sum is {total:g}")
        if self.fold_shares and abs(sum(self.fold_shares) - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"`fold_shares` must sum to 1, their sum is {sum(self.fold_shares):g}")
        return self

    @model_validator(mode="after")
    def _check_method(self) -> "Splits":
        if self.previous and self.method != "hash":
            raise ValueError(f"`previous` needs `method: hash`: `{self.method}` moves every record")
        if self.stratify_by and self.method not in ("shuffle", "shuffle_groups"):
            raise ValueError("`stratify_by` needs `method: shuffle` or `shuffle_groups`: a hash counts nothing")
        if (self.method == "values") != (self.values is not None):
            raise ValueError("`method: values` and `values` go together")
        return self


class Queries(Section):
    """Search queries written by a model."""

    enabled: bool = result(False, "whether a model writes search queries; if not, the question is the query")
    model: ModelReference | None = result(None, "model that writes the queries")
    count: Count = result(1, "queries for each record")
    shards: int = shards_key()

    @model_validator(mode="after")
    def _check_model(self) -> "Queries":
        if self.enabled and self.model is None:
            raise ValueError("`enabled: true` needs a `model`")
        return self


class Calibration(Section):
    """How good the labeller is: against people's labels, and against passages that cannot be relevant."""

    gold: list[Text] = result(
        [],
        "files of people's labels, a pair a line: `interaction_id` (or `task_id`), `passage_id` (or `document_id`) and "
        "`label` (yes, no, mixed)",
    )
    planted: Annotated[int, Field(ge=0)] = result(
        100, "records that are shown a passage of other records, which the labeller should not take"
    )
    resamples: Annotated[int, Field(ge=100)] = result(1000, "bootstrap resamples over groups")
    seed: int = result(42, "seed of what is planted, and of the bootstrap")


class Label(Section):
    """Relevance verdicts on the kept passages."""

    model: ModelReference = result(..., "model that judges each passage")
    listwise: ModelReference | None = result(
        None,
        "model that first chooses among all candidates of a record in one call, for the report; none to leave out",
    )
    listwise_words: Count = result(100, "words of each candidate that the listwise call shows")
    second: ModelReference | None = result(None, "a second model that judges each passage, too; none for one judge")
    decide: Literal["first", "both", "either"] = result(
        "first", "of two judges: whose yes makes a passage relevant (`first`: the second is reported only)"
    )
    scale: Literal["binary", "graded"] = result("binary", "yes or no, or a grade from 0 to 3")
    relevant_from: Annotated[int, Field(ge=1, le=3)] = result(2, "graded: least grade of a relevant passage")
    show_answer: bool = result(
        False, "whether the labeller sees the record's own answer; only train records are labelled in any case"
    )
    show_image: bool = result(True, "whether the labeller sees the record's image, once a call")
    calibration: Calibration | None = result(None, "how good the labeller is, as a report; none for no report")
    shards: int = shards_key()

    @model_validator(mode="after")
    def _check_choices(self) -> "Label":
        if self.decide != "first" and self.second is None:
            raise ValueError(f"`decide: {self.decide}` needs a `second` model")
        return self


# What only some kinds of synthesis read.
_READ_BY = {
    "answers": {
        "turns", "versions", "judge", "keep_original", "keep", "refusal_share", "refusal_text", "planted",
        "planted_seed",
    },
    "reasoning": {"versions", "keep", "permute_options"},
    "questions": {
        "judge", "questions", "styles", "seen_questions", "criteria", "pass_score", "review_score", "threshold",
        "templates",
    },
    "bundles": {"epochs", "gold_epochs", "hard_negatives", "refuse_missing", "seed"},
    "captions": {"task_weights"},
}  # fmt: skip
_ASKING = {"teacher", "shards"}  # of every kind but bundles
_READ_BY_SOME = set().union(*_READ_BY.values(), _ASKING)

Score = Annotated[float, Field(ge=0, le=10)]
TemplateName = Literal["alpaca", "chatml", "sharegpt", "llama3", "mistral", "qwen", "gemma", "tokenizer"]


class Synthesize(Section):
    """Answers from passages; reasoned choices that are held to a key; or questions and answers about chunks."""

    kind: Literal["answers", "reasoning", "questions", "captions", "bundles"] = result(
        "answers",
        "`answers`: answers from passages, judged by a model; `reasoning`: Reasoning / Reflection / Answer to "
        "multiple-choice prompts, kept where the answer equals the key; `questions`: questions and answers about "
        "chunks of documents, scored by a model; `captions`: four sentences about each image, and a summary; "
        "`bundles`: no model is asked, the records' own answers with passages that change from epoch to epoch (a "
        "curriculum), each answer citing its supporting sentences",
    )
    turns: Literal["comb", "single", "multi"] = result(
        "comb", "answers: records of single-turn and multi-turn sessions together, or one kind alone"
    )
    versions: Count = result(20, "answers written for each train record")
    teacher: ModelReference | None = result(
        None, "answers, reasoning, questions: model that writes the answers, compulsory"
    )
    judge: ModelReference | None = result(
        None, "answers, questions: model that judges them, compulsory; it filters train rows only"
    )
    keep_original: bool = result(True, "whether the original answer is one of the versions")
    keep: Literal["all", "best"] = result(
        "all", "keep all distinct right versions of a record, or the best one (reasoning: the first)"
    )
    refusal_share: Annotated[float, Field(ge=0, lt=1)] = result(
        0.2, "largest share of refusals among the examples; rows without a right answer become refusals"
    )
    refusal_text: Text = result("I don't know", "what a refusal says")
    planted: Annotated[int, Field(ge=0)] = result(
        0, "answers: train records whose answers get planted defects, to report which of them the judge notices"
    )
    planted_seed: int = result(42, "answers: seed of the planted defects, and of the report's intervals")
    permute_options: bool = result(
        True,
        "reasoning: each version shows the lettered options in an order of its own, to the teacher and in training",
    )
    shards: int = shards_key()
    questions: Count = result(3, "questions: pairs asked for with each chunk")
    styles: list[Text] = result(
        ["a fact", "how or why", "a comparison or a consequence"],
        "questions: what the pairs of a chunk ask for, in turn",
        min_length=1,
    )
    seen_questions: Annotated[float, Field(ge=0, le=0.5)] = result(
        0.1,
        "questions: share of the questions about train documents that is not trained on but asked in the test, without "
        "the chunk (new questions on seen documents)",
    )
    criteria: list[Name] = result(
        ["relevance", "accuracy", "completeness", "clarity"],
        "questions: what a pair is scored on, from 0 to 10, beside `overall`",
    )
    pass_score: Score = result(8.0, "questions: PASS from this `overall` score")
    review_score: Score = result(7.0, "questions: NEEDS_REVIEW from this `overall` score, FAIL below it")
    threshold: Score = result(8.0, "questions: least `overall` score of what is trained on; 0 keeps all")
    templates: list[TemplateName] = operation(
        ["alpaca"],
        "questions: forms of `formatted/<template>_t<threshold>.jsonl` that `data` makes; `tokenizer` is the base "
        "model's own template",
    )

    epochs: Count = result(3, "bundles: passes over the train records, each with bundles of its own, trained in order")
    gold_epochs: Count = result(
        2, "bundles: how many of the first epochs show all gold passages; the others show what was retrieved"
    )
    hard_negatives: int = result(3, "bundles: passages of a gold epoch that are chosen by their retrieval score", ge=0)
    refuse_missing: Share = result(
        1.0, "bundles: share of the bundles without all gold passages that are answered `insufficient context`"
    )
    seed: int = result(42, "bundles: seed of the orders of rows and passages")
    task_weights: dict[TaskName, Rate] = result(
        {"caption": 1.0, "summary": 1.0, "link": 1.0, "text_summary": 1.0}, "captions: weight of each task's loss"
    )

    def unused_keys(self) -> tuple[str, ...]:
        """What belongs to the other kinds means nothing."""
        strangers = _READ_BY_SOME - _READ_BY[self.kind] - (set() if self.kind == "bundles" else _ASKING)
        return tuple(name for name in type(self).model_fields if name in strangers)

    @model_validator(mode="after")
    def _check_kind(self) -> "Synthesize":
        if "judge" in _READ_BY[self.kind] and self.judge is None:
            raise ValueError(f"`kind: {self.kind}` needs a `judge`")
        if self.kind != "bundles" and self.teacher is None:
            raise ValueError(f"`kind: {self.kind}` needs a `teacher`")
        if strangers := [name for name in self.unused_keys() if name in self.model_fields_set]:
            raise ValueError(f"`{strangers[0]}` means nothing for `kind: {self.kind}`")
        if self.kind == "bundles" and self.gold_epochs >= self.epochs:
            raise ValueError(
                f"`gold_epochs` is {self.gold_epochs} and `epochs` is {self.epochs}: the epochs of retrieved passages "
                f"alone, as the model will see them, are never reached. Set `epochs` to {self.gold_epochs + 1} or more"
            )
        if self.review_score > self.pass_score:
            raise ValueError(f"`review_score` {self.review_score:g} is above `pass_score` {self.pass_score:g}")
        if taken := sorted({"overall", "reason"} & set(self.criteria)):
            raise ValueError(f"`{taken[0]}` is asked for anyway, beside the `criteria`")
        return self


class Folds(Section):
    """The data sets that models are trained on."""

    names: list[FoldName] = result(
        ["fold0"],
        "names of the folds; with several, each record belongs to one (see `train_on`)",
        min_length=1,
    )
    train_on: Literal["own", "others"] = result(
        "own",
        "of several folds: `own`: train on the fold, test on the others; `others`: k-fold cross-validation, train on "
        "the others, test on the fold",
    )
    duplicates: NearDuplicates | None = result(
        None, "of train examples that are near-duplicates the first is kept, the others are listed; none to keep all"
    )
    benchmarks: list[Text] = result(
        [], "files of texts that training must not have seen, besides dev and test (.jsonl, .txt)"
    )
    contamination: Literal["report", "drop"] = result(
        "report", "train examples that share 13 words in a row with dev, test or a benchmark: counted, or left out too"
    )
    layout: Literal["evidence", "prompt", "bundle"] = result(
        "evidence",
        "the user's turn: numbered passages and `Question: ...`; the record's prompt as it is; or a bundle: question, "
        "passages with numbered sentences, instruction, `<answer>`",
    )
    system_prompt: str = result("", "system message of every example, and SYSTEM of the exported model")
    evidence: int = result(3, "most chunks shown with a question", ge=0)
    evidence_words: Count | None = result(
        None, "bundle: most words of the passages shown with a question, the last ones go; none for no bound"
    )

    def unused_keys(self) -> tuple[str, ...]:
        """Only a bundle is bounded by its words."""
        return () if self.layout == "bundle" else ("evidence_words",)


class Limits(Section):
    """What of a row a model sees, the same in training, prediction and scoring."""

    max_length: Count = result(1024, "longest prompt and answer, in tokens; passages are dropped until a row fits")
    history_turns: Annotated[int, Field(ge=0)] | None = result(
        None, "latest exchanges that stay in the prompt; none for all"
    )
    history_answer_tokens: Count | None = result(None, "each earlier answer is cut to so many tokens; none for whole")
    images: Literal["show", "drop"] = result(
        "show", "`show` needs a vision model for rows with images; `drop` shows their text alone, and counts them"
    )
