"""The order of hidden channels, of which narrower blocks have the first ones.

Before a curriculum opens smaller expansions, channels are sorted by importance: that of a hidden channel is the sum of
|w| of the weights that read it, in the last convolution of its block, and that of a squeezed channel likewise (arXiv
1908.09791, section 3.3). Channels change places only between the widths that were trained before, so that every trained
subnet computes what it did, up to rounding.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_NORM = ("weight", "bias", "running_mean", "running_var")


def sort_block(block: nn.Module, hidden: Iterable[int], squeezed: Iterable[int]) -> None:
    """Sorts the channels of a block by importance, largest first, in place.

    Args:
        block: an `InvertedResidual` of the supernet.
        hidden: numbers of hidden channels of the widths that were trained; the largest is that of the block.
        squeezed: likewise of the squeezed channels; ignored in a block without them.
    """
    tensors = {**dict(block.named_parameters()), **dict(block.named_buffers())}
    with torch.no_grad():
        order = _order(tensors["conv.point_linear.conv.conv.weight"], hidden)
        rows = ["conv.inverted_bottleneck.conv.conv.weight", "conv.depth_conv.conv.conv.weight"]
        rows += [
            f"conv.{part}.bn.bn.{key}" for part in ("inverted_bottleneck", "depth_conv") for key in _NORM
        ]
        columns, gates = ["conv.point_linear.conv.conv.weight"], "conv.depth_conv.se.fc"
        if f"{gates}.reduce.weight" in tensors:
            rows += [f"{gates}.expand.weight", f"{gates}.expand.bias"]
            columns.append(f"{gates}.reduce.weight")
        _permute(tensors, rows, columns, order)
        if f"{gates}.reduce.weight" in tensors:
            order = _order(tensors[f"{gates}.expand.weight"], squeezed)
            _permute(
                tensors, [f"{gates}.reduce.weight", f"{gates}.reduce.bias"], [f"{gates}.expand.weight"], order
            )


def _order(reader: Tensor, trained: Iterable[int]) -> Tensor:
    """Which input channel of a convolution becomes the first, the second and so on, sorted between trained widths."""
    importance = reader.abs().sum((0, 2, 3))
    bounds = [0, *sorted(set(trained))]
    return torch.cat(
        [low + importance[low:high].argsort(descending=True, stable=True) for low, high in pairwise(bounds)]
    )


def _permute(tensors: dict[str, Tensor], rows: Sequence[str], columns: Sequence[str], order: Tensor) -> None:
    for axis, names in enumerate((rows, columns)):
        for name in names:
            tensors[name].copy_(tensors[name].index_select(axis, order))
