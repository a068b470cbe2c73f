"""ElasticViT's classification head (arXiv 2303.09730), which narrower networks share.

Legend: B batch, C channels, H W space, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.classifier import check_output
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level


class ExpandedClassifier(nn.Module):
    """Logits from the last level: linear layer, batch norm, mean over space, linear layer, classifier.

    The head of a network with fewer channels in the last level has the first rows and columns of these layers. It
    reads as many channels of its map as its first layer has. With ElasticViT's backbone this is the whole published
    network: the names of both together are those of its state dict, in its spelling.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: number of classes.
        output: must be `linear`.
        expand: channels before the mean, as a multiple of those of the last level.
        mix: channels behind it.
        dropout: probability before the classifier.
        bn_momentum: momentum of the batch norm.
        bn_eps: constant of the batch norm.
        width: channels of the last level that it reads; None for all.
        seed: seed of the random weights.

    Raises:
        UserError: the output is not linear.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        output: str = "linear",
        expand: int = 6,
        mix: int = 1984,
        dropout: float = 0.2,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-5,
        width: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_output(output)
        channels = levels[-1].channels if width is None else width
        self.expand, self._levels = expand, len(levels)
        with uninitialised(self, seed):
            self.pre_head_0 = nn.Linear(channels, expand * channels)
            self.pre_head_norm_0 = nn.BatchNorm1d(expand * channels, bn_eps, bn_momentum)
            self.pre_head_1 = nn.Linear(expand * channels, mix)
            self.dropout = nn.Dropout(dropout)
            self.classifer = nn.Linear(mix, out_channels)

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        classes, mix = self.classifer.weight.shape
        return {
            "out_channels": classes,
            "expand": self.expand,
            "mix": mix,
            "dropout": self.dropout.p,
            "bn_eps": self.pre_head_norm_0.eps,
            "width": self.pre_head_0.weight.shape[1],
        }

    def narrower(self, widths: Sequence[int]) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the tensors that differ in the head of a network with levels of `widths` channels."""
        channels, mix = widths[-1], self.pre_head_1.weight.shape[0]
        if channels == self.pre_head_0.weight.shape[1]:
            return {}
        wide = self.expand * channels
        vectors = ("weight", "bias", "running_mean", "running_var")
        return {
            "pre_head_0.weight": (wide, channels),
            "pre_head_0.bias": (wide,),
            **{f"pre_head_norm_0.{tensor}": (wide,) for tensor in vectors},
            "pre_head_1.weight": (mix, wide),
        }

    def level_tensors(self) -> list[list[tuple[str, int]]]:
        """See `evonas.supernets.elastic_head`."""
        return [*([] for _ in range(self._levels - 1)), [("pre_head_0.weight", 1)]]

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B K"]:
        """Logits from maps B C H W, finest first; only the last one is used."""
        maps = levels[-1][:, : self.pre_head_0.weight.shape[1]]
        tokens = self.pre_head_0(maps.permute(0, 2, 3, 1).flatten(1, 2))
        pooled = F.hardswish(self.pre_head_norm_0(tokens.transpose(1, 2))).mean(2)
        logits: Tensor = self.classifer(self.dropout(F.hardswish(self.pre_head_1(pooled))))
        return logits
