"""What is chosen for a machine, what is refused on it, and what is said when its memory does not do."""

import dataclasses
import os
import re
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.limits import Limits
from finetrail.training.memory_estimate import Shape, estimate, is_out_of_memory, out_of_memory, propose_batch
from finetrail.training.settings.hardware import Hardware, detect, use_gpus
from finetrail.training.settings.machine_choices import Choices, choose, split_update
from finetrail.training.settings.train_settings import Launch, TrainSettings
from finetrail.training.trainer.load_model import weights_dtype

CPU = Hardware("cpu", 0, 0, bf16=False, flash_attention=False, liger=False)
T4 = Hardware("Tesla T4", 1, 16 * 10**9, bf16=False, flash_attention=False, liger=True)
RTX = Hardware("RTX 4090", 1, 24 * 10**9, bf16=True, flash_attention=True, liger=True)
A100 = Hardware("A100", 8, 80 * 10**9, bf16=True, flash_attention=True, liger=False)
# Mistral-7B with LoRA of rank 16 on seven modules of each layer.
SEVEN_B = Shape(parameters=7_290_000_000, trainable=42_000_000, layers=32, width=4096, vocabulary=32768)
QLORA = TrainSettings(
    method="qlora",
    batch_size=8,
    gradient_accumulation=2,
    optimizer="paged_adamw_32bit",
    limits=Limits(max_length=2048),
)


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (CPU, ("fp32", "sdpa", False)),
        (T4, ("fp16", "sdpa", True)),
        (RTX, ("bf16", "flash_attention_2", True)),
        (A100, ("bf16", "flash_attention_2", False)),
    ],
    ids=lambda value: value.name if isinstance(value, Hardware) else "",
)
def test_formats_and_kernels_follow_the_machine(hardware: Hardware, expected: tuple[Any, ...]) -> None:
    choices = choose(QLORA, hardware)
    assert (choices.precision, choices.attention, choices.liger) == expected
    assert choices.compute == choices.precision
    assert {"precision", "attention", "liger", "quantization.compute"} <= choices.reasons.keys()
    asked = choose(dataclasses.replace(QLORA, precision="fp32", attention="eager", liger="off"), hardware)
    assert (asked.precision, asked.attention, asked.liger) == ("fp32", "eager", False)
    assert set(asked.reasons.values()) >= {"as set"}


@pytest.mark.parametrize(
    ("changes", "hardware", "expected"),
    [
        ({"precision": "fp16"}, CPU, "`precision: fp16` needs a GPU, and torch sees none"),
        ({"attention": "flash_attention_2"}, CPU, "`attention: flash_attention_2` needs a GPU"),
        ({"liger": "on"}, CPU, "`liger: on` needs a GPU"),
        ({"liger": "on"}, A100, "`liger: on` needs the package liger-kernel"),
        ({"attention": "flash_attention_2"}, T4, "compute capability 8.0"),
        ({"precision": "bf16"}, T4, "a GPU that computes in bf16, which Tesla T4 does not"),
        ({"launch": Launch(processes=2)}, RTX, "`launch.processes` is 2, and torch sees 1 GPUs"),
    ],
)
def test_a_setting_that_the_machine_lacks_is_refused(
    changes: dict[str, Any], hardware: Hardware, expected: str
) -> None:
    with pytest.raises(FinetrailError, match=expected):
        choose(dataclasses.replace(QLORA, **changes), hardware)


def fitted(settings: TrainSettings, hardware: Hardware, shape: Shape = SEVEN_B, tokens: int = 2048) -> Choices:
    choices = choose(settings, hardware)
    return split_update(choices, *propose_batch(settings, choices, shape, tokens, hardware.memory))


def test_whatever_is_proposed_an_update_sees_as_many_rows() -> None:
    with pytest.raises(ValueError, match="16 rows of an update are no whole number of batches of 3"):
        split_update(choose(QLORA, T4), 3, False, "an estimate that is wrong")


