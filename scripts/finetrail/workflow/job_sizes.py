"""What a job asks for by itself where a model is loaded: GPUs, memory, minutes and cores, by facts of the model.

A job is given MARGIN times as long as it should take at the rates below. They are cautious, and of no machine in
particular; `make efficiency` says what jobs really took, and `resources.<rule>` is above all of this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.config.sections.llm import Endpoint, ModelReference
from finetrail.config.sections.train import TrainedModel
from finetrail.training.memory_estimate import Shape, estimate
from finetrail.training.settings.machine_choices import Choices
from finetrail.training.settings.train_settings import train_settings
from finetrail.workflow import row_counts
from finetrail.workflow.base_facts import NEEDS_GPU, Facts
from finetrail.workflow.models_loaded import ModelsLoaded
from finetrail.workflow.traits import plain_model, recalling, reporting

MB, GB = 10**6, 10**9
MARGIN = 2.0
START_MINUTES = 10
"""Imports, a cold file system, Snakemake's own start."""
STEP_MINUTES = 10
LONGEST_MINUTES = 1440
"""Of a training: a longer one goes on from its checkpoints, as often as `retries` says."""

PROCESS_MB = 6_000
"""A process of torch with CUDA, tokenizer and rows."""
CPU_PROCESS_MB = 3_000
ROOM = 1.15
"""Memory for what is copied while weights are loaded, merged or saved, as a multiple of them."""
THREADS_A_GPU = 4
CPU_THREADS = 8

CORE_FLOPS = 2e10
"""Operations a second of a core, in fp32."""
FP32_SHARE = 6
"""How many times slower a GPU computes in fp32, as encoders and rerankers do, than in bf16."""
READ_BYTES = 2e8
"""Bytes a second that weights are read, written and hashed."""
FETCH_BYTES = 2.5e7
READING = 2
"""How many times faster a GPU reads a row than it trains on it, an operation for an operation."""
CONVERT_BYTES = 5e7
"""Bytes of fp32 a second that are written as GGUF, quantized in Python."""
STEP_SECONDS = 0.05
"""A written token of a batch on a GPU, whatever the model: the library's own overhead."""
BANDWIDTH = 1e12
"""Bytes of weights a second that a GPU reads for each written token."""
ANSWER_BATCH = 16
ROW_SECONDS = 0.05
"""What is done beside the model for each row."""
TOKENIZE_SECONDS = 0.003
PARITY_TOKENS = 10 * 600
"""Tokens that parity asks both sides about."""
SEARCH_FLOPS = 1e9
"""Products a second of a core in an exact search."""
QUERY_TOKENS = 40
MOCK_MB, MOCK_SECONDS = 32_000, 0.5
"""Memory and seconds a query of the benchmark's own search; its package says neither, so these are guesses."""


@dataclass(frozen=True)
class Size:
    """What a job needs.

    Attributes:
        gpus: on each node.
        mem_mb: memory of the node.
        minutes: time limit.
        threads: cores.
        gpu_gb: memory that each GPU must have at least; 0 without one.
        weights_mb: weights that stand in the node's memory at once; 0 where they are streamed.
    """

    gpus: int = 0
    mem_mb: int = 0
    minutes: int = 0
    threads: int = 1
    gpu_gb: float = 0.0
    weights_mb: int = 0


def minutes(seconds: float) -> int:
    """Return a time limit for so many seconds of work."""
    return ceil((START_MINUTES + MARGIN * seconds / 60) / STEP_MINUTES) * STEP_MINUTES


def adapter_weights(facts: Facts, tuning: TrainedModel) -> int:
    """Count the weights of an adapter, and of the modules that are trained whole."""
    if tuning.method == "full":
        return facts.parameters
    own, shared = facts.heads * facts.head_width, facts.key_value_heads * facts.head_width
    sides = {
        "q_proj": facts.hidden + own,
        "k_proj": facts.hidden + shared,
        "v_proj": facts.hidden + shared,
        "o_proj": own + facts.hidden,
        "gate_proj": facts.hidden + facts.intermediate,
        "up_proj": facts.hidden + facts.intermediate,
        "down_proj": facts.intermediate + facts.hidden,
    }
    named = [sides.get(name.rpartition(".")[2], 2 * facts.hidden) for name in tuning.target_modules or sides]
    whole = len(tuning.modules_to_save) * facts.vocabulary * facts.hidden
    return facts.layers * tuning.rank * sum(named) + whole


