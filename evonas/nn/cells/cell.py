"""The four-node cell of NAS-Bench-201 and TransNAS-Bench-101 (micro).

Legend: B batch, C channels, H W space.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

# (source, target) nodes, in the order of the tables' words
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NODES = 4


class Zero(nn.Module):
    """The operation `none`: zeros of the edge's output shape, without gradient.

    Args:
        channels: channels of the output.
        stride: stride of the edge.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H_out W_out"]:
        """Zeros."""
        height, width = (-(-side // self.stride) for side in x.shape[-2:])
        return x.new_zeros(x.shape[0], self.channels, height, width)


class Cell(nn.Module):
    """A cell: each node is the sum of its incoming edges; the last node is the output.

    Args:
        words: operations of the six edges, in the order of `EDGES`.
        edge: builds the module of an edge from its word and its source node.
    """

    def __init__(self, words: Sequence[str], edge: Callable[[str, int], nn.Module]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edge(word, start) for word, (start, _) in zip(words, EDGES, strict=True))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H_out W_out"]:
        """The last node."""
        nodes = [x]
        for node in range(1, NODES):
            incoming = [
                edge(nodes[start])
                for edge, (start, end) in zip(self.edges, EDGES, strict=True)
                if end == node
            ]
            nodes.append(torch.stack(incoming).sum(0))
        return nodes[-1]


def convolved(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias and batch norm, in the order of both benchmarks."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(c_out),
    )
