"""The loaded model: prompts to answers, in batches that are padded on the left."""

import io
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.bounded_template import render_template
from finetrail.chat.messages import Message
from finetrail.errors import FinetrailError
from finetrail.models.base import is_vision, model_class
from finetrail.models.control_tokens import chat_ids, control_tokens
from finetrail.models.model_folder import load_adapter, load_weights, read_config, read_processor, read_tokenizer
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
    """A question made ready: its tokens, text and pictures for a model that sees, and one draw an answer."""

    ids: list[int]
    text: str
    images: list[Any]
    draws: list[Draw]


class LoadedModel:
    """A model with its tokenizer, or its processor where it sees images.

    Args:
        options: the server's command line.
    """

    def __init__(self, options: "Namespace") -> None:
        import torch

        self.name = options.name
        config = read_config(options.model, revision=options.revision)
        self.sees = is_vision(config)
        placed = {"device_map": "auto"} if options.device == "gpu" else {}
        model = load_weights(
            model_class(config),
            options.model,
            revision=options.revision,
            dtype=getattr(torch, options.dtype),
            quantization_config=_quantization(options.quantization, getattr(torch, options.dtype)),
            **placed,
        )
        if options.adapter:
            model = load_adapter(model, Path(options.adapter))
        self.model = model.eval()
        read = read_processor if self.sees else read_tokenizer
        self.processor: Any = read(options.model, revision=options.revision, padding_side="left")
        self.tokenizer = self.processor.tokenizer if self.sees else self.processor
        self.tokenizer.chat_template = self.processor.chat_template
        self.tokenizer.padding_side = "left"
        if options.chat_template:
            self.processor.chat_template = Path(options.chat_template).read_text(encoding="utf-8")
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
        if chat.images and not self.sees:
            raise Refusal(400, f"the model {self.name} takes no images", "invalid_value")
        images = [_picture(content) for content in chat.images]
        text = self._text(chat.messages) if self.sees else ""
        ids = self._with_images([text], [images])["input_ids"][0].tolist() if self.sees else self._ids(chat.messages)
        tokens = len(ids)
        if self.longest is not None and tokens + chat.max_tokens > self.longest:
            message = (
                f"This model's maximum context length is {self.longest} tokens. However, you requested "
                f"{chat.max_tokens} output tokens and your prompt contains {tokens} tokens"
            )
            raise Refusal(400, message, "context_length_exceeded")
        return Prompt(ids, text, images, [self._draw(chat, version) for version in range(chat.versions)])

    def _draw(self, chat: Chat, version: int) -> Draw:
        seed = secrets.randbits(63) if chat.seed is None else chat.seed
        seed = derive_seed(seed, version) if version else seed
        matcher = self.grammars.matcher(chat.schema) if chat.schema else None
        return Draw(seed, chat.temperature, chat.top_p, chat.max_tokens, chat.logprobs, matcher)

    def _ids(self, messages: list[dict[str, Any]]) -> list[int]:
        """Render messages of text; a control token in one of them is words."""
        plain = [Message(role=message["role"], content="".join(_texts(message))) for message in messages]
        try:
            return chat_ids(self.tokenizer, plain, where="the request", add_generation_prompt=True, options={}).ids
        except FinetrailError as error:
            raise Refusal(400, error.cause, "invalid_value") from error

    def _text(self, messages: list[dict[str, Any]]) -> str:
        """Render messages with images; the processor would read a control token in one of them as the token."""
        pattern = control_tokens(self.tokenizer).pattern
        # Templates join the parts of a message.
        for found in filter(None, (pattern.search("".join(_texts(message))) for message in messages)):
            raise Refusal(400, f"a text holds the control token {found[0]}, and the model sees images", "invalid_value")
        parts = [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            if isinstance(message["content"], str)
            else message
            for message in messages
        ]
        try:
            return render_template(
                self.tokenizer, parts, where="the request", add_generation_prompt=True, options={}
            ).text
        except FinetrailError as error:
            raise Refusal(400, error.cause, "invalid_value") from error

    def _with_images(self, texts: list[str], images: list[list[Any]]) -> Any:
        """Return a batch's inputs; the template has written the special tokens already."""
        shown = images if any(images) else None
        return self.processor(text=texts, images=shown, return_tensors="pt", padding=True, add_special_tokens=False)

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

        prompts = [prompt for prompt, _ in jobs]
        if self.sees:
            inputs = self._with_images([prompt.text for prompt in prompts], [prompt.images for prompt in prompts])
        else:
            inputs = self.tokenizer.pad({"input_ids": [prompt.ids for prompt in prompts]}, return_tensors="pt")
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


def _texts(message: dict[str, Any]) -> list[str]:
    """Return the texts of a message, which is one or has parts."""
    content = message["content"]
    return [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]


def _end_tokens(generation: Any, tokenizer: Any) -> frozenset[int]:
    named = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
    return frozenset(named if isinstance(named, list) else [named])


def _picture(content: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return as_rgb(Image.open(io.BytesIO(content)))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise Refusal(400, f"an image cannot be read: {error}", "invalid_value") from error
