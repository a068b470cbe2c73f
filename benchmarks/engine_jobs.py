"""Evaluators whose measurements take a known time; a module of its own, so that workers find it."""

import hashlib
import time
from dataclasses import dataclass

from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

_SPACE = evonet_space()


@dataclass
class Timed:
    """Two objectives in closed form, after a pause; a factory of itself.

    Args:
        low: seconds of the shortest measurement.
        high: seconds of the longest; which one a genotype has is drawn from its text.
        burns: whether the seconds are spent computing, on the thread's own clock, instead of sleeping.
    """

    low: float
    high: float
    burns: bool = False

    def __call__(self) -> "Timed":
        return self

    def setup(self) -> None:
        """Draw the constants of the closed form."""
        self._inner = AnalyticEvaluator(_SPACE)
        self._inner.setup()

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """The closed form, later."""
        seconds = self.seconds(genotype)
        if self.burns:
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
        elif seconds:
            time.sleep(seconds)
        return self._inner.measure(genotype, part)

    def seconds(self, genotype: Genotype) -> float:
        """How long a genotype takes."""
        share = int.from_bytes(hashlib.sha256(_SPACE.format(genotype).encode()).digest()[:4]) / 2**32
        return self.low + share * (self.high - self.low)
