"""Rotation of attention heads, so that each head has its most important channels first and can lose the last ones.

The queries q, keys k and mixed values z of a head enter the rest of the network only as products q k and W z, W being
the head's part of the output layer. Any invertible matrix between the two factors changes neither product, so it can be
chosen such that cutting the last channels changes them least. With second moments Q = E q q^T, and covariances
K = cov k (a constant added to all keys does not change attention) and Z = cov z (means stay in the biases, see
`structure.centred`), the best products of every rank are the truncated singular value decompositions

- Q^(1/2) K^(1/2) = U S V^T with q' = S^(1/2) U^T Q^(-1/2) q and k' = S^(1/2) V^T K^(-1/2) k,
- W Z^(1/2) = U S V^T with z' = S^(1/2) V^T Z^(-1/2) z and W' = U S^(1/2), where z' follows from values v' alike.

Rotation of heads by principal components of values, and of queries and keys together: "SKD" (arXiv 2511.11683). The
whole network computes what it did, up to rounding.

Legend: B batch, N tokens, C channels, H heads, D channels of a head.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import Attention
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.supernets.elastic_timm.model import CentredLinear, template
from evonas.supernets.elastic_timm.order import run_observed
from evonas.supernets.elastic_timm.structure import (
    HEADS,
    ROTATED,
    Group,
    Setting,
    Structure,
    UnitAxis,
    centred,
)

# eigenvalues below this part of the largest one count as this part
_LEAST = 1e-6


class RotatedAttention(nn.Module):
    """timm's attention whose logits keep their scale where heads lose channels.

    Args:
        attention: whose layers it takes.

    Raises:
        ValueError: it is not timm's plain attention.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        if not _is_plain(attention):
            raise ValueError(f"a {type(attention).__name__} is not an attention whose heads can be rotated")
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.attn_dim, self.scale = attention.attn_dim, attention.scale
        self.qkv, self.attn_drop = attention.qkv, attention.attn_drop
        self.proj, self.proj_drop = attention.proj, attention.proj_drop
        self.training = attention.training

    def forward(
        self, x: Float[Tensor, "B N C"], attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Float[Tensor, "B N C"]:
        batch, tokens, _ = x.shape
        joint: Tensor = self.qkv(x)
        q, k, v = joint.view(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop.p if self.training else 0.0
        z = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, is_causal, scale=self.scale)
        made: Tensor = self.proj_drop(self.proj(z.transpose(1, 2).reshape(batch, tokens, self.attn_dim)))
        return made


def _is_plain(module: Any) -> bool:
    """Whether a module is timm's attention without norms or gates between its layers."""
    between = ("q_norm", "k_norm", "norm")
    return (
        type(module) is Attention
        and module.gate is None
        and all(isinstance(getattr(module, name), nn.Identity) for name in between)
    )


def rotated(of: Structure) -> Structure:
    """The structure whose heads lose channels, all of a block's alike, instead of going as a whole.

    Layers that read channels are centred, too; see `centred`.

    Raises:
        UserError: the model has no attention whose heads can be rotated.
    """
    model = template(of.model, of.arguments)
    groups, settings, names = list(of.groups), list(of.settings), list[str]()
    for index, group in enumerate(of.groups):
        owners = {axis.tensor.rpartition(".")[0].rpartition(".")[0] for axis in group.axes}
        name = owners.pop()
        if group.kind != HEADS or owners or not _is_plain(model.get_submodule(name)):
            continue
        names.append(name)
        heads, [width] = group.units, {axis.length for axis in group.axes}
        groups[index] = Group(ROTATED, width, tuple(_axis_of_channels(axis, heads) for axis in group.axes))
        settings = [each for old in settings if (each := _setting_of_channels(old, index, heads, width))]
        settings.append(Setting(name, "head_dim", (width,), ((index, (1,)),), False))
    if not names:
        raise UserError(
            f"network.order=rotated needs attention of timm's class Attention without norms of queries and keys, and "
            f"{of.model} has none.",
            "Choose network.order=taylor.",
        )
    return centred(replace(of, groups=tuple(groups), settings=tuple(settings), rotated=tuple(names)))


def _axis_of_channels(axis: UnitAxis, heads: int) -> UnitAxis:
    starts = (start + head * axis.length for start in axis.starts for head in range(heads))
    return replace(axis, starts=tuple(starts), length=1)


def _setting_of_channels(old: Setting, group: int, heads: int, width: int) -> Setting | None:
    """A setting that shrank with heads and shrinks with their channels now; None if it does not."""
    per_unit = []
    for index, part in old.per_unit:
        if index == group:
            if old.attribute == "num_heads":
                continue
            part = tuple(each * heads // width for each in part)
        per_unit.append((index, part))
    return replace(old, per_unit=tuple(per_unit)) if per_unit else None


@dataclass(slots=True)
class _Moments:
    """Sums over tokens, by head: of x, and of its products."""

    count: int
    first: Float[Tensor, "H D"]
    second: Float[Tensor, "H D D"]

    def roots(self, is_centred: bool) -> tuple[Tensor, Tensor]:
        """The square root of the second moment or covariance, and its inverse."""
        mean = self.first / self.count
        moment = self.second / self.count
        if is_centred:
            moment = moment - mean[:, :, None] * mean[:, None]
        values, vectors = torch.linalg.eigh(moment)
        least = (_LEAST * values[:, -1:]).clamp_min(torch.finfo(values.dtype).tiny)
        roots = values.maximum(least).sqrt()[:, None]
        return vectors * roots @ vectors.mT, vectors / roots @ vectors.mT


def rotate(structure: Structure, model: nn.Module, losses: Iterable[Callable[[], object]]) -> None:
    """Rotate the heads of all attentions that `rotated` lists, in place.

    Args:
        structure: of the model.
        model: whole.
        losses: each runs the model on one batch.
    """
    found = dict[tuple[str, str], _Moments]()

    def add(name: str, what: str, x: Tensor, heads: int) -> None:
        tokens = x.detach().flatten(0, -2).unflatten(1, (heads, -1)).double()
        first, second = tokens.sum(0), torch.einsum("nhd,nhe->hde", tokens, tokens)
        if (known := found.get((name, what))) is not None:
            first, second = first + known.first, second + known.second
        found[name, what] = _Moments(len(tokens) + (known.count if known else 0), first, second)

    def add_input(name: str, heads: int, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        add(name, "z", given[0], heads)

    def add_output(name: str, heads: int, _: nn.Module, __: Any, made: Tensor) -> None:
        for what, x in zip("qkv", made.chunk(3, -1), strict=True):
            if what != "v":
                add(name, what, x, heads)

    attentions: dict[str, Any] = {name: model.get_submodule(name) for name in structure.rotated}
    handles = []
    for name, each in attentions.items():
        handles.append(each.qkv.register_forward_hook(partial(add_output, name, each.num_heads)))
        handles.append(each.proj.register_forward_pre_hook(partial(add_input, name, each.num_heads)))
    run_observed(losses, handles)
    for name, each in attentions.items():
        if (name, "z") in found:
            _rotate(each, found[name, "q"], found[name, "k"], found[name, "z"])


@torch.no_grad()
def _rotate(attention: Any, q: _Moments, k: _Moments, z: _Moments) -> None:
    heads, proj = attention.num_heads, attention.proj
    (q_root, q_inverse), (k_root, k_inverse) = q.roots(False), k.roots(True)
    left, values, right = torch.linalg.svd(q_root @ k_root)
    one, other = _shares(values)
    maps = [one * left.mT @ q_inverse, other * right @ k_inverse]
    outputs = proj.weight.double().unflatten(1, (heads, -1)).transpose(0, 1)
    root, inverse = z.roots(True)
    left, values, right = torch.linalg.svd(outputs @ root, full_matrices=False)
    one, other = _shares(values)
    maps.append(one * right @ inverse)
    proj.weight.copy_((left * other.mT).transpose(0, 1).flatten(1))
    if isinstance(proj, CentredLinear):
        proj.mean.copy_((maps[2] @ proj.mean.double().view(heads, -1, 1)).flatten())
    stacked = torch.stack(maps)
    for tensor in (attention.qkv.weight, attention.qkv.bias):
        if tensor is not None:
            rows = tensor.double().view(3, heads, attention.head_dim, -1)
            tensor.copy_((stacked @ rows).view_as(tensor))


def _shares(values: Float[Tensor, "H D"]) -> tuple[Float[Tensor, "H D 1"], Float[Tensor, "H D 1"]]:
    """Singular values as products of two factors, neither of which is zero in both."""
    largest = values[:, :1]
    kept = values.maximum(_LEAST * torch.where(largest > 0, largest, 1.0)).sqrt()
    return kept[..., None], (values / kept)[..., None]
