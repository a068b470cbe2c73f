"""A timm model that runs block by block, whole or cut.

Legend: B batch, C channels, H W space, N tokens.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.initialise import initialise, keep_values
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.elastic_timm import subnet
from evonas.supernets.elastic_timm.cost import input_size, path
from evonas.supernets.elastic_timm.model import CentredLinear, call, fresh, pad
from evonas.supernets.elastic_timm.rotation import RotatedAttention
from evonas.supernets.elastic_timm.space import Architecture
from evonas.supernets.elastic_timm.structure import Stage, Structure, structure_from
from evonas.supernets.slices import bound
from evonas.supernets.step import Size

Arguments = tuple[tuple[str, Any], ...]
_TEMPLATES: dict[tuple[str, Arguments], "ElasticBackbone"] = {}
_MOST = 4


@dataclass(frozen=True, slots=True)
class _Reached(Activation):
    """An activation, and the size of the images before they were padded."""

    size: Size = (0, 0)


class ElasticBackbone(Backbone):
    """Images to the maps of a timm model, and of its subnets; its tensors bear timm's names behind `net.`.

    Args:
        structure: of the model.
        net: the model; what no block runs is removed from it.
    """

    def __init__(self, structure: Structure, net: nn.Module) -> None:
        largest = subnet.largest(structure)
        super().__init__(
            path(largest, structure),
            subnet.levels(structure),
            partial(subnet.description, structure, largest),
            partial(input_size, structure, largest.resolution),
        )
        self.structure, self.net = structure, net
        names = {name for block in structure.blocks for name in block.run}
        _prune(net, "", names)
        keep_values(net, structure.initial)

    def begin(self, images: Float[Tensor, "B 3 H W"]) -> Activation:
        read = super().begin(images).map
        return _Reached(pad(read, self.structure.multiple), (), (read.shape[2], read.shape[3]))

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        stage, inner = self.path[index].at
        blocks = self.structure.stages[stage].blocks
        names = blocks[inner].run if inner < len(blocks) else ()
        return tuple(self.net.get_submodule(name) for name in names if name[:1] != ":")

    def run(self, index: int, at: Activation) -> Activation:
        assert isinstance(at, _Reached)
        number, inner = self.path[index].at
        stage = self.structure.stages[number]
        if inner < len(stage.blocks):
            return _Reached(call(self.net, stage.blocks[inner].run, at.map), at.levels, at.size)
        level = _level(stage, at.map, at.size, self.structure.prefix_tokens)
        return _Reached(at.map, (*at.levels, level), at.size)


def _level(stage: Stage, x: Tensor, size: Size, prefix: int) -> Float[Tensor, "B C H2 W2"]:
    """The level that a map is, on the grid of the images as they were before they were padded."""
    height, width = (-(-side // stage.stride) for side in size)
    if stage.layout == "tokens":
        return x[:, prefix:].transpose(1, 2).unflatten(2, (height, width)).contiguous()
    if stage.layout == "NHWC":
        x = x.permute(0, 3, 1, 2).contiguous()
    return x if x.shape[2:] == (height, width) else x[:, :, :height, :width].contiguous()


def build(
    structure: Structure, of: Architecture | None, seed: int | None, arguments: Arguments = ()
) -> ElasticBackbone:
    """A backbone with tensors of its own.

    Args:
        structure: of the model.
        of: which subnet; None for the whole model.
        seed: of the random weights; None leaves them uninitialised for a state dict.
        arguments: of `timm.create_model`, besides those of the structure.
    """
    net = whole(structure, arguments) if of is None else _own(cut_out(_template(structure, arguments), of))
    if seed is not None:
        # a network may be built inside the meta-device context of another one
        with torch.device("cpu"):
            initialise(net, seed)
    return net.train()


def whole(structure: Structure, arguments: Arguments = ()) -> ElasticBackbone:
    """The whole model in eval mode, with timm's random weights."""
    net = fresh(structure.model, (*structure.arguments, *arguments))
    for name in structure.rotated:
        net.set_submodule(name, RotatedAttention(net.get_submodule(name)))
    for name in structure.centred:
        net.set_submodule(name, CentredLinear(net.get_submodule(name)))
    return ElasticBackbone(structure, net)


def _template(structure: Structure, arguments: Arguments) -> ElasticBackbone:
    """The whole model, once per process and never changed."""
    key = structure.digest, arguments
    if key not in _TEMPLATES:
        if len(_TEMPLATES) >= _MOST:
            _TEMPLATES.clear()
        _TEMPLATES[key] = whole(structure, arguments)
    return _TEMPLATES[key]


def cut_out(net: ElasticBackbone, of: Architecture) -> ElasticBackbone:
    """A subnet of a whole backbone, on slices of its tensors."""
    structure = net.structure
    with torch.no_grad():
        made = bound(
            net, subnet.cuts(structure, of), subnet.absent(structure, of), subnet.settings(structure, of)
        )
    made.path, made.levels = path(of, structure), subnet.levels(structure, of)
    made.describe = partial(subnet.description, structure, of)
    made.input_size = partial(input_size, structure, of.resolution)
    return made


def _own(net: ElasticBackbone) -> ElasticBackbone:
    """A copy with tensors of its own, not filled where they are trained."""
    made = copy.deepcopy(net)
    for module in made.modules():
        for key, tensor in module._parameters.items():
            if tensor is not None:
                module._parameters[key] = nn.Parameter(torch.empty(tensor.shape, dtype=tensor.dtype))
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = buffer.clone()
    return made


def _prune(module: nn.Module, name: str, wanted: set[str]) -> None:
    """Remove the modules that no block calls, in place."""
    for key, child in list(module.named_children()):
        inner = f"{name}.{key}" if name else key
        if inner in wanted:
            continue
        if any(each.startswith(f"{inner}.") for each in wanted):
            _prune(child, inner, wanted)
        else:
            del module._modules[key]


def restore(description: dict[str, Any]) -> ElasticBackbone:
    """See `families.restore`; nothing is traced."""
    structure, given = structure_from(description["structure"]), description["architecture"]
    blocks = tuple(None if units is None else tuple(map(int, units)) for units in given["blocks"])
    streams: dict[int, int] = {}
    for block, units in zip(structure.blocks, blocks, strict=True):
        wholes = [structure.groups[at].units for at in block.groups]
        if units is None and not block.is_droppable:
            raise ValueError(f"{block.name} cannot be missing")
        if units is not None and any(
            not 0 < count <= whole for count, whole in zip(units, wholes, strict=True)
        ):
            raise ValueError(f"{block.name} has {list(units)} of {wholes} units")
        for index, count in zip(block.groups, units or (), strict=units is not None):
            if index in structure.streams and streams.setdefault(index, count) != count:
                raise ValueError(
                    f"{block.name} has {count} channels of a stream that has {streams[index]} before"
                )
    return build(structure, Architecture(float(given["resolution"]), blocks), None)