def test_the_batch_fits_the_memory_and_an_update_sees_as_many_rows() -> None:
    """Qualities, not figures: the larger the GPU the larger the batch, and the smallest needs checkpointing."""
    small, middle, large = (fitted(QLORA, hardware) for hardware in (T4, RTX, A100))
    for choices, hardware in ((small, T4), (middle, RTX), (large, A100)):
        assert choices.batch_size * choices.gradient_accumulation == 16
        assert estimate(QLORA, choices, SEVEN_B, 2048).total <= 0.9 * hardware.memory
        assert "GB: fits" in choices.reasons["batch_size"]
    assert middle.batch_size <= large.batch_size
    assert small.gradient_checkpointing and not middle.gradient_checkpointing and not large.gradient_checkpointing
    long_rows = fitted(QLORA, T4, tokens=4096)
    assert long_rows.batch_size * long_rows.gradient_accumulation == 16 and long_rows.gradient_checkpointing


def test_a_model_that_cannot_fit_is_tried_at_its_smallest_and_said_so() -> None:
    full = dataclasses.replace(QLORA, method="full", optimizer="adamw_torch")
    choices = fitted(full, RTX, dataclasses.replace(SEVEN_B, trainable=7_290_000_000))
    assert (choices.batch_size, choices.gradient_accumulation, choices.gradient_checkpointing) == (1, 16, True)
    assert "it may not fit" in choices.reasons["batch_size"]


def test_zero_splits_what_its_stage_says() -> None:
    full = dataclasses.replace(QLORA, method="full", optimizer="adamw_torch")
    shape = dataclasses.replace(SEVEN_B, trainable=SEVEN_B.parameters)
    needs = {
        stage: estimate(
            dataclasses.replace(full, launch=Launch(processes=4, deepspeed_stage=stage)), choose(full, A100), shape, 64
        )
        for stage in (0, 1, 2, 3)
    }
    assert needs[0].optimizer == 4 * needs[1].optimizer and needs[0].gradients == needs[1].gradients
    assert needs[1].gradients == 4 * needs[2].gradients and needs[1].weights == needs[2].weights
    assert needs[2].weights == 4 * needs[3].weights


@pytest.mark.heavy
def test_a_frozen_base_takes_as_many_bytes_as_it_is_loaded_with() -> None:
    """Without bf16 the weights of `lora` stay in fp32, though the arithmetic is fp16."""
    lora = dataclasses.replace(QLORA, method="lora")
    for hardware, size in ((T4, 4), (RTX, 2), (CPU, 4)):
        choices = choose(lora, hardware)
        assert size == weights_dtype(lora, choices).itemsize
        need = estimate(lora, choices, SEVEN_B, 64)
        assert need.weights == size * (SEVEN_B.parameters - SEVEN_B.trainable) + 4 * SEVEN_B.trainable


def test_four_bits_leave_embeddings_and_head_as_they_are() -> None:
    choices = choose(QLORA, A100)
    saved = estimate(QLORA, choices, SEVEN_B, 64).weights
    saved -= estimate(QLORA, choices, dataclasses.replace(SEVEN_B, tied=True), 64).weights
    assert saved == pytest.approx(SEVEN_B.vocabulary * SEVEN_B.width * (2 - 0.57))


def test_out_of_memory_names_what_each_remedy_would_save() -> None:
    text = str(out_of_memory(QLORA, choose(QLORA, T4), SEVEN_B, 2048))
    assert "out of memory with 8 rows of up to 2048 tokens a step: about" in text
    for remedy in ("`batch_size: 4`", "`limits.max_length: 1024`", "`gradient_checkpointing: true`", "(ZeRO)"):
        assert remedy in text
    assert [float(saved) > 0 for saved in re.findall(r"saves (?:about )?([\d.]+) [GM]B", text)] == [True] * 4


def test_errors_that_mean_memory_are_told_from_others() -> None:
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape '[32, 0]' is invalid"))


def test_gpus_by_number_hold_locally_and_never_against_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    seen = []
    for numbers, job in (([4], None), ([2, 3], "77"), (None, None)):
        if job:
            monkeypatch.setenv("SLURM_JOB_ID", job)
        use_gpus(numbers)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["4", "4", "4"]


@pytest.mark.heavy
@pytest.mark.parametrize(("named", "count"), [("4", 1), ("0, 2", 2), ("GPU-8a, MIG-3f", 2)])
def test_gpus_that_were_named_and_are_not_there_never_mean_the_cpu(
    named: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(FinetrailError, match=f"CUDA_VISIBLE_DEVICES names {count} GPUs .*, and torch sees 0"):
        detect()


@pytest.mark.heavy
@pytest.mark.parametrize("named", ["", "-1", "NoDevFiles", None])
def test_no_gpu_was_named(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert detect().use_cpu
