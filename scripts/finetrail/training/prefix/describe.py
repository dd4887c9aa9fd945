"""What models write about test images, and how likely they find the right text behind the right and other images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.models.chat_tokens import chat_tokens, pad_id
from finetrail.models.masks import prompt_ids
from finetrail.training.prefix.prefix_rows import NO_CLASS, encode_task, prompt_messages
from finetrail.vision.image_encoder import Eyes, pixels_of

if TYPE_CHECKING:
    import torch

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Decoding:
    """How texts are generated.

    Attributes:
        tokens: longest text.
        beams: of the beam search; 1 is greedy.
        no_repeat_ngram: runs of so many tokens do not come twice; 0 for no bound.
        repetition_penalty: above 1 discourages what was said.
    """

    tokens: int
    beams: int
    no_repeat_ngram: int
    repetition_penalty: float


@dataclass
class Describer:
    """A model that is asked about images.

    Attributes:
        model: from `finetrail.training.prefix.image_prefix.load_for_answers`.
        tokenizer, eyes: of the base, and what looks.
        images: folder that image paths are relative to.
        max_length: most tokens of a row, those of the image included.
        blind: whether texts are written without the image, as a model that reads text only does.
    """

    model: Any
    tokenizer: Any
    eyes: Eyes
    images: str
    max_length: int
    blind: bool = False

    def look(self, row: Row) -> "tuple[torch.Tensor, str]":
        """Return the pixels [1, 3, size, size] of a row's image, and what the classifier names it: never its file."""
        pixels = pixels_of(Path(self.images, row["image"]["path"]), self.eyes.settings.image_size)[None]
        return pixels, self.eyes.classify(pixels)[0]

    def write(self, row: Row, decoding: Decoding) -> str:
        """Return the text.

        Raises:
            UnfitRow: the model cannot be shown the row.
        """
        import torch

        pixels, name = self.look(row)
        parts = row["task"]["parts"]
        parts = {**parts, "cond_name": name} if "cond_name" in parts else parts
        prompt = prompt_ids(prompt_messages(row, parts), self.tokenizer, where=str(row["id"]))
        number = NO_CLASS if self.blind else self.eyes.settings.classes.index(name)
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            (made,) = self.model.generate(
                torch.tensor([prompt], device=device),
                torch.ones(1, len(prompt), dtype=torch.long, device=device),
                pixels.to(device),
                torch.tensor([number], device=device),
                do_sample=False,
                max_new_tokens=decoding.tokens,
                num_beams=decoding.beams,
                no_repeat_ngram_size=decoding.no_repeat_ngram,
                repetition_penalty=decoding.repetition_penalty,
                eos_token_id=chat_tokens(self.tokenizer).end,
                pad_token_id=pad_id(self.tokenizer),
            ).tolist()
        text: str = self.tokenizer.decode(made, skip_special_tokens=True).strip()
        return text

    def nats(self, row: Row, shown: Row) -> tuple[float, int]:
        """Return how unlikely the row's own text is behind the image of a row, in nats, and its tokens.

        All that depends on the image comes from the shown one: its latent, its class, and the name in the prompt.
        """
        import torch

        pixels, name = self.look(shown)
        example = encode_task(
            {**row, "image": shown["image"]},
            self.tokenizer,
            max_length=self.max_length,
            prefix_tokens=self.model.image_tokens + 1,
            class_ids={one: number for number, one in enumerate(self.eyes.settings.classes)},
            images=self.images,
            cond_name=name,
        )
        device = next(self.model.parameters()).device
        ids = torch.tensor([example.input_ids], device=device)
        with torch.inference_mode():
            nats, tokens = self.model.row_losses(
                ids,
                torch.tensor([example.labels], device=device),
                torch.ones_like(ids),
                pixels.to(device),
                torch.tensor([example.class_id], device=device),
            )
        return round(float(nats[0]), 6), int(tokens[0])
