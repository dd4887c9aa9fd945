"""Sections of a recipe's model side: base_model, train, predict, evaluate, export."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from finetrail.config.fields import Commit, Count, Name, Section, Share, Text, operation, result
from finetrail.config.model_llm import ModelReference, shards_key

Rate = Annotated[float, Field(gt=0)]

_TINY_KEYS = (
    "vocabulary_size", "hidden_size", "intermediate_size", "layers", "heads", "key_value_heads", "context",
    "pretrain_steps", "pretrain_learning_rate",
)  # fmt: skip


class BaseModelChoice(Section):
    """The model that tuning starts from: exactly one of `tiny`, `hub` and `path`."""

    tiny: Literal["llama", "mistral", "qwen2", "qwen3"] | None = result(
        None, "architecture of a tiny model, made and pre-trained on the recipe's own text"
    )
    hub: Text | None = result(None, "id of a model on the hub; needs `revision`")
    revision: Commit | None = result(None, "commit of the hub model, 40 hexadecimal digits")
    path: Text | None = result(None, "folder of a local model")
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
        "tiny": ("hub", "revision", "path"),
        "hub": ("tiny", "revision", "path", *_TINY_KEYS),
        "path": ("tiny", "hub", "revision", *_TINY_KEYS),
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


class TrainedModel(Section):
    """How one model is tuned."""

    method: Literal["lora"] = result(..., "kind of tuning: `lora` trains an adapter")
    rank: Count = result(16, "rank of the adapter")
    alpha: Count = result(32, "scale of the adapter is alpha / rank")
    dropout: Share = result(0.0, "dropout of the adapter's input")
    target_modules: list[Text] | None = result(
        None, "modules that get an adapter; none for every linear layer but the head"
    )
    learning_rate: Rate = result(..., "peak learning rate")
    epochs: Rate | None = result(None, "passes over the rows; this or `max_steps`")
    max_steps: Count | None = result(None, "optimizer steps; this or `epochs`")
    batch_size: Count = result(1, "rows per device and step")
    gradient_accumulation: Count = result(8, "steps whose gradients are summed before an update")
    warmup_ratio: Share = result(0.05, "share of the steps in which the rate rises")
    modules_to_save: list[Text] = result([], "modules that are trained whole beside the adapter")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = result("cosine", "course of the learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = result(0.0, "weight decay of AdamW")
    seed: int = result(42, "seed of row order, dropout and adapter")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {"epochs": ("max_steps",), "max_steps": ("epochs",)}

    @model_validator(mode="after")
    def _check_choices(self) -> "TrainedModel":
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("exactly one of `epochs` and `max_steps` is needed")
        return self


class Train(Section):
    """The models of the recipe, each tuned on every fold."""

    models: dict[Name, TrainedModel] = result(..., "models by name", min_length=1)
    save_steps: Count = operation(100, "optimizer steps between checkpoints")

    @model_validator(mode="after")
    def _check_names(self) -> "Train":
        for name in self.models:
            if name in ("base", "trivial") or name.endswith("_shuffled"):
                raise ValueError(
                    f"`{name}` is the name of a control; `base`, `trivial` and names that end in `_shuffled` are taken"
                )
        return self


class Predict(Section):
    """Answers of a model, turn by turn with its own earlier answers."""

    max_answer_tokens: Count = result(75, "longest answer, in tokens")
    trivial_answer: Text = result(
        "I don't know", "what the trivial baseline says; of a multiple choice it takes the option that says so"
    )


class Evaluate(Section):
    """Scores and their intervals."""

    metric: Literal["turns", "choices"] = result(
        "turns", "`turns`: answers in conversations, judged; `choices`: multiple choice, by generation and likelihood"
    )
    judge: ModelReference | None = result(None, "turns: model that judges answers; none scores by exact match alone")
    resamples: Annotated[int, Field(ge=100)] = result(1000, "bootstrap resamples over groups")
    seed: int = result(42, "seed of the bootstrap")
    allow_same_judge: bool = result(False, "let the judge that filtered train rows score too; the report says so")
    shards: int = shards_key()

    def unused_keys(self) -> tuple[str, ...]:
        """A choice is compared with its key: nobody judges it."""
        return () if self.metric == "turns" else ("judge", "allow_same_judge")

    @model_validator(mode="after")
    def _check_metric(self) -> "Evaluate":
        if strangers := [name for name in self.unused_keys() if name in self.model_fields_set]:
            raise ValueError(f"`{strangers[0]}` means nothing for `metric: {self.metric}`")
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
