"""Sections of a recipe's data side: source, splits, queries, recall, rerank, label, synthesize, folds."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from finetrail.config.fields import Count, Name, Section, Share, Text, result
from finetrail.config.model_llm import ModelReference

_SUM_TOLERANCE = 1e-9

SplitShare = Annotated[float, Field(gt=0)]


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
    dev: SplitShare = result(0.1, "share for choices (checkpoint, threshold)")
    test: SplitShare = result(0.1, "share that only the final score reads")
    seed: int = result(42, "seed of the assignment")
    group_by: list[Name] = result(
        ["session", "image"], "records that share any of these keys stay together", min_length=1
    )

    @model_validator(mode="after")
    def _check_sum(self) -> "Splits":
        total = self.train + self.dev + self.test
        if abs(total - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"train, dev and test must sum to 1, their sum is {total:g}")
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


class Synthesize(Section):
    """Answer versions, their verdicts, refusals and deduplication."""

    versions: Count = result(20, "answers written for each train record")
    teacher: ModelReference = result(..., "model that writes the answers")
    judge: ModelReference = result(..., "model that judges the answers; it filters train rows only")
    keep_original: bool = result(True, "whether the original answer is one of the versions")
    keep: Literal["all", "best"] = result("all", "keep all distinct right versions of a record, or the best one")
    refusal_share: Annotated[float, Field(ge=0, lt=1)] = result(
        0.2, "largest share of refusals among the examples; rows without a right answer become refusals"
    )
    refusal_text: Text = result("I don't know", "what a refusal says")


class Folds(Section):
    """The data sets that models are trained on."""

    names: list[Name] = result(["fold0"], "name of the fold", min_length=1, max_length=1)
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
