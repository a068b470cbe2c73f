"""A timm model as a family uses it: made without weights, at any image size, and called block by block.

Legend: B batch, C channels, H W space, N tokens.
"""

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import draw_linear
from evonas.supernets.elastic_timm.structure import MEAN, METHODS, check_model_name

# what makes a model take images of any size: of vision transformers, and of those with windows
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)


def create(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A timm model without a classifier, with timm's random weights, in eval mode; always the same ones.

    Raises:
        UserError: timm has no such model, or it does not take the arguments.
    """
    if not timm.is_model(check_model_name(name)):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"Similar: {', '.join(near)}." if near else "See timm.list_models() for those that there are."
        raise UserError(f"network.name={name} is not a model of timm {timm.__version__}.", hint)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)
            model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    except TypeError as error:
        raise UserError(
            f"timm's {name} does not take these arguments: {error}.", "Leave them out."
        ) from error
    for module in model.modules():
        # a map that the next subnet reuses must not be overwritten
        if getattr(module, "inplace", False) is True:
            module.__dict__["inplace"] = False
    made: nn.Module = model.eval()
    return made


def any_size(name: str) -> tuple[nn.Module, tuple[tuple[str, Any], ...]]:
    """The model that takes images of any size, as far as timm offers that, and the arguments that it took."""
    for arguments in _ANY_SIZE:
        try:
            return create(name, arguments), tuple(arguments.items())
        except UserError:
            if not arguments or not timm.is_model(name):
                raise
    raise AssertionError


@lru_cache(maxsize=4)
def template(name: str, arguments: tuple[tuple[str, Any], ...]) -> nn.Module:
    """The model once per process; to be copied, never changed."""
    return create(name, dict(arguments))


def fresh(name: str, arguments: tuple[tuple[str, Any], ...]) -> nn.Module:
    """A copy of the model that may be changed."""
    return copy.deepcopy(template(name, arguments))


class CentredLinear(nn.Linear):
    """A linear layer that computes W (x - mean) + b; see `structure.centred`.

    Args:
        layer: whose weight and bias it takes; the mean is 0.

    Raises:
        ValueError: the layer is not linear, or has no bias.
    """

    mean: Tensor

    def __init__(self, layer: nn.Module) -> None:
        if type(layer) is not nn.Linear or layer.bias is None:
            raise ValueError(f"a {type(layer).__name__} is not a linear layer with a bias")
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias, self.training = layer.weight, layer.bias, layer.training
        self.register_buffer(MEAN, layer.weight.new_zeros(layer.in_features))

    def draw_weights(self, generator: torch.Generator) -> None:
        """As those of any linear layer, with mean 0."""
        draw_linear(self, generator)
        self.mean.zero_()

    def recentre(self, mean: Tensor) -> None:
        """Keep another mean, in place; the outputs stay."""
        with torch.no_grad():
            self.bias.add_(self.weight @ (mean - self.mean))
            self.mean.copy_(mean)

    def forward(self, x: Float[Tensor, "... N"]) -> Float[Tensor, "... M"]:
        # the product with the mean is that of one more token, and a constant of exported networks
        return F.linear(x, self.weight, self.bias - self.weight @ self.mean)


def call(model: nn.Module, run: Sequence[str], x: Tensor) -> Tensor:
    """What some modules and methods of a model make of a map, one after the other."""
    for name in run:
        x = part(model, name)(x)
    return x


def part(model: nn.Module, name: str) -> Callable[[Tensor], Tensor]:
    """A module by its name, or one of METHODS with a colon before it."""
    if name[:1] != ":":
        return model.get_submodule(name)
    if name[1:] not in METHODS:
        raise ValueError(f"{name[1:]} is not a method that a step calls")
    method: Callable[[Tensor], Tensor] = getattr(model, name[1:])
    return method


def pad(images: Tensor, multiple: int) -> Tensor:
    """Images with zeros below and to the right, so that both sides are multiples of so many pixels."""
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return F.pad(images, (0, right, 0, below)) if below or right else images
