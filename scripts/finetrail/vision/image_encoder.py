"""What looks at pictures: an encoder whose latent a language model reads, and a classifier of what they show.

The encoder is the vision transformer of a masked autoencoder (He et al. 2022, arXiv:2111.06377), the classifier an
EfficientNet (Tan and Le 2019, arXiv:1905.11946), both as transformers builds them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json
from finetrail.vision.rgb import as_rgb

if TYPE_CHECKING:
    import torch
    from transformers import EfficientNetForImageClassification, ViTMAEForPreTraining

SETTINGS, CLASSES = "vision.json", "cond_name_to_id.json"
ENCODER, CLASSIFIER = "stage1_encoder.safetensors", "classifier.safetensors"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as both were published with
_B0_HEAD = 1280


@dataclass(frozen=True)
class EncoderShape:
    """The shape of the encoder; the fields are those of the configuration's ``vision.encoder``."""

    hidden_size: int
    latent_size: int
    layers: int
    heads: int
    intermediate_size: int
    patch_size: int


@dataclass(frozen=True)
class ClassifierShape:
    """The shape of the classifier.

    Attributes:
        width, depth: multiples of B0's.
        symmetric: whether strided layers are padded on both sides, as PyTorch's own checkpoints are, and their
            batch norms have its epsilon.
    """

    width: float
    depth: float
    symmetric: bool = False


@dataclass(frozen=True)
class VisionSettings:
    """All that is needed to build both.

    Attributes:
        classes: names in the order of their ids.
        image_size: side of the square that images are made, in pixels.
    """

    classes: tuple[str, ...]
    image_size: int
    encoder: EncoderShape
    classifier: ClassifierShape

    def as_plain(self) -> dict[str, Any]:
        """Render the settings as JSON can hold them."""
        return asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "VisionSettings":
        """Read what `as_plain` rendered."""
        return cls(
            tuple(plain["classes"]),
            plain["image_size"],
            EncoderShape(**plain["encoder"]),
            ClassifierShape(**plain["classifier"]),
        )


