"""The backbone of ElasticViT, with the names and shapes of its state dicts.

Legend: B batch, C channels, V channels of values, H W space, N tokens, K kernel size.
"""

from functools import partial
from math import isqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from evonas.nn.initialise import uninitialised
from evonas.nn.level import pyramid
from evonas.nn.mobilenet_v3 import HeConv2d
from evonas.nn.residual import ResidualBlock
from evonas.supernets.backbone import Activation, Backbone, sides
from evonas.supernets.elasticvit.cost import (
    LEVEL_STAGES,
    BlockShape,
    LayerShape,
    NetworkShape,
    StoredShapes,
    description,
    path,
    rising_rates,
)
from evonas.supernets.elasticvit.space import (
    CONVS,
    HEAD,
    STAGES,
    Architecture,
    AttentionChoice,
    ConvChoice,
)
from evonas.supernets.input_size import input_size


class DepthwiseConv2d(HeConv2d):
    """A depthwise convolution without bias whose channels and kernel size are those of its weight."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        channels, _, side, _ = self.weight.shape
        return F.conv2d(input, self.weight, None, self.stride, side // 2, groups=channels)


class ZeroGammaNorm(nn.BatchNorm2d):
    """A batch norm whose scale starts at zero, so that its residual block starts as its shortcut."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.weight)


