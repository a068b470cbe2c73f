"""Analytic test evaluator: smooth trade-offs computed from the genes, without networks and torch.

It tests engines, archives and searchers in milliseconds; engine checks and dry runs use it.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evonas import config
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.randomness import generator
from evonas.space.genotype import Genotype

PARTS_OF: dict[str, Part] = {"error": "shared", "macs": "shared", "latency": "exclusive"}


class AnalyticEvaluator:
    """Objectives as closed forms of relative gene values u in [0, 1].

    With weights w and targets t drawn from the seed: `macs` = 0.2 + mean(w u) / mean(w); `error` =
    exp(-2 mean(w u) / mean(w)) + 0.3 mean((u - t)^2); `latency` = 0.7 macs + 0.3 mean(u^2). More capacity lowers the
    error and raises the cost, and the targets make errors differ at equal cost.

    Args:
        space: a Space, or its config.
        objectives: names among error, macs, latency.
        seconds: simulated duration of each measurement.
        seed: seed of w and t.

    Raises:
        UserError: an objective is unknown.
    """

    def __init__(
        self,
        space: Any,
        objectives: Sequence[str] = ("error", "macs"),
        seconds: float = 0.0,
        seed: int = 0,
    ) -> None:
        unknown = [name for name in objectives if name not in PARTS_OF]
        if unknown:
            raise UserError(f"No analytic objective '{unknown[0]}'.", f"Choose among {', '.join(PARTS_OF)}.")
        self._space = space
        self._objectives = tuple(objectives)
        self._seconds = seconds
        self._seed = seed

    def setup(self) -> None:
        """Builds the space and samples the constants."""
        if isinstance(self._space, Mapping):
            self._space = config.build(self._space)
        rng = generator(self._seed, "analytic")
        self._span = np.maximum(np.asarray(self._space.cardinalities, dtype=np.float64) - 1.0, 1.0)
        self._weights = rng.uniform(0.5, 1.5, self._span.size)
        self._targets = rng.uniform(0.0, 1.0, self._span.size)

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """The objectives of `part`."""
        if self._seconds:
            time.sleep(self._seconds)
        values = self.values(genotype)
        return Measurement({name: values[name] for name in self._objectives if PARTS_OF[name] == part})

    def values(self, genotype: Genotype) -> dict[str, float]:
        """The values of all closed forms by name."""
        u = np.asarray(genotype.genes) / self._span
        load = float(np.mean(self._weights * u) / np.mean(self._weights))
        macs = 0.2 + load
        error = math.exp(-2.0 * load) + 0.3 * float(np.mean((u - self._targets) ** 2))
        return {"error": error, "macs": macs, "latency": 0.7 * macs + 0.3 * float(np.mean(u * u))}
