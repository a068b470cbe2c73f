"""The order of channels and heads: a subnet has the first ones, so that the important ones come first.

Relabelling changes no output of the whole network. The scores of a unit u, whose numbers in the weights that read it
are w(u):

- `norm` needs no data: I(u) = sum |w(u)|, as Once-for-All sorts channels (arXiv 1908.09791, section 3.3).
- `taylor` is what the loss L would change by, to first order, if the unit were scaled away:
  I(u) = E |sum w(u) dL/dw(u)|, the expectation over batches (arXiv 1906.10771, equation 8, with the gate of equation
  7 on what is read: scaling a channel is scaling the weights that read it).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from evonas.supernets.elastic_head import level_tensors
from evonas.supernets.elastic_timm.model import CentredLinear
from evonas.supernets.elastic_timm.structure import ROTATED, Structure, UnitAxis


def norm_scores(structure: Structure, model: nn.Module, head: nn.Module | None = None) -> list[Tensor]:
    """The scores `norm` of the units of every group; those of streams count what the head reads of them."""
    readers = _Readers(structure, model, head)
    return [
        readers.summed(index, lambda weight: weight.detach().abs()) for index in range(len(structure.groups))
    ]


def taylor_scores(
    structure: Structure,
    model: nn.Module,
    losses: Iterable[Callable[[], Tensor]],
    head: nn.Module | None = None,
) -> list[Tensor]:
    """The scores `taylor` of the units of every group; gradients are gone afterwards.

    Args:
        structure: of the model.
        model: whole.
        losses: each computes the loss of one batch with the model.
        head: what reads the levels, whose channels may belong to streams.
    """
    readers = _Readers(structure, model, head)
    both = [model] if head is None else [model, head]
    scores = [torch.zeros(group.units) for group in structure.groups]
    for loss in losses:
        for each in both:
            each.zero_grad()
        loss().backward()
        for index, score in enumerate(scores):
            score += readers.summed(index, _product).abs()
    for each in both:
        each.zero_grad()
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


def sort(
    structure: Structure, model: nn.Module, scores: Iterable[Tensor], head: nn.Module | None = None
) -> None:
    """Put the units of every group in the order of their scores, largest first and else as they were, in place.

    Args:
        structure: of the model.
        model: whole.
        scores: of the units of each group.
        head: what reads the levels, whose channels may belong to streams; its outputs stay.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    readers = _Readers(structure, model, head)
    with torch.no_grad():
        for index, (group, score) in enumerate(zip(structure.groups, scores, strict=True)):
            if group.kind == ROTATED:
                # each head has an order of its own, from its rotation
                continue
            order = score.argsort(descending=True, stable=True)
            for axis in group.axes:
                tensors[axis.tensor].copy_(relabelled(tensors[axis.tensor], axis, order))
            for tensor, axis in readers.of_head(index):
                tensor.copy_(relabelled(tensor, axis, order))


class _Readers:
    """The weights that read the units of groups, in a model and, those of streams, in the head behind it."""

    def __init__(self, structure: Structure, model: nn.Module, head: nn.Module | None) -> None:
        self._of, self._tensors = structure, dict(model.named_parameters())
        self._head: dict[str, Tensor] = {}
        self._levels: Sequence[Sequence[tuple[str, int]]] = [()] * len(structure.stages)
        if head is not None and structure.level_axes:
            self._head = {**dict(head.named_parameters()), **dict(head.named_buffers())}
            self._levels = level_tensors(head)

    def of_head(self, index: int) -> Iterator[tuple[Tensor, UnitAxis]]:
        """Tensors of the head, and where the units of a group lie in them."""
        for each in self._of.level_axes:
            for name, axis in self._levels[each.stage] if each.group == index else ():
                yield self._head[name], UnitAxis(name, axis, each.starts, each.length)

    def summed(self, index: int, value: Callable[[Tensor], Tensor]) -> Tensor:
        """(units,) a value of each weight that reads a unit, added up."""
        group = self._of.groups[index]
        total = torch.zeros(group.units)
        own = ((self._tensors[axis.tensor], axis) for axis in group.axes if axis.axis == 1)
        for tensor, axis in (*own, *(pair for pair in self.of_head(index) if pair[1].axis == 1)):
            by_channel = value(tensor).transpose(0, 1).flatten(1).sum(1).cpu()
            for start in axis.starts:
                total += by_channel.narrow(0, start, group.units * axis.length).view(group.units, -1).sum(1)
        return total


def _product(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.detach() * weight.grad


def relabelled(tensor: Tensor, axis: UnitAxis, order: Tensor) -> Tensor:
    """A tensor whose units along an axis are in another order: `order[u]` says which one becomes the u-th."""
    places = torch.arange(tensor.shape[axis.axis])
    within = torch.arange(axis.length)
    for start in axis.starts:
        new = start + torch.arange(len(order))[:, None] * axis.length + within
        places[new.flatten()] = (start + order[:, None] * axis.length + within).flatten()
    return tensor.index_select(axis.axis, places.to(tensor.device))
