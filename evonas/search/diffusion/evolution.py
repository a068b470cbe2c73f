"""Diffusion evolution: a population of noise is denoised towards what was found good.

Zhang et al., "Diffusion models are evolutionary algorithms", ICLR 2025 (arXiv 2410.02543), on
genotypes relaxed to real numbers. N individuals, D numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Told
from evonas.search.diffusion.fitness import Fitness
from evonas.search.diffusion.relaxation import Relaxation
from evonas.search.diffusion.schedules import SCHEDULES, denoise, estimate_origin, random_projection
from evonas.search.ledger import Ledger
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_START_NOISE = 0.5


@dataclass(frozen=True, slots=True)
class Descent:
    """The way from noise to architectures, and whether it is gone again.

    Args:
        steps: length of the schedule; one less is the number of steps of a run.
        schedule: cosine, linear or ddpm.
        noise: fresh noise of a step, from 0 to 1.
        restarts: whether a new run follows the last step, until the budget is used up.

    Raises:
        UserError: for an unknown schedule, too few steps or noise outside [0, 1].
    """

    steps: int
    schedule: str
    noise: float
    restarts: bool

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES or self.steps < 3:
            raise UserError(
                f"A schedule {self.schedule!r} of {self.steps} steps does not exist.",
                f"Set search.schedule to one of {', '.join(SCHEDULES)}, and search.steps to at least 3.",
            )
        if not 0 <= self.noise <= 1:
            raise UserError(f"noise is {self.noise}.", "Set search.noise between 0 and 1.")


class Denoising:
    """What EDNAG and its parent share: rows of numbers whose unseen meanings are asked, step by step.

    A step whose points are all known is taken without asking. After the last step a new run begins
    with fresh noise, or the search ends.

    Args:
        ledger: of the space and the budget; nothing was asked yet.
        rng: of everything random.
        population: N.
        fitness: from objective values to worth.
        descent: the steps of a run.
        start: points that the first population holds in part, with noise.
    """

    def __init__(
        self,
        ledger: Ledger,
        rng: np.random.Generator,
        population: int,
        fitness: Fitness,
        descent: Descent,
        start: Sequence[Genotype],
    ) -> None:
        self._ledger, self._rng = ledger, rng
        self._population, self._fitness = population, fitness
        self._descent, self._alphas = descent, SCHEDULES[descent.schedule](descent.steps)
        self._relaxation = Relaxation(ledger.space)
        self._is_over = False
        self._begin(start)

    def ask(self) -> list[Genotype]:
        """The unseen points among the next individuals; empty when finished."""
        ledger = self._ledger
        for _ in range(2 * self._descent.steps):
            if self._is_over or not ledger.left:
                return []
            asked = ledger.ask(self._relaxation.decode(self._waiting))
            if asked:
                return asked
            self._advance()
        return ledger.ask_random(self._population, self._rng)

    def tell(self, facts: Sequence[Told]) -> None:
        """Note the facts; individuals that failed are worth nothing."""
        self._ledger.tell(facts)

    def _begin(self, start: Sequence[Genotype]) -> None:
        """Fresh noise, half of it around given points at most."""
        rows = self._rng.standard_normal((self._population, self._relaxation.width))
        given = self._relaxation.encode(start[: self._population // 2])
        rows[: len(given)] = given + _START_NOISE * rows[: len(given)]
        self._waiting = rows
        self._at = self._descent.steps - 1

    def _advance(self) -> None:
        """Take the step that the waiting individuals were evaluated for."""
        raise NotImplementedError

    def _next_step(self) -> bool:
        """Count a step down; False where that was the last one, and a new run or the end was prepared."""
        self._at -= 1
        if self._at >= 1:
            return True
        self._is_over = not self._descent.restarts
        self._begin(())
        return False

    def _worths(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) fitness, 0 for failures, and (N,) whether each was measured."""
        points = self._relaxation.decode(rows)
        is_measured = np.array([point in self._ledger.measured for point in points], dtype=bool)
        fitness = np.zeros(len(rows))
        if is_measured.any():
            known = [point for point in points if point in self._ledger.measured]
            values = np.array([self._ledger.measured[point] for point in known])
            fitness[is_measured] = self._fitness(values)
        return fitness, is_measured

    def _denoised(
        self, rows: np.ndarray, quality: np.ndarray, projection: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, D) one step of the schedule."""
        alpha, alpha_next = float(self._alphas[self._at]), float(self._alphas[self._at - 1])
        origin = estimate_origin(rows, quality, alpha, projection)
        return denoise(rows, origin, alpha, alpha_next, self._descent.noise, self._rng)


class DiffusionEvolution(Denoising):
    """The parent algorithm: every individual moves every step; nobody is kept and nobody mutates.

    Args:
        space: where to look.
        seed: of everything random.
        population: individuals.
        evaluations: points in all.
        fitness: from objective values to densities.
        steps: length of the schedule.
        schedule: cosine, linear or ddpm.
        noise: fresh noise of a step, from 0 to 1.
        latent: dimensions of the random projection that nearness is measured in; None for all numbers.
        restarts: whether a new run follows the last step, until the budget is used up.
        start: points that the first population holds in part, with noise.

    Raises:
        UserError: for an empty budget, an unknown schedule, too few steps or noise outside [0, 1].
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        fitness: Fitness,
        steps: int = 20,
        schedule: str = "cosine",
        noise: float = 0.3,
        latent: int | None = None,
        restarts: bool = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        rng = generator(seed, "search.diffusion")
        ledger = Ledger(space, population, evaluations)
        descent = Descent(steps, schedule, noise, restarts)
        super().__init__(ledger, rng, population, fitness, descent, start)
        width = self._relaxation.width
        self._projection = None if latent is None else random_projection(width, latent, rng)

    def _advance(self) -> None:
        fitness, is_measured = self._worths(self._waiting)
        if not is_measured.any():
            self._begin(())
            return
        quality = np.where(is_measured, np.maximum(fitness, 1e-9), 0.0)
        moved = self._denoised(self._waiting, quality, self._projection)
        if self._next_step():
            self._waiting = moved
