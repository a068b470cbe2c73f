"""Small-to-large sampling: training starts with cheap subnets and the upper bound on their cost rises.

The order is that of GrowTAS (arXiv 2512.12296), opposite to progressive shrinking; here the size is measured in
multiply-adds. Weights of small subnets are shared by all others, so they are trained first.
"""

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.complexity_aware import level_table, sample_level
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.step import StepSampler


class SmallToLargeSampler:
    """Samples subnets of the open cost levels; levels open linearly over the first `until` of the training."""

    def __init__(self, uniform: StepSampler, table: LevelTable, until: float, total_steps: int) -> None:
        self._uniform, self._table = uniform, table
        self._rise = max(1.0, until * total_steps)

    def open_levels(self, step: int) -> int:
        """The number of open levels at a step, counted from the cheapest."""
        share = min(1.0, step / self._rise)
        return 1 + int(share * (len(self._table.levels) - 1))

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step."""
        rng = generator(self._uniform.seed, f"subnets/{self._uniform.step.name}", step)
        levels = self._table.levels[: self.open_levels(step)]
        indices = rng.integers(len(levels), size=self._uniform.free)
        return [*self._uniform.corners, *(sample_level(rng, levels[at], 1)[0] for at in indices.tolist())]


class SmallToLargeSampling:
    """Strategy of small-to-large sampling, on contiguous cost levels that open from the cheapest on.

    Args:
        levels: number of cost levels.
        until: share of the training after which all levels are open, in [0, 1].
        size: maximum number of subnets stored per level.

    Raises:
        UserError: until is outside [0, 1].
    """

    def __init__(self, levels: int = 8, until: float = 0.6, size: int = 512) -> None:
        if not 0 <= until <= 1:
            raise UserError(f"sampler.strategy.until must be in [0, 1], got {until}.", "Try 0.6.")
        self.plan, self.until = LevelPlan(levels, None, size, groups=1), until

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> Sampler:
        """The sampler of one curriculum step of `total_steps` optimizer steps."""
        return SmallToLargeSampler(uniform, level_table(uniform, costs, self.plan), self.until, total_steps)
