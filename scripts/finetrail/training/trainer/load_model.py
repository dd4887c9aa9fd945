"""The model to tune: its base as the method wants it, and the adapter as PEFT names it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.base import adapter_targets, load_base, model_class
from finetrail.models.model_folder import read_config
from finetrail.training.settings.hardware import Format
from finetrail.training.settings.machine_choices import VARLEN, Choices
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.trainer.varlen import register_varlen

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, PreTrainedModel

TIED = ("embed_tokens", "lm_head")
_BLOCK = 64  # weights that share a scale, as bitsandbytes quantizes


def torch_dtype(name: Format) -> "torch.dtype":
    """The format as torch names it."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def build_model(base_dir: Path, settings: TrainSettings, choices: Choices, local_rank: int = 0) -> "PreTrainedModel":
    """Load the base: in four bits for ``qlora``, in the format of the arithmetic for ``lora``, as set for ``full``.

    Args:
        base_dir: in the layout of the transformers library.
        settings, choices: what was set, and what was chosen for the machine.
        local_rank: the GPU of this process, for a base of four bits, which is loaded where it stays.
    """
    kwargs: dict[str, Any] = {"attn_implementation": choices.attention}
    if choices.attention == VARLEN:
        register_varlen()
    if settings.method == "qlora":
        _check_width(base_dir, choices)
        kwargs["quantization_config"] = build_quantization(settings, choices)
        kwargs["device_map"] = {"": "cpu" if choices.use_cpu else local_rank}
    model = load_base(base_dir, weights_dtype(settings, choices), **kwargs)
    # Torch gives the pad token's embedding no gradient, also where the token ends a turn.
    model.get_input_embeddings().padding_idx = None
    return model


def _check_width(base_dir: Path, choices: Choices) -> None:
    """Stop where bitsandbytes' kernels for CPUs would fail in the first step.

    Raises:
        FinetrailError: rows of weights hold no whole number of blocks.
    """
    config = read_config(base_dir).get_text_config()
    narrow = [name for name in ("hidden_size", "intermediate_size") if getattr(config, name) % _BLOCK]
    if choices.use_cpu and narrow:
        raise FinetrailError(
            f"the model's {narrow[0]} is {getattr(config, narrow[0])}, and on a CPU four-bit weights need a multiple"
            f" of {_BLOCK}",
            where=str(base_dir),
            hint="Use the method lora, a GPU, or another base",
        )


def weights_dtype(settings: TrainSettings, choices: Choices) -> "torch.dtype":
    """The format of the weights: what an optimizer changes stays in fp32 unless bf16 is set."""
    if settings.method == "full":
        return torch_dtype(settings.weights)
    if settings.method == "qlora":
        return torch_dtype(choices.compute)
    return torch_dtype("bf16" if choices.precision == "bf16" and not choices.use_cpu else "fp32")


def build_quantization(settings: TrainSettings, choices: Choices) -> "BitsAndBytesConfig":
    """The quantization of the base as bitsandbytes names it."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.quantization.type,
        bnb_4bit_use_double_quant=settings.quantization.double,
        bnb_4bit_compute_dtype=torch_dtype(choices.compute),
    )


def build_lora(settings: TrainSettings, model: "PreTrainedModel | None" = None) -> "LoraConfig":
    """The adapter as PEFT names it.

    Args:
        settings: the method and the adapter.
        model: keeps the adapter out of its image encoder, and its head and embeddings one where they are tied and
            only one of them is named to be trained whole.
    """
    from peft import LoraConfig

    targets, tied = settings.target_modules, False
    if model is not None:
        targets = adapter_targets(model, targets, vision_layers=settings.vision_layers)
        named = sum(module.rpartition(".")[2] in TIED for module in settings.modules_to_save)
        tied = bool(model.config.get_text_config().tie_word_embeddings) and named == 1
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(settings.modules_to_save) or None,
        bias="none",
        ensure_weight_tying=tied,
    )


def order_targets(model: Any) -> None:
    """Let an adapter's configuration list its layers in order: PEFT keeps a set, in another order each time."""
    for config in model.peft_config.values():
        if isinstance(config.target_modules, set):
            config.target_modules = sorted(config.target_modules)


def count_parameters(config: Any, settings: TrainSettings) -> tuple[int, int]:
    """Count a model's trainable and total parameters without its weights, on torch's meta device.

    Args:
        config: the base's configuration, as transformers reads it.
        settings: the method and the adapter.

    Returns:
        (trainable, total), the adapter's among both.
    """
    import torch
    from peft import get_peft_model

    with torch.device("meta"):
        model = model_class(config).from_config(config)
        if settings.adapter:
            model = get_peft_model(model, build_lora(settings, model))
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return trainable, sum(weight.numel() for weight in model.parameters())
