"""Names of weights as the projects' own files have them, written from `transformers`' names.

The opposite of `evonas/train/renaming.py`, by other means: the names of DINOv2, of Depth
Anything's decoder and of ZoeDepth's bins are spelled out here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
ATTENTION = ("q_proj", "k_proj", "v_proj")


def encoder(state: Mapping[str, Tensor], layers: int) -> Tensors:
    """DINOv2's own names from those of Dinov2Backbone."""
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
