"""Diffusion evolution: denoises a population of random vectors towards points of high fitness.

Zhang et al., "Diffusion models are evolutionary algorithms", ICLR 2025 (arXiv 2410.02543), on
genotypes relaxed to real vectors. N individuals, D relaxed gene values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Observation
from evonas.search.diffusion.fitness import Fitness, SingleObjectiveFitness
from evonas.search.diffusion.relaxation import Encoding, Relaxation
from evonas.search.diffusion.schedules import SCHEDULES, denoise, estimate_origin, random_projection
from evonas.search.history import History
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_START_NOISE = 0.5


@dataclass(frozen=True, slots=True)
class DenoisingSettings:
    """Settings of the denoising process.

    Args:
        steps: number of time steps of the noise schedule; a run has `steps` - 1 updates.
        schedule: "cosine", "linear" or "ddpm".
        noise: fraction of fresh noise per step, in [0, 1].
        restarts: whether to restart from noise after the last step, until the budget is used up.

    Raises:
        UserError: the schedule is unknown, there are fewer than 3 steps, or noise is outside [0, 1].
    """

    steps: int
    schedule: str
    noise: float
    restarts: bool

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES or self.steps < 3:
            raise UserError(
                f"search.schedule must be one of {', '.join(SCHEDULES)} and search.steps at least 3, "
                f"got {self.schedule!r} and {self.steps}.",
                "Try: search.schedule=cosine search.steps=20",
            )
        if not 0 <= self.noise <= 1:
            raise UserError(f"search.noise must be in [0, 1], got {self.noise}.", "Try: search.noise=0.3")


class DenoisingSearch:
    """Base class of diffusion evolution and EDNAG: asks for the unseen points of each denoising step.

    A step whose points are all known is taken without asking. After the last step the search restarts from
    noise or ends.

    Args:
        history: history of the search, still empty.
        rng: random generator.
        population: number of individuals N.
        fitness: maps objective values to fitness.
        settings: settings of the denoising process.
        start: points that seed up to half of the first population, with added noise.
        encoding: maps points to the vectors that are denoised.
        init_valid: fraction of each population of noise that is made to mean networks.
    """

    def __init__(
        self,
        history: History,
        rng: np.random.Generator,
        population: int,
        fitness: Fitness,
        settings: DenoisingSettings,
        start: Sequence[Genotype],
        encoding: Encoding,
        init_valid: float = 0.0,
    ) -> None:
        self._history, self._rng = history, rng
        self._population, self._fitness = population, fitness
        self._settings, self._alphas = settings, SCHEDULES[settings.schedule](settings.steps)
        self._encoding, self._init_valid = encoding, init_valid
        self._is_over = False
        self._restart(start)

    def check_objectives(self, names: Sequence[str]) -> None:
        """Raise a UserError if the fitness would pass over some of the objectives."""
        if isinstance(self._fitness, SingleObjectiveFitness):
            self._fitness.check_objectives(names)

    def ask(self) -> list[Genotype]:
        """Unseen points of the next population; empty when finished."""
        history = self._history
        for _ in range(2 * self._settings.steps):
            if self._is_over or not history.remaining:
                return []
            found = self._encoding.decode(self._individuals)
            asked = history.ask(point for point in found if point is not None)
            if asked:
                return asked
            self._advance()
        return history.ask_random(self._population, self._rng)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations; failed individuals have fitness 0."""
        self._history.tell(observations)

    def _restart(self, start: Sequence[Genotype]) -> None:
        """Restart from noise, with up to half of the population around the given points."""
        rows = self._noise(self._population)
        given = self._encoding.encode(start[: self._population // 2])
        rows[: len(given)] = given + _START_NOISE * rows[: len(given)]
        self._individuals = rows
        self._at = self._settings.steps - 1

    def _noise(self, count: int) -> np.ndarray:
        """(count, D) normal noise; the last ones mean random networks, `init_valid` of them."""
        rows = self._rng.standard_normal((count, self._encoding.width))
        valid = int(self._init_valid * count)
        points = [self._history.space.sample(self._rng) for _ in range(valid)]
        rows[count - valid :] = self._encoding.imposed(rows[count - valid :], points)
        return rows

    def _advance(self) -> None:
        """Replace the evaluated population by the next one."""
        raise NotImplementedError

    def _next_step(self) -> bool:
        """Advance the schedule; False after the last step, when the search restarts or ends."""
        self._at -= 1
        if self._at >= 1:
            return True
        self._is_over = not self._settings.restarts
        self._restart(())
        return False

    def _fitness_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) fitness, and (N,) whether each individual has one.

        Failed points have none. Individuals that mean no network have fitness 0, as in EDNAG, once others are measured.
        """
        points, measured = self._encoding.decode(rows), self._history.measured
        is_measured = np.array([point is not None and point in measured for point in points], dtype=bool)
        fitness = np.zeros(len(rows))
        if not is_measured.any():
            return fitness, is_measured
        values = [measured[point] for point in points if point is not None and point in measured]
        fitness[is_measured] = self._fitness(np.array(values))
        return fitness, is_measured | np.array([point is None for point in points], dtype=bool)

    def _denoise(
        self, rows: np.ndarray, quality: np.ndarray, projection: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, D) individuals after one denoising step."""
        alpha, alpha_next = float(self._alphas[self._at]), float(self._alphas[self._at - 1])
        origin = estimate_origin(rows, quality, alpha, projection)
        return denoise(rows, origin, alpha, alpha_next, self._settings.noise, self._rng)


class DiffusionEvolution(DenoisingSearch):
    """Diffusion evolution without selection or mutation: every individual moves in every step.

    Args:
        space: search space.
        seed: random seed.
        population: number of individuals.
        evaluations: evaluation budget, in points.
        fitness: maps objective values to densities.
        steps: number of time steps of the noise schedule.
        schedule: "cosine", "linear" or "ddpm".
        noise: fraction of fresh noise per step, in [0, 1].
        latent: dimensions of the random projection in which distances are computed; None for no projection.
        restarts: whether to restart from noise after the last step, until the budget is used up.
        start: points that seed up to half of the first population, with added noise.

    Raises:
        UserError: the budget is below 1, the schedule is unknown, there are fewer than 3 steps, or noise is
            outside [0, 1].
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
        history = History(space, population, evaluations)
        settings = DenoisingSettings(steps, schedule, noise, restarts)
        super().__init__(history, rng, population, fitness, settings, start, Relaxation(space))
        width = self._encoding.width
        self._projection = None if latent is None else random_projection(width, latent, rng)

    def _advance(self) -> None:
        fitness, is_measured = self._fitness_of(self._individuals)
        if not is_measured.any():
            self._restart(())
            return
        quality = np.where(is_measured, np.maximum(fitness, 1e-9), 0.0)
        moved = self._denoise(self._individuals, quality, self._projection)
        if self._next_step():
            self._individuals = moved
