"""Train encoder and classifier on the recipe's own images, or take them from checkpoints."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.vision.encoder_weights import load_mapped, map_classifier, map_encoder, read_weights
from finetrail.vision.image_encoder import (
    ClassifierShape,
    EncoderShape,
    Eyes,
    VisionSettings,
    build_autoencoder,
    build_classifier,
    build_encoder,
    pixels_of,
)

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int], None]
Labelled = Sequence[tuple[Path, str]]
_WEIGHT_DECAY = 0.05
_WARMUP = 0.1
_HELD_AT_ONCE = 2000  # images in memory; more are read again for each batch

logger = logging.getLogger(__name__)


def vision_settings(section: Mapping[str, Any]) -> VisionSettings:
    """Return what the recipe's section `vision` says of shapes and classes."""
    encoder, classifier = section["encoder"], section["classifier"]
    return VisionSettings(
        tuple(section["classes"]),
        section["image_size"],
        EncoderShape(
            encoder["hidden_size"],
            encoder["latent_size"],
            encoder["layers"],
            encoder["heads"],
            encoder["intermediate_size"],
            encoder["patch_size"],
        ),
        ClassifierShape(classifier["width"], classifier["depth"]),
    )


def make_eyes(
    section: Mapping[str, Any], train: Labelled, dev: Labelled, progress: Progress
) -> tuple[Eyes, dict[str, Any]]:
    """Train both, or load them.

    Args:
        section: the recipe's ``vision``.
        train: images of train records with their classes.
        dev: images of dev records, for the accuracy that is reported.
        progress: called with (steps done, steps in all).

    Returns:
        Encoder and classifier in evaluation mode, and what is to be said of them.

    Raises:
        FinetrailError: no image to train on, a class that the recipe does not name, or a checkpoint that does not fit.
    """
    import torch

    settings = vision_settings(section)
    for path, name in (*train, *dev):
        if name not in settings.classes:
            raise FinetrailError(f"is of the class {name}, which vision.classes does not name", where=str(path))
    torch.manual_seed(section["seed"])
    steps = [section[name]["steps"] if section[name]["checkpoint"] is None else 0 for name in ("encoder", "classifier")]
    if any(steps) and not train:
        raise FinetrailError("there is no image to train on", where="vision", hint="Name checkpoints, or add images")
    images = _Images(train, settings)
    facts: dict[str, Any] = {"images": len(train)}
    encoder = build_encoder(settings)
    told: Progress = lambda done, _: progress(done, sum(steps))  # noqa: E731
    if (path := section["encoder"]["checkpoint"]) is not None:
        weights: Any = encoder.vit
        load_mapped(weights, map_encoder(read_weights(Path(path)), str(path)), str(path))
        facts["encoder"] = {"checkpoint": Path(path).name}
    else:
        facts["encoder"] = _train_encoder(encoder, section["encoder"], settings, images, section["seed"], told)
    if (path := section["classifier"]["checkpoint"]) is not None:
        mapped, symmetric = map_classifier(read_weights(Path(path)), str(path))
        settings = replace(settings, classifier=replace(settings.classifier, symmetric=symmetric))
        classifier = build_classifier(settings)
        load_mapped(classifier, mapped, str(path))
        facts["classifier"] = {"checkpoint": Path(path).name}
    else:
        classifier = build_classifier(settings)
        told = lambda done, _: progress(steps[0] + done, sum(steps))  # noqa: E731
        facts["classifier"] = _train_classifier(classifier, section["classifier"], images, section["seed"], told)
    eyes = Eyes(settings, encoder.cpu().eval(), classifier.cpu().eval())
    for name, labelled in (("train", train), ("dev", dev)):
        facts["classifier"][f"accuracy_{name}"] = accuracy(eyes, labelled)
    return eyes, facts


