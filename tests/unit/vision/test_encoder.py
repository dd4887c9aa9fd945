"""Encoder and classifier: what they make of pixels, and weights of other programs under their names."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from finetrail.errors import FinetrailError
from finetrail.vision.encoder_training import make_eyes
from finetrail.vision.encoder_weights import load_mapped, map_classifier, map_encoder, read_weights
from finetrail.vision.image_encoder import (
    ClassifierShape,
    EncoderShape,
    VisionSettings,
    build_classifier,
    build_encoder,
    pixels_of,
    train_last_blocks,
)

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.heavy

SETTINGS = VisionSettings(("scp", "shr6"), 32, EncoderShape(16, 24, 2, 2, 32, 16), ClassifierShape(0.25, 1.0))
QKV = {"q_proj": 0, "k_proj": 1, "v_proj": 2}
_REPEATS = (1, 2, 2, 3, 3, 4, 1)


def timm_vit(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Write a state of ours under the names of timm and MAE, with a decoder beside it."""
    import torch

    made: dict[str, Any] = {"mask_token": torch.zeros(1), "decoder_blocks.0.norm1.weight": torch.zeros(1)}
    for name, value in state.items():
        new = name.removeprefix("vit.")
        for ours, theirs in (
            ("embeddings.cls_token", "cls_token"), ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"), ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"), ("attention.o_proj", "attn.proj"), ("layernorm.", "norm."),
        ):  # fmt: skip
            new = new.replace(ours, theirs)
        new = new.replace("layers.", "blocks.")
        part = next((part for part in QKV if f".{part}." in new), None)
        if part:
            joined = new.replace(f"attention.{part}", "attn.qkv")
            made.setdefault(joined, [None] * 3)[QKV[part]] = value
        else:
            made[new] = value
    return {name: torch.cat(value) if isinstance(value, list) else value for name, value in made.items()}


def timm_names(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Write a classifier of ours under timm's names."""
    places = [(stage, block) for stage, count in enumerate(_REPEATS) for block in range(count)]
    made = {}
    for name, value in state.items():
        new = name.removeprefix("efficientnet.")
        top = {"embeddings.convolution": "conv_stem", "embeddings.batchnorm": "bn1"}
        top |= {"encoder.top_conv": "conv_head", "encoder.top_bn": "bn2"}
        for ours, theirs in top.items():
            new = new.replace(ours, theirs)
        if new.startswith("encoder.blocks."):
            number, rest = new.removeprefix("encoder.blocks.").split(".", 1)
            stage, block = places[int(number)]
            first = stage == 0
            layers = {
                "expansion.expand_conv": "conv_pw", "expansion.expand_bn": "bn1",
                "depthwise_conv.depthwise_conv": "conv_dw", "depthwise_conv.depthwise_norm": "bn1" if first else "bn2",
                "projection.project_conv": "conv_pw" if first else "conv_pwl",
                "projection.project_bn": "bn2" if first else "bn3",
                "squeeze_excite.reduce": "se.conv_reduce", "squeeze_excite.expand": "se.conv_expand",
            }  # fmt: skip
            layer, end = rest.rsplit(".", 1)
            new = f"blocks.{stage}.{block}.{layers[layer]}.{end}"
        made[new] = value
    return made


def test_a_latent_has_its_width_and_draws_no_random_number() -> None:
    import torch

    encoder = build_encoder(SETTINGS).eval()
    pixels = torch.rand(3, 3, 32, 32)
    before = torch.get_rng_state()
    first, second = encoder(pixels), encoder(pixels)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.shape == (3, 24) and torch.equal(first, second)


def test_only_the_last_blocks_are_trained() -> None:
    encoder = build_encoder(SETTINGS)
    train_last_blocks(encoder, 1)
    trained = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert trained and all(name.startswith(("vit.layers.1.", "vit.layernorm.")) for name in trained)
    train_last_blocks(encoder, 0)
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_names_of_timm_and_mae_fit(tmp_path: Path) -> None:
    import torch

    source, target = build_encoder(SETTINGS), build_encoder(SETTINGS)
    vit: Any = source.vit
    torch.save({"model": timm_vit(vit.state_dict())}, tmp_path / "mae.pth")
    other: Any = target.vit
    load_mapped(other, map_encoder(read_weights(tmp_path / "mae.pth"), "mae.pth"), "mae.pth")
    for name, value in vit.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_unknown_names_and_wrong_sizes_are_named(tmp_path: Path) -> None:
    import torch

    vit: Any = build_encoder(SETTINGS).vit
    weights = timm_vit(vit.state_dict())
    with pytest.raises(FinetrailError, match=r"1 names of weights are not known: blocks\.0\.gamma"):
        map_encoder(weights | {"blocks.0.gamma": torch.zeros(1)}, "x.pt")
    short = {name: value for name, value in map_encoder(weights, "x").items() if "layers.1.mlp" not in name}
    with pytest.raises(FinetrailError, match=r"layers\.1\.mlp\.fc1\.weight is missing"):
        load_mapped(vit, short, "x.pt")
    (tmp_path / "x.pkl").touch()
    with pytest.raises(FinetrailError, match="is no file of weights"):
        read_weights(tmp_path / "x.pkl")


def test_names_of_timms_efficientnet_fit(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    source = build_classifier(SETTINGS)
    save_file(timm_names(source.state_dict()), tmp_path / "b0.safetensors")
    mapped, symmetric = map_classifier(read_weights(tmp_path / "b0.safetensors"), "b0")
    assert symmetric
    target = build_classifier(SETTINGS)
    load_mapped(target, mapped, "b0")
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_running_statistics_remember_more_than_the_last_batch() -> None:
    import torch

    norms = [layer for layer in build_classifier(SETTINGS).modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms and {layer.momentum for layer in norms} == {0.1}


def test_a_few_steps_teach_encoder_and_classifier(tmp_path: Path) -> None:
    images = []
    for number in range(12):
        colour = (220, 30, 30) if number % 2 else (30, 30, 220)
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 30), colour).save(path)
        images.append((path, ("shr6", "scp")[number % 2]))
    encoder: dict[str, Any] = {
        "checkpoint": None,
        "hidden_size": 16,
        "latent_size": 24,
        "layers": 1,
        "heads": 2,
        "patch_size": 16,
    }
    encoder |= {"intermediate_size": 32, "decoder_size": 16, "decoder_layers": 1, "mask_ratio": 0.5, "steps": 6}
    classifier: dict[str, Any] = {"checkpoint": None, "width": 0.25, "depth": 0.1, "steps": 12}
    common = {"batch_size": 6, "learning_rate": 1e-2}
    section: dict[str, Any] = {"classes": {"scp": "a", "shr6": "b"}, "image_size": 32, "seed": 1}
    section |= {"encoder": encoder | common, "classifier": classifier | common}
    eyes, facts = make_eyes(section, images, images[:4], lambda done, total: None)
    first, last = facts["classifier"]["cross_entropy"]
    assert last < first and facts["images"] == 12
    assert eyes.encoder(pixels_of(images[0][0], 32)[None]).shape == (1, 24)
    with pytest.raises(FinetrailError, match=r"0\.png: is of the class tadv"):
        make_eyes(section, [(images[0][0], "tadv")], [], lambda done, total: None)
