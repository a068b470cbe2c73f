"""What every searcher promises that may be asked for one point while others are not told yet."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.report.metrics.hypervolume import hypervolume
from evonas.search.base import AsynchronousSearcher, Observation
from evonas.search.baselines.random import RandomSearch
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.evolution.nsga3 import NSGA3
from evonas.search.evolution.regularized import RegularizedEvolution
from evonas.search.pruning.nested_order import NestedOrder
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
SMALL = declared_space("small", {"a": [0, 1, 2], "b": [0, 1, 2]})
MAKERS: dict[str, Callable[..., AsynchronousSearcher]] = {
    "nested": NestedOrder,
    "nsga2": NSGA2,
    "nsga3": NSGA3,
    "random": RandomSearch,
    "regularized": partial(RegularizedEvolution, tournament=4),
}
EVALUATOR = AnalyticEvaluator(SPACE)
EVALUATOR.setup()


def analytic(genotype: Genotype) -> tuple[float, ...] | None:
    """Error and multiply-adds of a closed form; one point in seven fails."""
    if sum(genotype.genes) % 7 == 0:
        return None
    return tuple(EVALUATOR.measure(genotype, "shared").objectives.values())


def flown(
    searcher: AsynchronousSearcher,
    measure: Callable[[Genotype], tuple[float, ...] | None],
    in_flight: int = 5,
    order: int = 0,
) -> list[Observation]:
    """Everything told by a search whose points land in an order drawn from a seed."""
    rng, flying, told = np.random.default_rng(order), [], []
    while True:
        while len(flying) < in_flight and (point := searcher.ask_one()) is not None:
            flying.append(point)
        if not flying:
            return told
        point = flying.pop(int(rng.integers(len(flying))))
        told.append(Observation(point, measure(point)))
        searcher.tell_one(told[-1])


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., AsynchronousSearcher]:
    return MAKERS[request.param]


def test_is_a_steady_searcher(make: Callable[..., AsynchronousSearcher]) -> None:
    assert isinstance(make(SPACE, seed=0, population=8, evaluations=8), AsynchronousSearcher)


@pytest.mark.parametrize("in_flight", [1, 7, 40])
def test_every_point_is_asked_once_within_the_budget(
    make: Callable[..., AsynchronousSearcher], in_flight: int
) -> None:
    told = flown(make(SPACE, seed=1, population=10, evaluations=60), analytic, in_flight)
    points = [each.genotype for each in told]
    assert len(points) == len(set(points)) == 60
    assert all(SPACE.canonical(point) == point for point in points)


def test_the_same_calls_give_the_same_points(make: Callable[..., AsynchronousSearcher]) -> None:
    runs = [
        flown(make(SPACE, seed=seed, population=8, evaluations=40), analytic, order=order)
        for seed, order in ((3, 0), (3, 0), (4, 0), (3, 1))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0] != runs[3]


def test_a_small_space_is_asked_to_its_last_point(make: Callable[..., AsynchronousSearcher]) -> None:
    told = flown(
        make(SMALL, seed=0, population=4, evaluations=50), lambda point: (1.0, float(sum(point.genes)))
    )
    assert {each.genotype for each in told} == set(SMALL.points())


@pytest.mark.parametrize("worth", [None, (float("nan"), 1.0)])
def test_a_search_in_which_everything_fails_goes_on(
    make: Callable[..., AsynchronousSearcher], worth: tuple[float, ...] | None
) -> None:
    told = flown(make(SPACE, seed=0, population=6, evaluations=30), lambda _: worth)
    assert len({each.genotype for each in told}) == 30


@pytest.mark.parametrize("kind", [NSGA2, NSGA3])
def test_failed_points_do_not_survive(kind: type[NSGA2 | NSGA3]) -> None:
    searcher = kind(SPACE, seed=0, population=12, evaluations=120)
    told = flown(searcher, analytic)
    assert any(each.objectives is None for each in told)
    assert len(searcher.survivors()) == 12
    assert all(analytic(each.genotype) == each.objectives for each in searcher.survivors())


def test_the_first_points_are_those_of_the_first_generation() -> None:
    steady, batched = (NSGA2(SPACE, seed=5, population=9, evaluations=20) for _ in range(2))
    assert [steady.ask_one() for _ in range(9)] == batched.ask()


@pytest.mark.parametrize("kind", [NSGA2, RegularizedEvolution])
def test_it_finds_as_good_a_front_as_batches(kind: Callable[..., NSGA2]) -> None:
    shares = {"batches": [], "steady": [], "random": []}
    for seed in range(3):
        batched = kind(SPACE, seed=seed, population=20, evaluations=300)
        found = []
        while asked := batched.ask():
            found += [Observation(point, analytic(point)) for point in asked]
            batched.tell(found[-len(asked) :])
        shares["batches"].append(share(found))
        steady, random = (
            which(SPACE, seed=seed, population=20, evaluations=300) for which in (kind, RandomSearch)
        )
        shares["steady"].append(share(flown(steady, analytic)))
        shares["random"].append(share(flown(random, analytic)))
    means = {way: np.mean(values) for way, values in shares.items()}
    assert means["steady"] > 0.97 * means["batches"]
    assert means["steady"] > means["random"]


def share(found: list[Observation]) -> float:
    """The hypervolume of what was found, in the box from the origin to (1.5, 1.5)."""
    values = np.array([each.objectives for each in found if each.objectives is not None])
    return hypervolume(values, [1.5, 1.5])
