"""Names of weights as the projects' own files have them, written from `transformers`' names.

The opposite of `evonas/train/teachers/checkpoint_names.py`, by other means: the names of DINOv2, of Depth
Anything's decoder and of ZoeDepth's bins are spelled out here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
ATTENTION = ("q_proj", "k_proj", "v_proj")


def encoder(state: Mapping[str, Tensor], layers: int) -> Tensors:
    """DINOv2's own names from those of DINOv2Backbone."""
    found = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "mask_token": state["embeddings.mask_token"],
    }
    for part in ("weight", "bias"):
        found[f"patch_embed.proj.{part}"] = state[f"embeddings.patch_embeddings.projection.{part}"]
        found[f"norm.{part}"] = state[f"layernorm.{part}"]
        for layer in range(layers):
            old, new = f"encoder.layer.{layer}", f"blocks.{layer}"
            fused = torch.cat([state[f"{old}.attention.{name}.{part}"] for name in ATTENTION])
            found[f"{new}.attn.qkv.{part}"] = fused
            found[f"{new}.attn.proj.{part}"] = state[f"{old}.attention.o_proj.{part}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                found[f"{new}.{name}.{part}"] = state[f"{old}.{name}.{part}"]
    for layer in range(layers):
        for number in (1, 2):
            scale = state[f"encoder.layer.{layer}.layer_scale{number}.lambda1"]
            found[f"blocks.{layer}.ls{number}.gamma"] = scale
    return found


def decoder(state: Mapping[str, Tensor]) -> Tensors:
    """The names below `depth_head.` from those of DepthAnythingForDepthEstimation."""
    found: Tensors = {}
    for part in ("weight", "bias"):
        for branch in range(4):
            layer = f"neck.reassemble_stage.layers.{branch}"
            found[f"projects.{branch}.{part}"] = state[f"{layer}.projection.{part}"]
            if branch != 2:
                found[f"resize_layers.{branch}.{part}"] = state[f"{layer}.resize.{part}"]
            fusion, refine = f"neck.fusion_stage.layers.{3 - branch}", f"scratch.refinenet{branch + 1}"
            found[f"{refine}.out_conv.{part}"] = state[f"{fusion}.projection.{part}"]
            for unit in (1, 2):
                for conv in (1, 2):
                    old = f"{fusion}.residual_layer{unit}.convolution{conv}.{part}"
                    found[f"{refine}.resConfUnit{unit}.conv{conv}.{part}"] = state[old]
        found[f"scratch.output_conv1.{part}"] = state[f"head.conv1.{part}"]
        found[f"scratch.output_conv2.0.{part}"] = state[f"head.conv2.{part}"]
        found[f"scratch.output_conv2.2.{part}"] = state[f"head.conv3.{part}"]
    for branch in range(4):
        found[f"scratch.layer{branch + 1}_rn.weight"] = state[f"neck.convs.{branch}.weight"]
    return found


def bins(state: Mapping[str, Tensor]) -> Tensors:
    """ZoeDepth's names beside `core.` from those of ZoeDepthMetricDepthEstimationHead."""
    found: Tensors = {}
    for name, tensor in state.items():
        if not name.startswith(("conv2.", "conditional_log_binomial.")):
            name = name.replace(".conv1.", "._net.0.").replace(".conv2.", "._net.2.")
        found[name] = tensor
    constants = "conditional_log_binomial.log_binomial_transform"
    found[f"{constants}.k_idx"] = torch.arange(64).view(1, -1, 1, 1)
    found[f"{constants}.K_minus_1"] = torch.tensor([63.0]).view(1, -1, 1, 1)
    return found


def below(prefix: str, state: Mapping[str, Tensor]) -> Tensors:
    """The entries below a prefix, without it."""
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}


def depth(state: Mapping[str, Tensor], layers: int) -> Tensors:
    """A whole Depth Anything."""
    inner = encoder(below("backbone.", state), layers)
    named = {f"pretrained.{name}": tensor for name, tensor in inner.items()}
    return {**named, **{f"depth_head.{name}": tensor for name, tensor in decoder(state).items()}}


