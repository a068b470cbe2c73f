"""Complexity-aware sampling (ElasticViT, arXiv 2303.09730, section 4.1).

All subnets of an optimizer step come from one cost level, and the level moves by at most one between consecutive
steps, so that gradients of subnets of very different cost are not summed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.cost_levels import Level, LevelPlan, LevelTable
from evonas.train.sampling.step import StepSampler

# moves per random stream
_BLOCK = 1024


class LevelRandomWalk:
    """Random walk over `count` levels: the level of a step is a function of (seed, purpose, step).

    A move is -1, 0 or 1 with equal probability; a move beyond either end is clipped to 0.

    Args:
        count: number of levels.
        seed: seed of the run.
        purpose: of the random stream.
        start: index of the first step's level; None for a random one.
    """

    def __init__(self, count: int, seed: int, purpose: str, start: int | None = None) -> None:
        self._count, self._seed, self._purpose = count, seed, purpose
        first = int(generator(seed, f"{purpose}/start").integers(count)) if start is None else start
        self._known = [first]

    def at(self, step: int) -> int:
        """The level index of a step; both count from 0."""
        while len(self._known) <= step:
            block = len(self._known) // _BLOCK
            moves = generator(self._seed, self._purpose, block).integers(-1, 2, size=_BLOCK)
            for move in moves.tolist():
                self._known.append(min(max(self._known[-1] + move, 0), self._count - 1))
        return self._known[step]


class ComplexityAwareSampler:
    """Complexity-aware sampler of one curriculum step.

    A step trains the fixed subnets of the curriculum step, random subnets of the current level, and with
    `with_smallest` the smallest subnet of the level's group last.
    """

    def __init__(
        self, uniform: StepSampler, table: LevelTable, with_smallest: bool, start: int | None = None
    ) -> None:
        self.uniform, self.table, self.with_smallest = uniform, table, with_smallest
        self._walk = LevelRandomWalk(len(table.levels), uniform.seed, f"walk/{uniform.step.name}", start)

    def level(self, step: int) -> Level:
        """The cost level of a step."""
        return self.table.levels[self._walk.at(step)]

    def level_index(self, step: int) -> int:
        """The index of the cost level of a step."""
        return self._walk.at(step)

    @property
    def free(self) -> int:
        """Number of subnets of a step that are drawn from the level."""
        return self.uniform.free - self.with_smallest

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step."""
        level = self.level(step)
        rng = generator(self.uniform.seed, f"subnets/{self.uniform.step.name}", step)
        drawn = [level.genotype(int(rng.integers(len(level.rows)))) for _ in range(self.free)]
        return self.around(drawn, level)

    def around(self, drawn: list[Genotype], level: Level) -> list[Genotype]:
        """The fixed subnets, the drawn ones, and the smallest of the level's group with `with_smallest`."""
        return [*self.uniform.corners, *drawn, *([level.smallest] if self.with_smallest else [])]


class ComplexityAwareSampling:
    """Strategy of complexity-aware sampling.

    Args:
        levels, window, size, groups, span, least, spread, tables: see `LevelPlan`.
        with_smallest: whether the last subnet of a step is the smallest of the level's group.
        start: index of the first step's level; None for a random one.

    Raises:
        UserError: start is no level.
    """

    def __init__(
        self,
        levels: int | Sequence[float] = 8,
        window: float = 0.1,
        size: int = 512,
        groups: int = 3,
        with_smallest: bool = True,
        span: float | None = None,
        least: Mapping[Any, str] | None = None,
        spread: bool = True,
        tables: str | None = None,
        start: int | None = None,
    ) -> None:
        self.plan = LevelPlan(levels, window, size, groups, span, least, spread, tables)
        self.with_smallest, self.start = with_smallest, start
        count = levels if isinstance(levels, int) else len(levels)
        if start is not None and not 0 <= start < count:
            raise UserError(f"start must be a level from 0 to {count - 1}, got {start}.", "Try start=0.")

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> Sampler:  # noqa: ARG002
        """The sampler of one curriculum step; it ignores `total_steps`."""
        return self.level_sampler(uniform, costs)

    def level_sampler(self, uniform: StepSampler, costs: CostTable) -> ComplexityAwareSampler:
        """The sampler of one curriculum step.

        Raises:
            UserError: fixed subnets use all `num_subnets`.
        """
        if uniform.free <= self.with_smallest:
            raise UserError(
                f"Curriculum step '{uniform.step.name}' leaves no subnet to sample: fixed subnets use all "
                f"{uniform.step.num_subnets}.",
                "Raise num_subnets, or shorten `always`.",
            )
        table = level_table(uniform, costs, self.plan)
        # levels that cost the same are one
        start = None if self.start is None else min(self.start, len(table.levels) - 1)
        return ComplexityAwareSampler(uniform, table, self.with_smallest, start)


def level_table(uniform: StepSampler, costs: CostTable, plan: LevelPlan) -> LevelTable:
    """The cost levels of the opening of a curriculum step."""
    return LevelTable(costs, uniform.step.opened, plan, uniform.seed)


def sample_level(rng: np.random.Generator, level: Level, count: int) -> list[Genotype]:
    """Samples `count` distinct subnets of a level, or all of them if it has fewer."""
    size = min(count, len(level.rows))
    return [level.genotype(int(index)) for index in rng.choice(len(level.rows), size, replace=False)]
