"""Performance-aware sampling (ElasticViT, arXiv 2303.09730, section 4.2, and its published code).

Complexity-aware sampling that prefers subnets with low losses: it samples from banks of good subnets. ElasticViT's
preference score compares channels and depths of attention stages, which are the genes `widths` and `depths`; without
them `Space.is_depth` marks the depth genes and all other genes count as widths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genes import prefix_of
from evonas.space.genotype import Genotype
from evonas.space.space import Space
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
        size: capacity of the bank of each level; one number for all, or one per level.
        exploit: Q, the probability to sample from the bank instead of exploring; one value per equal part
            of the training.
        candidates: number of explored candidates, of which the preference score chooses one.
        rescore_every: optimizer steps between updates of the qualities in the current level's bank.
        refresh_every: optimizer steps between updates of the qualities in all banks.
        widths: names, prefixes or groups of the genes that the preference score counts as widths; None for all but
            the depth genes.
        depths: likewise those that it counts as depths; None for the depth genes.

    Raises:
        UserError: a number is below 1, or a probability is outside [0, 1].
    """

    size: int | tuple[int, ...] = 16
    exploit: tuple[float, ...] = QUALITY_SHARES
    candidates: int = 5
    rescore_every: int = 25
    refresh_every: int = 100
    widths: tuple[str, ...] | None = None
    depths: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        sizes = (self.size,) if isinstance(self.size, int) else self.size
        if (
            not sizes
            or min(*sizes, self.candidates, self.rescore_every, self.refresh_every) < 1
            or not self.exploit
        ):
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

    def capacities(self, levels: int) -> list[int]:
        """The capacity of each level's bank.

        Raises:
            UserError: there are capacities for another number of levels.
        """
        if isinstance(self.size, int):
            return [self.size] * levels
        if len(self.size) != levels:
            raise UserError(
                f"sampler.strategy.members has {len(self.size)} numbers for {levels} levels.",
                "Give one number for all, or one per level.",
            )
        return list(self.size)


class PerformanceAwareSampler:
    """Performance-aware sampler of one curriculum step, a `LossAwareSampler`; its state is that of the banks."""

    def __init__(self, walk: ComplexityAwareSampler, plan: BankPlan, total_steps: int) -> None:
        self._walk, self._plan, self._total = walk, plan, total_steps
        self._costs = walk.table.costs
        self.banks = [Bank(size) for size in plan.capacities(len(walk.table.levels))]
        space = self._costs.space
        depth = np.array(space.is_depth)
        self._is_depth = depth if plan.depths is None else _positions(space, plan.depths)
        self._is_width = ~depth if plan.widths is None else _positions(space, plan.widths)

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
        own, other = np.array(genotype.genes), np.array(anchor.genes)
        mixed = np.stack([np.where(mask, other, own) for mask in (self._is_width, self._is_depth)])
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
        levels, window, size, groups, span, least, spread, tables: see `LevelPlan`.
        members: capacity of each bank; one number, or one per level.
        exploit, candidates, rescore_every, refresh_every, widths, depths: see `BankPlan`.
        start: see `ComplexityAwareSampling`.
    """

    def __init__(
        self,
        levels: int | Sequence[float] = 8,
        window: float = 0.1,
        size: int = 512,
        groups: int = 3,
        members: int | Sequence[int] = 16,
        exploit: Sequence[float] = QUALITY_SHARES,
        candidates: int = 5,
        rescore_every: int = 25,
        refresh_every: int = 100,
        widths: Sequence[str] | None = None,
        depths: Sequence[str] | None = None,
        span: float | None = None,
        least: Mapping[Any, str] | None = None,
        spread: bool = True,
        tables: str | None = None,
        start: int | None = None,
    ) -> None:
        self.walk = ComplexityAwareSampling(
            levels, window, size, groups, True, span, least, spread, tables, start
        )
        self.plan = BankPlan(
            members if isinstance(members, int) else tuple(members),
            tuple(exploit),
            candidates,
            rescore_every,
            refresh_every,
            None if widths is None else tuple(widths),
            None if depths is None else tuple(depths),
        )

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> LossAwareSampler:
        """The sampler of one curriculum step, with empty banks."""
        return PerformanceAwareSampler(self.walk.level_sampler(uniform, costs), self.plan, total_steps)


def _positions(space: Space, words: Sequence[str]) -> NDArray[np.bool_]:
    """(V,) the positions of the genes of names, prefixes or groups.

    Raises:
        UserError: a word is none of them.
    """
    found = np.zeros(len(space.cardinalities), dtype=bool)
    for word in words:
        names = space.members.get(word) or tuple(
            name for name in space.spans if word in (name, prefix_of(name))
        )
        if not names:
            raise UserError(
                f"sampler.strategy: {word!r} is no gene of space {space.name}.",
                f"Genes: {', '.join(space.spans)}.",
            )
        for name in names:
            found[space.spans[name]] = True
    return found
