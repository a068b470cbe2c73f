"""Attentive sampling: of several subnets of one cost, the one that promises most, or least, is trained.

After AttentiveNAS (arXiv 2011.09011): a cost is drawn as often as plain sampling would meet it, several
subnets of that cost are compared, and the best (best-up) or the worst (worst-up) of them is trained.
They are compared by their loss on the images at hand, or by a predictor learnt from earlier losses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Judge, Judging
from evonas.train.sampling.complexity_aware import picked, table_of
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.loss_predictor import LossPredictor
from evonas.train.sampling.step import StepSampler

_PRIOR = 400


class AttentiveSampler:
    """Satisfies `evonas.train.sampling.base.Judging`; its state is what the predictor, if any, has learnt."""

    def __init__(
        self, inside: StepSampler, table: LevelTable, tries: int, sign: int, predictor: LossPredictor | None
    ) -> None:
        self._inside, self._table = inside, table
        self._tries, self._sign, self._predictor = tries, sign, predictor
        self.prior = self._prior()

    def chosen(self, step: int, judge: Judge) -> list[Genotype]:
        """The corners that are always trained, and for each free place one subnet of several."""
        rng = generator(self._inside.seed, f"subnets/{self._inside.step.name}", step)
        places = rng.choice(len(self.prior), size=self._inside.free, p=self.prior).tolist()
        groups = [picked(rng, self._table.levels[place], self._tries) for place in places]
        losses = self._losses([genotype for group in groups for genotype in group], judge)
        return [*self._inside.corners, *(self._promising(group, losses) for group in groups)]

    def state(self) -> dict[str, Any]:
        """What the predictor has learnt."""
        return {} if self._predictor is None else self._predictor.plain()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what `state` gave."""
        if self._predictor is not None:
            self._predictor.fill(state)

    def _losses(self, genotypes: Sequence[Genotype], judge: Judge) -> dict[Genotype, float]:
        distinct = list(dict.fromkeys(genotypes))
        if not distinct:
            return {}
        if self._predictor is None:
            return dict(zip(distinct, judge(distinct), strict=True))
        # one true loss a place, and never a single one, keeps the predictor learning; the rest is predicted
        asked = distinct[:: self._tries] if len(distinct) > self._tries else distinct[:2]
        self._predictor.learn(asked, judge(asked))
        return dict(zip(distinct, self._predictor.predict(distinct), strict=True))

    def _promising(self, group: Sequence[Genotype], losses: dict[Genotype, float]) -> Genotype:
        return min(group, key=lambda genotype: self._sign * losses[genotype])

    def _prior(self) -> NDArray[np.float64]:
        """How often plain sampling meets each level; no level is left out."""
        drawn = np.array([self._inside.example(index).genes for index in range(_PRIOR)])
        marks = [level.macs for level in self._table.levels]
        places = np.searchsorted(marks, self._table.costs.macs(drawn), side="right") - 1
        counts = 1.0 + np.bincount(places.clip(0), minlength=len(marks))
        return counts / counts.sum()


class Attentive:
    """The draw: evenly spaced levels without gaps, and several subnets of one to choose from.

    Args:
        prefer: `best` or `worst`.
        by: `loss` on the images of the step, or `predictor`.
        tries: subnets to choose from.
        levels: how finely costs are told apart.
        size: subnets kept of each level at most.
    """

    def __init__(
        self, prefer: str = "best", by: str = "loss", tries: int = 3, levels: int = 16, size: int = 256
    ) -> None:
        if prefer not in ("best", "worst") or by not in ("loss", "predictor") or tries < 1:
            raise UserError(
                f"sampler.draw: prefer={prefer} by={by} tries={tries} is unknown.",
                "Known: prefer=best or worst, by=loss or predictor, tries from 1.",
            )
        self.sign, self.by, self.tries = (1 if prefer == "best" else -1), by, tries
        self.plan = LevelPlan(levels, None, size, groups=1)

    def sampler(self, inside: StepSampler, costs: CostTable, total_steps: int) -> Judging:  # noqa: ARG002
        """A sampler of one curriculum step; its length does not matter."""
        predictor = LossPredictor(costs.space) if self.by == "predictor" else None
        table = table_of(inside, costs, self.plan)
        return AttentiveSampler(inside, table, self.tries, self.sign, predictor)
