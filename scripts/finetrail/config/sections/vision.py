"""Sections about pictures: the models that look at them, and how their latents go before a language model's prompt."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from finetrail.config.sections.fields import Count, Name, Section, Share, Text, operation, result

Rate = Annotated[float, Field(gt=0)]
TaskName = Literal["caption", "summary", "link", "text_summary"]


class Encoder(Section):
    """The image encoder: loaded from a checkpoint, or trained here as a masked autoencoder (He et al. 2022)."""

    checkpoint: Text | None = result(
        None, "file of weights (.safetensors; .pt and .pth as plain tensors only); none to train one here"
    )
    hidden_size: Count = result(768, "width of the encoder")
    latent_size: Count = result(
        768, "width of the latent; where it differs from `hidden_size`, a linear layer makes it"
    )
    layers: Count = result(12, "blocks")
    heads: Count = result(12, "attention heads; must divide `hidden_size`")
    intermediate_size: Count = result(3072, "width of the feed-forward layers")
    patch_size: Count = result(16, "side of a patch, in pixels; must divide `image_size`")
    decoder_size: Count = result(512, "training: width of the decoder, which is thrown away")
    decoder_layers: Count = result(8, "training: blocks of the decoder")
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = result(0.75, "training: share of the patches that are hidden")
    steps: Count = result(20_000, "training: optimizer steps")
    batch_size: Count = result(64, "training: images a step")
    learning_rate: Rate = result(1.5e-4, "training: peak learning rate")

    @model_validator(mode="after")
    def _check_heads(self) -> "Encoder":
        if self.hidden_size % self.heads:
            raise ValueError("`heads` must divide `hidden_size`")
        return self


class Classifier(Section):
    """The classifier of images, an EfficientNet (Tan and Le 2019): loaded from a checkpoint, or trained here."""

    checkpoint: Text | None = result(None, "file of weights, as the encoder's; none to train one here")
    width: Rate = result(1.0, "width of the layers, as a multiple of B0's")
    depth: Rate = result(1.0, "number of layers, as a multiple of B0's")
    steps: Count = result(5_000, "training: optimizer steps")
    batch_size: Count = result(64, "training: images a step")
    learning_rate: Rate = result(1e-3, "training: peak learning rate")


class Vision(Section):
    """What looks at pictures: an encoder whose latent a language model reads, and a classifier of what they show."""

    classes: dict[Name, Text] = result(
        ..., "classes of images in the order of their ids, and what each shows", min_length=2
    )
    image_size: Count = result(224, "side of the square that images are made, in pixels")
    encoder: Encoder = result(Encoder(), "the encoder")
    classifier: Classifier = result(Classifier(), "the classifier")
    seed: int = result(42, "seed of weights, batches and masks")

    @model_validator(mode="after")
    def _check_patches(self) -> "Vision":
        if self.image_size % self.encoder.patch_size:
            raise ValueError("`encoder.patch_size` must divide `image_size`")
        return self


class DrawingPhase(Section):
    """A stretch of training in which tasks are drawn with fixed probabilities."""

    tasks: dict[TaskName, Share] = result(..., "probability of each task; they sum to 1", min_length=1)
    epochs: Rate | None = result(None, "length: this many times the rows of its tasks; this or `draws`")
    draws: Count | None = result(None, "length, in drawn rows; this or `epochs`")

    @model_validator(mode="after")
    def _check_length(self) -> "DrawingPhase":
        if (self.epochs is None) == (self.draws is None):
            raise ValueError("exactly one of `epochs` and `draws` is needed")
        if abs(sum(self.tasks.values()) - 1.0) > 1e-6:
            raise ValueError(f"the probabilities must sum to 1, their sum is {sum(self.tasks.values()):g}")
        return self


class Prefix(Section):
    """The tokens that an image becomes before a prompt, and which tasks are drawn when."""

    image_tokens: Count = result(4, "soft tokens that the latent is projected to")
    trainable_blocks: Annotated[int, Field(ge=0)] = result(0, "last blocks of the encoder that are trained too")
    encoder_learning_rate: Rate = result(5e-6, "peak learning rate of these blocks")
    phases: list[DrawingPhase] = result(..., "stretches of training, one after the other", min_length=1)
    sample_steps: Count | None = operation(500, "optimizer steps between logged samples; none for no samples")
    sample_tokens: Count = operation(80, "longest logged sample, in tokens")
    workers: Annotated[int, Field(ge=0)] = operation(0, "processes that read rows and images ahead, a trainer")
