"""Names of other projects' weights, turned into those that `transformers` reads.

Two styles are known: the hub's (`backbone.encoder.layer.0...`), which is passed on as it is, and
that of DINOv2, Depth Anything and ZoeDepth themselves (`pretrained.blocks.0...`), whose attention
holds queries, keys and values in one matrix.
"""

import re
from collections.abc import Mapping

from torch import Tensor

Tensors = dict[str, Tensor]
_PARTS = ("query", "key", "value")

_ENCODER = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"^blocks\.(\d+)\.ls([12])\.gamma$", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
)
_DECODER = (
    (r"^projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"^scratch\.output_conv1\.", "head.conv1."),
    (r"^scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^scratch\.output_conv2\.2\.", "head.conv3."),
)
_BINS = (
    (r"\._net\.0\.", ".conv1."),
    (r"\._net\.2\.", ".conv2."),
)
_QKV = re.compile(r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$")
_SCRATCH = re.compile(r"^scratch\.(layer|refinenet)([1-4])(?:_rn)?\.(.+)$")
# constants that ZoeDepth saves and transformers computes
_CONSTANTS = re.compile(r"\.log_binomial_transform\.")


def encoder_names(tensors: Mapping[str, Tensor], prefix: str = "") -> Tensors:
    """DINOv2's own names to the hub's; what has the hub's names already is passed on.

    Args:
        prefix: put in front of every new name.
    """
    if not any(name.startswith("blocks.") for name in tensors):
        return {f"{prefix}{name.removeprefix('dinov2.')}": tensor for name, tensor in tensors.items()}
    found: Tensors = {}
    for name, tensor in tensors.items():
        match = _QKV.match(name)
        if match is None:
            found[prefix + _renamed(name, _ENCODER)] = tensor
            continue
        place = f"{prefix}encoder.layer.{match[1]}.attention.attention"
        for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
            found[f"{place}.{part}.{match[2]}"] = piece
    return found


def depth_names(tensors: Mapping[str, Tensor]) -> Tensors:
    """Depth Anything's own names (`pretrained.`, `depth_head.`) to the hub's, or the hub's as they are."""
    encoder = _below("pretrained.", tensors)
    if not encoder:
        return dict(tensors)
    decoder = _below("depth_head.", tensors)
    named = {_decoder_name(name): tensor for name, tensor in decoder.items()}
    return {**encoder_names(encoder, "backbone."), **named}


def binned_names(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """A ZoeDepth checkpoint on Depth Anything: the weights of relative depth, and of the metric bins."""
    core = _below("core.core.", tensors)
    bins = {
        _renamed(name, _BINS): tensor
        for name, tensor in tensors.items()
        if not name.startswith("core.") and not _CONSTANTS.search(name)
    }
    return depth_names(core), bins


def _decoder_name(name: str) -> str:
    match = _SCRATCH.match(name)
    if match is None:
        return _renamed(name, _DECODER)
    number, rest = int(match[2]), match[3]
    if match[1] == "layer":
        return f"neck.convs.{number - 1}.{rest}"
    # the original counts refinements from the finest, transformers from the coarsest
    rest = rest.replace("out_conv.", "projection.")
    rest = re.sub(r"^resConfUnit([12])\.conv([12])\.", r"residual_layer\1.convolution\2.", rest)
    return f"neck.fusion_stage.layers.{4 - number}.{rest}"


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
