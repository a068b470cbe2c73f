"""From objective values, which are minimised, to fitness, which is at least 0 and grows with worth.

The contract. A fitness is called with (N, M) finite values and returns (N,) numbers. N individuals,
M objectives. Some are relative to the set they are given, so two sets are not comparable.
"""

from collections.abc import Callable

import numpy as np

from evonas.errors import UserError
from evonas.search.ranking import best_first

Fitness = Callable[[np.ndarray], np.ndarray]

# accuracies in percent, the fitness there, and the slope beyond: EDNAG's map (arXiv 2504.17827, its code)
_KNOTS = np.array([0.0, 30.0, 50.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0])
_HEIGHTS = np.array([0.0, 3.0, 23.0, 63.0, 78.0, 103.0, 153.0, 303.0, 503.0])
_SLOPES = np.array([0.1, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 40.0, 50.0])


class FrontFitness:
    """Several objectives: by front, then by crowding, evenly from `pressure` for the best to 0; our own.

    Equal values have equal fitness.

    Args:
        pressure: fitness of the best; through EDNAG's exponential it outweighs the worst e^pressure times.

    Raises:
        UserError: unless the pressure is positive.
    """

    def __init__(self, pressure: float = 10.0) -> None:
        _check(pressure=pressure)
        self._pressure = pressure

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) of a set."""
        distinct, place = np.unique(values, axis=0, return_inverse=True)
        fitness = np.empty(len(distinct))
        fitness[best_first(distinct)] = np.linspace(self._pressure, 0.0, len(distinct))
        return np.asarray(fitness[place.reshape(-1)])


class AccuracyFitness:
    """EDNAG's single objective: accuracy in percent, stretched more and more towards the top.

    Piecewise linear through (0, 0), (30, 3), (50, 23), (70, 63), (75, 78), (80, 103), (85, 153),
    (90, 303), (95, 503), slope 50 beyond: above 85 % a tenth of a point is worth a factor e^3 to e^5.

    Args:
        objective: position of the error among the objectives.
        full: what accuracy is when the error is 0: 100 for errors in percent, 0 for negated accuracies.
        unit: accuracy points per unit of the error; 100 for errors from 0 to 1.
        scale: stretches accuracies of data sets where nobody comes near 100 (ImageNet16-120: 2).

    Raises:
        UserError: unless unit and scale are positive.
    """

    def __init__(
        self, objective: int = 0, full: float = 100.0, unit: float = 1.0, scale: float = 1.0
    ) -> None:
        _check(unit=unit, scale=scale)
        self._objective, self._full, self._unit, self._scale = objective, full, unit, scale

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) of each row alone."""
        accuracy = self._scale * (self._full - self._unit * values[:, self._objective])
        part = np.clip(np.searchsorted(_KNOTS, accuracy, side="right") - 1, 0, None)
        return np.maximum(_HEIGHTS[part] + _SLOPES[part] * (accuracy - _KNOTS[part]), 0.0)


class PowerFitness:
    """Diffusion evolution's power map of one objective: its relative gain on the worst, to a power.

    Args:
        objective: position of the objective.
        power: 1 is the identity map.

    Raises:
        UserError: unless the power is positive.
    """

    def __init__(self, objective: int = 0, power: float = 1.0) -> None:
        _check(power=power)
        self._objective, self._power = objective, power

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) of a set."""
        return np.asarray(_below_worst(values[:, self._objective]) ** self._power)


class EnergyFitness:
    """Diffusion evolution's energy map of one objective: exp(-u / T), u from 0 (best) to 1 (worst).

    Args:
        objective: position of the objective.
        temperature: smaller is greedier.

    Raises:
        UserError: unless the temperature is positive.
    """

    def __init__(self, objective: int = 0, temperature: float = 0.1) -> None:
        _check(temperature=temperature)
        self._objective, self._temperature = objective, temperature

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,) of a set."""
        return np.asarray(np.exp((_below_worst(values[:, self._objective]) - 1) / self._temperature))


def _below_worst(values: np.ndarray) -> np.ndarray:
    span = float(np.ptp(values))
    return np.ones(len(values)) if span == 0 else np.asarray((values.max() - values) / span)


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"fitness.{name} is {value}.", f"Set search.fitness.{name} above 0.")
