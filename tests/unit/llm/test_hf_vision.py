"""The transformers server with a tiny Llama-3.2-Vision, which vLLM no longer serves."""

import argparse
import base64
import io
from pathlib import Path
from typing import Any

import pytest

from finetrail.serving.hf_server.hf_model import LoadedModel
from finetrail.serving.hf_server.protocol import Chat, Refusal, Written, read_chat
from finetrail.tiny.tiny_tokenizer import train_tokenizer
from tests.unit.export.tiny_models import TEXTS

pytestmark = pytest.mark.heavy

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{% for part in message.content %}"
    "{% if part.type == 'image' %}<|image|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}[assistant]"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("mllama")
    build_vision_model(folder)
    options = {"name": "m", "model": str(folder), "revision": None, "device": "cpu", "dtype": "float32"}
    missing = dict.fromkeys(("quantization", "adapter", "chat_template", "max_length"))
    return LoadedModel(argparse.Namespace(**options, **missing))


def build_vision_model(folder: Path) -> None:
    import torch
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer = train_tokenizer("llama", TEXTS, vocabulary_size=512, context=512)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|image|>"]})
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = MllamaTextConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, cross_attention_layers=[1, 3], max_position_embeddings=512, **ids,
    )  # fmt: skip
    vision = MllamaVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_global_layers=1, attention_heads=2,
        image_size=28, patch_size=14, vision_output_dim=64, intermediate_layers_indices=[0], max_num_tiles=2,
        supported_aspect_ratios=[[1, 1], [1, 2], [2, 1]],
    )  # fmt: skip
    torch.manual_seed(0)
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    model = MllamaForConditionalGeneration(
        MllamaConfig(vision_config=vision, text_config=text, image_token_index=image)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(1.0)  # they begin at 0, where images are not seen
    model.save_pretrained(folder)
    images = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=2)
    MllamaProcessor(image_processor=images, tokenizer=tokenizer, chat_template=TEMPLATE).save_pretrained(folder)


def data_url(color: tuple[int, int, int]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def ask(model: LoadedModel, *questions: tuple[str, tuple[int, int, int] | None]) -> list[Written]:
    prompts = []
    for text, color in questions:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if color:
            parts.insert(0, {"type": "image_url", "image_url": {"url": data_url(color)}})
        body = {"model": "m", "max_tokens": 6, "temperature": 0, "logprobs": True}
        prompts.append(model.prepare(read_chat({**body, "messages": [{"role": "user", "content": parts}]}, "m")))
    model.write([(prompt, prompt.draws[0]) for prompt in prompts])
    return [model.written(prompt.draws[0]) for prompt in prompts]


def first_logprob(answer: Written) -> float:
    assert answer.logprobs
    return float(answer.logprobs[0]["logprob"])


def test_pictures_are_seen_in_batches_as_alone(model: LoadedModel) -> None:
    red, blue = ("What is it?", (255, 0, 0)), ("And what may this be, at the office?", (0, 0, 255))
    together = ask(model, red, blue)
    for answer, question in zip(together, (red, blue), strict=True):
        (alone,) = ask(model, question)
        assert alone.text == answer.text
        assert first_logprob(alone) == pytest.approx(first_logprob(answer), abs=1e-4)
    (other,) = ask(model, (red[0], (0, 0, 255)))
    assert abs(first_logprob(other) - first_logprob(together[0])) > 1e-3, "the picture makes a difference"


def test_a_text_with_a_control_token_is_refused_before_anything_is_written(model: LoadedModel) -> None:
    parts = [{"type": "text", "text": text} for text in ("He wrote <|im", "age|> there.")]
    for content in ("He wrote <|image|> there.", parts):
        asked = Chat([{"role": "user", "content": content}], [], 1, 1, 0.0, 1.0, 4, None, None)
        with pytest.raises(Refusal, match="control token"):
            model.prepare(asked)


def test_a_question_without_a_picture_is_answered(model: LoadedModel) -> None:
    (answer,) = ask(model, ("What?", None))
    assert answer.tokens == 6
