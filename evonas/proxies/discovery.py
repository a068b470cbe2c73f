"""Proxy discovery: evolves formulas whose scores rank networks as their trained quality does.

The method is Algorithm 1 of Dong et al., SasWOT (AAAI 2024): in every round, mutants and crossovers of the k best
formulas and random formulas make a new pool; a pool without improvement for several rounds is replaced. Here the k best
formulas stay in the pool. The fitness of a formula is Kendall's tau between its scores and the quality of the networks.
A formula that overflows or gives ties is rejected, first on a few networks, before the others are computed. A discovery
is a function of (seed, budget, samples); a resumed one repeats it with the known fitnesses.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from evonas.proxies.expression import Calculator, Node, NotFiniteError
from evonas.proxies.growth import crossed, mutated, random_formula
from evonas.proxies.samples import LayerSamples
from evonas.randomness import generator

# number of networks on which formulas are tested first
_FEW = 5


@dataclass(frozen=True, slots=True)
class ScoredFormula:
    """A formula and its fitness; None if it was rejected."""

    formula: Node
    fitness: float | None

    @property
    def rank(self) -> float:
        """The fitness for sorting; rejected formulas are last."""
        return -np.inf if self.fitness is None else self.fitness


class FormulaEvaluator:
    """Computes the fitness of formulas on a set of networks, with a cache.

    Args:
        samples: layer samples of the networks.
        quality: (N) quality of the trained networks; higher is better.
        known: cached fitness by formula.
    """

    def __init__(
        self,
        samples: LayerSamples,
        quality: NDArray[np.float64],
        known: Mapping[str, float | None] | None = None,
    ) -> None:
        few = range(min(_FEW, samples.num_networks))
        self._few, self._all = Calculator(samples.some(few)), Calculator(samples)
        self._quality = quality
        self.known: dict[str, float | None] = dict(known or {})

    def __call__(self, formula: Node) -> ScoredFormula:
        text = str(formula)
        if text not in self.known:
            self.known[text] = self._fitness(formula)
        return ScoredFormula(formula, self.known[text])

    def _fitness(self, formula: Node) -> float | None:
        try:
            if np.ptp(self._few.score(formula)) == 0:
                return None
            scores = self._all.score(formula)
        except NotFiniteError:
            return None
        found = float(kendalltau(scores, self._quality).statistic)
        return found if np.isfinite(found) else None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Settings of a discovery; the paper names them without values.

    Args:
        population: formulas in the pool.
        parents: number of best formulas that have offspring (k).
        mutants: share of mutants in the pool.
        crossovers: share of crossovers in the pool; the rest is random.
        patience: rounds without improvement before the pool is replaced.
    """

    population: int = 40
    parents: int = 8
    mutants: float = 0.5
    crossovers: float = 0.3
    patience: int = 5


def discover(
    evaluate: Callable[[Node], ScoredFormula],
    budget: int,
    seed: int,
    schedule: Schedule,
    on_round: Callable[[int, ScoredFormula], None] | None = None,
) -> list[ScoredFormula]:
    """Runs a discovery; returns all evaluated formulas, best first, shorter ones first among ties.

    Args:
        evaluate: evaluates a formula.
        budget: number of distinct formulas to evaluate, including rejected ones.
        seed: seed of the evolution.
        schedule: settings.
        on_round: called with the number of evaluated formulas and the best of them.
    """
    seen: dict[str, ScoredFormula] = {}
    pool: list[ScoredFormula] = []
    best, waited, step = -np.inf, 0, 0
    while len(seen) < budget:
        rng = generator(seed, "discover", step)
        drawn = _next_generation(rng, pool, schedule)[: budget - len(seen)]
        pool = _best(pool, schedule) + [evaluate(formula) for formula in drawn if str(formula) not in seen]
        seen |= {str(each.formula): each for each in pool}
        found = max(each.rank for each in pool) if pool else -np.inf
        waited = 0 if found > best else waited + 1
        best, step = max(best, found), step + 1
        if waited >= schedule.patience:
            pool, best, waited = [], -np.inf, 0
        if on_round is not None:
            on_round(len(seen), ordered(seen.values())[0])
    return ordered(seen.values())


def at_random(evaluate: Callable[[Node], ScoredFormula], budget: int, seed: int) -> list[ScoredFormula]:
    """Random search over formulas, the baseline of a discovery; all evaluated formulas, best first."""
    seen: dict[str, ScoredFormula] = {}
    rng = generator(seed, "discover/random")
    while len(seen) < budget:
        formula = random_formula(rng)
        if str(formula) not in seen:
            seen[str(formula)] = evaluate(formula)
    return ordered(seen.values())


def ordered(scored: Iterable[ScoredFormula]) -> list[ScoredFormula]:
    """Sorts by fitness, best first; ties by length of the formula, then alphabetically."""
    return sorted(scored, key=lambda one: (-one.rank, len(str(one.formula)), str(one.formula)))


def minmax(
    scores: NDArray[np.float64], low: float | None = None, high: float | None = None
) -> NDArray[np.float64]:
    """Min-max scales scores, by their own range unless `low` and `high` are given; zeros if the range is empty."""
    low = float(scores.min()) if low is None else low
    high = float(scores.max()) if high is None else high
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)


def filled(scores: NDArray[np.float64], seen: slice | NDArray[np.intp]) -> NDArray[np.float64]:
    """Replaces missing scores by the minimum over the networks `seen`."""
    known = scores[seen]
    return np.where(np.isfinite(scores), scores, known[np.isfinite(known)].min())


def added(
    first: NDArray[np.float64], second: NDArray[np.float64], seen: slice | NDArray[np.intp]
) -> NDArray[np.float64]:
    """The sum of both scores, min-max scaled over the networks `seen`, as in SasWOT."""
    parts = [filled(scores, seen) for scores in (first, second)]
    scaled = [minmax(part, part[seen].min(), part[seen].max()) for part in parts]
    return scaled[0] + scaled[1]


def _best(pool: list[ScoredFormula], schedule: Schedule) -> list[ScoredFormula]:
    return [each for each in ordered(pool) if each.fitness is not None][: schedule.parents]


def _next_generation(rng: np.random.Generator, pool: list[ScoredFormula], schedule: Schedule) -> list[Node]:
    """Offspring of the best formulas, and random formulas, without duplicates."""
    parents = [each.formula for each in _best(pool, schedule)]
    size = schedule.population
    drawn: list[Node] = []
    if parents:
        drawn += [mutated(rng, _any(rng, parents)) for _ in range(round(schedule.mutants * size))]
        pairs = round(schedule.crossovers * size)
        drawn += [crossed(rng, _any(rng, parents), _any(rng, parents)) for _ in range(pairs)]
    drawn += [random_formula(rng) for _ in range(size - len(drawn))]
    return list(dict.fromkeys(drawn))


def _any(rng: np.random.Generator, nodes: Sequence[Node]) -> Node:
    return nodes[int(rng.integers(len(nodes)))]
