"""An evaluator whose executions can be counted from outside; a module, so that workers find it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space


@dataclass
class Witnessed:
    """An analytic evaluator that notes every execution in a file before it begins; a factory of itself."""

    events: str
    objectives: tuple[str, ...] = ("error", "macs")
    seconds: float = 0.01

    def __call__(self) -> "Witnessed":
        return self

    def setup(self) -> None:
        self.space = evonet_space()
        self.inner = AnalyticEvaluator(self.space, self.objectives, self.seconds)
        self.inner.setup()

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        handle = os.open(self.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{part} {self.space.format(genotype)}\n".encode())
        os.close(handle)
        return self.inner.measure(genotype, part)


@dataclass
class WitnessedTogether(Witnessed):
    """The same in passes over several genotypes."""

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        assert images is None
        return [self.measure(genotype, part) for genotype in genotypes]
