"""EDNAG: diffusion evolution with mutation and selection among parents and children.

Zhou and Tang, "Evolving from noise: evolutionary diffusion for neural architecture generation",
arXiv 2504.17827; constants from the public code. N individuals, D relaxed gene values.
"""

import math
from collections.abc import Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.diffusion.evolution import DenoisingSearch, DenoisingSettings
from evonas.search.diffusion.fitness import Fitness
from evonas.search.diffusion.schedules import polynomial_mutation
from evonas.search.evolution.genetic import check_probability
from evonas.search.history import History
from evonas.space.genotype import Genotype
from evonas.space.space import Space

# logit of the best individual before the exponential; only ratios matter
_PEAK = 5.0
_LATE = 1.5


class EDNAG(DenoisingSearch):
    """Denoises a population; the parents and children of each step compete for survival.

    Args:
        space: search space.
        seed: random seed.
        population: number of individuals.
        evaluations: evaluation budget, in points; 99 steps used about 500 on NAS-Bench-201.
        fitness: maps objective values to fitness: `FrontFitness` for several objectives, `AccuracyFitness`
            for the single objective of the paper.
        steps: number of time steps of the noise schedule.
        schedule: "cosine", "linear" or "ddpm".
        noise: fraction of fresh noise per step, in [0, 1].
        temperature: softmax temperature of the fitness weights.
        mutation_prob: mutation probability per child.
        eta: distribution index of the mutation; 1.5 times as large in the last step.
        elite: fraction of survivors selected by fitness.
        diverse: fraction of survivors selected by their distance from all others.
        restarts: whether to restart from noise after the last step, until the budget is used up.
        parity: reproduce an error of the reference code, which applies the larger eta in the first step
            instead of the last.
        start: points that seed up to half of the first population, with added noise.

    Raises:
        UserError: the budget is below 1, or a setting is out of its range.
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
                "search.temperature must be positive, search.eta at least 0, and search.elite and "
                f"search.diverse fractions with a sum of at most 1, got {temperature}, {eta}, {elite} and {diverse}.",
                "Try: search.temperature=1 search.eta=5 search.elite=0.1 search.diverse=0.2",
            )
        rng = generator(seed, "search.ednag")
        history = History(space, population, evaluations)
        settings = DenoisingSettings(steps, schedule, noise, restarts)
        super().__init__(history, rng, population, fitness, settings, start)
        self._temperature, self._mutation_prob, self._eta = temperature, mutation_prob, eta
        self._elite, self._diverse, self._parity = elite, diverse, parity

    def _restart(self, start: Sequence[Genotype]) -> None:
        super()._restart(start)
        self._parents: np.ndarray | None = None

    def _advance(self) -> None:
        if self._parents is None:
            self._parents = self._individuals
        else:
            self._parents = self._selected(np.vstack([self._parents, self._individuals]))
            if not self._next_step():
                return
        fitness, is_measured = self._fitness_of(self._parents)
        if not is_measured.any():
            self._restart(())
            return
        self._individuals = self._children(self._parents, fitness, is_measured)

    def _children(self, rows: np.ndarray, fitness: np.ndarray, is_measured: np.ndarray) -> np.ndarray:
        """(N, D) denoised and mutated individuals, with every gene rescaled to [-1, 1]."""
        scaled = fitness / self._temperature
        quality = np.where(is_measured, np.exp(scaled - scaled[is_measured].max() + _PEAK), 0.0)
        moved = self._relaxation.normalise(self._denoise(rows, quality))
        late = self._settings.steps - 1 if self._parity else 1
        eta = math.ceil(_LATE * self._eta) if self._at == late else self._eta
        return self._relaxation.normalise(polynomial_mutation(moved, eta, self._mutation_prob, self._rng))

    def _selected(self, rows: np.ndarray) -> np.ndarray:
        """(N, D) survivors of (2N, D) individuals; noise replaces failed ones if too few are left."""
        fitness, is_measured = self._fitness_of(rows)
        alive = rows[is_measured]
        kept = alive[
            select_survivors(
                alive, fitness[is_measured], self._population, self._elite, self._diverse, self._rng
            )
        ]
        missing = self._population - len(kept)
        return np.vstack([kept, self._rng.standard_normal((missing, rows.shape[1]))])


def select_survivors(
    rows: np.ndarray, fitness: np.ndarray, count: int, elite: float, diverse: float, rng: np.random.Generator
) -> list[int]:
    """Select survivors: the fittest of distinct fitness, then the most distant, then a roulette wheel.

    Distances are summed over all rows; distant survivors need a tenth of the best fitness. The roulette wheel
    draws without replacement with weights 0.9 m + 0.1, where m = f (1 + d) scaled to [0, 1] and d is the
    distance scaled to [0, 1].

    Args:
        rows: (N, D) individuals.
        fitness: (N,) non-negative fitness.
        count: number of survivors.
        elite: fraction of `count` selected by fitness, rounded down.
        diverse: fraction of `count` selected by distance, rounded down.
        rng: random generator of the roulette wheel.

    Returns:
        At most `count` row indices.
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
    weights = 0.9 * _min_max(fitness * (1 + _min_max(between))) + 0.1
    weights[chosen] = 0.0
    drawn = rng.choice(len(rows), count - len(chosen), replace=False, p=weights / weights.sum())
    return [*chosen, *drawn.tolist()]


def _min_max(values: np.ndarray) -> np.ndarray:
    span = float(np.ptp(values))
    return np.zeros(len(values)) if span == 0 else np.asarray((values - values.min()) / span)
