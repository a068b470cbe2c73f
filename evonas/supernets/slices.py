"""Subnets as static modules bound to slices of shared tensors.

`torch.func.functional_call` would do the same, but a recomputed forward (activation checkpointing) then finds
the skeleton's own tensors; a bound module holds its slices for as long as somebody holds the module. All slices
of a subnet are taken by one node of autograd, whose backward adds the gradients into views of the shared
tensors' gradients by one fused operation; a chain of `narrow` would fill a zero tensor of full size per axis.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
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
    training mode moves those of the supernet. A module that the genotype has whole is the shared one itself.

    Args:
        shared: as `family.build(None, ...)` made it.
    """
    net = bound(shared, family.cuts(genotype), family.absent(genotype))
    net.path = family.path(genotype)
    # only an export reads the description: a training step does not pay for it
    net.describe = lambda: family.describe(genotype)
    net.input_size = lambda size: family.input_size(genotype, size)
    return net


def slices(family: SupernetFamily, shared: Backbone, genotype: Genotype) -> dict[str, Tensor]:
    """The state dict of a genotype's backbone, as slices of the shared tensors without gradients."""
    with torch.no_grad():
        return bind(family, shared, genotype).state_dict()


def bound(module: Net, cuts: Cuts, absent: Collection[str] = ()) -> Net:
    """A module that shares everything with another one but the tensors that are cut.

    Args:
        cuts: of tensors inside, by name; a module that holds none of them is shared whole.
        absent: names of modules inside that the new one does not have.
    """
    changed = {""}
    for name in (*cuts, *absent):
        above = name.rpartition(".")[0]
        while above not in changed:
            changed.add(above)
            above = above.rpartition(".")[0]
    made: dict[str, nn.Module] = {}
    net = _skeleton(module, "", changed, frozenset(absent), made)
    _attach(made, cuts)
    return net


def _skeleton(
    module: Net, name: str, changed: Collection[str], absent: Collection[str], made: dict[str, nn.Module]
) -> Net:
    """A copy of what is changed, with dictionaries of its own for tensors and modules; `made` has it by name."""
    if name not in changed:
        return module
    copied = object.__new__(type(module))
    copied.__dict__.update(module.__dict__)
    copied.__dict__["_parameters"] = module._parameters.copy()
    copied.__dict__["_buffers"] = module._buffers.copy()
    children: dict[str, nn.Module | None] = {}
    for key, child in module._modules.items():
        inner = f"{name}.{key}" if name else key
        if inner not in absent:
            children[key] = None if child is None else _skeleton(child, inner, changed, absent, made)
    copied.__dict__["_modules"] = children
    made[name] = copied
    return copied


def _attach(modules: Mapping[str, nn.Module], cuts: Cuts) -> None:
    """Give skeletons the slices of their tensors, in place."""
    places: list[tuple[dict[str, Any], str]] = []
    sources: list[Tensor] = []
    wanted: list[tuple[Cut, ...]] = []
    with_gradients = torch.is_grad_enabled()
    for full, cuts_of in cuts.items():
        name, _, key = full.rpartition(".")
        module = modules[name]
        store: dict[str, Any] = module._parameters if key in module._parameters else module._buffers
        if with_gradients and store[key].requires_grad:
            places.append((store, key))
            sources.append(store[key])
            wanted.append(cuts_of)
        else:
            store[key] = cut(store[key].detach(), cuts_of)
    if sources:
        for (store, key), tensor in zip(places, _Slices.apply(wanted, *sources), strict=True):
            store[key] = tensor


def cut(tensor: Tensor, cuts: Sequence[Cut]) -> Tensor:
    """The slice of a tensor, contiguous, as an extracted network would hold it; a view where it can be."""
    if len(cuts) > 1 and all(len(each.pieces) == 1 for each in cuts):
        return _view(tensor, cuts).contiguous()
    for each in cuts:
        parts = [tensor.narrow(each.axis, start, length) for start, length in each.pieces]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts, each.axis)
    return tensor.contiguous()


def _view(tensor: Tensor, cuts: Sequence[Cut]) -> Tensor:
    """Several axes cut at once, each to one piece; one call is cheaper than a `narrow` an axis."""
    sizes, strides, offset = list(tensor.shape), tensor.stride(), tensor.storage_offset()
    for each in cuts:
        [(start, sizes[each.axis])] = each.pieces
        offset += start * strides[each.axis]
    return tensor.as_strided(sizes, strides, offset)


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
    if all(len(each.pieces) == 1 for each in cuts):
        yield _view(whole, cuts), part
        return
    if not cuts:
        yield whole, part
        return
    first, *rest = cuts
    begin = 0
    for start, length in first.pieces:
        inner = whole.narrow(first.axis, start, length), part.narrow(first.axis, begin, length)
        yield from _pairs(*inner, rest)
        begin += length
