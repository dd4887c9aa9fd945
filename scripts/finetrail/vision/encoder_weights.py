"""Weights of encoders and classifiers from elsewhere: read without trusting them, their names mapped onto ours.

Known are the names of timm and of MAE's own code (vision transformer), of timm and torchvision (EfficientNet-B0), and
of transformers. What no map knows is an error that names it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    import torch

State = dict[str, "torch.Tensor"]
_WRAPPERS = ("model", "state_dict", "model_state_dict", "encoder", "classifier")
_PREFIXES = ("module.", "model.", "encoder.vit.", "vit.", "vit_mae.", "backbone.", "net.")
_NOT_ENCODER = ("mask_token", "decoder", "head.", "pooler.", "classifier.", "fc_norm")
_VIT = (
    (r"cls_token", "embeddings.cls_token"),
    (r"pos_embed", "embeddings.position_embeddings"),
    (r"patch_embed\.proj\.(weight|bias)", r"embeddings.patch_embeddings.projection.\1"),
    (r"blocks\.(\d+)\.norm1\.(weight|bias)", r"layers.\1.layernorm_before.\2"),
    (r"blocks\.(\d+)\.norm2\.(weight|bias)", r"layers.\1.layernorm_after.\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(weight|bias)", r"layers.\1.attention.o_proj.\2"),
    (r"blocks\.(\d+)\.mlp\.(fc1|fc2)\.(weight|bias)", r"layers.\1.mlp.\2.\3"),
    (r"norm\.(weight|bias)", r"layernorm.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)", r"layers.\1.attention.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"layers.\1.attention.o_proj.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"layers.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"layers.\1.mlp.fc2.\2"),
    (r"encoder\.layer\.(\d+)\.(layernorm_\w+)\.(weight|bias)", r"layers.\1.\2.\3"),
    (r"((?:embeddings|layers|layernorm)\..*)", r"\1"),
)
_QKV = re.compile(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_STATS = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of B0's stages
_TORCHVISION = (
    (rf"features\.0\.0\.{_STATS}", r"efficientnet.embeddings.convolution.\1"),
    (rf"features\.0\.1\.{_STATS}", r"efficientnet.embeddings.batchnorm.\1"),
    (rf"features\.8\.0\.{_STATS}", r"efficientnet.encoder.top_conv.\1"),
    (rf"features\.8\.1\.{_STATS}", r"efficientnet.encoder.top_bn.\1"),
    (r"classifier(?:\.1)?\.(weight|bias)", r"classifier.\1"),
)
_TIMM = (
    (rf"conv_stem\.{_STATS}", r"efficientnet.embeddings.convolution.\1"),
    (rf"bn1\.{_STATS}", r"efficientnet.embeddings.batchnorm.\1"),
    (rf"conv_head\.{_STATS}", r"efficientnet.encoder.top_conv.\1"),
    (rf"bn2\.{_STATS}", r"efficientnet.encoder.top_bn.\1"),
    (r"classifier\.(weight|bias)", r"classifier.\1"),
)
_PARTS = {
    "expand": ("expansion.expand_conv", "expansion.expand_bn"),
    "depthwise": ("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
    "project": ("projection.project_conv", "projection.project_bn"),
}
_TIMM_BLOCK = {
    "conv_pw": ("expand", 0), "bn1": ("expand", 1), "conv_dw": ("depthwise", 0), "bn2": ("depthwise", 1),
    "conv_pwl": ("project", 0), "bn3": ("project", 1),
}  # fmt: skip
_TIMM_FIRST = {"conv_dw": ("depthwise", 0), "bn1": ("depthwise", 1), "conv_pw": ("project", 0), "bn2": ("project", 1)}
_SQUEEZE = {"conv_reduce": "reduce", "conv_expand": "expand", "fc1": "reduce", "fc2": "expand"}


def read_weights(path: Path) -> State:
    """Read tensors by name from ``.safetensors``, or from ``.pt``, ``.pth``, ``.bin`` without running what they hold.

    Raises:
        FinetrailError: the file is missing or of another kind, or holds more than tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix not in (".pt", ".pth", ".bin"):
            raise FinetrailError("is no file of weights (.safetensors, .pt, .pth, .bin)", where=str(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise FinetrailError(f"cannot be read: {error}", where=str(path)) from error
    except Exception as error:  # torch raises UnpicklingError, RuntimeError and others for what it refuses
        raise FinetrailError(
            f"holds more than tensors, or is damaged: {str(error).splitlines()[0]}",
            where=str(path),
            hint="Whoever made it can save its state_dict; code in such a file is never run here",
        ) from error
    return _unwrapped(content, path)


def _unwrapped(content: Any, path: Path) -> State:
    import torch

    while isinstance(content, Mapping):
        found = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if found or not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not found:
        raise FinetrailError("holds no tensors by name", where=str(path))
    return found


def map_encoder(weights: State, where: str) -> State:
    """Give the weights of a vision transformer the names of transformers' ViTMAE; decoder and heads are left out.

    Raises:
        FinetrailError: names that no map knows.
    """
    mapped: State = {}
    unknown: list[str] = []
    for name, value in weights.items():
        plain = _plain(name)
        if plain.startswith(_NOT_ENCODER):
            continue
        if joined := _QKV.fullmatch(plain):
            for part, piece in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                mapped[f"layers.{joined[1]}.attention.{part}.{joined[2]}"] = piece
            continue
        ours = _renamed(plain, _VIT)
        if ours is None:
            unknown.append(name)
        else:
            ours = re.sub(r"attention\.(q|k|v)(?:uery|ey|alue)\.", r"attention.\1_proj.", ours)
            mapped[ours] = value
    _refuse(unknown, where)
    return mapped


def map_classifier(weights: State, where: str) -> tuple[State, bool]:
    """Give the weights of an EfficientNet-B0 the names of transformers'.

    Returns:
        The weights, and whether they want symmetric padding, as timm and torchvision do.

    Raises:
        FinetrailError: names that no map knows.
    """
    plain = {_plain(name): value for name, value in weights.items()}
    if any(name.startswith(("efficientnet.", "embeddings.")) for name in plain):
        return {
            name if name.startswith(("efficientnet.", "classifier.")) else f"efficientnet.{name}": value
            for name, value in plain.items()
        }, False
    mapped: State = {}
    unknown: list[str] = []
    for name, value in plain.items():
        ours = _renamed(name, _TORCHVISION if name.startswith("features.") else _TIMM) or _block(name)
        ours = ours or _renamed(name, _TORCHVISION)
        if ours is None:
            unknown.append(name)
        else:
            mapped[ours] = value
    _refuse(unknown, where)
    return mapped, True


def load_mapped(module: "torch.nn.Module", weights: State, where: str) -> None:
    """Put weights into a module.

    Raises:
        FinetrailError: one is missing, left over, or of another shape.
    """
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in weights and not name.endswith("_tracked")]
    problems += [f"{name} is not known" for name in weights if name not in own]
    problems += [
        f"{name} has the shape {tuple(value.shape)}, not {tuple(own[name].shape)}"
        for name, value in weights.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        rest = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise FinetrailError(
            f"the weights do not fit: {'; '.join(problems[:8])}{rest}",
            where=where,
            hint="Set sizes and classes under `vision` as the checkpoint was made with",
        )
    module.load_state_dict(weights, strict=False)


def _plain(name: str) -> str:
    while prefix := next((one for one in _PREFIXES if name.startswith(one)), None):
        name = name[len(prefix) :]
    return name


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, ours in table:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def _block(name: str) -> str | None:
    """Name a weight of a block: ``features.<stage>.<block>.block.<layer>`` or ``blocks.<stage>.<block>.<layer>``."""
    if found := re.fullmatch(rf"features\.([1-7])\.(\d+)\.block\.(\d)\.(\d|fc1|fc2)\.{_STATS}", name):
        stage, block, layer, inner, end = int(found[1]) - 1, int(found[2]), int(found[3]), found[4], found[5]
        layers = ("depthwise", "squeeze", "project") if stage == 0 else ("expand", "depthwise", "squeeze", "project")
        if layer >= len(layers):
            return None
        part, which = layers[layer], inner
    elif found := re.fullmatch(rf"blocks\.([0-6])\.(\d+)\.(?:se\.)?(\w+)\.{_STATS}", name):
        stage, block, layer_name, end = int(found[1]), int(found[2]), found[3], found[4]
        table = _TIMM_FIRST if stage == 0 else _TIMM_BLOCK
        if layer_name in _SQUEEZE:
            part, which = "squeeze", layer_name
        elif layer_name in table:
            part, number = table[layer_name]
            which = str(number)
        else:
            return None
    else:
        return None
    place = f"efficientnet.encoder.blocks.{sum(_REPEATS[:stage]) + block}"
    if part == "squeeze":
        return f"{place}.squeeze_excite.{_SQUEEZE[which]}.{end}" if which in _SQUEEZE else None
    return f"{place}.{_PARTS[part][int(which)]}.{end}" if which in ("0", "1") else None


def _refuse(unknown: list[str], where: str) -> None:
    if unknown:
        more = f" and {len(unknown) - 12} more" if len(unknown) > 12 else ""
        raise FinetrailError(
            f"{len(unknown)} names of weights are not known: {', '.join(unknown[:12])}{more}",
            where=where,
            hint="Known are those of timm, torchvision, MAE's own code and transformers",
        )
