"""Sections of a recipe's data side: source, splits, queries, recall, rerank, label, synthesize, folds."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from finetrail.config.fields import Count, FoldName, Name, Section, Share, Text, operation, result
from finetrail.config.model_llm import ModelReference, shards_key
from finetrail.config.model_search import without_keys

_SUM_TOLERANCE = 1e-9

SplitShare = Annotated[float, Field(gt=0)]
MaybeShare = Annotated[float, Field(ge=0)]


class Source(Section):
    """The original records."""

    format: Name = result(..., "reader of the records: a module of `scripts/ingest/readers`")
    files: list[Text] = result(..., "files of original records, in order", min_length=1)
    images: Text | None = result(None, "folder that image paths of the records are relative to")
    corpus: list[Text] = result([], "files of passages that recall searches")
    licence: Text = result(..., "licence of the original records, for the cards")
    citation: Text | None = result(None, "how to cite the original records, for the cards")


class Splits(Section):
    """Shares of the original records for train, dev and test; groups stay together."""

    train: SplitShare = result(0.8, "share of the groups that training may see")
    dev: MaybeShare = result(0.1, "share for choices (checkpoint, threshold)")
    test: MaybeShare = result(
        0.1, "share that only the final score reads; 0 where there are several folds, each tested on the others"
    )
    seed: int = result(42, "seed of the assignment")
    method: Literal["groups", "shuffle"] = result(
        "groups",
        "`groups`: whole groups, by a hash; `shuffle`: single records in exact numbers, which lets groups straddle "
        "(the reports count them)",
    )
    fold_shares: list[SplitShare] = result([], "share of each of several folds; none for equal ones")
    group_by: list[Name] = result(
        ["session", "image"], "records that share any of these keys stay together", min_length=1
    )

    @model_validator(mode="after")
    def _check_sum(self) -> "Splits":
        total = self.train + self.dev + self.test
        if abs(total - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"train, dev and test must sum to 1, their sum is {total:g}")
        if self.fold_shares and abs(sum(self.fold_shares) - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"`fold_shares` must sum to 1, their sum is {sum(self.fold_shares):g}")
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


SearchParams = Annotated[dict[str, Any], AfterValidator(without_keys)]


class CustomService(Section):
    """A JSON search service that is no preset: how it is asked, and where its answer has what."""

    method: Literal["GET", "POST"] = result("GET", "GET: parameters in the URL; POST: as a JSON body")
    path: str = result("", "what follows the endpoint's `base_url`; may hold `<query>`")
    params: SearchParams = result(..., "parameters; `<query>` and `<count>` in them are filled in")
    results: str = result(..., "dotted path of the list of results in the answer; empty where the answer is the list")
    fields: dict[Literal["url", "title", "snippet", "date", "id"], Text] = result(
        ..., "dotted paths in a result; `url` is compulsory"
    )
    key_header: Text | None = operation(None, "header that takes the API key; `Authorization`: as a bearer token")
    key_param: Text | None = operation(None, "parameter of the URL that takes the API key instead")

    @model_validator(mode="after")
    def _check_fields(self) -> "CustomService":
        if "url" not in self.fields:
            raise ValueError("`fields` must say where a result has its `url`")
        return self


class HttpRecall(Section):
    """Recall by a search service; see docs/search.md."""

    search_endpoint: Name = operation(..., "name of an endpoint under `search.endpoints`")
    service: Name = result(..., "preset (`searxng`, `brave`, `tavily`), or your name of the service under `custom`")
    custom: CustomService | None = result(None, "a service that is no preset")
    params: SearchParams = result({}, "further parameters of every search, laid over the service's own")
    page_size: Count = result(20, "results asked for with each search, where the service takes a number")
    pages: bool = result(True, "whether pages are fetched and read; if not, or where that fails, snippets are used")
    page_characters: Count = result(20_000, "longest text of a page that is used")
    merge_above: Annotated[float, Field(gt=0, le=1)] = result(
        0.9, "results of one row whose texts are as similar (Jaccard, shingles of 5 words) are merged"
    )
    edition: Text | None = result(
        None, "label of your own that enters every key: another one searches and reads all anew, such as `2026-06`"
    )


class Recall(Section):
    """First-stage retrieval of passages."""

    backend: Literal["bm25", "http"] = result("bm25", "`bm25` searches `source.corpus`, `http` a search service")
    top_k: Count = result(30, "passages kept for each record")
    k1: float = result(0.9, "BM25: how soon repeated words stop counting", ge=0)
    b: Share = result(0.4, "BM25: how much long passages are discounted")
    http: HttpRecall | None = result(None, "the search service; compulsory for the backend `http`")

    def unused_keys(self) -> tuple[str, ...]:
        """Name the keys of the other backend."""
        return ("http",) if self.backend == "bm25" else ("k1", "b")


class Rerank(Section):
    """Second-stage ranking of passages and of their chunks by TF-IDF."""

    chunk_words: Count = result(120, "longest chunk of a passage, in words")
    keep_passages: Count = result(10, "passages kept for each record")
    keep_chunks: Count = result(5, "chunks kept for each record")


class Label(Section):
    """Relevance verdicts on the kept passages."""

    model: ModelReference = result(..., "model that judges each passage")
    shards: int = shards_key()


_OF_ANSWERS = ("judge", "keep_original", "refusal_share", "refusal_text")
_OF_REASONING = ("permute_options",)


class Synthesize(Section):
    """Answer versions, their verdicts, refusals and deduplication; or reasoned choices that are held to a key."""

    kind: Literal["answers", "reasoning"] = result(
        "answers",
        "`answers`: answers from passages, judged by a model; `reasoning`: Reasoning / Reflection / Answer to "
        "multiple-choice prompts, kept where the answer equals the key",
    )
    versions: Count = result(20, "answers written for each train record")
    teacher: ModelReference = result(..., "model that writes the answers")
    judge: ModelReference | None = result(
        None, "answers: model that judges them, compulsory; it filters train rows only"
    )
    keep_original: bool = result(True, "whether the original answer is one of the versions")
    keep: Literal["all", "best"] = result(
        "all", "keep all distinct right versions of a record, or the best one (reasoning: the first)"
    )
    refusal_share: Annotated[float, Field(ge=0, lt=1)] = result(
        0.2, "largest share of refusals among the examples; rows without a right answer become refusals"
    )
    refusal_text: Text = result("I don't know", "what a refusal says")
    permute_options: bool = result(
        True,
        "reasoning: each version shows the lettered options in an order of its own, to the teacher and in training",
    )
    shards: int = shards_key()

    def unused_keys(self) -> tuple[str, ...]:
        """What belongs to the other kind means nothing."""
        return _OF_REASONING if self.kind == "answers" else _OF_ANSWERS

    @model_validator(mode="after")
    def _check_kind(self) -> "Synthesize":
        if self.kind == "answers" and self.judge is None:
            raise ValueError("`kind: answers` needs a `judge`")
        if strangers := [name for name in self.unused_keys() if name in self.model_fields_set]:
            raise ValueError(f"`{strangers[0]}` means nothing for `kind: {self.kind}`")
        return self


class Folds(Section):
    """The data sets that models are trained on."""

    names: list[FoldName] = result(
        ["fold0"],
        "names of the folds; with several, each record belongs to one, and what is trained on one is tested on all "
        "original records of the others",
        min_length=1,
    )
    layout: Literal["evidence", "prompt"] = result(
        "evidence", "the user's turn: numbered passages and `Question: ...`, or the record's prompt as it is"
    )
    system_prompt: str = result("", "system message of every example, and SYSTEM of the exported model")
    evidence: int = result(3, "most chunks shown with a question", ge=0)


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
