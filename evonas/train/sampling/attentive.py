"""Attentive sampling (AttentiveNAS, arXiv 2011.09011): trains the best or worst of several subnets of equal cost.

A cost level is drawn with the frequency it has under uniform sampling. Several subnets of this level are compared
and the one with the lowest loss (best-up) or the highest (worst-up) is trained. The loss is either the one on the
current batch or the prediction of a regression on the losses of earlier steps.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import LossAwareSampler, LossOracle
from evonas.train.sampling.complexity_aware import level_table, sample_level
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.loss_predictor import LossPredictor
from evonas.train.sampling.step import StepSampler

# uniform samples that estimate the distribution over cost levels
_PRIOR = 400


class AttentiveSampler:
    """Attentive sampler of one curriculum step, a `LossAwareSampler`; its state is that of the loss predictor.

    Args:
        uniform: uniform sampler of the step.
        table: cost levels.
        candidates: candidates per trained subnet.
        sign: 1 trains the candidate with the lowest loss, -1 the one with the highest.
        predictor: None compares losses on the current batch.
    """

    def __init__(
        self,
        uniform: StepSampler,
        table: LevelTable,
        candidates: int,
        sign: int,
        predictor: LossPredictor | None,
    ) -> None:
        self._uniform, self._table = uniform, table
        self._candidates, self._sign, self._predictor = candidates, sign, predictor
        # the frequency of each level under uniform sampling, with add-one smoothing
        drawn = np.array([uniform.example(index).genes for index in range(_PRIOR)])
        lower_ends = [level.macs for level in table.levels]
        indices = np.searchsorted(lower_ends, table.costs.macs(drawn), side="right") - 1
        counts = 1.0 + np.bincount(indices.clip(0), minlength=len(lower_ends))
        self.prior = counts / counts.sum()

    def chosen(self, step: int, oracle: LossOracle) -> list[Genotype]:
        """The step's fixed subnets, followed by one subnet per free slot, the best or worst of its candidates."""
        rng = generator(self._uniform.seed, f"subnets/{self._uniform.step.name}", step)
        indices = rng.choice(len(self.prior), size=self._uniform.free, p=self.prior).tolist()
        groups = [sample_level(rng, self._table.levels[index], self._candidates) for index in indices]
        losses = self._losses([genotype for group in groups for genotype in group], oracle)
        trained = [min(group, key=lambda genotype: self._sign * losses[genotype]) for group in groups]
        return [*self._uniform.corners, *trained]

    def state(self) -> dict[str, Any]:
        """The state of the loss predictor; empty without one."""
        return {} if self._predictor is None else self._predictor.plain()

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        if self._predictor is not None:
            self._predictor.fill(state)

    def _losses(self, genotypes: Sequence[Genotype], oracle: LossOracle) -> dict[Genotype, float]:
        distinct = list(dict.fromkeys(genotypes))
        if not distinct:
            return {}
        if self._predictor is None:
            return dict(zip(distinct, oracle(distinct), strict=True))
        # one measured loss per trained subnet, at least two in all, trains the predictor; the others are predicted
        asked = distinct[:: self._candidates] if len(distinct) > self._candidates else distinct[:2]
        self._predictor.learn(asked, oracle(asked))
        return dict(zip(distinct, self._predictor.predict(distinct), strict=True))


class AttentiveSampling:
    """Strategy of attentive sampling, on contiguous cost levels.

    Args:
        prefer: `best` trains the candidate with the lowest loss, `worst` the one with the highest.
        by: `loss` on the current batch, or `predictor`.
        candidates: candidates per trained subnet.
        levels: number of cost levels.
        size: maximum number of subnets stored per level.

    Raises:
        UserError: an argument is unknown, or candidates is below 1.
    """

    def __init__(
        self, prefer: str = "best", by: str = "loss", candidates: int = 3, levels: int = 16, size: int = 256
    ) -> None:
        if prefer not in ("best", "worst") or by not in ("loss", "predictor") or candidates < 1:
            raise UserError(
                f"sampler.strategy: prefer={prefer} by={by} candidates={candidates} is unknown.",
                "Known: prefer=best or worst, by=loss or predictor, candidates from 1.",
            )
        self.sign, self.by, self.candidates = (1 if prefer == "best" else -1), by, candidates
        self.plan = LevelPlan(levels, None, size, groups=1)

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> LossAwareSampler:  # noqa: ARG002
        """The sampler of one curriculum step; it ignores `total_steps`."""
        predictor = LossPredictor(costs.space) if self.by == "predictor" else None
        table = level_table(uniform, costs, self.plan)
        return AttentiveSampler(uniform, table, self.candidates, self.sign, predictor)
