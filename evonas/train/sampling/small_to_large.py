"""Small to large: training begins with cheap subnets, and the ceiling on their cost rises.

The order of GrowTAS (arXiv 2512.12296), opposite to progressive shrinking, here by multiply-adds: small
subnets use weights that all others share, so they are learnt first.
"""

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.complexity_aware import picked, table_of
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.step import StepSampler


class GrowingSampler:
    """What is always trained, and random levels' subnets under a ceiling that rises evenly until `until`."""

    def __init__(self, inside: StepSampler, table: LevelTable, until: float, total_steps: int) -> None:
        self._inside, self._table = inside, table
        self._rise = max(1.0, until * total_steps)

    def open_levels(self, step: int) -> int:
        """How many levels are open at a step, from the cheapest."""
        share = min(1.0, step / self._rise)
        return 1 + int(share * (len(self._table.levels) - 1))

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step."""
        rng = generator(self._inside.seed, f"subnets/{self._inside.step.name}", step)
        levels = self._table.levels[: self.open_levels(step)]
        places = rng.integers(len(levels), size=self._inside.free)
        return [*self._inside.corners, *(picked(rng, levels[place], 1)[0] for place in places.tolist())]


class Growing:
    """The draw: evenly spaced levels without gaps, opened from the cheapest to the dearest.

    Args:
        levels: how many.
        until: the share of the training after which all are open.
        size: subnets kept of each level at most.
    """

    def __init__(self, levels: int = 8, until: float = 0.6, size: int = 512) -> None:
        if not 0 <= until <= 1:
            raise UserError(f"sampler.draw.until={until} is no share of a training.", "Try 0.6.")
        self.plan, self.until = LevelPlan(levels, None, size, groups=1), until

    def sampler(self, inside: StepSampler, costs: CostTable, total_steps: int) -> Sampler:
        """A sampler of one curriculum step of so many optimizer steps."""
        return GrowingSampler(inside, table_of(inside, costs, self.plan), self.until, total_steps)