def accuracy(eyes: Eyes, labelled: Labelled) -> float | None:
    """Return the share of images whose class the classifier names; None where there is no image."""
    import torch

    right = 0
    for start in range(0, len(labelled), 64):
        batch = labelled[start : start + 64]
        pixels = torch.stack([pixels_of(path, eyes.settings.image_size) for path, _ in batch])
        named = eyes.classify(pixels)
        right += sum(found == wanted for found, (_, wanted) in zip(named, batch, strict=True))
    return round(right / len(labelled), 6) if labelled else None


class _Images:
    """Pixels and class ids of the train images, drawn in batches."""

    def __init__(self, labelled: Labelled, settings: VisionSettings) -> None:
        self._labelled = labelled
        self._settings = settings
        self._held: dict[int, torch.Tensor] = {}

    def batches(self, size: int, seed: int) -> "Callable[[int], tuple[torch.Tensor, torch.Tensor]]":
        """Return the function that gives the batch of a step: pixels [n, 3, size, size] and class ids [n]."""
        import torch

        count = len(self._labelled)

        def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            places = torch.randperm(count, generator=generator)[: min(size, count)].tolist()
            ids = [self._settings.classes.index(self._labelled[place][1]) for place in places]
            return torch.stack([self._pixels(place) for place in places]), torch.tensor(ids)

        return batch

    def _pixels(self, place: int) -> "torch.Tensor":
        if place not in self._held:
            pixels = pixels_of(self._labelled[place][0], self._settings.image_size)
            if len(self._held) >= _HELD_AT_ONCE:
                return pixels
            self._held[place] = pixels
        return self._held[place]


def _train_encoder(
    encoder: "torch.nn.Module",
    section: Mapping[str, Any],
    settings: VisionSettings,
    images: _Images,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train a masked autoencoder and keep its encoder."""
    model: Any = build_autoencoder(
        settings.encoder,
        settings.image_size,
        decoder_size=section["decoder_size"],
        decoder_layers=section["decoder_layers"],
        mask_ratio=section["mask_ratio"],
    )
    losses = _loop(model, section, images, seed, lambda pixels, _: model(pixels).loss, "reconstruction", progress)
    whole: Any = encoder
    whole.vit.load_state_dict(model.cpu().vit.state_dict())
    return {"reconstruction_loss": losses}


def _train_classifier(
    classifier: Any, section: Mapping[str, Any], images: _Images, seed: int, progress: Progress
) -> dict[str, Any]:
    """Train by cross-entropy; each picture is shifted: a parameter's field may lie anywhere."""
    import torch

    def loss(pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        most = max(1, pixels.shape[-1] // 4)
        moves = torch.randint(-most, most + 1, (len(pixels), 2)).tolist()
        moved = torch.stack([one.roll(move, dims=(1, 2)) for one, move in zip(pixels, moves, strict=True)])
        return torch.nn.functional.cross_entropy(classifier(moved).logits, ids)

    return {"cross_entropy": _loop(classifier, section, images, seed + 1, loss, "classification", progress)}


def _loop(
    model: Any,
    section: Mapping[str, Any],
    images: _Images,
    seed: int,
    loss_of: "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]",
    name: str,
    progress: Progress,
) -> list[float]:
    """Run the fixed number of steps (AdamW, warm-up, then a cosine); return the mean losses of first and last tenth."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    steps = section["steps"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=section["learning_rate"], weight_decay=_WEIGHT_DECAY)
    warm = max(1, round(_WARMUP * steps))
    course = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm, 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())),
    )
    batch = images.batches(section["batch_size"], seed)
    losses: list[float] = []
    for step in range(steps):
        pixels, ids = batch(step)
        loss = loss_of(pixels.to(device), ids.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        course.step()
        losses.append(loss.item())
        progress(step + 1, steps)
        if (step + 1) % max(1, steps // 5) == 0:
            logger.info("%s: step %d of %d, loss %.4f", name, step + 1, steps, losses[-1])
    tenth = max(1, steps // 10)
    return [round(sum(part) / len(part), 6) for part in (losses[:tenth], losses[-tenth:])]
