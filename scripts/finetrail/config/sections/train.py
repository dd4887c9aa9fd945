"""Sections of a recipe's model side: base_model, train, predict, evaluate, export."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from finetrail.config.sections.fields import Commit, Count, Name, Section, Share, Text, operation, result
from finetrail.config.sections.llm import ModelReference, shards_key
from finetrail.config.sections.vision import Prefix, Rate

# The layouts of finetrail.chat.chat_layout, which a test compares with these.
Template = Literal["qwen", "qwen2", "qwen2_5", "qwen3", "chatml", "llama3", "llama3_1", "mistral", "gemma", "alpaca"]

# The families of finetrail.chat.chat_layout, which a test compares with these.
Family = Literal["qwen", "chatml", "llama3", "mistral", "gemma", "alpaca"]

_TOKENIZER_KEYS = ("template", "family", "pad_token", "new_tokens")
_TINY_KEYS = (
    "vocabulary_size", "hidden_size", "intermediate_size", "layers", "heads", "key_value_heads", "context",
    "pretrain_steps", "pretrain_learning_rate",
)  # fmt: skip


class BaseModelChoice(Section):
    """The model that tuning starts from: exactly one of `tiny`, `hub` and `path`."""

    tiny: Literal["llama", "mistral", "qwen2", "qwen3", "mllama"] | None = result(
        None, "architecture of a tiny model, made and pre-trained on the recipe's own text"
    )
    hub: Text | None = result(None, "id of a model on the hub; needs `revision`")
    revision: Commit | None = result(None, "commit of the hub model, 40 hexadecimal digits")
    path: Text | None = result(None, "folder of a local model")
    template: Template | None = result(
        None, "chat layout to write in, its end of a turn as EOS; none for the model's own template"
    )
    family: Family | None = result(
        None,
        "family of prompts that the model is known to read, held to its template; `prompts/<family>.jsonl` shows them",
    )
    pad_token: Text | None = result(None, "token of the vocabulary to pad with; none for the model's own")
    new_tokens: list[Text] = result([], "control tokens to add, whose embeddings `modules_to_save` must then train")
    vocabulary_size: Annotated[int, Field(ge=300)] = result(1024, "tiny: tokens, control tokens included")
    hidden_size: Count = result(128, "tiny: width")
    intermediate_size: Count = result(384, "tiny: width of the feed-forward layers")
    layers: Annotated[int, Field(ge=2)] = result(2, "tiny: number of layers")
    heads: Count = result(4, "tiny: attention heads; must divide `hidden_size` into even widths")
    key_value_heads: Count = result(4, "tiny: key-value heads; must divide `heads`")
    context: Count = result(1024, "tiny: longest sequence, in tokens")
    pretrain_steps: Count = result(800, "tiny: steps of pre-training on made-up lookups")
    pretrain_learning_rate: Rate = result(3e-3, "tiny: peak learning rate of pre-training")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "tiny": ("hub", "revision", "path", *_TOKENIZER_KEYS),
        "hub": ("tiny", "revision", "path", *_TOKENIZER_KEYS, *_TINY_KEYS),
        "path": ("tiny", "hub", "revision", *_TOKENIZER_KEYS, *_TINY_KEYS),
    }

    def unused_keys(self) -> tuple[str, ...]:
        """Sizes mean nothing for a model that exists already."""
        return () if self.tiny is not None else _TINY_KEYS

    @model_validator(mode="after")
    def _check_choice(self) -> "BaseModelChoice":
        given = [name for name in ("tiny", "hub", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of `tiny`, `hub` and `path` is needed, found {found}")
        if self.hub is not None and self.revision is None:
            raise ValueError("`hub` needs a `revision`: the commit of the model, 40 hexadecimal digits")
        if self.hub is None and self.revision is not None:
            raise ValueError("`revision` belongs to `hub`")
        if self.tiny is None and (sizes := [name for name in _TINY_KEYS if name in self.model_fields_set]):
            raise ValueError(f"`{sizes[0]}` belongs to `tiny`")
        if self.hidden_size % (2 * self.heads) or self.heads % self.key_value_heads:
            raise ValueError("twice `heads` must divide `hidden_size`, and `key_value_heads` must divide `heads`")
        return self


class Quantization(Section):
    """How the frozen base of a `qlora` model is held (Dettmers et al. 2023, arXiv:2305.14314)."""

    type: Literal["nf4", "fp4"] = result("nf4", "number format of four bits")
    double: bool = result(True, "quantize the scales too")
    compute: Literal["auto", "bf16", "fp16", "fp32"] = result(
        "auto", "format of the arithmetic; `auto`: bf16 where the GPU has it, fp32 on a CPU, else fp16"
    )


class Launch(Section):
    """Over how many processes a model is trained; one process a GPU."""

    processes: Count = result(1, "processes a node; the batch grows with them")
    nodes: Count = result(1, "nodes; more than one need SLURM, and a file system that all see")
    deepspeed_stage: Annotated[int, Field(ge=0, le=3)] | None = result(
        None,
        "ZeRO stage of DeepSpeed: what is split among processes (1 optimizer, 2 gradients, 3 weights); none for DDP",
    )
    offload: Literal["none", "optimizer", "all"] = result("none", "ZeRO: what waits in the CPU's memory")

    @model_validator(mode="after")
    def _check_stage(self) -> "Launch":
        if self.offload != "none" and (self.deepspeed_stage or 0) < 2:
            raise ValueError("`offload` needs a `deepspeed_stage` of 2 or 3")
        if self.offload == "all" and self.deepspeed_stage != 3:
            raise ValueError("`offload: all` moves the weights too, which needs `deepspeed_stage: 3`")
        return self


_ADAPTER_KEYS = ("rank", "alpha", "dropout", "target_modules", "modules_to_save")
# What means nothing where the tasks are drawn in phases, and a picture stands before the prompt.
_NOT_WITH_PREFIX = (
    "modules_to_save", "quantization", "vision_layers", "loss", "epochs", "max_steps", "fit_to_memory", "weights",
    "gradient_checkpointing", "packing", "liger", "eval_steps", "patience",
)  # fmt: skip


class TrainedModel(Section):
    """How one model is tuned."""

    method: Literal["lora", "qlora", "full", "image_prefix"] = result(
        ...,
        "kind of tuning: `lora` trains an adapter, `qlora` one on a base of four bits, `full` every weight, "
        "`image_prefix` an adapter and soft tokens that an image becomes",
    )
    rank: Count = result(16, "rank of the adapter")
    alpha: Count = result(32, "scale of the adapter is alpha / rank")
    dropout: Share = result(0.0, "dropout of the adapter's input")
    target_modules: list[Text] | None = result(
        None, "modules that get an adapter; none for every linear layer but the head"
    )
    modules_to_save: list[Text] = result(
        [],
        "modules that are trained whole beside the adapter; where `embed_tokens` and `lm_head` are one matrix, "
        "naming one trains it, and naming both parts them",
    )
    quantization: Quantization = result(Quantization(), "qlora: how the base is held")
    vision_layers: bool = result(False, "vision models: adapters in the image encoder too")
    loss: Literal["answer", "assistant"] = result(
        "answer", "what carries loss: the last answer, or every turn of the assistant that is left in the row"
    )
    learning_rate: Rate = result(..., "peak learning rate")
    epochs: Rate | None = result(None, "passes over the rows; this or `max_steps`")
    max_steps: Count | None = result(None, "optimizer steps; this or `epochs`")
    batch_size: Count = result(1, "rows per device and step")
    gradient_accumulation: Count = result(8, "steps whose gradients are summed before an update")
    fit_to_memory: bool = result(
        True,
        "GPU: make a batch that cannot fit smaller and accumulate more often; an update sees as many rows",
    )
    warmup_ratio: Share = result(0.05, "share of the steps in which the rate rises")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = result("cosine", "course of the learning rate")
    optimizer: Literal[
        "adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit"
    ] = result("adamw_torch", "form of AdamW; 8 bits need less memory, paged ones move to the CPU under pressure")
    weight_decay: Annotated[float, Field(ge=0)] = result(0.0, "weight decay of AdamW")
    max_grad_norm: Annotated[float, Field(ge=0)] = result(1.0, "longer gradients are cut to this length; 0 for none")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = result(
        "auto", "format of the arithmetic; `auto`: bf16 where the GPU has it, fp32 on a CPU, else fp16"
    )
    weights: Literal["fp32", "bf16"] = result(
        "fp32",
        "full: format of the trained weights; bf16 needs half the memory and loses small steps",
    )
    gradient_checkpointing: bool = result(False, "compute activations twice, keep few: less memory, a third more time")
    packing: bool = result(False, "several rows in a sequence of `limits.max_length` tokens, each blind to the others")
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = result(
        "auto", "form of attention; `auto`: FlashAttention where GPU and package are there, else torch's own, else SDPA"
    )
    liger: Literal["auto", "on", "off"] = result(
        "auto", "Liger's fused kernels; `auto`: on a GPU where the package is there"
    )
    deterministic: bool = result(False, "GPU: only operations that give the same bits each time; slower")
    eval_steps: Count | None = result(
        None, "optimizer steps between losses on the dev rows, the best of which is kept; none for the end only"
    )
    patience: Count | None = result(None, "stop after so many losses on the dev rows without a better one")
    row_order: Literal["shuffled", "written"] = result(
        "shuffled", "order of the rows: shuffled in each epoch, or as they are written (a curriculum)"
    )
    seed: int = result(42, "seed of row order, dropout and adapter")
    launch: Launch = result(Launch(), "processes and nodes")
    prefix: Prefix | None = result(None, "image_prefix: soft tokens, and which tasks are drawn when; compulsory there")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {"epochs": ("max_steps",), "max_steps": ("epochs",)}

    def unused_keys(self) -> tuple[str, ...]:
        """Name the keys of the other methods."""
        if self.method == "image_prefix":
            return _NOT_WITH_PREFIX
        adapter = () if self.method != "full" else _ADAPTER_KEYS
        base = () if self.method == "qlora" else ("quantization",)
        return (*adapter, *base, *(() if self.method == "full" else ("weights",)), "prefix")

    @model_validator(mode="after")
    def _check_choices(self) -> "TrainedModel":
        drawn = self.method == "image_prefix"
        if not drawn and (self.epochs is None) == (self.max_steps is None):
            raise ValueError("exactly one of `epochs` and `max_steps` is needed")
        if drawn and self.prefix is None:
            raise ValueError("`method: image_prefix` needs a section `prefix`")
        if drawn and self.launch.deepspeed_stage is not None:
            raise ValueError("`method: image_prefix` is trained in one process or by DDP: take `deepspeed_stage` out")
        if wrong := [name for name in self.unused_keys() if name in self.model_fields_set]:
            raise ValueError(f"`{wrong[0]}` means nothing for the method {self.method}: take it out")
        if not drawn and "lm_head" in {name.rpartition(".")[2] for name in self.target_modules or ()}:
            raise ValueError("`lm_head` gets no adapter: name it in `modules_to_save`, not in `target_modules`")
        if self.row_order == "written" and self.packing:
            raise ValueError("`packing` puts rows together by their lengths: `row_order: written` could not be kept")
        if self.patience is not None and self.eval_steps is None:
            raise ValueError("`patience` needs `eval_steps`")
        if self.method == "qlora" and self.launch.deepspeed_stage == 3:
            raise ValueError("ZeRO stage 3 cannot split a base of four bits: use stage 2, or the method lora")
        return self


class Wandb(Section):
    """What a training shows to Weights & Biases; the key comes from WANDB_API_KEY alone."""

    mode: Literal["offline", "online"] = operation("offline", "`offline` keeps all for `wandb sync`; neither is `null`")
    project: Text = operation("finetrail", "project that runs are shown under")
    entity: Text | None = operation(None, "user or team; none for the key's own")
    resume: Literal["latest", "best"] | None = operation(
        "latest", "alias of the artifact that a training goes on from where its checkpoints are gone; none for never"
    )
    answers: Annotated[int, Field(ge=0)] = operation(
        16, "dev rows answered at each evaluation, for exact match and F1; 0 for none"
    )


class Train(Section):
    """The models of the recipe, each tuned on every fold."""

    models: dict[Name, TrainedModel] = result(..., "models by name", min_length=1)
    save_strategy: Literal["steps", "epoch"] = operation("steps", "a checkpoint every `save_steps`, or every epoch")
    save_steps: Count = operation(100, "optimizer steps between checkpoints")
    keep_checkpoints: Count = operation(2, "how many of the newest checkpoints are kept; the best is kept besides")
    on_code_change: Literal["continue", "restart"] = operation(
        "continue", "what a retry does with checkpoints that other code wrote: go on (recorded), or begin again"
    )
    max_hours: Rate | None = operation(None, "longest attempt, in hours; under SLURM the job's own limit holds too")
    save_before_minutes: Rate = operation(30.0, "an attempt with a time limit saves and stops so long before its end")
    gpus: list[Annotated[int, Field(ge=0)]] | None = operation(
        None, "local runs: numbers of the GPUs to use; none for all that are there. Under SLURM the allocation decides"
    )
    wandb: Wandb | None = operation(None, "Weights & Biases; none for off, `{}` for offline")

    @model_validator(mode="after")
    def _check_time(self) -> "Train":
        """An attempt that had to stop at once would train one step, and every retry after it one more."""
        minutes = 60 * (self.max_hours or math.inf)
        if minutes <= self.save_before_minutes:
            raise ValueError(
                f"`save_before_minutes` is {self.save_before_minutes:g} and `max_hours` {minutes:g} minutes: every "
                "attempt would stop at its first step. Lower the one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _check_names(self) -> "Train":
        for name in self.models:
            if name in ("base", "trivial") or name.endswith("_shuffled"):
                raise ValueError(
                    f"`{name}` is the name of a control; `base`, `trivial` and names that end in `_shuffled` are taken"
                )
        return self


class Texts(Section):
    """Texts about images."""

    samples: Count | None = result(200, "test rows that are written about, evenly from all over the file; none for all")
    beams: Count = result(1, "beams of the search; 1 is greedy")
    no_repeat_ngram: Annotated[int, Field(ge=0)] = result(0, "runs of so many tokens do not come twice; 0: no bound")
    repetition_penalty: Annotated[float, Field(ge=1)] = result(1.0, "above 1 discourages what was said already")


class Embedding(Section):
    """A model of sentence-transformers."""

    hub: Text | None = result(None, "id on the hub; needs `revision`")
    revision: Commit | None = result(None, "commit of the hub model, 40 hexadecimal digits")
    path: Text | None = result(None, "folder of a local model")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {"hub": ("path",), "path": ("hub", "revision")}

    @model_validator(mode="after")
    def _check_choice(self) -> "Embedding":
        if (self.hub is None) == (self.path is None) or (self.hub is None) != (self.revision is None):
            raise ValueError("`path`, or `hub` with its `revision`, is needed")
        return self


class Predict(Section):
    """Answers of a model, turn by turn with its own earlier answers."""

    max_answer_tokens: Count = result(75, "longest answer, in tokens")
    trivial_answer: Text = result(
        "I don't know", "what the trivial baseline says; of a multiple choice it takes the option that says so"
    )
    texts: Texts = result(Texts(), "texts about images")


class Evaluate(Section):
    """Scores and their intervals."""

    metric: Literal["turns", "choices", "hops", "spans", "texts"] = result(
        "turns",
        "`turns`: answers in conversations, judged; `choices`: multiple choice, by generation and likelihood; `hops`: "
        "short answers with citations to questions over several pages, by the official scores of that benchmark; "
        "`spans`: exact match and F1 against the words of the document that support the answer, for each kind of "
        "question; `texts`: texts about images, by their likeness to a reference and by what the image adds",
    )
    embedding: Embedding | None = result(
        None, "texts: what embeds them; none for a stand-in that hashes words, which every report names"
    )
    measures: list[Literal["cosine", "token_f1", "rouge1", "rougeL"]] = result(
        ["cosine", "token_f1", "rouge1", "rougeL"],
        "texts: what is compared of each text and its reference: cosine of their embeddings, F1 over words, ROUGE",
        min_length=1,
    )
    compare: list[Name] = result(
        ["base"], "texts: models that stand side by side, in the order of the columns; `base` is the untuned one"
    )
    page_rows: Count = result(24, "texts: most rows of the page")
    printed: Annotated[int, Field(ge=0)] = result(3, "texts: rows that the log shows")
    distractors: list[Annotated[int, Field(ge=0)]] = result(
        [0, 2, 5, 10], "hops: how many passages stand beside the gold ones, in turn; 0 is the upper bound"
    )
    latency_questions: Count = result(20, "hops: questions that are asked one by one, to measure seconds a question")
    judge: ModelReference | None = result(
        None,
        "turns: model that judges answers, none scores by exact match alone; texts: model that scores each text by the "
        "`criteria`, none for no such score",
    )
    criteria: list[Name] = result(
        ["hazards", "place_and_time", "reasons", "style"],
        "texts: what the judge scores from 0 to 10 against the reference, beside `overall`",
        min_length=1,
    )
    resamples: Annotated[int, Field(ge=100)] = result(1000, "bootstrap resamples over groups")
    seed: int = result(42, "seed of the bootstrap")
    allow_same_judge: bool = result(False, "let the judge that filtered train rows score too; the report says so")
    shards: int = shards_key()

    def unused_keys(self) -> tuple[str, ...]:
        """A choice is compared with its key, an answer with its span: nobody judges it."""
        judged = () if self.metric in ("turns", "texts") else ("judge", "allow_same_judge")
        written = (
            () if self.metric == "texts" else ("embedding", "measures", "compare", "page_rows", "printed", "criteria")
        )
        hops = () if self.metric == "hops" else ("distractors", "latency_questions")
        return (*judged, *written, *hops)

    @model_validator(mode="after")
    def _check_metric(self) -> "Evaluate":
        if strangers := [name for name in self.unused_keys() if name in self.model_fields_set]:
            raise ValueError(f"`{strangers[0]}` means nothing for `metric: {self.metric}`")
        if taken := sorted({"overall", "reason"} & set(self.criteria)):
            raise ValueError(f"`{taken[0]}` is asked for anyway, beside the `criteria`")
        if 0 not in self.distractors:
            raise ValueError("`distractors` needs 0: gold passages alone are the upper bound")
        return self


class Parameters(Section):
    """Parameters written into the Modelfile."""

    temperature: float = result(0.0, "sampling temperature", ge=0, le=2)
    top_p: Share = result(1.0, "nucleus sampling: share of probability kept")
    num_ctx: Count | None = result(None, "context length; none for the model's own")
    num_predict: Count | None = result(None, "longest answer; none for `predict.max_answer_tokens`")


class Export(Section):
    """The folder for Ollama."""

    format: Literal["gguf", "safetensors", "none"] = result(
        "gguf", "format of the exported weights; `none` exports nothing"
    )
    quantization: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = result(
        "f32", "gguf: number format of the file that ships; the unquantized weights are checked in any case"
    )
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = result(
        None, "name of the model in Ollama; none for recipe and model"
    )
    parameters: Parameters = result(Parameters(), "parameters of the Modelfile")
    parity_bound: Rate = result(1e-3, "largest difference of log-probabilities between trained model and llama.cpp")
    quantized_bound: Rate = result(0.05, "largest mean divergence of the file that ships, in nats a token")
    allow_unverified: bool = result(False, "export where no runtime can check parity; `parity.json` says so")

    @model_validator(mode="after")
    def _check_quantization(self) -> "Export":
        if self.quantization != "f32" and self.format != "gguf":
            raise ValueError(f"`quantization` belongs to the format gguf, the format is {self.format}")
        return self
