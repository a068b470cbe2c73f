"""EDNAG: diffusion evolution with mutation and selection among parents and children.

Zhou and Tang, "Evolving from noise: evolutionary diffusion for neural architecture generation",
arXiv 2504.17827; constants from the public code. N individuals, D relaxed gene values.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import AnalyticObjective
from evonas.search.diffusion.evolution import DenoisingSearch, DenoisingSettings
from evonas.search.diffusion.fitness import Fitness
from evonas.search.diffusion.relaxation import Encoding, Relaxation
from evonas.search.diffusion.schedules import polynomial_mutation
from evonas.search.evolution.genetic import check_probability
from evonas.search.history import History
from evonas.space.genes import Axis
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
        lower_params: fraction of survivors selected by fewest parameters, after those of `diverse`; on MobileNetV3 0.3.
        params: the number of parameters of a point, or what ranks points alike; None counts layers, as published: those
            with most `none` survive.
        init_valid: fraction of each population of noise that is made to mean networks, in encodings where most noise
            does not; on MobileNetV3 0.5.
        encoding: makes the encoding of a space, such as `layers.LayerMatrix`; None for `relaxation.Relaxation`.

    Raises:
        UserError: the budget is below 1, a setting is out of its range, the space has no such encoding, or its
            points have no layers to count.
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
        lower_params: float = 0.0,
        params: AnalyticObjective | None = None,
        init_valid: float = 0.0,
        encoding: Callable[[Space], Encoding] | None = None,
    ) -> None:
        check_probability("mutation_prob", mutation_prob)
        check_probability("init_valid", init_valid)
        shares = elite, diverse, lower_params
        # the sum of 0.6, 0.1 and 0.3 is above 1 by rounding
        if not temperature > 0 or eta < 0 or min(shares) < 0 or round(sum(shares), 9) > 1:
            raise UserError(
                "search.temperature must be positive, search.eta at least 0, and search.elite, search.diverse and "
                f"search.lower_params fractions with a sum of at most 1, got {temperature}, {eta}, {elite}, {diverse} "
                f"and {lower_params}.",
                "Try: search.temperature=1 search.eta=5 search.elite=0.1 search.diverse=0.2",
            )
        rng = generator(seed, "search.ednag")
        history = History(space, population, evaluations)
        settings = DenoisingSettings(steps, schedule, noise, restarts)
        made = Relaxation(space) if encoding is None else encoding(space)
        super().__init__(history, rng, population, fitness, settings, start, made, init_valid)
        self._sizes = None if not lower_params else SizeRanking(space, params)
        self._lower_params = lower_params
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
        moved = self._encoding.normalise(self._denoise(rows, quality))
        late = self._settings.steps - 1 if self._parity else 1
        eta = math.ceil(_LATE * self._eta) if self._at == late else self._eta
        return self._encoding.normalise(polynomial_mutation(moved, eta, self._mutation_prob, self._rng))

    def _selected(self, rows: np.ndarray) -> np.ndarray:
        """(N, D) survivors of (2N, D) individuals; noise replaces failed ones if too few are left."""
        fitness, is_known = self._fitness_of(rows)
        alive = rows[is_known]
        sizes = None if self._sizes is None else self._sizes(self._encoding.decode(alive))
        kept = alive[
            select_survivors(
                alive,
                fitness[is_known],
                self._population,
                self._elite,
                self._diverse,
                self._rng,
                sizes,
                self._lower_params,
            )
        ]
        return np.vstack([kept, self._noise(self._population - len(kept))])


def select_survivors(
    rows: np.ndarray,
    fitness: np.ndarray,
    count: int,
    elite: float,
    diverse: float,
    rng: np.random.Generator,
    sizes: np.ndarray | None = None,
    lower_params: float = 0.0,
) -> list[int]:
    """Select survivors: the fittest of distinct fitness, the most distant, the smallest, then a roulette wheel.

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
        sizes: (N,) size of each individual; infinite for those that are no network, which never count as small.
        lower_params: fraction of `count` selected by size, rounded down; equal sizes are selected by fitness.

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
    if sizes is not None:
        small = [
            int(at) for at in np.lexsort((-fitness, sizes)) if np.isfinite(sizes[at]) and at not in chosen
        ]
        chosen += small[: int(lower_params * count)]
    weights = 0.9 * _min_max(fitness * (1 + _min_max(between))) + 0.1
    weights[chosen] = 0.0
    drawn = rng.choice(len(rows), count - len(chosen), replace=False, p=weights / weights.sum())
    return [*chosen, *drawn.tolist()]


class SizeRanking:
    """The sizes by which `lower_params` selects.

    Args:
        space: search space.
        params: the number of parameters of a point, or what ranks points alike; None counts layers: genes that are
            expressed, but for bits that are off and choices that mean no module.

    Raises:
        UserError: every point has as many layers as any other.
    """

    def __init__(self, space: Space, params: AnalyticObjective | None) -> None:
        self._space, self._params = space, params
        absent = getattr(space, "absent", None)
        choices = [gene.choices if isinstance(gene, Axis) else () for gene in space.genes]
        # the index of each position's choice that means no module; -1 for none
        self._nothing = np.array(
            [
                index
                for gene, words in zip(space.genes, choices, strict=True)
                for index in [words.index(absent) if absent in words else -1 if words else 0] * gene.width
            ]
        )
        is_conditional = any(isinstance(gene, Axis) and gene.expressed_by for gene in space.genes)
        if params is None and (self._nothing < 0).all() and not is_conditional:
            raise UserError(
                f"Every network of space {space.name} has as many layers as any other, so search.lower_params has "
                "nothing to choose by.",
                "Give their sizes: +search/params=closed_form, or leave search.lower_params out.",
            )

    def __call__(self, points: Sequence[Genotype | None]) -> np.ndarray:
        """(N,) sizes of points; infinite for those that are None."""
        found = np.full(len(points), np.inf)
        known = [at for at, point in enumerate(points) if point is not None]
        networks = [point for point in points if point is not None]
        if self._params is not None:
            found[known] = [self._params(self._space, point) for point in networks]
        elif networks:
            rows = np.array([point.genes for point in networks])
            found[known] = (self._space.expressed_rows(rows) & (rows != self._nothing)).sum(axis=1)
        return found


def _min_max(values: np.ndarray) -> np.ndarray:
    span = float(np.ptp(values))
    return np.zeros(len(values)) if span == 0 else np.asarray((values - values.min()) / span)
