"""Performance-aware sampling: a walk over levels that prefers subnets which have done well.

After ElasticViT (arXiv 2303.09730, section 4.2; its public code for what the text leaves open). Its
preference score looks at channels and depths of attention stages; here `Space.is_depth` says which genes are
the depth, and every other gene is a width.
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
from evonas.train.sampling.base import Judge, Judging
from evonas.train.sampling.complexity_aware import LevelSampler, LevelWalk, picked
from evonas.train.sampling.step import StepSampler

QUALITY_SHARES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class BankPlan:
    """How banks are kept and used.

    Args:
        size: members of each level's bank.
        exploit: Q, the chance to draw from the bank rather than anew; one value for each equal part
            of the training.
        tries: subnets among which the preference score decides when one is drawn anew.
        rescore_every: optimizer steps between new qualities for the bank of the level.
        refresh_every: optimizer steps between new qualities for all banks.
    """

    size: int = 16
    exploit: tuple[float, ...] = QUALITY_SHARES
    tries: int = 5
    rescore_every: int = 25
    refresh_every: int = 100

    def __post_init__(self) -> None:
        if min(self.size, self.tries, self.rescore_every, self.refresh_every) < 1 or not self.exploit:
            raise UserError(f"{self} leaves a bank without use.", "All its numbers are at least 1.")
        if not all(0 <= chance <= 1 for chance in self.exploit):
            raise UserError(f"exploit={list(self.exploit)} are no chances.", "Each lies between 0 and 1.")

    def chance(self, step: int, total_steps: int) -> float:
        """Q at a step."""
        part = len(self.exploit) * step // max(1, total_steps)
        return self.exploit[min(part, len(self.exploit) - 1)]


class BankSampler:
    """Satisfies `evonas.train.sampling.base.Judging`; its state is what the banks hold."""

    def __init__(self, walk: LevelSampler, plan: BankPlan, total_steps: int) -> None:
        self._walk, self._plan, self._total = walk, plan, total_steps
        self._costs = walk.table.costs
        self.banks = [Bank(plan.size) for _ in walk.table.levels]

    def chosen(self, step: int, judge: Judge) -> list[Genotype]:
        """The subnets of one optimizer step; those drawn anew are judged and offered to the level's bank."""
        self._rescore(step, judge)
        place, level = self._walk.place(step), self._walk.level(step)
        inside = self._walk.inside
        rng = generator(inside.seed, f"subnets/{inside.step.name}", step)
        picks = [self._pick(place, step, rng) for _ in range(self._walk.free)]
        explored = list(dict.fromkeys(genotype for genotype, is_new in picks if is_new))
        for genotype, loss in zip(explored, judge(explored) if explored else [], strict=True):
            self.banks[place].offer(genotype, -loss)
        return self._walk.around([genotype for genotype, _ in picks], level)

    def state(self) -> dict[str, Any]:
        """The members of every bank, in the order of levels."""
        return {"banks": [bank.plain() for bank in self.banks]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what `state` gave."""
        for bank, plain in zip(self.banks, state["banks"], strict=True):
            bank.fill(self._costs.space.name, plain)

    def preference(self, genotype: Genotype, anchor: Genotype) -> int:
        """Multiply-adds with the anchor's widths, less those with its depths: least for wide and shallow."""
        space = self._costs.space
        is_depth = np.array(space.is_depth)
        own, other = np.array(genotype.genes), np.array(anchor.genes)
        mixed = np.stack([np.where(is_depth, own, other), np.where(is_depth, other, own)])
        narrow, shallow = self._costs.macs(space.canonical_rows(mixed))
        return int(narrow - shallow)

    def _pick(self, place: int, step: int, rng: np.random.Generator) -> tuple[Genotype, bool]:
        bank, level = self.banks[place], self._walk.table.levels[place]
        if bank.is_half_full and rng.random() < self._plan.chance(step, self._total):
            return bank.draw(rng), False
        if not bank.is_half_full:
            return picked(rng, level, 1)[0], True
        anchor = (self.banks[0].best() if place else None) or level.smallest
        return min(picked(rng, level, self._plan.tries), key=lambda g: self.preference(g, anchor)), True

    def _rescore(self, step: int, judge: Judge) -> None:
        places: Sequence[int] = ()
        if step % self._plan.refresh_every == 0:
            places = range(len(self.banks))
        elif step % self._plan.rescore_every == 0:
            places = [self._walk.place(step)]
        for place in places:
            if len(self.banks[place]):
                self.banks[place].rescore([-loss for loss in judge(self.banks[place].members)])


class Banks:
    """The draw of the keys of a `LevelPlan` and of a `BankPlan`, whose `size` is called `members`.

    The smallest subnet of the level's group is the last of every step.
    """

    def __init__(
        self,
        levels: int | Sequence[float] = 8,
        window: float = 0.1,
        size: int = 512,
        groups: int = 3,
        members: int = 16,
        exploit: Sequence[float] = QUALITY_SHARES,
        tries: int = 5,
        rescore_every: int = 25,
        refresh_every: int = 100,
    ) -> None:
        self.walk = LevelWalk(levels, window, size, groups)
        self.plan = BankPlan(members, tuple(exploit), tries, rescore_every, refresh_every)

    def sampler(self, inside: StepSampler, costs: CostTable, total_steps: int) -> Judging:
        """A sampler of one curriculum step, with empty banks."""
        return BankSampler(self.walk.walking(inside, costs), self.plan, total_steps)
