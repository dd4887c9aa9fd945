"""How a vision model is shown the image of a row: a token in the text, and tiles of pixels beside it.

Written for Mllama (Llama-3.2-Vision): its image token stands once an image, and cross-attention layers let the tokens
behind it see the tiles.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.base import PROCESSOR
from finetrail.models.model_folder import read_processor
from finetrail.rows.records import sha256_file
from finetrail.vision.image import Image
from finetrail.vision.rgb import as_rgb
from finetrail.vision.row_images import images_of

if TYPE_CHECKING:
    import torch
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

IMAGE_TOKEN = "<|image|>"
VISION_MODELS = ("mllama",)


@dataclass(frozen=True)
class Vision:
    """What a vision model needs to be shown images.

    Attributes:
        processor: makes tiles of pixels, with PIL alone.
        token_id: of the image token.
        folder: what image paths of rows are relative to.
    """

    processor: "MllamaImageProcessorPil"
    token_id: int
    folder: str | None
    _checked: set[tuple[Path, str]] = field(default_factory=set, repr=False, compare=False)

    def images_of(self, row: Mapping[str, Any]) -> tuple[Image, ...]:
        """Return the row's images, each compared once with the hash that the row names.

        Raises:
            FinetrailError: an image is missing, is no longer the one of the records, or cannot be decoded.
        """
        images = images_of({"id": row["id"], "image": row.get("image")}, self.folder)
        for image in images:
            if (image.path, image.sha256) not in self._checked:
                _check_image(image, str(row["id"]))
                self._checked.add((image.path, image.sha256))
        return images

    def tensors(self, paths: Sequence[Sequence[Path]], ids: Sequence[Sequence[int]]) -> dict[str, "torch.Tensor"]:
        """Make what the model takes beside the padded ids of a batch; nothing where no row has an image.

        Args:
            paths: of each row's images, in the order of their tokens.
            ids: of each row, padded to one length.

        Returns:
            ``pixel_values`` float32 [rows, images, tiles, 3, height, width], ``aspect_ratio_ids`` [rows, images],
            ``aspect_ratio_mask`` [rows, images, tiles] and ``cross_attention_mask`` [rows, tokens, images, tiles].
        """
        import torch
        from transformers.models.mllama.processing_mllama import (
            convert_sparse_cross_attention_mask_to_dense,
            get_cross_attention_token_mask,
        )

        if not any(paths):
            return {}
        made = self.processor([[_open(path) for path in row] for row in paths], return_tensors="pt")
        seen = convert_sparse_cross_attention_mask_to_dense(
            [get_cross_attention_token_mask(list(row), self.token_id) for row in ids],
            num_tiles=made.pop("num_tiles"),
            max_num_tiles=self.processor.max_image_tiles,
            length=len(ids[0]),
        )
        return {**made, "cross_attention_mask": torch.from_numpy(seen)}


def load_vision(base_dir: Path, folder: str | None) -> Vision | None:
    """Read how a model is shown images; None for a model that reads text only.

    Args:
        base_dir: the model's folder.
        folder: what image paths of rows are relative to.

    Raises:
        FinetrailError: a vision model of a kind that is not known here, or one without its image processor.
    """
    from finetrail.rows.artifacts import read_json

    config = read_json(base_dir / "config.json")
    if "vision_config" not in config:
        return None
    if config["model_type"] not in VISION_MODELS:
        raise FinetrailError(
            f"vision models of the kind {config['model_type']} are not supported",
            where=str(base_dir),
            hint=f"Known: {', '.join(VISION_MODELS)}",
        )
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    if not (base_dir / PROCESSOR).is_file():
        raise FinetrailError(f"there is no {PROCESSOR}", where=str(base_dir), hint="Copy the whole model")
    processor = read_processor(base_dir, MllamaImageProcessorPil)
    return Vision(processor, int(config["image_token_index"]), folder)


def _check_image(image: Image, where: str) -> None:
    if not image.path.is_file():
        raise FinetrailError(f"the image {image.path} is missing", where=where, hint="Name its folder in source.images")
    if sha256_file(image.path) != image.sha256:
        raise FinetrailError(
            f"the image {image.path} is not the one that was ingested", where=where, hint="Run the workflow again"
        )
    try:
        _open(image.path)
    except (OSError, ValueError, SyntaxError, Warning) as error:
        raise FinetrailError(f"the image {image.path} cannot be decoded: {error}", where=where) from error


def _open(path: Path) -> Any:
    """Decode an image; a size that only an attack would have is refused (Pillow's own bound)."""
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("error", Pillow.DecompressionBombWarning)
        with Pillow.open(path) as opened:
            return as_rgb(opened)
