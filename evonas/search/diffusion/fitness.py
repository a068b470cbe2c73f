"""Fitness functions: map minimised objective values to non-negative fitness, where larger is better.

A fitness function takes (N, M) finite values of N individuals and M objectives and returns (N,) fitness.
Some are relative to the given set, so fitness of different sets is not comparable.
"""

from collections.abc import Callable, Sequence

import numpy as np

from evonas.errors import UserError
from evonas.search.ranking import best_first

Fitness = Callable[[np.ndarray], np.ndarray]

# EDNAG's fitness (arXiv 2504.17827, public code): accuracy in percent, fitness there, slope above it
_KNOTS = np.array([0.0, 30.0, 50.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0])
_HEIGHTS = np.array([0.0, 3.0, 23.0, 63.0, 78.0, 103.0, 153.0, 303.0, 503.0])
_SLOPES = np.array([0.1, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 40.0, 50.0])


class FrontFitness:
    """Fitness of several objectives by front and crowding distance, evenly spaced from `pressure` to 0.

    Equal values have equal fitness. This fitness is not part of the paper.

    Args:
        pressure: fitness of the best individual; EDNAG's softmax weighs it e^pressure times the worst.

    Raises:
        UserError: the pressure is not positive.
    """

    def __init__(self, pressure: float = 10.0) -> None:
        _check(pressure=pressure)
        self._pressure = pressure

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) fitness of (N, M) values, relative to this set."""
        distinct, place = np.unique(values, axis=0, return_inverse=True)
        fitness = np.empty(len(distinct))
        fitness[best_first(distinct)] = np.linspace(self._pressure, 0.0, len(distinct))
        return np.asarray(fitness[place.reshape(-1)])


class SingleObjectiveFitness:
    """A fitness of one objective, which refuses searches that measure others.

    Args:
        objective: index of the objective.
    """

    def __init__(self, objective: int) -> None:
        self._objective = objective

    def check_objectives(self, names: Sequence[str]) -> None:
        """Raise a UserError if there are other objectives, which the fitness would pass over."""
        if len(names) > 1:
            read = names[self._objective] if self._objective < len(names) else f"number {self._objective}"
            raise UserError(
                f"This search uses one objective, {read}, and would pass over the others of {', '.join(names)}.",
                f"Measure it alone ('objective=[{read}]', of a table 'evaluator.objectives=[{read}]'), or use "
                "search=ednag for several.",
            )


class AccuracyFitness(SingleObjectiveFitness):
    """EDNAG's fitness of a single objective: accuracy in percent, with a slope that grows with accuracy.

    Piecewise linear through (0, 0), (30, 3), (50, 23), (70, 63), (75, 78), (80, 103), (85, 153),
    (90, 303), (95, 503), slope 50 above: beyond 85 % a tenth of a percentage point is a factor of e^3 to e^5.

    Args:
        objective: index of the error among the objectives.
        full: accuracy at error 0: 100 for errors in percent, 0 for negated accuracies.
        unit: percentage points of accuracy per unit of the error; 100 for errors in [0, 1].
        scale: factor on accuracies of data sets whose best accuracy is far below 100 (ImageNet16-120: 2).

    Raises:
        UserError: unit or scale is not positive.
    """

    def __init__(
        self, objective: int = 0, full: float = 100.0, unit: float = 1.0, scale: float = 1.0
    ) -> None:
        _check(unit=unit, scale=scale)
        super().__init__(objective)
        self._full, self._unit, self._scale = full, unit, scale

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) fitness of each row of (N, M) values, independent of the others."""
        return _stretched(self._scale * (self._full - self._unit * values[:, self._objective]))


class LossFitness(SingleObjectiveFitness):
    """EDNAG's fitness of a loss, of room layouts in TransNAS-Bench-101: that of the accuracy `base` + `gain` / loss.

    Args:
        objective: index of the loss among the objectives.
        base: accuracy of an infinite loss, in percent.
        gain: percentage points times loss; as published 2814 for macro networks and 2969 for cells.
        unit: published losses per unit of the objective; the benchmark's losses times 100 were used.

    Raises:
        UserError: gain or unit is not positive.
    """

    def __init__(
        self, objective: int = 0, base: float = 50.0, gain: float = 2814.0, unit: float = 100.0
    ) -> None:
        _check(gain=gain, unit=unit)
        super().__init__(objective)
        self._base, self._gain, self._unit = base, gain, unit

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) fitness of each row of (N, M) values, independent of the others; 0 for losses that are not positive."""
        loss = self._unit * values[:, self._objective]
        safe = np.where(loss > 0, loss, np.inf)
        return np.where(loss > 0, _stretched(self._base + self._gain / safe), 0.0)


class PowerFitness(SingleObjectiveFitness):
    """Power map of diffusion evolution: ((worst - f) / (worst - best)) ** power of one objective f.

    Args:
        objective: index of the objective.
        power: exponent; 1 is the identity map.

    Raises:
        UserError: the power is not positive.
    """

    def __init__(self, objective: int = 0, power: float = 1.0) -> None:
        _check(power=power)
        super().__init__(objective)
        self._power = power

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) fitness of (N, M) values, relative to this set."""
        return np.asarray(_below_worst(values[:, self._objective]) ** self._power)


class EnergyFitness(SingleObjectiveFitness):
    """Energy map of diffusion evolution: exp(-u / T) of one objective u, scaled to 0 (best) .. 1 (worst).

    Args:
        objective: index of the objective.
        temperature: T; smaller values are greedier.

    Raises:
        UserError: the temperature is not positive.
    """

    def __init__(self, objective: int = 0, temperature: float = 0.1) -> None:
        _check(temperature=temperature)
        super().__init__(objective)
        self._temperature = temperature

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) fitness of (N, M) values, relative to this set."""
        return np.asarray(np.exp((_below_worst(values[:, self._objective]) - 1) / self._temperature))


def _stretched(accuracy: np.ndarray) -> np.ndarray:
    """EDNAG's piecewise linear fitness of accuracies in percent."""
    part = np.clip(np.searchsorted(_KNOTS, accuracy, side="right") - 1, 0, None)
    return np.maximum(_HEIGHTS[part] + _SLOPES[part] * (accuracy - _KNOTS[part]), 0.0)


def _below_worst(values: np.ndarray) -> np.ndarray:
    span = float(np.ptp(values))
    return np.ones(len(values)) if span == 0 else np.asarray((values.max() - values) / span)


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if not value > 0:
            raise UserError(
                f"search.fitness.{name} must be positive, got {value}.", f"Set search.fitness.{name} above 0."
            )