def binned(relative: Mapping[str, Tensor], metric: Mapping[str, Tensor], layers: int) -> Tensors:
    """A Depth Anything with metric bins, as its `.pt` files are."""
    core = {f"core.core.{name}": tensor for name, tensor in depth(relative, layers).items()}
    return {**core, **bins(metric)}


def mask2former(state: Mapping[str, Tensor], below: int, above: int) -> Tensors:
    """mmsegmentation's names of Feature2Pyramid and Mask2FormerHead from those of a Segmenter."""
    head = "decode_head"
    found = {f"{head}.pixel_decoder.level_encoding.weight": state["pixels.level_embed"]}
    for ours, theirs in _SEGMENTER.items():
        found.update(_moved(state, ours, theirs))
    for layer in range(below):
        old, new = f"pixels.encoder.layers.{layer}", f"{head}.pixel_decoder.encoder.layers.{layer}"
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            found.update(_moved(state, f"{old}.self_attn.{part}", f"{new}.self_attn.{part}"))
        found.update(_feed(state, old, new, ("self_attn_layer_norm", "final_layer_norm")))
    for layer in range(above):
        old, new = f"queries.decoder.layers.{layer}", f"{head}.transformer_decoder.layers.{layer}"
        for part in ("weight", "bias"):
            fused = torch.cat([state[f"{old}.self_attn.{letter}_proj.{part}"] for letter in "qkv"])
            found[f"{new}.self_attn.attn.in_proj_{part}"] = fused
            found[f"{new}.cross_attn.attn.in_proj_{part}"] = state[f"{old}.cross_attn.in_proj_{part}"]
        for kind in ("self_attn", "cross_attn"):
            found.update(_moved(state, f"{old}.{kind}.out_proj", f"{new}.{kind}.attn.out_proj"))
        norms = ("cross_attn_layer_norm", "self_attn_layer_norm", "final_layer_norm")
        found.update(_feed(state, old, new, norms))
    return found


_SEGMENTER = {
    "pyramid.fourfold.0": "neck.upsample_4x.0",
    "pyramid.fourfold.1": "neck.upsample_4x.1",
    "pyramid.fourfold.3": "neck.upsample_4x.3",
    "pyramid.twofold": "neck.upsample_2x.0",
    "classes": "decode_head.cls_embed",
    "queries.queries_embedder": "decode_head.query_embed",
    "queries.queries_features": "decode_head.query_feat",
    "queries.level_embed": "decode_head.level_embed",
    "queries.decoder.layernorm": "decode_head.transformer_decoder.post_norm",
    **{
        f"queries.decoder.mask_predictor.mask_embedder.{place}.0": f"decode_head.mask_embed.{2 * place}"
        for place in range(3)
    },
    **{
        f"pixels.input_projections.{place}.{number}": f"decode_head.pixel_decoder.input_convs.{place}.{kind}"
        for place in range(3)
        for number, kind in enumerate(("conv", "gn"))
    },
    **{
        f"pixels.{ours}_1.{number}": f"decode_head.pixel_decoder.{theirs}_convs.0.{kind}"
        for ours, theirs in (("adapter", "lateral"), ("layer", "output"))
        for number, kind in enumerate(("conv", "gn"))
    },
    "pixels.mask_projection": "decode_head.pixel_decoder.mask_feature",
}


def _moved(state: Mapping[str, Tensor], ours: str, theirs: str) -> Tensors:
    """Everything directly below one name, below another."""
    return {
        f"{theirs}.{name.rpartition('.')[2]}": tensor
        for name, tensor in state.items()
        if name.rpartition(".")[0] == ours
    }


def _feed(state: Mapping[str, Tensor], old: str, new: str, norms: tuple[str, ...]) -> Tensors:
    """The feed-forward layers and the norms of one layer."""
    found = {
        **_moved(state, f"{old}.fc1", f"{new}.ffn.layers.0.0"),
        **_moved(state, f"{old}.fc2", f"{new}.ffn.layers.1"),
    }
    for number, norm in enumerate(norms):
        found.update(_moved(state, f"{old}.{norm}", f"{new}.norms.{number}"))
    return found