class JobSizes:
    """The sizes of the jobs of one recipe.

    Args:
        run: the configuration.
        recipe: its name.
        model: of the job's path; None where it names none.
        files: the job's inputs by name; what is not there yet counts as unknown.
        shards: how many jobs share the rows.
    """

    def __init__(self, run: RunConfig, recipe: str, model: str | None, files: Any = None, shards: int = 1) -> None:
        self._run, self._name, self._files, self._shards = run, recipe, files, shards
        self._recipe: RecipeConfig = run.recipe(recipe)
        self._loaded = ModelsLoaded(run, recipe)
        self._flops = run.site.gpu_tflops * 1e12
        trained = self._recipe.train.models if self._recipe.train else {}
        self._model = plain_model(model or "")
        self._tuning: TrainedModel | None = trained.get(self._model)

    def of(self, rule: str, script: str) -> Size | None:
        """Return what a rule's job needs; None where it loads no model, or a tiny one.

        Args:
            rule: the rule.
            script: the name of the script that it runs.
        """
        kinds: Mapping[str, Callable[[], Size | None]] = {
            "fetch_model": lambda: self._fetched(self._loaded.base()),
            "fetch_encoder": lambda: self._fetched(
                self._loaded.encoder() if rule == "fetch_encoder" else self._loaded.reranker()
            ),
            "train_adapter": self._trained,
            "train_image_prefix": self._trained,
            "train_image_encoder": self._image_encoder,
            "train_reranker": self._reranker,
            "score_candidates": self._pairs,
            "rerank_passages": self._pairs,
            "index_vectors": self._vectors,
            "recall_passages": lambda: self._recalled(recalling(self._recipe)),
            "search_mock": self._mock,
            "evaluate_retrieval": lambda: self._recalled(reporting(self._recipe)),
            "predict_answers": self._predicted,
            "predict_as_deployed": self._predicted,
            "predict_texts": self._texts,
            "measure_latency": self._latency,
            "measure_targets": self._targets,
            "score_texts": self._embedded,
            "compare_texts": self._embedded,
            "merge_adapter": self._merged,
            "choose_merge": self._chosen,
            "convert_gguf": self._converted,
            "check_parity": self._parity,
            "export_safetensors": self._laid_out,
        }
        return kinds[script]() if script in kinds else None

    def asking(self, reference: ModelReference, endpoint: Endpoint, versions: int) -> Size | None:
        """Return what a job needs that starts a server of its own; None of another server, or a tiny model.

        Args:
            reference: the model.
            endpoint: the server.
            versions: answers to each row.
        """
        if not endpoint.is_own_server:
            return None
        facts = self._loaded.served(reference, endpoint)
        if facts.is_small:
            return None
        gpus = endpoint.gpus
        width = 4 if endpoint.serve.dtype == "float32" else 2
        held = facts.parameters * width
        memory = _memory(held, PROCESS_MB if gpus else PROCESS_MB + 1000 * endpoint.serve.cpu_cache_gb)
        rows = self._rows(("rows",), row_counts.records(self._run, self._name))
        batch = endpoint.serve.batch_size if endpoint.kind == "transformers" else endpoint.max_concurrency
        speed = READING * self._flops * gpus if gpus else CORE_FLOPS * CPU_THREADS
        read = self._recipe.limits.max_length * 2 * facts.parameters / speed
        step = max(STEP_SECONDS, held / (BANDWIDTH * max(1, gpus))) if gpus else 2 * facts.parameters / speed
        written = reference.max_tokens * step / (batch if gpus else 1)
        seconds = 2 * held / READ_BYTES + rows * versions * (read + written)
        threads = THREADS_A_GPU * gpus or CPU_THREADS
        room = held / max(1, gpus) / endpoint.serve.gpu_memory_utilization / GB if gpus else 0.0
        return Size(gpus, memory, minutes(seconds), threads, _gb(room), held // MB)

    # Rows

    def _rows(self, names: tuple[str, ...], otherwise: int) -> int:
        """Return the rows of the first file of a name that is there, shared among the jobs."""
        found = (row_counts.rows_in(getattr(self._files, name, None)) for name in names)
        return ceil(next(filter(None, found), otherwise) / self._shards)

    def _tokens(self) -> float:
        """Return the tokens of a row, on average."""
        return self._recipe.limits.max_length / 2

    # Training

    def _trained(self) -> Size | None:
        facts = self._loaded.base()
        if facts is None or facts.is_small or self._tuning is None:
            return None
        tuning = self._tuning
        processes = tuning.launch.processes
        rows = self._rows(("train",), row_counts.train_rows(self._run, self._name))
        operations = (6 if tuning.method == "full" else 4) + (2 if tuning.gradient_checkpointing else 0)
        world = processes * tuning.launch.nodes
        speed = self._flops * world if self._on_gpu(facts) else CORE_FLOPS * CPU_THREADS * world
        whole = tuning.method == "full" and tuning.weights == "fp32"
        width = 4 if whole or not self._on_gpu(facts) else 2
        copies = 1 if tuning.method == "qlora" else processes  # four bits are made on the GPU, tensor by tensor
        held = facts.parameters * width
        offloaded = {"none": 0, "optimizer": 12 * adapter_weights(facts, tuning), "all": 16 * facts.parameters}
        beside = processes * PROCESS_MB + _read_beside(facts, width)
        memory = _memory(copies * held + offloaded[tuning.launch.offload], beside)
        seconds = self._trained_rows(tuning, rows, world) * self._tokens() * operations * facts.parameters / speed
        seconds += 2 * held / READ_BYTES
        gpus = processes if self._on_gpu(facts) else 0
        longest = self._recipe.train.max_hours if self._recipe.train else None
        most = ceil(60 * longest) + START_MINUTES if longest else LONGEST_MINUTES
        threads = THREADS_A_GPU * processes if gpus else CPU_THREADS
        needed = smallest_training(self._run, self._name, self._model, facts) if gpus else 0.0
        return Size(gpus, memory, min(minutes(seconds), most), threads, _gb(needed), held // MB)

    def _trained_rows(self, tuning: TrainedModel, rows: int, world: int) -> float:
        """Return how many rows a training sees, each as often as it is seen."""
        if tuning.prefix is not None:
            return sum(phase.draws or (phase.epochs or 0) * rows for phase in tuning.prefix.phases)
        if tuning.max_steps is not None:
            return tuning.max_steps * tuning.batch_size * tuning.gradient_accumulation * world
        return (tuning.epochs or 1.0) * rows

    def _image_encoder(self) -> Size | None:
        vision = self._recipe.vision
        if vision is None:
            return None
        encoder, classifier = vision.encoder, vision.classifier
        weights = encoder.layers * (4 * encoder.hidden_size**2 + 2 * encoder.hidden_size * encoder.intermediate_size)
        patches = (vision.image_size // encoder.patch_size) ** 2
        if weights < 10 * MB:
            return None
        seen = [part.steps * part.batch_size for part in (encoder, classifier) if part.checkpoint is None]
        # Forward and backward, encoder and decoder; reading the images holds the GPU up as long again.
        seconds = 2 * sum(seen) * patches * 6 * weights / (self._flops / FP32_SHARE)
        return Size(1, 16_000, minutes(seconds), CPU_THREADS, 16.0)

    def _reranker(self) -> Size | None:
        facts, choice = self._loaded.reranker(), self._recipe.rerank.train
        if facts is None or facts.is_small or choice is None:
            return None
        lists = self._rows(("rows",), row_counts.records(self._run, self._name))
        seen = choice.max_steps * choice.batch_size if choice.max_steps else choice.epochs * lists
        # Once on all, and once without each fold.
        seen *= choice.folds
        tokens = seen * (choice.negatives + 1) * choice.max_tokens
        seconds = tokens * 8 * facts.parameters / (self._flops / FP32_SHARE)
        return self._read_by_encoder(facts, seconds, PROCESS_MB, LONGEST_MINUTES)

    # Retrieval

    def _pairs(self) -> Size | None:
        facts, recipe = self._loaded.reranker(), self._recipe
        if facts is None or facts.is_small or recipe.recall is None:
            return None
        longest = recipe.rerank.train.max_tokens if recipe.rerank.train else min(facts.context, 512)
        questions = self._rows(("rows",), row_counts.records(self._run, self._name))
        tokens = questions * recipe.recall.top_k * longest
        return self._read_by_encoder(facts, tokens * 2 * facts.parameters / (self._flops / FP32_SHARE), PROCESS_MB)

    def _vectors(self) -> Size | None:
        facts = self._loaded.encoder()
        if facts is None or facts.is_small:
            return None
        count = self._rows(("passages",), row_counts.passages(self._run, self._name))
        tokens = count * min(facts.context, 512) / 2
        seconds = tokens * 2 * facts.parameters / (self._flops / FP32_SHARE) + count * TOKENIZE_SECONDS
        # Vectors are held until all are there, and once more in the index.
        return self._read_by_encoder(facts, seconds, PROCESS_MB + 2 * count * facts.hidden * 4 // MB)

    def _recalled(self, backends: Sequence[str]) -> Size | None:
        facts = self._loaded.encoder()
        if facts is None or facts.is_small or "dense" not in backends:
            return None
        queries = self._rows(("rows",), row_counts.records(self._run, self._name))
        count = row_counts.passages(self._run, self._name)
        seconds = queries * QUERY_TOKENS * 2 * facts.parameters / (self._flops / FP32_SHARE)
        seconds += queries * count * facts.hidden / (SEARCH_FLOPS * CPU_THREADS)
        size = self._read_by_encoder(facts, seconds, PROCESS_MB + count * facts.hidden * 4 // MB)
        return replace(size, threads=CPU_THREADS)

    def _mock(self) -> Size | None:
        """The benchmark's own search loads an encoder of texts, one of images, and its whole index."""
        if self._recipe.recall is None or self._recipe.recall.backend != "cragmm":
            return None
        queries = self._rows(("rows",), row_counts.records(self._run, self._name))
        return Size(1, MOCK_MB, minutes(queries * MOCK_SECONDS), THREADS_A_GPU, 8.0)

    def _read_by_encoder(self, facts: Facts, seconds: float, beside: int, most: int | None = None) -> Size:
        """Return what a job needs in which an encoder or a cross-encoder reads many texts."""
        held = 4 * facts.parameters
        limit = minutes(seconds)
        return Size(
            1, _memory(held, beside), min(limit, most or limit), THREADS_A_GPU, _gb(4 + 2 * held / GB), held // MB
        )

    # Answers and measures

    def _predicted(self) -> Size | None:
        facts, recipe = self._loaded.base(), self._recipe
        if facts is None or facts.is_small:
            return None
        rows = self._rows(("test",), row_counts.test_rows(self._run, self._name))
        # A row is read for the answer, its loss, and the refusal or options; a student also writes queries and chooses.
        replies = 1 if recipe.student is None else 3
        written = rows * replies * recipe.predict.max_answer_tokens / ANSWER_BATCH
        return self._answered(facts, rows * (replies + 2), written)

    def _texts(self) -> Size | None:
        facts, recipe = self._loaded.base(), self._recipe
        if facts is None or facts.is_small:
            return None
        rows = recipe.predict.texts.samples or row_counts.test_rows(self._run, self._name)
        # A text, and the loss of the reference behind its own image and behind others, one by one.
        return self._answered(facts, 5 * rows, rows * recipe.predict.max_answer_tokens)

    def _latency(self) -> Size | None:
        facts, recipe = self._loaded.base(), self._recipe
        if facts is None or facts.is_small or recipe.evaluate is None:
            return None
        asked = recipe.evaluate.latency_questions
        size = self._answered(facts, asked * 10, asked * recipe.predict.max_answer_tokens)
        index = row_counts.passages(self._run, self._name) * 4096 // MB
        others = [one for one in (self._loaded.encoder(), self._loaded.reranker()) if one is not None]
        beside = sum(4 * one.parameters for one in others)
        return replace(size, mem_mb=_memory(0, size.mem_mb + index + beside // MB))

    def _answered(self, facts: Facts, passes: float, written: float) -> Size:
        """Return what a job needs that loads a language model for answers.

        Args:
            facts: of the model.
            passes: how often a whole row is read.
            written: tokens that are written one after the other.
        """
        gpu = self._on_gpu(facts)
        held = facts.parameters * (2 if gpu else 4)
        speed = READING * self._flops if gpu else CORE_FLOPS * CPU_THREADS
        step = max(STEP_SECONDS, held / BANDWIDTH) if gpu else 2 * facts.parameters / speed
        seconds = 2 * held / READ_BYTES + passes * (ROW_SECONDS + self._tokens() * 2 * facts.parameters / speed)
        seconds += written * step
        longest = self._recipe.limits.max_length + self._recipe.predict.max_answer_tokens
        cache = ANSWER_BATCH * longest * 4 * facts.layers * facts.key_value_heads * facts.head_width
        needed = _gb(2 + ROOM * (held + cache) / GB) if gpu else 0.0
        threads = THREADS_A_GPU if gpu else CPU_THREADS
        return Size(int(gpu), _memory(held, PROCESS_MB), minutes(seconds), threads, needed, held // MB)

    def _targets(self) -> Size | None:
        facts = self._loaded.base()
        if facts is None or facts.is_small:
            return None
        rows = self._rows(("train",), row_counts.train_rows(self._run, self._name))
        # The ids of all rows are held, as Python's integers.
        held = rows * self._recipe.limits.max_length * 36
        return Size(mem_mb=_memory(held, CPU_PROCESS_MB), minutes=minutes(rows * TOKENIZE_SECONDS))

    def _embedded(self) -> Size | None:
        facts, recipe = self._loaded.embedding(), self._recipe
        if facts is None or facts.is_small:
            return None
        texts = 2 * (recipe.predict.texts.samples or row_counts.test_rows(self._run, self._name))
        models = len(recipe.evaluate.compare) + 5 if recipe.evaluate else 5
        seconds = models * texts * recipe.predict.max_answer_tokens * 2 * facts.parameters / CORE_FLOPS
        held = 4 * facts.parameters
        return Size(mem_mb=_memory(held, CPU_PROCESS_MB), minutes=minutes(seconds), weights_mb=held // MB)

    # Export

    def _merged(self) -> Size | None:
        facts = self._loaded.base()
        if facts is None or facts.is_small:
            return None
        whole = 4 * facts.parameters
        seconds = (facts.stored + 3 * whole) / READ_BYTES
        memory = _memory(whole, CPU_PROCESS_MB + _read_beside(facts, 4))
        return Size(0, memory, minutes(seconds), CPU_THREADS, 0.0, whole // MB)

    def _chosen(self) -> Size | None:
        """Two merges, each written as it will be exported and asked in llama.cpp; four bits want the GPU."""
        facts = self._loaded.base()
        if facts is None or facts.is_small:
            return None
        whole = 4 * facts.parameters
        asked = 16 * self._tokens() * 2 * facts.parameters / (CORE_FLOPS * CPU_THREADS)
        seconds = 2 * ((facts.stored + 3 * whole) / READ_BYTES + whole / CONVERT_BYTES + asked)
        gpu = self._on_gpu(facts)
        needed = _gb(3 + 2.6 * facts.parameters / GB) if gpu else 0.0
        memory = _memory(whole, PROCESS_MB + _read_beside(facts, 4))
        return Size(int(gpu), memory, minutes(seconds), CPU_THREADS, needed, whole // MB)

    def _converted(self) -> Size | None:
        facts = self._loaded.base()
        if facts is None or facts.is_small:
            return None
        largest = facts.vocabulary * facts.hidden * 4
        whole = 4 * facts.parameters
        seconds = whole / READ_BYTES + whole / CONVERT_BYTES
        return Size(mem_mb=_memory(4 * largest, CPU_PROCESS_MB), minutes=minutes(seconds))

    def _parity(self) -> Size | None:
        facts, export = self._loaded.base(), self._recipe.export
        if facts is None or facts.is_small or export is None:
            return None
        whole = 4 * facts.parameters
        files = 1 if export.quantization == "f32" else 2
        read = PARITY_TOKENS * 2 * facts.parameters / CORE_FLOPS
        # torch takes all cores, llama.cpp one.
        seconds = 2 * whole / READ_BYTES + files * whole / CONVERT_BYTES + read / CPU_THREADS + files * read
        return Size(0, _memory(whole, CPU_PROCESS_MB), minutes(seconds), CPU_THREADS, 0.0, whole // MB)

    def _laid_out(self) -> Size | None:
        facts = self._loaded.base()
        if facts is None or facts.is_small:
            return None
        return Size(mem_mb=CPU_PROCESS_MB, minutes=minutes(4 * facts.parameters / READ_BYTES))

    def _fetched(self, facts: Facts | None) -> Size | None:
        """A download and a hash of every file; nothing is loaded."""
        if facts is None or facts.is_small:
            return None
        return Size(mem_mb=CPU_PROCESS_MB, minutes=minutes(facts.stored / FETCH_BYTES + facts.stored / READ_BYTES))

    def _on_gpu(self, facts: Facts) -> bool:
        return facts.parameters >= NEEDS_GPU


def smallest_training(run: RunConfig, recipe: str, model: str, facts: Facts) -> float:
    """Return the least GB of a GPU in which a training fits: row by row where the batch may be made smaller.

    Args:
        run: the configuration.
        recipe: its name.
        model: name of the model that is trained.
        facts: of the base.
    """
    picked = run.settings_at(recipe, f"train.models.{model}", "limits")
    settings = train_settings(picked["train"]["models"][model], picked["limits"])
    smaller = settings.fit_to_memory
    precision = "bf16" if settings.precision == "auto" else settings.precision
    choices = Choices(
        use_cpu=False,
        precision=precision,
        compute=precision,
        attention="sdpa",
        liger=False,
        batch_size=1 if smaller else settings.batch_size,
        gradient_accumulation=settings.gradient_accumulation,
        gradient_checkpointing=smaller or settings.gradient_checkpointing,
    )
    trained = adapter_weights(facts, run.recipe(recipe).train.models[model])  # type: ignore[union-attr]
    whole = facts.parameters if settings.method == "full" else facts.parameters + trained
    shape = Shape(whole, trained, facts.layers, facts.hidden, facts.vocabulary, facts.tied)
    return 1 + estimate(settings, choices, shape, settings.limits.max_length).total / GB


def _memory(held: float, beside: int) -> int:
    """Return the memory in MB, in whole GB, for so many bytes of weights and what is there beside them."""
    return ceil((ROOM * held / MB + beside) / 1000) * 1000


def _read_beside(facts: Facts, width: int) -> int:
    """Return the MB of the files that stay in memory beside the weights: where these are loaded in another format.

    A merge of 886 million weights of 16 bits held 5.6 GB at its most: 3.5 of weights in fp32, and the file's 1.8.
    In the format of the file weights are read from it where they are asked for, and are not there twice.
    """
    return 0 if width == facts.weight_bytes else facts.stored // MB


def _gb(size: float) -> float:
    return float(ceil(size))
