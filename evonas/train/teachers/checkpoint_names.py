"""Converts parameter names of published checkpoints into those of `transformers`.

Two formats are known: that of the Hugging Face hub (`backbone.encoder.layer.0...`), which is kept, and that of the
original DINOv2, Depth Anything and ZoeDepth (`pretrained.blocks.0...`), whose attention has one matrix for queries,
keys and values.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

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
# names of mmsegmentation's Mask2Former on DINOv2 -> names of `mask2former.Segmenter`
_MASK2FORMER = (
    (r"^neck\.upsample_4x\.", "pyramid.fourfold."),
    (r"^neck\.upsample_2x\.0\.", "pyramid.twofold."),
    (r"^decode_head\.cls_embed\.", "classes."),
    (r"^decode_head\.query_embed\.", "queries.queries_embedder."),
    (r"^decode_head\.query_feat\.", "queries.queries_features."),
    (r"^decode_head\.level_embed\.", "queries.level_embed."),
    (r"^decode_head\.mask_embed\.0\.", "queries.decoder.mask_predictor.mask_embedder.0.0."),
    (r"^decode_head\.mask_embed\.2\.", "queries.decoder.mask_predictor.mask_embedder.1.0."),
    (r"^decode_head\.mask_embed\.4\.", "queries.decoder.mask_predictor.mask_embedder.2.0."),
    (r"^decode_head\.transformer_decoder\.post_norm\.", "queries.decoder.layernorm."),
    (r"^decode_head\.transformer_decoder\.", "queries.decoder."),
    (r"^decode_head\.pixel_decoder\.level_encoding\.weight$", "pixels.level_embed"),
    (r"^decode_head\.pixel_decoder\.input_convs\.(\d)\.conv\.", r"pixels.input_projections.\1.0."),
    (r"^decode_head\.pixel_decoder\.input_convs\.(\d)\.gn\.", r"pixels.input_projections.\1.1."),
    (r"^decode_head\.pixel_decoder\.lateral_convs\.0\.conv\.", "pixels.adapter_1.0."),
    (r"^decode_head\.pixel_decoder\.lateral_convs\.0\.gn\.", "pixels.adapter_1.1."),
    (r"^decode_head\.pixel_decoder\.output_convs\.0\.conv\.", "pixels.layer_1.0."),
    (r"^decode_head\.pixel_decoder\.output_convs\.0\.gn\.", "pixels.layer_1.1."),
    (r"^decode_head\.pixel_decoder\.mask_feature\.", "pixels.mask_projection."),
    (r"^decode_head\.pixel_decoder\.encoder\.", "pixels.encoder."),
    (r"\.ffn\.layers\.0\.0\.", ".fc1."),
    (r"\.ffn\.layers\.1\.", ".fc2."),
    (r"(\.cross_attn)\.attn\.", r"\1."),
    (r"(queries.*)\.norms\.0\.", r"\1.cross_attn_layer_norm."),
    (r"(queries.*)\.norms\.1\.", r"\1.self_attn_layer_norm."),
    (r"(queries.*)\.norms\.2\.", r"\1.final_layer_norm."),
    (r"(pixels.*)\.norms\.0\.", r"\1.self_attn_layer_norm."),
    (r"(pixels.*)\.norms\.1\.", r"\1.final_layer_norm."),
)
# class weights, used in training only
_LOSSES = re.compile(r"\.loss_|class_weight")
_IN_PROJ = re.compile(
    r"^(queries\.decoder\.layers\.\d+\.self_attn)\.attn\.(in_proj_|out_proj\.)(weight|bias)$"
)
_QKV = re.compile(r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$")
_SCRATCH = re.compile(r"^scratch\.(layer|refinenet)([1-4])(?:_rn)?\.(.+)$")
# constants that ZoeDepth saves and `transformers` computes
_CONSTANTS = re.compile(r"\.log_binomial_transform\.")


def encoder_names(tensors: Mapping[str, Tensor], prefix: str = "") -> Tensors:
    """Converts original DINOv2 names into those of the hub; hub names are kept.

    Args:
        tensors: a checkpoint.
        prefix: prefix of all converted names.
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
    """Converts original Depth Anything names (`pretrained.`, `depth_head.`) into those of the hub."""
    encoder = _below("pretrained.", tensors)
    if not encoder:
        return dict(tensors)
    decoder = _below("depth_head.", tensors)
    named = {_decoder_name(name): tensor for name, tensor in decoder.items()}
    return {**encoder_names(encoder, "backbone."), **named}


def binned_names(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """Splits a ZoeDepth checkpoint into weights of the relative-depth network and of the metric bins."""
    core = _below("core.core.", tensors)
    bins = {
        _renamed(name, _BINS): tensor
        for name, tensor in tensors.items()
        if not name.startswith("core.") and not _CONSTANTS.search(name)
    }
    return depth_names(core), bins


class SegmenterTensors(NamedTuple):
    """Weights of the encoder, with hub names, and of all other parts of a `Segmenter`."""

    encoder: Tensors
    rest: Tensors


def segmenter_names(tensors: Mapping[str, Tensor]) -> SegmenterTensors:
    """Converts an mmsegmentation checkpoint: `backbone.dinov2`, Feature2Pyramid and Mask2FormerHead."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        if name.startswith(("neck.", "decode_head.")) and not _LOSSES.search(name):
            found.update(_unfused(_renamed(name, _MASK2FORMER), tensor))
    return SegmenterTensors(encoder_names(_below("backbone.dinov2.", tensors)), found)


def _unfused(name: str, tensor: Tensor) -> Tensors:
    """Splits the fused projection of the queries' self-attention into three; other tensors are kept."""
    match = _IN_PROJ.match(name)
    if match is None:
        return {name: tensor}
    place, kind, part = match.groups()
    if kind == "out_proj.":
        return {f"{place}.out_proj.{part}": tensor}
    pieces = zip("qkv", tensor.chunk(3), strict=True)
    return {f"{place}.{letter}_proj.{part}": piece for letter, piece in pieces}


def _decoder_name(name: str) -> str:
    match = _SCRATCH.match(name)
    if match is None:
        return _renamed(name, _DECODER)
    number, rest = int(match[2]), match[3]
    if match[1] == "layer":
        return f"neck.convs.{number - 1}.{rest}"
    # the original indexes refinements from the finest, `transformers` from the coarsest
    rest = rest.replace("out_conv.", "projection.")
    rest = re.sub(r"^resConfUnit([12])\.conv([12])\.", r"residual_layer\1.convolution\2.", rest)
    return f"neck.fusion_stage.layers.{4 - number}.{rest}"


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
