"""EDNAG: denoising with mutation and with a selection among parents and children.

Zhou and Tang, "Evolving from noise: evolutionary diffusion for neural architecture generation",
arXiv 2504.17827; constants from its public code. N individuals, D numbers.
"""

import math
from collections.abc import Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.diffusion.evolution import Denoising, Descent
from evonas.search.diffusion.fitness import Fitness
from evonas.search.diffusion.schedules import mutate_shared
from evonas.search.evolution.genetic import check_probability
from evonas.search.ledger import Ledger
from evonas.space.genotype import Genotype
from evonas.space.space import Space

# worth of the best individual before the exponential; only ratios matter
_PEAK = 5.0
_LATE = 1.5


class EDNAG(Denoising):
    """Generates architectures from noise; each step's parents and children compete for the next one.

    Args:
        space: where to look.
        seed: of everything random.
        population: individuals.
        evaluations: points in all; a run of 99 steps met about 500 on NAS-Bench-201.
        fitness: from objective values to worth: `FrontFitness` for several objectives, `AccuracyFitness`
            for the paper's single one.
        steps: length of the schedule.
        schedule: cosine, linear or ddpm.
        noise: fresh noise of a step, from 0 to 1.
        temperature: of the softmax from worth to weight.
        mutation_prob: chance of each child to be mutated.
        eta: distribution index of the mutation; half as much again at the end of a run.
        elite: share of survivors taken by worth.
        diverse: share of survivors taken by distance from all others.
        restarts: whether a new run follows the last step, until the budget is used up.
        parity: repeat a slip of the reference code, whose weaker mutation acts on the first step
            instead of the last.
        start: points that the first population holds in part, with noise.

    Raises:
        UserError: for an empty budget, or settings out of their range.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        fitness: Fitness,
        steps: int = 100,
        schedule: str = "cosine",
        noise: float = 0.8,
        temperature: float = 1.0,
        mutation_prob: float = 0.6,
        eta: float = 5.0,
        elite: float = 0.1,
        diverse: float = 0.2,
        restarts: bool = True,
        parity: bool = False,
        start: Sequence[Genotype] = (),
    ) -> None:
        check_probability("mutation_prob", mutation_prob)
        if not temperature > 0 or eta < 0 or min(elite, diverse) < 0 or elite + diverse > 1:
            raise UserError(
                f"temperature is {temperature}, eta {eta}, elite {elite} and diverse {diverse}.",
                "Set temperature above 0, eta from 0, and two shares that do not exceed 1 together.",
            )
        rng = generator(seed, "search.ednag")
        ledger = Ledger(space, population, evaluations)
        descent = Descent(steps, schedule, noise, restarts)
        super().__init__(ledger, rng, population, fitness, descent, start)
        self._temperature, self._mutation_prob, self._eta = temperature, mutation_prob, eta
        self._elite, self._diverse, self._parity = elite, diverse, parity

    def _begin(self, start: Sequence[Genotype]) -> None:
        super()._begin(start)
        self._parents: np.ndarray | None = None

    def _advance(self) -> None:
        if self._parents is None:
            self._parents = self._waiting
        else:
            self._parents = self._selected(np.vstack([self._parents, self._waiting]))
            if not self._next_step():
                return
        fitness, is_measured = self._worths(self._parents)
        if not is_measured.any():
            self._begin(())
            return
        self._waiting = self._children(self._parents, fitness, is_measured)

    def _children(self, rows: np.ndarray, fitness: np.ndarray, is_measured: np.ndarray) -> np.ndarray:
        """(N, D) denoised, mutated, every gene stretched to [-1, 1]."""
        scaled = fitness / self._temperature
        quality = np.where(is_measured, np.exp(scaled - scaled[is_measured].max() + _PEAK), 0.0)
        moved = self._relaxation.normalise(self._denoised(rows, quality))
        late = self._descent.steps - 1 if self._parity else 1
        eta = math.ceil(_LATE * self._eta) if self._at == late else self._eta
        return self._relaxation.normalise(mutate_shared(moved, eta, self._mutation_prob, self._rng))

    def _selected(self, rows: np.ndarray) -> np.ndarray:
        """(N, D) of (2N, D): elites, diverse ones, and a roulette; noise where too few were measured."""
        fitness, is_measured = self._worths(rows)
        alive = rows[is_measured]
        kept = alive[
            select(alive, fitness[is_measured], self._population, self._elite, self._diverse, self._rng)
        ]
        missing = self._population - len(kept)
        return np.vstack([kept, self._rng.standard_normal((missing, rows.shape[1]))])


def select(
    rows: np.ndarray, fitness: np.ndarray, count: int, elite: float, diverse: float, rng: np.random.Generator
) -> list[int]:
    """Indices of at most `count` rows: the best of distinct fitness, the most distant, then a roulette.

    Distance is summed over all rows; the distant ones need a tenth of the best fitness. The roulette
    draws without replacement with weights 0.9 m + 0.1, m = f (1 + d) stretched to [0, 1], d the
    distance stretched likewise.

    Args:
        rows: (N, D).
        fitness: (N,), at least 0.
        elite: share of `count`, rounded down.
        diverse: share of `count`, rounded down.
    """
    count = min(count, len(rows))
    if not count:
        return []
    squares = (rows**2).sum(axis=1)
    between = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0)).sum(axis=1)
    best_first = np.argsort(-fitness, kind="stable")
    firsts = [int(at) for i, at in enumerate(best_first) if not i or fitness[at] < fitness[best_first[i - 1]]]
    chosen = firsts[: int(elite * count)]
    far = [int(at) for at in np.argsort(-between, kind="stable") if fitness[at] >= 0.1 * fitness.max()]
    chosen += [at for at in far if at not in chosen][: int(diverse * count)]
    weights = 0.9 * _stretched(fitness * (1 + _stretched(between))) + 0.1
    weights[chosen] = 0.0
    drawn = rng.choice(len(rows), count - len(chosen), replace=False, p=weights / weights.sum())
    return [*chosen, *drawn.tolist()]


def _stretched(values: np.ndarray) -> np.ndarray:
    span = float(np.ptp(values))
    return np.zeros(len(values)) if span == 0 else np.asarray((values - values.min()) / span)
