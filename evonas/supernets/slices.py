"""Subnets as static modules bound to slices of shared tensors.

With `torch.func.functional_call`, a forward pass recomputed by activation checkpointing would use the skeleton's own
tensors; a bound module holds its slices as long as it exists. One autograd node takes all slices of a subnet. Its
backward adds the gradients into views of the shared tensors' gradients by one fused operation, whereas a chain of
`narrow` would allocate a zero tensor of full size per axis. Derived tensors are functions of its results, so that their
gradients take the same way.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from evonas.space.genotype import Genotype
from evonas.supernets.backbone import Backbone
from evonas.supernets.base import Cut, Cuts, Derived, Settings, SupernetFamily, levels_of

Net = TypeVar("Net", bound=nn.Module)


def bind(family: SupernetFamily, shared: Backbone, genotype: Genotype) -> Backbone:
    """The backbone of a genotype, whose tensors are slices of shared ones.

    It has mode, hooks and buffers of the shared modules. Running statistics are views, so a subnet in training mode
    updates those of the supernet. Modules that are used whole are the shared ones themselves.

    Args:
        family: the supernet family.
        shared: result of `family.build(None, ...)`.
        genotype: the subnet.
    """
    net = bound(shared, family.cuts(genotype), family.absent(genotype), family.settings(genotype))
    net.path, net.levels = family.path(genotype), levels_of(family, genotype)
    # computed on demand, since only exports read the description
    net.describe = lambda: family.describe(genotype)
    net.input_size = lambda size: family.input_size(genotype, size)
    return net


def slices(family: SupernetFamily, shared: Backbone, genotype: Genotype) -> dict[str, Tensor]:
    """The state dict of a genotype's backbone: slices of the shared tensors, without gradients."""
    with torch.no_grad():
        return bind(family, shared, genotype).state_dict()


def bound(
    module: Net, cuts: Cuts, absent: Collection[str] = (), settings: Settings = MappingProxyType({})
) -> Net:
    """A copy of a module that shares everything except sliced tensors.

    Args:
        module: the shared module.
        cuts: slices of its tensors or functions of slices, by name; submodules without them are shared whole.
        absent: names of submodules and tensors that the copy lacks.
        settings: sizes that submodules keep as attributes beside their tensors, by name of submodule.
    """
    changed = {""}
    for above in (*settings, *(name.rpartition(".")[0] for name in (*cuts, *absent))):
        while above not in changed:
            changed.add(above)
            above = above.rpartition(".")[0]
    made: dict[str, nn.Module] = {}
    net = _skeleton(module, "", changed, frozenset(absent), made)
    _attach(module, made, cuts)
    for name, values in settings.items():
        made[name].__dict__.update(values)
    return net


def _skeleton(
    module: Net, name: str, changed: Collection[str], absent: Collection[str], made: dict[str, nn.Module]
) -> Net:
    """Copies changed modules, with their own dictionaries of tensors and modules; `made` collects them by name."""
    if name not in changed:
        return module
    copied = object.__new__(type(module))
    copied.__dict__.update(module.__dict__)
    copied.__dict__["_parameters"] = {
        key: tensor
        for key, tensor in module._parameters.items()
        if (f"{name}.{key}" if name else key) not in absent
    }
    copied.__dict__["_buffers"] = module._buffers.copy()
    children: dict[str, nn.Module | None] = {}
    for key, child in module._modules.items():
        inner = f"{name}.{key}" if name else key
        if inner not in absent:
            children[key] = None if child is None else _skeleton(child, inner, changed, absent, made)
    copied.__dict__["_modules"] = children
    made[name] = copied
    return copied


def _attach(shared: nn.Module, modules: Mapping[str, nn.Module], cuts: Cuts) -> None:
    """Replaces tensors of the copied modules by their slices or what is derived from slices, in place."""
    places: list[tuple[dict[str, Any], str]] = []
    sources: list[Tensor] = []
    wanted: list[tuple[Cut, ...]] = []
    with_gradients = torch.is_grad_enabled()

    def take(store: dict[str, Any], key: str, tensor: Tensor, cuts_of: tuple[Cut, ...]) -> None:
        if with_gradients and tensor.requires_grad:
            places.append((store, key))
            sources.append(tensor)
            wanted.append(cuts_of)
        else:
            store[key] = cut(tensor.detach(), cuts_of)

    derived: list[tuple[dict[str, Any], str, Callable[..., Tensor], list[str], dict[str, Tensor]]] = []
    for full, how in cuts.items():
        name, _, key = full.rpartition(".")
        module = modules[name]
        store: dict[str, Any] = module._parameters if key in module._parameters else module._buffers
        if isinstance(how, Derived):
            inputs: dict[str, Tensor] = {}
            for source, cuts_of in how.sources:
                take(inputs, source, _tensor(shared, source), cuts_of)
            derived.append((store, key, how.function, [source for source, _ in how.sources], inputs))
        else:
            take(store, key, store[key], how)
    if sources:
        for (store, key), tensor in zip(places, _Slices.apply(wanted, *sources), strict=True):
            store[key] = tensor
    for store, key, function, order, inputs in derived:
        # an extracted network has the function's result as a weight, in the precision of weights
        with torch.autocast(inputs[order[0]].device.type, enabled=False):
            store[key] = function(*(inputs[source] for source in order))


def _tensor(module: nn.Module, name: str) -> Tensor:
    owner, _, key = name.rpartition(".")
    found: Tensor = getattr(module.get_submodule(owner), key)
    return found


def cut(tensor: Tensor, cuts: Sequence[Cut]) -> Tensor:
    """The contiguous slice of a tensor, as in an extracted network; a view where possible."""
    if len(cuts) > 1 and all(len(each.pieces) == 1 for each in cuts):
        return _view(tensor, cuts).contiguous()
    for each in cuts:
        parts = [tensor.narrow(each.axis, start, length) for start, length in each.pieces]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts, each.axis)
    return tensor.contiguous()


def _view(tensor: Tensor, cuts: Sequence[Cut]) -> Tensor:
    """A view with one range per axis; one call is cheaper than one `narrow` per axis."""
    sizes, strides, offset = list(tensor.shape), tensor.stride(), tensor.storage_offset()
    for each in cuts:
        [(start, sizes[each.axis])] = each.pieces
        offset += start * strides[each.axis]
    return tensor.as_strided(sizes, strides, offset)


class _Slices(torch.autograd.Function):
    """Slices many tensors at once; the backward adds gradients directly to the tensors' `grad`.

    `torch.autograd.grad` with respect to shared tensors therefore returns nothing; extract a subnet first.
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
    """Yields views of a tensor and of its slice that contain the same elements."""
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