def pixels_of(path: Path, size: int) -> "torch.Tensor":
    """Read an image, of an animated one its first frame, as [3, size, size], normalised.

    Raises:
        FinetrailError: it cannot be read.
    """
    import torch
    from PIL import Image

    try:
        with Image.open(path) as opened:
            small = as_rgb(opened).resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError) as error:
        raise FinetrailError(f"the image cannot be read: {error}", where=str(path), hint="Run ingest again") from error
    raw = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(size, size, 3)
    values = raw.permute(2, 0, 1).float() / 255
    normalised: torch.Tensor = (values - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
    return normalised


def build_autoencoder(
    shape: EncoderShape, image_size: int, *, decoder_size: int, decoder_layers: int, mask_ratio: float
) -> "ViTMAEForPreTraining":
    """Build encoder and decoder with random weights; depends on torch's global seed."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        image_size=image_size,
        patch_size=shape.patch_size,
        decoder_hidden_size=decoder_size,
        decoder_num_hidden_layers=decoder_layers,
        decoder_num_attention_heads=4 if decoder_size % 16 else 16,
        decoder_intermediate_size=4 * decoder_size,
        mask_ratio=mask_ratio,
        norm_pix_loss=True,
    )
    return ViTMAEForPreTraining(config)


def build_encoder(settings: VisionSettings) -> "torch.nn.Module":
    """Build the encoder with random weights: pixels [n, 3, size, size] → latents [n, latent_size].

    The latent is the mean over the patches; where its width is not the transformer's, a fixed orthogonal matrix makes
    it so, which keeps all that it holds.
    """
    import torch
    from transformers import ViTMAEConfig, ViTMAEModel

    shape = settings.encoder
    vit: ViTMAEModel = ViTMAEModel(
        ViTMAEConfig(
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.intermediate_size,
            image_size=settings.image_size,
            patch_size=shape.patch_size,
            mask_ratio=0.0,
        )
    )

    class Encoder(torch.nn.Module):
        """Attributes: vit, the transformer; widen, the matrix to the latent's width, or None."""

        def __init__(self) -> None:
            super().__init__()
            self.vit = vit
            self.widen: torch.nn.Linear | None = None
            if shape.latent_size != shape.hidden_size:
                self.widen = torch.nn.Linear(shape.hidden_size, shape.latent_size, bias=False)
                torch.nn.init.orthogonal_(self.widen.weight)
                self.widen.weight.requires_grad_(False)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            patches = (settings.image_size // shape.patch_size) ** 2
            # In order: nothing is hidden, and no random number is drawn.
            noise = torch.arange(patches, device=pixel_values.device, dtype=torch.float32)
            seen = self.vit(pixel_values, noise=noise.expand(len(pixel_values), patches)).last_hidden_state
            latent: torch.Tensor = seen[:, 1:].mean(dim=1)
            return latent if self.widen is None else self.widen(latent)

    return Encoder()


def train_last_blocks(encoder: "torch.nn.Module", blocks: int) -> None:
    """Freeze the encoder but for its last blocks and, where there are some, what normalises behind them."""
    vit: Any = encoder.vit
    for weight in encoder.parameters():
        weight.requires_grad_(False)
    for module in [*vit.layers[len(vit.layers) - blocks :], vit.layernorm] if blocks else []:
        module.requires_grad_(True)


def build_classifier(settings: VisionSettings) -> "EfficientNetForImageClassification":
    """Build the classifier with random weights; depends on torch's global seed."""
    import torch
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    shape = settings.classifier
    config = EfficientNetConfig(
        num_labels=len(settings.classes),
        image_size=settings.image_size,
        width_coefficient=shape.width,
        depth_coefficient=shape.depth,
        hidden_dim=max(8, round(_B0_HEAD * shape.width / 8) * 8),
        dropout_rate=0.2,
        batch_norm_eps=1e-5 if shape.symmetric else 1e-3,
        batch_norm_momentum=0.1,  # of torch; the library's .99 is TensorFlow's, and would keep the last batch alone
    )
    model: EfficientNetForImageClassification = EfficientNetForImageClassification(config)
    for layer in model.modules():
        # The library starts convolutions and norms alike at 0.02: activations vanish, and nothing would be learned.
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(layer.weight)
    if shape.symmetric:
        net = model.efficientnet
        net.embeddings.padding = torch.nn.ZeroPad2d(1)
        for block in net.encoder.blocks:
            layer = block.depthwise_conv
            if layer.stride == 2:
                layer.depthwise_conv_pad = torch.nn.ZeroPad2d(layer.depthwise_conv.kernel_size[0] // 2)
    return model


@dataclass
class Eyes:
    """Encoder and classifier, ready to look.

    Attributes:
        settings: what they were built by.
        encoder, classifier: in evaluation mode.
    """

    settings: VisionSettings
    encoder: "torch.nn.Module"
    classifier: "torch.nn.Module"

    def classify(self, pixels: "torch.Tensor") -> list[str]:
        """Name what each image of [n, 3, size, size] shows."""
        import torch

        with torch.inference_mode():
            chosen = self.classifier(pixels).logits.argmax(dim=-1).tolist()
        return [self.settings.classes[number] for number in chosen]


def save_eyes(eyes: Eyes, folder: Path) -> None:
    """Write weights, settings and the mapping of classes."""
    from safetensors.torch import save_file

    save_file(_plain_state(eyes.encoder), folder / ENCODER)
    save_file(_plain_state(eyes.classifier), folder / CLASSIFIER)
    (folder / SETTINGS).write_text(
        json.dumps(eyes.settings.as_plain(), indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    ids = {name: number for number, name in enumerate(eyes.settings.classes)}
    (folder / CLASSES).write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")


def load_eyes(folder: Path) -> Eyes:
    """Read what `save_eyes` wrote."""
    from safetensors.torch import load_file

    settings = VisionSettings.from_plain(read_json(folder / SETTINGS))
    encoder, classifier = build_encoder(settings), build_classifier(settings)
    encoder.load_state_dict(load_file(folder / ENCODER))
    classifier.load_state_dict(load_file(folder / CLASSIFIER))
    return Eyes(settings, encoder.eval(), classifier.eval())


def check_classes(ours: Sequence[str], theirs: Mapping[str, int], where: str) -> None:
    """Refuse a model that was made under another mapping of classes to ids.

    Raises:
        FinetrailError: with the names that differ.
    """
    mine = {name: number for number, name in enumerate(ours)}
    differing = [
        f"{name}: {mine.get(name, 'none')} here, {theirs.get(name, 'none')} there"
        for name in [*mine, *(name for name in theirs if name not in mine)]
        if mine.get(name) != theirs.get(name)
    ]
    if differing:
        raise FinetrailError(
            f"it was made under another mapping of classes to ids: {'; '.join(differing)}",
            where=where,
            hint="Order vision.classes as its cond_name_to_id.json, or train again",
        )


def _plain_state(module: "torch.nn.Module") -> dict[str, "torch.Tensor"]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
