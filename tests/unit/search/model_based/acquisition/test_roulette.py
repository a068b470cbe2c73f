"""EDNAG's choice of the networks that are trained."""

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Observation
from evonas.search.diffusion.fitness import AccuracyFitness, FrontFitness
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.model_based.acquisition.roulette import Roulette
from evonas.search.model_based.surrogate_search import SurrogateSearch
from evonas.search.surrogates.rbf import RBF
from evonas.supernets.ofa_mbv3.space import architecture, ofa_space

SPACE = ofa_space(resolutions=(224,))


def test_a_tenth_has_fewest_layers_and_the_others_are_drawn_by_fitness() -> None:
    rng = np.random.default_rng(0)
    points = [SPACE.sample(rng) for _ in range(60)]
    # accuracies of 75 or 90 percent, and fitness 78 or 303; the last ten are beyond the pool
    predicted = np.array([[0.25] * 25 + [0.1] * 25 + [0.9] * 10]).T
    layers = np.array([sum(map(len, architecture(SPACE, point).stages)) for point in points])
    draws = [
        Roulette(AccuracyFitness(unit=100.0), pool=50).select_points(SPACE, points, predicted, 20, each)
        for each in map(np.random.default_rng, range(200))
    ]
    assert all(len(set(drawn)) == 20 and max(drawn) < 50 for drawn in draws)
    assert {tuple(layers[drawn[:2]]) for drawn in draws} == {tuple(np.sort(layers[:50])[:2])}
    counts = np.bincount(np.concatenate([drawn[2:] for drawn in draws]), minlength=60)
    better, worse = counts[25:50].sum(), counts[:25].sum()
    # of eighteen without replacement from the two halves; with equal chances as many of each
    assert 1.5 < better / worse < 303 / 78


def test_fewer_points_than_asked_are_all_taken() -> None:
    points = [SPACE.smallest(), SPACE.largest()]
    found = Roulette(AccuracyFitness(unit=100.0)).select_points(
        SPACE, points, np.array([[0.5], [2.0]]), 30, np.random.default_rng(0)
    )
    assert sorted(found) == [0, 1]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"got 0 and 0\.1"):
        Roulette(FrontFitness(), pool=0)
    with pytest.raises(UserError, match=r"got 100 and 1\.2"):
        Roulette(FrontFitness(), lower_params=1.2)


def test_a_guided_search_draws_its_batches() -> None:
    def proposer(**given: object) -> NSGA2:
        return NSGA2(population=16, evaluations=64, corners=False, **given)

    def searched(seed: int) -> SurrogateSearch:
        acquisition = Roulette(AccuracyFitness(unit=100.0))
        return SurrogateSearch(SPACE, seed, 10, 30, RBF(), proposer, acquisition, initial=20)

    found = []
    for searcher in (searched(0), searched(0), searched(1)):
        while asked := searcher.ask():
            searcher.tell([Observation(point, (float(np.mean(point.genes)) / 9,)) for point in asked])
        found.append(asked_of(searcher))
    assert found[0] == found[1] != found[2]
    assert all(len(each) == 30 for each in found)
    with pytest.raises(UserError, match="uses one objective, error"):
        searched(0).check_objectives(["error", "macs"])
    searched(0).check_objectives(["error"])


def asked_of(searcher: SurrogateSearch) -> list[tuple[int, ...]]:
    return [point.genes for point in searcher._history.points()]
