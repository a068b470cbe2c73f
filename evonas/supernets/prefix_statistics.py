"""BN calibration of subnets with shared prefixes: the statistics of a prefix are computed once.

The input of a norm depends on the steps up to it, so statistics are stored by path prefix. They equal those of
`calibrate_batch_norm` bit for bit.
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
    """Running statistics of a norm."""

    mean: Tensor
    var: Tensor
    batches: Tensor


class PrefixStatistics:
    """Batch-norm statistics by path prefix.

    For calibration, `learn(n)` is called before batch n (from 0) passes through all subnets; after `learn(None)` the
    statistics are used. Outside of `run` the norms keep their own statistics.
    """

    def __init__(self) -> None:
        self._known: dict[Place, tuple[int, list[_Average]]] = {}
        self._batch: int | None = None

    def learn(self, batch: int | None) -> None:
        """Sets the index of the next calibration batch; None ends the calibration."""
        self._batch = batch

    def run(self, parts: Sequence[nn.Module], place: Place, call: Callable[[], Any]) -> Any:
        """The result of `call()`, which runs `parts` with the statistics of `place`, or computes them.

        A place that is visited twice with one batch is calibrated on the first visit.

        Args:
            parts: modules that `call` runs.
            place: the steps up to these modules.
            call: runs the modules.
        """
        norms = [norm for part in parts for norm in batch_norms(part)]
        if not norms:
            return call()
        before = [(_held(norm), norm.momentum) for norm in norms]
        seen, known = self._known.get(place, (0, []))
        for norm, own in zip(norms, known, strict=False):
            _hold(norm, own)
        if self._batch is not None:
            # normalise by the batch, and average into copies of the statistics
            for norm in norms:
                held = _held(norm)
                _hold(norm, _Average(held.mean.clone(), held.var.clone(), held.batches.clone()))
                if not known:
                    norm.reset_running_stats()
                norm.momentum = None
                norm.train()
        try:
            output = call()
            if self._batch is not None and seen <= self._batch:
                self._known[place] = self._batch + 1, [_held(norm) for norm in norms]
            return output
        finally:
            for norm, (shared, momentum) in zip(norms, before, strict=True):
                _hold(norm.eval(), shared)
                norm.momentum = momentum


def _held(norm: _Norm) -> _Average:
    mean, var, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert mean is not None and var is not None and batches is not None
    return _Average(mean, var, batches)


def _hold(norm: _Norm, average: _Average) -> None:
    norm.running_mean, norm.running_var, norm.num_batches_tracked = average.mean, average.var, average.batches