class JointNorm(nn.LayerNorm):
    """Normalises tokens and channels of an image together, unlike a layer norm, and scales every channel."""

    def forward(self, input: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        normal = F.layer_norm(input, input.shape[1:], eps=self.eps)
        return normal * self.weight + self.bias


class MobileBlock(ResidualBlock):
    """An inverted residual: 1x1, depthwise, squeeze-and-excitation where the block has it, and 1x1 convolution.

    The shortcut of a halving block is the mean of 2x2 pixels, which includes a border of zeros where a side is odd.

    Args:
        of: channels, kernel and stride.
        norm: constant and momentum of the batch norms.
        has_shortcut: whether there is a convolution for the shortcut; None where channels change.
    """

    def __init__(self, of: BlockShape, norm: tuple[float, float], has_shortcut: bool | None = None) -> None:
        super().__init__()
        self.stride = of.stride
        if of.expands:
            self.pw_conv = HeConv2d(of.given, of.hidden, 1, bias=False)
            self.pw_bn = nn.BatchNorm2d(of.hidden, *norm)
        self.dw_conv = DepthwiseConv2d(of.hidden, of.kernel, of.stride)
        self.dw_bn = nn.BatchNorm2d(of.hidden, *norm)
        if of.squeezed:
            self.se_conv1 = HeConv2d(of.hidden, of.squeezed, 1)
            self.se_conv2 = HeConv2d(of.squeezed, of.hidden, 1)
        self.pwl_conv = HeConv2d(of.hidden, of.out, 1, bias=False)
        self.pwl_bn = (ZeroGammaNorm if of.stride == 1 else nn.BatchNorm2d)(of.out, *norm)
        if of.has_shortcut if has_shortcut is None else has_shortcut:
            self.shortcut_conv = HeConv2d(of.given, of.out, 1, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H2 W2"]:
        layers = self._modules
        y = x
        if "pw_conv" in layers:
            y = F.hardswish(self.pw_bn(self.pw_conv(y)))
        y = F.hardswish(self.dw_bn(self.dw_conv(y)))
        if "se_conv1" in layers:
            gates = F.relu(self.se_conv1(y.mean((2, 3), keepdim=True)))
            y = y * F.hardsigmoid(self.se_conv2(gates))
        y = self.pwl_bn(self.pwl_conv(y))
        if self.stride == 2:
            height, width = sides(x)
            x = F.avg_pool2d(x, 2, padding=(height % 2, width % 2))
        if "shortcut_conv" in layers:
            x = self.shortcut_conv(x)
        return x + y


class Attention(ResidualBlock):
    """Attention with values that pass a depthwise convolution, and an inverted residual before it in a first layer.

    The rows of `qkv` are those of all queries, all keys and all values. Their products are read head by head as 16
    for queries, 16 for keys and the rest for values, so that a head's parts are of rows of several kinds; this is how
    the published weights were trained.

    Args:
        of: channels, channels of values, and side of the table of relative positions.
        reduction: the inverted residual before it, or None.
        drop_path: probability of dropping the residual branch of a sample in training.
    """

    attention_bias: Tensor
    relative_position_index: Tensor

    def __init__(self, of: LayerShape, reduction: MobileBlock | None, drop_path: float = 0.0) -> None:
        super().__init__(drop_path)
        side = of.table
        if reduction is not None:
            self.reduction = reduction
        self.attention_bias = nn.Parameter(torch.empty((2 * side - 1) ** 2, of.heads))
        self.register_buffer("relative_position_index", torch.empty(side**2, side**2, dtype=torch.int64))
        self.qkv = nn.Linear(of.channels, 2 * of.channels + of.values, bias=False)
        self.proj = nn.Linear(of.values, of.channels)
        self.dw_v_conv = DepthwiseConv2d(of.values, 3)
        self.norm1 = JointNorm(of.channels)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Initialises the table with deviation 0.02, and the index of relative positions."""
        nn.init.trunc_normal_(self.attention_bias, std=0.02, generator=generator)
        side = isqrt(self.relative_position_index.shape[0])
        place = torch.arange(side)
        down = place.view(-1, 1, 1, 1) - place.view(1, 1, -1, 1)
        right = place.view(1, -1, 1, 1) - place.view(1, 1, 1, -1)
        index = (down + side - 1) * (2 * side - 1) + right + side - 1
        self.relative_position_index.copy_(index.reshape(side**2, side**2))

    def bias(self, height: int, width: int) -> Float[Tensor, "heads N N"]:
        """What is added to the logits of a map; tokens beyond the table are as near as the table reaches."""
        side = isqrt(self.relative_position_index.shape[0])
        index: Int[Tensor, ...] = self.relative_position_index.view(side, side, side, side)
        if height <= side and width <= side:
            index = index[:height, :width, :height, :width]
        else:
            (one, other), (left, right) = (_distances(each, side, index) for each in (height, width))
            index = index[
                one[:, None, :, None], left[None, :, None], other[:, None, :, None], right[None, :, None]
            ]
        tokens = height * width
        return self.attention_bias[index.reshape(-1)].view(tokens, tokens, -1).permute(2, 0, 1)

    def forward(self, x: Float[Tensor, "B C0 H W"]) -> Float[Tensor, "B C H2 W2"]:
        if "reduction" in self._modules:
            x = self.reduction(x)
        height, width = sides(x)
        given = _tokens(x)
        count, tokens, channels = given.shape
        heads = channels // HEAD
        qkv = self.qkv(self.norm1(given)).view(count, tokens, heads, -1)
        q, k, v = qkv.split((HEAD, HEAD, qkv.shape[-1] - 2 * HEAD), -1)
        v = _tokens(self.dw_v_conv(_maps(v.flatten(2), height, width))).view(count, tokens, heads, -1)
        logits = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * HEAD**-0.5 + self.bias(height, width)
        found = (logits.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2).flatten(2)
        return _maps(given + self.drop(self.proj(F.hardswish(found))), height, width)


class FeedForward(ResidualBlock):
    """Two linear layers on each token.

    Args:
        of: channels and hidden channels.
        drop_path: probability of dropping the residual branch of a sample in training.
    """

    def __init__(self, of: LayerShape, drop_path: float = 0.0) -> None:
        super().__init__(drop_path)
        self.norm1 = JointNorm(of.channels)
        self.fc1 = nn.Linear(of.channels, of.hidden)
        self.fc2 = nn.Linear(of.hidden, of.channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        height, width = sides(x)
        given = _tokens(x)
        found = self.fc2(F.hardswish(self.fc1(self.norm1(given))))
        return _maps(given + self.drop(found), height, width)


class Stage(nn.Module):
    """The layers of a stage under the names of the published state dict."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)


class ElasticViTBackbone(Backbone):
    """Maps images to feature maps at strides 4, 8, 16, 32 and 64.

    A map has the channels of the widest network; those that the network lacks are zero.

    Args:
        of: the architecture.
        shape: what is not searched.
        supernet: the widest shapes of every layer, which a supernet stores; None for the network's own.
        drop_path: rate of the last layer; rates rise linearly over all layers, and only T3 and T4 have them.
        momentum: momentum of the batch norms.
        seed: seed of the random weights; None leaves them uninitialised, to be loaded.
    """

    def __init__(
        self,
        of: Architecture,
        shape: NetworkShape,
        supernet: StoredShapes | None = None,
        drop_path: float = 0.0,
        momentum: float = 0.1,
        seed: int | None = 0,
    ) -> None:
        super().__init__(
            path(of, shape),
            pyramid(shape.levels),
            partial(description, of, shape),
            partial(input_size, of.resolution),
        )
        self.depths = shape.depths
        norm = (shape.bn_eps, momentum)
        rates = rising_rates(shape.depths, drop_path)
        stored = supernet or StoredShapes(of, shape)
        stem = of.widths[0]
        with uninitialised(self, seed):
            self.first_conv = HeConv2d(3, stem, 3, stride=2, padding=1, bias=False)
            self.first_conv_bn = nn.BatchNorm2d(stem, *norm)
            self.conv_stem = Stage(self._convs(stored, 0, norm))
            stages = [Stage(self._convs(stored, stage, norm)) for stage in range(1, CONVS)]
            for stage in range(CONVS, STAGES):
                layers = dict[str, nn.Module]()
                for place, layer in enumerate(stored.layers(stage)):
                    rate = rates[stage][place]
                    first = MobileBlock(stored.reduction(stage), norm, stored.shortcut) if not place else None
                    layers[str(2 * place)] = Attention(layer, first, rate)
                    layers[str(2 * place + 1)] = FeedForward(layer, rate)
                stages.append(Stage(layers))
            self.feature_exactor = nn.ModuleList(stages)

    @staticmethod
    def _convs(stored: StoredShapes, stage: int, norm: tuple[float, float]) -> dict[str, nn.Module]:
        return {
            str(place): nn.Sequential(MobileBlock(block, norm, stored.shortcut))
            for place, block in enumerate(stored.convs(stage))
        }

    def begin(self, images: Float[Tensor, "B 3 H W"]) -> Activation:
        """The images, resized bicubically as published."""
        height, width = sides(images)
        wanted = self.input_size((height, width))
        if wanted != (height, width):
            images = F.interpolate(images, wanted, mode="bicubic", align_corners=False)
        return Activation(images.contiguous(memory_format=torch.channels_last))

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        stage, place = self.path[index].at
        if stage == 0:
            own = self.conv_stem.layers
            return (own[str(place - 1)],) if place else (self.first_conv, self.first_conv_bn)
        if place == self.depths[stage]:
            return ()
        layers = cast(Stage, self.feature_exactor[stage - 1]).layers
        if stage < CONVS:
            return (layers[str(place)],)
        return layers[str(2 * place)], layers[str(2 * place + 1)]

    def run(self, index: int, at: Activation) -> Activation:
        stage, place = self.path[index].at
        parts = self.parts(index)
        found = at.map
        if not parts:
            missing = self.levels[LEVEL_STAGES.index(stage)].channels - found.shape[1]
            padded = F.pad(found, (0, 0, 0, 0, 0, missing)) if missing else found
            return Activation(found, (*at.levels, padded))
        for part in parts:
            found = part(found)
        return Activation(F.hardswish(found) if stage == place == 0 else found, at.levels)


def restore(description: dict[str, Any]) -> ElasticViTBackbone:
    """A backbone from its description; see `families.restore`."""
    given, network = description["architecture"], description["network"]
    of = Architecture(
        given["resolution"],
        tuple(given["widths"]),
        tuple(tuple(ConvChoice(**each) for each in stage) for stage in given["convs"]),
        tuple(tuple(AttentionChoice(**each) for each in stage) for stage in given["attentions"]),
    )
    shape = NetworkShape(
        tuple(network["depths"]), tuple(network["levels"]), network["bias_side"], network["bn_eps"]
    )
    return ElasticViTBackbone(of, shape, seed=None)


def _tokens(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N C"]:
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _maps(tokens: Float[Tensor, "B N C"], height: int, width: int) -> Float[Tensor, "B C H W"]:
    return tokens.view(tokens.shape[0], height, width, -1).permute(0, 3, 1, 2)


def _distances(count: int, side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Places of a table's side that are as far from one another as those of a longer side, up to its end."""
    place = torch.arange(count, device=like.device)
    apart = (place[:, None] - place).clamp(1 - side, side - 1)
    return apart.clamp(min=0), (-apart).clamp(min=0)
