"""The order of channels and heads: a subnet has the first ones, so that the important ones come first.

Relabelling changes no output of the whole network. The scores of a unit u, whose numbers in the weights that read it
are w(u):

- `norm` needs no data: I(u) = sum |w(u)|, as Once-for-All sorts channels (arXiv 1908.09791, section 3.3).
- `taylor` is what the loss L would change by, to first order, if the unit were scaled away:
  I(u) = E |sum w(u) dL/dw(u)|, the expectation over batches (arXiv 1906.10771, equation 8, with the gate of equation
  7 on what is read: scaling a channel is scaling the weights that read it).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from evonas.supernets.elastic_timm.model import CentredLinear
from evonas.supernets.elastic_timm.structure import ROTATED, Group, Structure, UnitAxis


def norm_scores(structure: Structure, model: nn.Module) -> list[Tensor]:
    """The scores `norm` of the units of every group."""
    tensors = dict(model.named_parameters())
    return [
        _summed(
            group, {each.tensor: tensors[each.tensor].detach().abs() for each in group.axes if each.axis == 1}
        )
        for group in structure.groups
    ]


def taylor_scores(
    structure: Structure, model: nn.Module, losses: Iterable[Callable[[], Tensor]]
) -> list[Tensor]:
    """The scores `taylor` of the units of every group; gradients are gone afterwards.

    Args:
        structure: of the model.
        model: whole.
        losses: each computes the loss of one batch with the model.
    """
    tensors = dict(model.named_parameters())
    scores = [torch.zeros(group.units) for group in structure.groups]
    for loss in losses:
        model.zero_grad()
        loss().backward()
        for score, group in zip(scores, structure.groups, strict=True):
            products = {each.tensor: _product(tensors[each.tensor]) for each in group.axes if each.axis == 1}
            score += _summed(group, products).abs()
    model.zero_grad()
    return scores


def centre(structure: Structure, model: nn.Module, losses: Iterable[Callable[[], object]]) -> None:
    """Let centred layers keep the means of their inputs, in place; the whole model's outputs stay up to rounding.

    A subnet then has the means of what was cut in its biases, as data-free quantization corrects biases by the inputs
    that it expects (arXiv 1906.04721, section 4.2). Taylor scores of centred layers are those of the deviation from
    the mean, since dL/dw sums over centred inputs.

    Args:
        structure: of the model.
        model: whole.
        losses: each runs the model on one batch.
    """
    totals, counts = dict[str, Tensor](), dict[str, int]()

    def add(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        tokens = given[0].detach().flatten(0, -2)
        totals[name] = totals.get(name, torch.zeros_like(tokens[0])) + tokens.sum(0)
        counts[name] = counts.get(name, 0) + len(tokens)

    layers = {name: model.get_submodule(name) for name in structure.centred}
    handles = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    run_observed(losses, handles)
    for name, layer in layers.items():
        if name in totals:
            cast(CentredLinear, layer).recentre(totals[name] / counts[name])


def run_observed(losses: Iterable[Callable[[], object]], handles: Iterable[RemovableHandle]) -> None:
    """Run the model on batches without gradients, then remove the hooks that watched it, also after an error."""
    try:
        with torch.no_grad():
            for loss in losses:
                loss()
    finally:
        for handle in handles:
            handle.remove()


def sort(structure: Structure, model: nn.Module, scores: Iterable[Tensor]) -> None:
    """Put the units of every group in the order of their scores, largest first and else as they were, in place."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for group, score in zip(structure.groups, scores, strict=True):
            if group.kind == ROTATED:
                # each head has an order of its own, from its rotation
                continue
            order = score.argsort(descending=True, stable=True)
            for axis in group.axes:
                tensors[axis.tensor].copy_(relabelled(tensors[axis.tensor], axis, order))


def _product(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.detach() * weight.grad


def _summed(group: Group, values: Mapping[str, Tensor]) -> Tensor:
    """(units,) the values of the weights that read each unit, added up."""
    total = torch.zeros(group.units)
    for axis in group.axes:
        if axis.axis == 1:
            by_channel = values[axis.tensor].transpose(0, 1).flatten(1).sum(1).cpu()
            for start in axis.starts:
                total += by_channel.narrow(0, start, group.units * axis.length).view(group.units, -1).sum(1)
    return total


def relabelled(tensor: Tensor, axis: UnitAxis, order: Tensor) -> Tensor:
    """A tensor whose units along an axis are in another order: `order[u]` says which one becomes the u-th."""
    places = torch.arange(tensor.shape[axis.axis])
    within = torch.arange(axis.length)
    for start in axis.starts:
        new = start + torch.arange(len(order))[:, None] * axis.length + within
        places[new.flatten()] = (start + order[:, None] * axis.length + within).flatten()
    return tensor.index_select(axis.axis, places.to(tensor.device))
