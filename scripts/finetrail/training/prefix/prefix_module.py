"""The module behind `finetrail.training.prefix.image_prefix`; imported where torch is wanted anyway."""

from typing import Any

import torch

from finetrail.models.masks import IGNORED
from finetrail.training.prefix.prefix_rows import NO_CLASS
from finetrail.vision.image_encoder import Eyes


class PrefixModel(torch.nn.Module):
    """A causal model behind an encoder.

    Args:
        llm: the causal model, with or without an adapter.
        eyes: encoder and classes.
        image_tokens: soft tokens that a latent is projected to.

    Attributes:
        image_projection: latent → soft tokens.
        class_embedding: class id → one token.
    """

    def __init__(self, llm: Any, eyes: Eyes, image_tokens: int) -> None:
        super().__init__()
        embeddings = llm.get_input_embeddings().weight.detach().float()
        width, latent = embeddings.shape[1], eyes.settings.encoder.latent_size
        self.llm = llm
        self.encoder = eyes.encoder
        self.settings = eyes.settings
        self.image_tokens = image_tokens
        self.image_projection = torch.nn.Linear(latent, image_tokens * width)
        self.class_embedding = torch.nn.Embedding(len(eyes.settings.classes), width)
        # As large as the embeddings of words, so that attention finds them at once.
        scale = float(embeddings.std())
        torch.nn.init.normal_(self.class_embedding.weight, std=scale)
        torch.nn.init.normal_(self.image_projection.weight, std=scale * latent**-0.5)
        torch.nn.init.zeros_(self.image_projection.bias)

    @property
    def config(self) -> Any:
        """The causal model's configuration, which trainers look at."""
        return self.llm.config

    def prefix(self, pixel_values: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
        """Return the tokens of images: [images, image_tokens + 1, width]."""
        encoded = self.encoder(pixel_values)
        soft = self.image_projection(encoded.to(self.image_projection.weight.dtype))
        named = self.class_embedding(class_ids)[:, None]
        return torch.cat([soft.view(len(encoded), self.image_tokens, -1), named], dim=1)

    def embedded(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        class_ids: torch.Tensor,
        *,
        left: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Put prefixes before the embedded prompts of the rows that show an image.

        Args:
            input_ids, attention_mask: [rows, tokens], padded anywhere.
            pixel_values: [images, 3, size, size], in the order of the rows that show one.
            class_ids: [rows]; `NO_CLASS` where a row shows no image.
            left: pad on the left, for generation.

        Returns:
            embeddings [rows, longest, width], attention mask, and how many tokens each row got.
        """
        words = self.llm.get_input_embeddings()(input_ids)
        shown = (class_ids != NO_CLASS).nonzero().flatten().tolist()
        made = iter(self.prefix(pixel_values, class_ids[class_ids != NO_CLASS]) if shown else ())
        rows, added = [], []
        for number, (row, keep) in enumerate(zip(words, attention_mask, strict=True)):
            own = row[keep.bool()]
            before = next(made).to(own.dtype) if number in shown else own[:0]
            rows.append(torch.cat([before, own]))
            added.append(len(before))
        longest = max(len(row) for row in rows)
        embeddings = words.new_zeros(len(rows), longest, words.shape[-1])
        mask = attention_mask.new_zeros(len(rows), longest)
        for number, row in enumerate(rows):
            place = slice(longest - len(row), longest) if left else slice(0, len(row))
            embeddings[number, place] = row
            mask[number, place] = 1
        return embeddings, mask, added

    def row_losses(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        class_ids: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return nats and tokens of each row's target, both [rows]."""
        embeddings, mask, added = self.embedded(input_ids, attention_mask, pixel_values, class_ids)
        logits = self.llm(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).logits
        wanted = labels.new_full(mask.shape, IGNORED)
        for number, (row, keep) in enumerate(zip(labels, attention_mask, strict=True)):
            own = row[keep.bool()]
            wanted[number, added[number] : added[number] + len(own)] = own
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), wanted[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        return losses.sum(dim=1), (wanted[:, 1:] != IGNORED).sum(dim=1)

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor,
        weights: torch.Tensor,
        class_ids: torch.Tensor,
        pixel_values: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Return the mean over the rows of weight times mean nats a token, and each row's mean."""
        nats, tokens = self.row_losses(input_ids, labels, attention_mask, pixel_values, class_ids)
        means = nats / tokens.clamp(min=1)
        return {"loss": (means * weights).mean(), "row_losses": means.detach()}

    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        class_ids: torch.Tensor,
        **options: Any,
    ) -> torch.Tensor:
        """Return new tokens only, [rows, new]."""
        embeddings, mask, _ = self.embedded(input_ids, attention_mask, pixel_values, class_ids, left=True)
        made: torch.Tensor = self.llm.generate(inputs_embeds=embeddings, attention_mask=mask, **options)
        return made
