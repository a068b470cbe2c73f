"""Parts of MobileNetV3 (arXiv 1905.02244) with the tensor names of Once-for-All, and its classification head.

Legend: B batch, C channels, H W space, K classes.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.classifier import check_output
from evonas.nn.initialise import uniform_by_fan_in, uninitialised
from evonas.nn.level import Level

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "h_swish": nn.Hardswish, "mish": nn.Mish}


def activation(name: str) -> nn.Module:
    """The layer of an activation's name.

    Raises:
        UserError: the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise UserError(f"act_func={name} is unknown.", f"Choose act_func={', '.join(ACTIVATIONS)} or null.")
    return ACTIVATIONS[name]()


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers in the order in which they run, under their names."""
    return nn.Sequential(OrderedDict(layers))


class HeConv2d(nn.Conv2d):
    """A convolution with normal weights of deviation sqrt(2 / (k^2 out channels)), and zero bias."""

    def draw_weights(self, generator: torch.Generator) -> None:
        """Initialises the weights by their fan out, not divided by groups, as Once-for-All does."""
        fan_out = self.weight.shape[0] * self.weight[0, 0].numel()
        self.weight.normal_(0, math.sqrt(2 / fan_out), generator=generator)
        if self.bias is not None:
            self.bias.zero_()


class UniformLinear(nn.Linear):
    """A linear layer with weights uniform within 1 / sqrt(in features), and zero bias."""

    def draw_weights(self, generator: torch.Generator) -> None:
        """Initialises the weights by their fan in."""
        uniform_by_fan_in(self.weight, self.in_features, generator)
        self.bias.zero_()


class SqueezeExcite(nn.Module):
    """Scales channels by h-sigmoid gates that are computed from their means.

    Args:
        channels: channels of the map.
        squeezed: channels of the gates' hidden layer.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc = named(
            reduce=HeConv2d(channels, squeezed, 1),
            relu=nn.ReLU(),
            expand=HeConv2d(squeezed, channels, 1),
            h_sigmoid=nn.Hardsigmoid(),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        gates: Tensor = self.fc(x.mean((2, 3), keepdim=True))
        return x * gates


class MobileNetV3Head(nn.Module):
    """Logits from the last level: 1x1 convolution, mean over space, 1x1 convolution without norm, linear layer.

    With Once-for-All's backbone this is the whole published network: the names of backbone and head together
    are those of Once-for-All's state dicts.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: number of classes.
        output: must be `linear`.
        expand: channels before the mean, as a multiple of those of the last level.
        mix: channels behind it, as a multiple of those of the last level.
        dropout: probability before the linear layer.
        act_func: activation of both convolutions.
        bn_momentum: momentum of the batch norm.
        bn_eps: constant of the batch norm.
        seed: seed of the random weights.

    Raises:
        UserError: the output is not linear, or the activation is unknown.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        output: str = "linear",
        expand: int = 6,
        mix: int = 8,
        dropout: float = 0.1,
        act_func: str | None = None,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_output(output)
        channels, word = levels[-1].channels, act_func or "h_swish"
        self._settings = {
            "out_channels": out_channels,
            "expand": expand,
            "mix": mix,
            "dropout": dropout,
            "act_func": act_func,
            "bn_eps": bn_eps,
        }
        with uninitialised(self, seed):
            self.final_expand_layer = named(
                conv=HeConv2d(channels, expand * channels, 1, bias=False),
                bn=nn.BatchNorm2d(expand * channels, bn_eps, bn_momentum),
                act=activation(word),
            )
            self.feature_mix_layer = named(
                conv=HeConv2d(expand * channels, mix * channels, 1, bias=False), act=activation(word)
            )
            self.classifier = named(
                dropout=nn.Dropout(dropout), linear=UniformLinear(mix * channels, out_channels)
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        return dict(self._settings)

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B K"]:
        """Logits from maps B C H W, finest first; only the last one is used."""
        pooled = self.final_expand_layer(levels[-1]).mean((2, 3), keepdim=True)
        logits: Tensor = self.classifier(self.feature_mix_layer(pooled).flatten(1))
        return logits
