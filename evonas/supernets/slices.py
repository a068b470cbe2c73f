"""Subnets as static modules bound to slices of shared tensors.

`torch.func.functional_call` would do the same, but a recomputed forward (activation checkpointing) then finds
the skeleton's own tensors; a bound module holds its slices for as long as somebody holds the module. All slices
of a subnet are taken by one node of autograd, whose backward adds the gradients into views of the shared
tensors' gradients by one fused operation; a chain of `narrow` would fill a zero tensor of full size per axis.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from evonas.space.genotype import Genotype
from evonas.supernets.backbone import Backbone
from evonas.supernets.base import Cut, Cuts, SupernetFamily

Net = TypeVar("Net", bound=nn.Module)


def bind(family: SupernetFamily, shared: Backbone, genotype: Genotype) -> Backbone:
    """The backbone of a genotype, whose tensors are slices of the shared ones.

    Mode, hooks and buffers are those of the shared modules; running statistics are views, so a subnet in
    training mode moves those of the supernet.

    Args:
        shared: as `family.build(None, ...)` made it.
    """
    net = skeleton(shared, family.absent(genotype))
    net.path, net.description = family.path(genotype), family.describe(genotype)
    net.input_size = lambda size: family.input_size(genotype, size)
    attach(net, family.cuts(genotype))
    return net


def slices(family: SupernetFamily, shared: Backbone, genotype: Genotype) -> dict[str, Tensor]:
    """The state dict of a genotype's backbone, as slices of the shared tensors without gradients."""
    with torch.no_grad():
        return bind(family, shared, genotype).state_dict()


def skeleton(module: Net, absent: Collection[str] = (), prefix: str = "") -> Net:
    """A module that shares all tensors, hooks and settings of another one, and may be given others.

    Args:
        absent: names of modules inside that the skeleton does not have.
    """
    made = object.__new__(type(module))
    made.__dict__.update(module.__dict__)
    made._parameters, made._buffers = dict(module._parameters), dict(module._buffers)
    made._modules = {
        name: None if child is None else skeleton(child, absent, f"{prefix}{name}.")
        for name, child in module._modules.items()
        if f"{prefix}{name}" not in absent
    }
    return made


def attach(net: nn.Module, cuts: Cuts) -> None:
    """Replace the tensors of a skeleton that are cut by their slices, in place."""
    places: list[tuple[dict[str, Any], str]] = []
    sources: list[Tensor] = []
    wanted: list[tuple[Cut, ...]] = []
    for store, name, full in _tensors(net):
        found = cuts.get(full)
        if found:
            if store[name].is_floating_point() and store[name].requires_grad:
                places.append((store, name))
                sources.append(store[name])
                wanted.append(found)
            else:
                store[name] = cut(store[name], found)
    if not sources:
        return
    if torch.is_grad_enabled():
        taken = _Slices.apply(wanted, *sources)
    else:
        taken = tuple(cut(source, each) for source, each in zip(sources, wanted, strict=True))
    for (store, name), tensor in zip(places, taken, strict=True):
        store[name] = tensor


def cut(tensor: Tensor, cuts: Sequence[Cut]) -> Tensor:
    """The slice of a tensor, contiguous, as an extracted network would hold it; a view where it can be."""
    for each in cuts:
        parts = [tensor.narrow(each.axis, start, length) for start, length in each.pieces]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts, each.axis)
    return tensor.contiguous()


class _Slices(torch.autograd.Function):
    """Slices of many tensors at once; their gradients go straight into the tensors' `grad`.

    So `torch.autograd.grad` with respect to shared tensors sees nothing: whoever differentiates a subnet by
    hand extracts it first.
    """

    @staticmethod
    def forward(ctx: Any, wanted: Sequence[tuple[Cut, ...]], *sources: Tensor) -> tuple[Tensor, ...]:
        ctx.wanted, ctx.sources = wanted, sources
        ctx.set_materialize_grads(False)
        # a view of an input would tie its version to the input's, which the optimizer changes
        return tuple(cut(source, each).detach() for source, each in zip(sources, wanted, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        views: list[Tensor] = []
        parts: list[Tensor] = []
        for source, cuts, gradient in zip(ctx.sources, ctx.wanted, gradients, strict=True):
            if gradient is None:
                continue
            if source.grad is None:
                source.grad = torch.zeros_like(source)
            for view, part in _pairs(source.grad, gradient, cuts):
                views.append(view)
                parts.append(part)
        if views:
            torch._foreach_add_(views, parts)
        return (None,) * (1 + len(ctx.sources))


def _pairs(whole: Tensor, part: Tensor, cuts: Sequence[Cut]) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of a whole tensor and of its slice that hold the same numbers."""
    if not cuts:
        yield whole, part
        return
    first, *rest = cuts
    begin = 0
    for start, length in first.pieces:
        inner = whole.narrow(first.axis, start, length), part.narrow(first.axis, begin, length)
        yield from _pairs(*inner, rest)
        begin += length


def _tensors(net: nn.Module, prefix: str = "") -> Iterator[tuple[dict[str, Any], str, str]]:
    """Every tensor of a network: the dictionary that holds it, its key there, and its full name."""
    for store in (net._parameters, net._buffers):
        for name, tensor in store.items():
            if tensor is not None:
                yield store, name, prefix + name
    for name, child in net._modules.items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")
