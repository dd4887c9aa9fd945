"""The loaded model: prompts to answers, in batches that are padded on the left."""

import io
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.rows.records import derive_seed
from finetrail.serving.hf_server.draw import Chooser, Draw
from finetrail.serving.hf_server.grammar import Grammars
from finetrail.serving.hf_server.protocol import Chat, Refusal, Written
from finetrail.vision.rgb import as_rgb

if TYPE_CHECKING:
    from argparse import Namespace

LOGGER = logging.getLogger(__name__)


@dataclass
class Prompt:
    """A question made ready: its rendered text and pictures, how many tokens they are, and one draw an answer."""

    text: str
    images: list[Any]
    tokens: int
    draws: list[Draw]


class LoadedModel:
    """A model with its tokenizer, or its processor where it sees images.

    Args:
        options: the server's command line.
    """

    def __init__(self, options: "Namespace") -> None:
        import torch
        import transformers

        self.name = options.name
        config = transformers.AutoConfig.from_pretrained(options.model, revision=options.revision)
        self.sees = getattr(config, "vision_config", None) is not None
        kind = transformers.AutoModelForImageTextToText if self.sees else transformers.AutoModelForCausalLM
        placed = {"device_map": "auto"} if options.device == "gpu" else {}
        model = kind.from_pretrained(
            options.model,
            revision=options.revision,
            dtype=getattr(torch, options.dtype),
            quantization_config=_quantization(options.quantization, getattr(torch, options.dtype)),
            **placed,
        )
        if options.adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, options.adapter)
        self.model = model.eval()
        self.processor = (transformers.AutoProcessor if self.sees else transformers.AutoTokenizer).from_pretrained(
            options.model, revision=options.revision, padding_side="left"
        )
        self.tokenizer = self.processor.tokenizer if self.sees else self.processor
        self.tokenizer.padding_side = "left"
        self.template = Path(options.chat_template).read_text(encoding="utf-8") if options.chat_template else None
        self.ends = _end_tokens(self.model.generation_config, self.tokenizer)
        self.padding = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.ends)
        self.tokenizer.pad_token_id = self.padding
        text = config.get_text_config()
        self.longest = options.max_length or getattr(text, "max_position_embeddings", None)
        self.width = self.model.get_output_embeddings().weight.shape[0]

    @cached_property
    def grammars(self) -> Grammars:
        """The compiler of schemas, made with the first that comes."""
        return Grammars(self.tokenizer, self.width)

    def prepare(self, chat: Chat) -> Prompt:
        """Render a question and begin its answers.

        Raises:
            Refusal: the template refuses the messages, an image cannot be read, the prompt is too long.
        """
        from jinja2 import TemplateError

        if chat.images and not self.sees:
            raise Refusal(400, f"the model {self.name} takes no images", "invalid_value")
        try:
            text = self.processor.apply_chat_template(
                self._as_parts(chat.messages), chat_template=self.template, tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, ValueError) as error:
            raise Refusal(400, f"the chat template refuses the messages: {error}", "invalid_value") from error
        images = [_picture(content) for content in chat.images]
        tokens = int(self._encode([text], [images])["input_ids"].shape[1])
        if self.longest is not None and tokens + chat.max_tokens > self.longest:
            message = (
                f"This model's maximum context length is {self.longest} tokens. However, you requested "
                f"{chat.max_tokens} output tokens and your prompt contains {tokens} tokens"
            )
            raise Refusal(400, message, "context_length_exceeded")
        return Prompt(text, images, tokens, [self._draw(chat, version) for version in range(chat.versions)])

    def _draw(self, chat: Chat, version: int) -> Draw:
        seed = secrets.randbits(63) if chat.seed is None else chat.seed
        seed = derive_seed(seed, version) if version else seed
        matcher = self.grammars.matcher(chat.schema) if chat.schema else None
        return Draw(seed, chat.temperature, chat.top_p, chat.max_tokens, chat.logprobs, matcher)

    def _as_parts(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give a processor's template parts throughout, and a tokenizer's template plain texts."""
        if self.sees:
            return [
                {**message, "content": [{"type": "text", "text": message["content"]}]}
                if isinstance(message["content"], str)
                else message
                for message in messages
            ]
        return [
            {**message, "content": "".join(part["text"] for part in message["content"])}
            if isinstance(message["content"], list)
            else message
            for message in messages
        ]

    def _encode(self, texts: list[str], images: list[list[Any]]) -> Any:
        """Return the model's inputs; the template has written the special tokens already."""
        options = {"return_tensors": "pt", "padding": True, "add_special_tokens": False}
        if not self.sees:
            return self.processor(texts, **options)
        return self.processor(text=texts, images=images if any(images) else None, **options)

    def write(self, jobs: Sequence[tuple[Prompt, Draw]]) -> None:
        """Write answers together; each draw holds its own when this returns.

        A batch that the memory does not hold is written in halves: how long its prompts are, nobody knew before.
        """
        import torch

        try:
            self._write(jobs)
            return
        except torch.OutOfMemoryError as error:
            if len(jobs) == 1:
                raise
            said = str(error).partition("\n")[0]
        LOGGER.warning("no memory for %d answers at once, so they are halved (`serve.batch_size`): %s", len(jobs), said)
        torch.cuda.empty_cache()
        for _, draw in jobs:
            draw.restart()
        middle = len(jobs) // 2
        self.write(jobs[:middle])
        self.write(jobs[middle:])

    def _write(self, jobs: Sequence[tuple[Prompt, Draw]]) -> None:
        import torch

        inputs = self._encode([prompt.text for prompt, _ in jobs], [prompt.images for prompt, _ in jobs])
        draws = [draw for _, draw in jobs]
        chooser = Chooser(draws, self.ends, self.padding)
        with torch.inference_mode():
            self.model.generate(
                **inputs.to(self.model.device),
                do_sample=False,
                max_new_tokens=max(draw.max_tokens for draw in draws),
                logits_processor=[chooser],
                stopping_criteria=[chooser.ended],
                eos_token_id=None,
                pad_token_id=self.padding,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
            )

    def written(self, draw: Draw) -> Written:
        """Return a finished answer."""
        shown = None
        if draw.logprobs is not None:
            shown = [
                {**self._token(token, value), "top_logprobs": [self._token(*other) for other in others]}
                for token, value, others in draw.shown
            ]
        text = self.tokenizer.decode(draw.tokens, skip_special_tokens=True)
        return Written(text, len(draw.tokens), draw.finish_reason, shown)

    def _token(self, token: int, value: float) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        return {"token": text, "logprob": max(value, -9999.0), "bytes": list(text.encode("utf-8"))}


def _quantization(method: str | None, dtype: Any) -> Any:
    if method is None:
        return None
    from transformers import BitsAndBytesConfig

    if method == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _end_tokens(generation: Any, tokenizer: Any) -> frozenset[int]:
    named = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
    return frozenset(named if isinstance(named, list) else [named])


def _picture(content: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return as_rgb(Image.open(io.BytesIO(content)))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise Refusal(400, f"an image cannot be read: {error}", "invalid_value") from error
