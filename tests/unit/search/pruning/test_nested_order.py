"""The nested order: the greedy chain where it is known, renewal where genes depend on one another, failures, costs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.report.metrics.hypervolume import hypervolume
from evonas.search.base import Observation
from evonas.search.pruning.nested_order import NestedOrder
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.space.space import Space

GENES = 8
PLAIN = declared_space("plain", {f"x{at}": [1, 2, 3] for at in range(1, GENES + 1)})
# what each gene's reductions add and save; the second reduction of a gene costs more error than the first
ADDED = np.array([[0.0, 1.0 + at, 4.0 + 3 * at] for at in range(GENES)])
SAVED = np.array([[0.0, 2.0 + at % 3, 4.0 + 2 * (at % 3)] for at in range(GENES)])
Measure = Callable[[Genotype], tuple[float, ...] | None]


def additive(point: Genotype) -> tuple[float, float]:
    """Errors and costs that add up over genes."""
    levels = [2 - gene for gene in point.genes]
    added = sum(ADDED[at, level] for at, level in enumerate(levels))
    return float(added), float(60 - sum(SAVED[at, level] for at, level in enumerate(levels)))


def greedy(saved: np.ndarray = SAVED) -> list[tuple[int, ...]]:
    """The chain of additive errors and savings, by its definition."""
    layout, found = [2] * GENES, [(2,) * GENES]
    while any(layout):
        ratios = {
            at: np.diff(ADDED[at])[2 - gene] / np.diff(saved[at])[2 - gene]
            for at, gene in enumerate(layout)
            if gene
        }
        layout[min(ratios, key=lambda at: (ratios[at], at))] -= 1
        found.append(tuple(layout))
    return found


def play(searcher: NestedOrder, measure: Measure) -> list[Observation]:
    told: list[Observation] = []
    while asked := searcher.ask():
        told += [Observation(point, measure(point)) for point in asked]
        searcher.tell(told[-len(asked) :])
    return told


def made(space: Space = PLAIN, evaluations: int = 50, population: int = 16, **more: Any) -> NestedOrder:
    return NestedOrder(space, 0, population, evaluations, **more)


def test_additive_networks_are_asked_in_the_greedy_order() -> None:
    asked = {told.genotype.genes for told in play(made(), additive)}
    assert set(greedy()) <= asked


def test_it_begins_with_the_corners_and_the_lowest_choice_of_every_gene() -> None:
    first = [told.genotype.genes for told in play(made(evaluations=2 + GENES), additive)]
    lowest = {tuple(0 if at == cut else 2 for at in range(GENES)) for cut in range(GENES)}
    assert first[:2] == [(2,) * GENES, (0,) * GENES]
    assert set(first[2:]) == lowest


def test_the_chain_is_spread_in_log_cost() -> None:
    told = play(made(evaluations=2 + GENES + 4, population=2), additive)
    costs = np.log([each.objectives[1] for each in (told[0], told[1], *told[-4:]) if each.objectives])
    gaps = np.diff(np.sort(costs))
    assert gaps.max() < 0.4 * gaps.sum()


def redundant(point: Genotype) -> tuple[float, float]:
    """Of the first two genes either is dispensable, but not both; they are cheap, the others dear."""
    levels = np.array([2 - gene for gene in point.genes])
    return float(20 * min(levels[:2]) + levels[2:].sum()), float(40 - levels[:2].sum() - 3 * levels[2:].sum())


def test_renewal_finds_what_single_reductions_of_the_largest_network_cannot_tell() -> None:
    found = play(made(evaluations=120), redundant)
    values = np.array([told.objectives for told in found])
    cheap = values[:, 1] <= 10
    best = min(error for error, cost in map(redundant, PLAIN.points()) if cost <= 10)
    assert values[cheap, 0].min() == best
    early = np.array([told.objectives for told in found[: 2 + 2 * (GENES + 16)]])
    # the chain of the largest network gives up both at once
    assert early[early[:, 1] <= 10, 0].min() > best
    assert hypervolume(values, [60.0, 50.0]) > hypervolume(early, [60.0, 50.0])


def test_no_chain_takes_a_failed_reduction() -> None:
    def failing(point: Genotype) -> tuple[float, ...] | None:
        return None if point.genes[0] < 2 else additive(point)

    told = play(made(evaluations=60), failing)
    failed = [each.genotype for each in told if each.objectives is None]
    # the smallest network, and single changes of bases
    assert 3 <= len(failed) <= 6


def test_a_failed_largest_network_is_survived() -> None:
    def failing(point: Genotype) -> tuple[float, ...] | None:
        return None if sum(point.genes) > 2 * GENES - 1 else additive(point)

    assert len(play(made(evaluations=60), failing)) == 60


def test_the_cost_is_named_and_may_be_exact() -> None:
    def noisy(seed: int) -> Measure:
        rng = np.random.default_rng(seed)

        def measure(point: Genotype) -> tuple[float, ...]:
            error, cost = additive(point)
            return error, float(rng.normal()), cost + 0.5 * float(rng.normal())

        return measure

    names: dict[str, Any] = {"objectives": ["error", "latency", "macs"], "cost": "macs"}
    exact = {**names, "analytic_objectives": {"macs": lambda _, point: additive(point)[1]}}
    first, second = (play(made(evaluations=120, **exact), noisy(seed)) for seed in (1, 2))
    assert [told.genotype for told in first] == [told.genotype for told in second]
    assert set(greedy()) <= {told.genotype.genes for told in first}
    values = np.array([additive(told.genotype) for told in play(made(evaluations=120, **names), noisy(1))])
    ideal = np.array([additive(Genotype("plain", genes)) for genes in greedy()])
    worst = [*ideal.max(axis=0).tolist()]
    assert hypervolume(values, worst) > 0.9 * hypervolume(ideal, worst)


def test_one_objective_counts_steps() -> None:
    asked = {told.genotype.genes for told in play(made(), lambda point: additive(point)[:1])}
    assert set(greedy(np.tile([0.0, 1.0, 2.0], (GENES, 1)))) <= asked


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cost": "joules", "objectives": ["error", "macs"]}, "Unknown objective 'joules'"),
        ({"cost": 5}, "no objective 5"),
    ],
)
def test_an_unknown_cost_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        play(made(**more), additive)
