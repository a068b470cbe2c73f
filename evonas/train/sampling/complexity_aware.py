"""Complexity-aware sampling: all subnets of a step cost about the same, and steps move between neighbours.

After ElasticViT (arXiv 2303.09730, section 4.1): a level walks at random by at most one a step, and the
subnets of a step come from it, so that gradients of very different subnets are not summed.
"""

from collections.abc import Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.cost_levels import Level, LevelPlan, LevelTable
from evonas.train.sampling.step import StepSampler

_BLOCK = 1024


class Positions:
    """Where a walk over `count` places is at each step: a function of (seed, purpose, step).

    At either end a move outwards is a stay, so moves there are {0, 0, 1} or {-1, 0, 0}.
    """

    def __init__(self, count: int, seed: int, purpose: str) -> None:
        self._count, self._seed, self._purpose = count, seed, purpose
        self._known = [int(generator(seed, f"{purpose}/start").integers(count))]

    def at(self, step: int) -> int:
        """The place of a step, counted from 0; a step is never more than one place away from the next."""
        while len(self._known) <= step:
            block = len(self._known) // _BLOCK
            moves = generator(self._seed, self._purpose, block).integers(-1, 2, size=_BLOCK)
            for move in moves.tolist():
                self._known.append(min(max(self._known[-1] + move, 0), self._count - 1))
        return self._known[step]


class LevelSampler:
    """What is always trained, subnets of the level that a walk is at, and the smallest of its group last.

    The last one is there with `with_smallest`.
    """

    def __init__(self, inside: StepSampler, table: LevelTable, with_smallest: bool) -> None:
        self.inside, self.table, self.with_smallest = inside, table, with_smallest
        self._walk = Positions(len(table.levels), inside.seed, f"walk/{inside.step.name}")

    def level(self, step: int) -> Level:
        """The level of a step."""
        return self.table.levels[self._walk.at(step)]

    def place(self, step: int) -> int:
        """The number of the level of a step."""
        return self._walk.at(step)

    @property
    def free(self) -> int:
        """How many subnets of a step are drawn from the level."""
        return self.inside.free - self.with_smallest

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step."""
        level = self.level(step)
        rng = generator(self.inside.seed, f"subnets/{self.inside.step.name}", step)
        drawn = [level.genotype(int(rng.integers(len(level.rows)))) for _ in range(self.free)]
        return self.around(drawn, level)

    def around(self, drawn: list[Genotype], level: Level) -> list[Genotype]:
        """Subnets of a level with those that have a place beside them."""
        return [*self.inside.corners, *drawn, *([level.smallest] if self.with_smallest else [])]


class LevelWalk:
    """The draw of the keys `levels`, `window`, `size` and `groups` of a `LevelPlan`.

    Args:
        with_smallest: the last subnet of a step is the smallest of the level's group.
    """

    def __init__(
        self,
        levels: int | Sequence[float] = 8,
        window: float = 0.1,
        size: int = 512,
        groups: int = 3,
        with_smallest: bool = True,
    ) -> None:
        self.plan, self.with_smallest = LevelPlan(levels, window, size, groups), with_smallest

    def sampler(self, inside: StepSampler, costs: CostTable, total_steps: int) -> Sampler:  # noqa: ARG002
        """A sampler of one curriculum step; its length does not matter."""
        return self.walking(inside, costs)

    def walking(self, inside: StepSampler, costs: CostTable) -> LevelSampler:
        """The same, by its own type."""
        if inside.free <= self.with_smallest:
            raise UserError(
                f"Curriculum step '{inside.step.name}' has no room but for those that are always there.",
                "Raise num_subnets, or train fewer always.",
            )
        return LevelSampler(inside, table_of(inside, costs, self.plan), self.with_smallest)


def table_of(inside: StepSampler, costs: CostTable, plan: LevelPlan) -> LevelTable:
    """The levels of what a curriculum step opens."""
    return LevelTable(costs, inside.step.opened, plan, inside.seed)


def picked(rng: np.random.Generator, level: Level, count: int) -> list[Genotype]:
    """Different subnets of a level, fewer where it holds fewer."""
    size = min(count, len(level.rows))
    return [level.genotype(int(index)) for index in rng.choice(len(level.rows), size, replace=False)]
