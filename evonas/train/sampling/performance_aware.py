"""Performance-aware sampling (ElasticViT, arXiv 2303.09730, section 4.2, and its published code).

Complexity-aware sampling that prefers subnets with low losses: it samples from banks of good subnets. ElasticViT's
preference score compares channels and depths of attention stages; here `Space.is_depth` marks the depth genes and
all other genes count as widths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.bank import Bank
from evonas.train.sampling.base import LossAwareSampler, LossOracle
from evonas.train.sampling.complexity_aware import (
    ComplexityAwareSampler,
    ComplexityAwareSampling,
    sample_level,
)
from evonas.train.sampling.step import StepSampler

QUALITY_SHARES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class BankPlan:
    """Settings of the banks.

    Args:
        size: capacity of the bank of each level.
        exploit: Q, the probability to sample from the bank instead of exploring; one value per equal part
            of the training.
        candidates: number of explored candidates, of which the preference score chooses one.
        rescore_every: optimizer steps between updates of the qualities in the current level's bank.
        refresh_every: optimizer steps between updates of the qualities in all banks.

    Raises:
        UserError: a number is below 1, or a probability is outside [0, 1].
    """

    size: int = 16
    exploit: tuple[float, ...] = QUALITY_SHARES
    candidates: int = 5
    rescore_every: int = 25
    refresh_every: int = 100

    def __post_init__(self) -> None:
        if min(self.size, self.candidates, self.rescore_every, self.refresh_every) < 1 or not self.exploit:
            raise UserError(
                f"Bank sizes and intervals must be at least 1 and exploit must not be empty, got {self}.",
                "Check sampler.strategy.",
            )
        if not all(0 <= chance <= 1 for chance in self.exploit):
            raise UserError(
                f"sampler.strategy.exploit must contain probabilities, got {list(self.exploit)}.",
                "Each lies between 0 and 1.",
            )

    def chance(self, step: int, total_steps: int) -> float:
        """The exploitation probability Q at a step."""
        part = len(self.exploit) * step // max(1, total_steps)
        return self.exploit[min(part, len(self.exploit) - 1)]


class PerformanceAwareSampler:
    """Performance-aware sampler of one curriculum step, a `LossAwareSampler`; its state is that of the banks."""

    def __init__(self, walk: ComplexityAwareSampler, plan: BankPlan, total_steps: int) -> None:
        self._walk, self._plan, self._total = walk, plan, total_steps
        self._costs = walk.table.costs
        self.banks = [Bank(plan.size) for _ in walk.table.levels]

    def chosen(self, step: int, oracle: LossOracle) -> list[Genotype]:
        """The subnets of one optimizer step; explored ones are evaluated and offered to the level's bank."""
        self._rescore(step, oracle)
        index, level = self._walk.level_index(step), self._walk.level(step)
        uniform = self._walk.uniform
        rng = generator(uniform.seed, f"subnets/{uniform.step.name}", step)
        picks = [self._pick(index, step, rng) for _ in range(self._walk.free)]
        explored = list(dict.fromkeys(genotype for genotype, is_new in picks if is_new))
        for genotype, loss in zip(explored, oracle(explored) if explored else [], strict=True):
            self.banks[index].offer(genotype, -loss)
        return self._walk.around([genotype for genotype, _ in picks], level)

    def state(self) -> dict[str, Any]:
        """The members of every bank, in the order of the levels."""
        return {"banks": [bank.plain() for bank in self.banks]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        for bank, plain in zip(self.banks, state["banks"], strict=True):
            bank.fill(self._costs.space.name, plain)

    def preference(self, genotype: Genotype, anchor: Genotype) -> int:
        """The preference score: multiply-adds with the anchor's widths minus those with its depths.

        It is lowest for wide and shallow subnets.
        """
        space = self._costs.space
        is_depth = np.array(space.is_depth)
        own, other = np.array(genotype.genes), np.array(anchor.genes)
        mixed = np.stack([np.where(is_depth, own, other), np.where(is_depth, other, own)])
        narrow, shallow = self._costs.macs(space.canonical_rows(mixed))
        return int(narrow - shallow)

    def _pick(self, index: int, step: int, rng: np.random.Generator) -> tuple[Genotype, bool]:
        """A subnet of the level `index`, and whether it is explored instead of sampled from the bank."""
        bank, level = self.banks[index], self._walk.table.levels[index]
        if bank.is_half_full and rng.random() < self._plan.chance(step, self._total):
            return bank.draw(rng), False
        if not bank.is_half_full:
            return sample_level(rng, level, 1)[0], True
        anchor = (self.banks[0].best() if index else None) or level.smallest
        return min(
            sample_level(rng, level, self._plan.candidates), key=lambda g: self.preference(g, anchor)
        ), True

    def _rescore(self, step: int, oracle: LossOracle) -> None:
        """Updates the qualities in the banks that are due at this step."""
        due: Sequence[int] = ()
        if step % self._plan.refresh_every == 0:
            due = range(len(self.banks))
        elif step % self._plan.rescore_every == 0:
            due = [self._walk.level_index(step)]
        for index in due:
            if len(self.banks[index]):
                self.banks[index].rescore([-loss for loss in oracle(self.banks[index].members)])


class PerformanceAwareSampling:
    """Strategy of performance-aware sampling; the last subnet of a step is the smallest of the level's group.

    Args:
        levels, window, size, groups: see `LevelPlan`.
        members: capacity of each bank.
        exploit, candidates, rescore_every, refresh_every: see `BankPlan`.
    """

    def __init__(
        self,
        levels: int | Sequence[float] = 8,
        window: float = 0.1,
        size: int = 512,
        groups: int = 3,
        members: int = 16,
        exploit: Sequence[float] = QUALITY_SHARES,
        candidates: int = 5,
        rescore_every: int = 25,
        refresh_every: int = 100,
    ) -> None:
        self.walk = ComplexityAwareSampling(levels, window, size, groups)
        self.plan = BankPlan(members, tuple(exploit), candidates, rescore_every, refresh_every)

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> LossAwareSampler:
        """The sampler of one curriculum step, with empty banks."""
        return PerformanceAwareSampler(self.walk.level_sampler(uniform, costs), self.plan, total_steps)
