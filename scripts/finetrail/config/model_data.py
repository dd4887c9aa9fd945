"""Sections of a recipe's data side: source, splits, queries, recall, rerank, label, synthesize, folds."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from finetrail.config.fields import Count, FoldName, Name, Section, Share, Text, result
from finetrail.config.model_llm import ModelReference

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

    @model_validator(mode="after")
    def _check_model(self) -> "Queries":
        if self.enabled and self.model is None:
            raise ValueError("`enabled: true` needs a `model`")
        return self


class Recall(Section):
    """First-stage retrieval of passages."""

    top_k: Count = result(30, "passages kept for each record")
    k1: float = result(0.9, "BM25: how soon repeated words stop counting", ge=0)
    b: Share = result(0.4, "BM25: how much long passages are discounted")


class Rerank(Section):
    """Second-stage ranking of passages and of their chunks by TF-IDF."""

    chunk_words: Count = result(120, "longest chunk of a passage, in words")
    keep_passages: Count = result(10, "passages kept for each record")
    keep_chunks: Count = result(5, "chunks kept for each record")


class Label(Section):
    """Relevance verdicts on the kept passages."""

    model: ModelReference = result(..., "model that judges each passage")


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
