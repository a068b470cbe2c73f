"""An evaluator without networks: smooth trade-offs computed from the genes alone.

It exercises engines, archives and searchers in milliseconds and without torch, in engine checks and dry runs.
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
    """Objectives as closed forms of a genotype's relative gene values u in [0, 1].

    With weights w and targets t drawn from the seed: `macs` = 0.2 + mean(w u) over mean(w); `error` =
    exp(-2 mean(w u) / mean(w)) + 0.3 mean((u - t)^2); `latency` = 0.7 macs + 0.3 mean(u^2). More capacity
    lowers the error and costs more, so the front is a genuine trade-off; the targets make some nets better
    than others at equal cost.

    Args:
        space: a Space, or config that builds one.
        objectives: names among error, macs, latency.
        seconds: pretended duration of each measurement.
        seed: decides w and t.
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
        """Build the space and draw the constants."""
        if isinstance(self._space, Mapping):
            self._space = config.build(self._space)
        rng = generator(self._seed, "analytic")
        self._span = np.maximum(np.asarray(self._space.cardinalities, dtype=np.float64) - 1.0, 1.0)
        self._weights = rng.uniform(0.5, 1.5, self._span.size)
        self._targets = rng.uniform(0.0, 1.0, self._span.size)

    def measure(self, genotype: str, part: Part) -> Measurement:
        """The objectives that belong to the part."""
        if self._seconds:
            time.sleep(self._seconds)
        values = self.values(self._space.parse(genotype))
        return Measurement({name: values[name] for name in self._objectives if PARTS_OF[name] == part})

    def values(self, genotype: Genotype) -> dict[str, float]:
        """Every closed form by name, whatever the objectives are."""
        u = np.asarray(genotype.genes) / self._span
        load = float(np.mean(self._weights * u) / np.mean(self._weights))
        macs = 0.2 + load
        error = math.exp(-2.0 * load) + 0.3 * float(np.mean((u - self._targets) ** 2))
        return {"error": error, "macs": macs, "latency": 0.7 * macs + 0.3 * float(np.mean(u * u))}
