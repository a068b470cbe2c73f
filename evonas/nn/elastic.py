"""Layers whose widths are arguments: no active subnet, so two subnets can be interleaved.

A weight is a row of named segments (such as z, x, B, C, dt) and a subnet uses the first
rows of each. Every slice is made contiguous, which is why a network that holds the same
slices as its own weights computes the same bits.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Widths = tuple[int, ...]


def prefix(tensor: Tensor, segments: Widths, widths: Widths, heads: int = 1) -> Tensor:
    """The first `widths[i]` rows of every segment, joined; the tensor itself when nothing is cut.

    Args:
        tensor: rows along the first axis, `sum(segments)` of them.
        segments: rows of each segment as stored.
        widths: rows to keep of each; at most as many.
        heads: equal parts of the first segment; its rows to keep are the first of each part.
    """
    if widths == segments:
        return tensor
    if heads > 1:
        segments, widths = _by_head(segments, heads), _by_head(widths, heads)
    starts = accumulate(segments[:-1], initial=0)
    parts = [tensor.narrow(0, start, width) for start, width in zip(starts, widths, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _by_head(widths: Widths, heads: int) -> Widths:
    return (widths[0] // heads,) * heads + widths[1:]


class ElasticLinear(nn.Module):
    """A linear layer with segmented outputs; the input width is read from the tensor.

    Args:
        in_features: largest input width.
        segments: largest number of outputs of each segment.
        bias: whether there is one.
        heads: equal parts of the first segment, of each of which a subnet has the first rows.
        in_heads: likewise of the inputs.
    """

    def __init__(
        self,
        in_features: int,
        segments: Sequence[int],
        bias: bool = True,
        heads: int = 1,
        in_heads: int = 1,
    ) -> None:
        super().__init__()
        self.in_features, self.segments = in_features, tuple(segments)
        self.heads, self.in_heads = heads, in_heads
        self.weight = nn.Parameter(torch.empty(sum(self.segments), in_features))
        self.bias = nn.Parameter(torch.empty(sum(self.segments))) if bias else None

    def narrow(self, in_features: int, widths: Widths) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a subnet: first rows of each segment, first columns."""
        rows = prefix(self.weight, self.segments, widths, self.heads)
        weight = _first_columns(rows, in_features, self.in_heads).contiguous()
        return weight, None if self.bias is None else prefix(self.bias, self.segments, widths, self.heads)

    def inherit(self, source: nn.Module) -> None:
        """Take over what a subnet of this layer's size uses of a larger layer."""
        assert isinstance(source, type(self)), f"{type(source).__name__} for {type(self).__name__}"
        weight, bias = source.narrow(self.in_features, self.segments)
        _copy((self.weight, weight), (self.bias, bias))

    def forward(self, x: Float[Tensor, "*rest C_in"], widths: Widths) -> Float[Tensor, "*rest C_out"]:
        """Args: x: last axis is the input width; widths: outputs wanted of each segment."""
        return F.linear(x, *self.narrow(x.shape[-1], widths))


class ElasticDepthwise(nn.Module):
    """A 3x3 depthwise convolution over channels-last maps, with segmented channels.

    Args:
        segments: largest number of channels of each segment.
        heads: equal parts of the first segment, of each of which a subnet has the first channels.
    """

    def __init__(self, segments: Sequence[int], heads: int = 1) -> None:
        super().__init__()
        self.segments, self.heads = tuple(segments), heads
        self.weight = nn.Parameter(torch.empty(sum(self.segments), 1, 3, 3))
        self.bias = nn.Parameter(torch.empty(sum(self.segments)))

    def narrow(self, widths: Widths) -> tuple[Tensor, Tensor]:
        """Weight and bias of a subnet."""
        weight = prefix(self.weight, self.segments, widths, self.heads)
        return weight, prefix(self.bias, self.segments, widths, self.heads)

    def inherit(self, source: nn.Module) -> None:
        """Take over what a subnet of this layer's size uses of a larger layer."""
        assert isinstance(source, type(self)), f"{type(source).__name__} for {type(self).__name__}"
        weight, bias = source.narrow(self.segments)
        _copy((self.weight, weight), (self.bias, bias))

    def forward(self, x: Float[Tensor, "B H W C"], widths: Widths) -> Float[Tensor, "B H W C"]:
        """Args: x: C is the sum of `widths`."""
        weight, bias = self.narrow(widths)
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=sum(widths))
        return y.permute(0, 2, 3, 1)


class ElasticLayerNorm(nn.Module):
    """LayerNorm over a last axis whose width is read from the tensor.

    Args:
        features: largest width.
        heads: equal parts of the features, of each of which a subnet has the first.
    """

    def __init__(self, features: int, eps: float = 1e-5, heads: int = 1) -> None:
        super().__init__()
        self.features, self.eps, self.heads = features, eps, heads
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def narrow(self, features: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of a subnet."""
        weight, bias = (_first_columns(each, features, self.heads) for each in (self.weight, self.bias))
        return weight, bias

    def inherit(self, source: nn.Module) -> None:
        """Take over what a subnet of this layer's size uses of a larger layer."""
        assert isinstance(source, type(self)), f"{type(source).__name__} for {type(self).__name__}"
        weight, bias = source.narrow(self.features)
        _copy((self.weight, weight), (self.bias, bias))

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        """Normalise over the width that `x` has."""
        width = x.shape[-1]
        return F.layer_norm(x, (width,), *self.narrow(width), self.eps)


ELASTIC = (ElasticLinear, ElasticDepthwise, ElasticLayerNorm)


def _first_columns(tensor: Tensor, width: int, heads: int) -> Tensor:
    """`width` entries of the last axis, the first of each head."""
    if heads == 1 or width == tensor.shape[-1]:
        return tensor[..., :width]
    return tensor.unflatten(-1, (heads, -1))[..., : width // heads].flatten(-2)


@torch.no_grad()
def _copy(*pairs: tuple[Tensor | None, Tensor | None]) -> None:
    for target, source in pairs:
        if target is not None and source is not None:
            target.copy_(source)
