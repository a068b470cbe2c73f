"""BN calibration of subnets that share a prefix: the statistics of the prefix are measured once.

What a norm sees depends on the steps up to it, so its statistics belong to that beginning of a path.
They are the averages of `recalibrate`, to the bit.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from evonas.nn.bn_calibration import batch_norms

Place = Hashable
_Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, slots=True)
class _Average:
    """The plain averages of a norm over some batches."""

    mean: Tensor
    var: Tensor
    batches: Tensor


class PrefixStatistics:
    """Statistics by place: the steps that lead to some norms.

    First every batch of the images to learn from goes through all subnets, `learn(n)` said before the n-th
    (from 0); after `learn(None)` the statistics are used. A part keeps its own outside of `run`.
    """

    def __init__(self) -> None:
        self._known: dict[Place, tuple[int, list[_Average]]] = {}
        self._batch: int | None = None

    def learn(self, batch: int | None) -> None:
        """Which batch comes next; None for an end of learning."""
        self._batch = batch

    def run(self, parts: Sequence[nn.Module], place: Place, call: Callable[[], Any]) -> Any:
        """`call()`, which runs the parts; their norms have the statistics of this place, or learn them.

        A place that is visited twice with one batch learns from the first visit.
        """
        norms = [norm for part in parts for norm in batch_norms(part)]
        if not norms:
            return call()
        before = [(_held(norm), norm.momentum) for norm in norms]
        seen, known = self._known.get(place, (0, []))
        for norm, own in zip(norms, known, strict=False):
            _hold(norm, own)
        if self._batch is not None:
            _open(norms, is_first=not known)
        try:
            output = call()
            if self._batch is not None and seen <= self._batch:
                self._known[place] = self._batch + 1, [_held(norm) for norm in norms]
            return output
        finally:
            for norm, (shared, momentum) in zip(norms, before, strict=True):
                _hold(norm.eval(), shared)
                norm.momentum = momentum


def _open(norms: list[_Norm], is_first: bool) -> None:
    """Normalise by the batch, and average into statistics of their own."""
    for norm in norms:
        held = _held(norm)
        _hold(norm, _Average(held.mean.clone(), held.var.clone(), held.batches.clone()))
        if is_first:
            norm.reset_running_stats()
        norm.momentum = None
        norm.train()


def _held(norm: _Norm) -> _Average:
    mean, var, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert mean is not None and var is not None and batches is not None
    return _Average(mean, var, batches)


def _hold(norm: _Norm, average: _Average) -> None:
    norm.running_mean, norm.running_var, norm.num_batches_tracked = average.mean, average.var, average.batches
