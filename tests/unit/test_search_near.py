"""Searching near the front: blends of views, doubts that batches share, and surroundings."""

from functools import partial

import moocore
import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Searcher, Told
from evonas.search.baselines.random import RandomSearch
from evonas.search.model_based.acquisition.batch_ehvi import GainTogether
from evonas.search.model_based.acquisition.ehvi import ExpectedGain, Weighing
from evonas.search.model_based.neighbourhood_proposer import Surroundings
from evonas.search.model_based.surrogate_search import GuidedSearch
from evonas.search.surrogates.base import rank_agreement
from evonas.search.surrogates.graph_encoding import views_of
from evonas.search.surrogates.joint_posterior import (
    Alone,
    Blended,
    BlendedProcess,
    Correlated,
    Line,
    Part,
    Scale,
)
from evonas.search.surrogates.multi_view_gp import Frame, _expected, _loss, blend, steadied
from evonas.space.declared import declared_space
from evonas.space.edges import EdgeCell, edge_cell

WORDS = ["none", "skip", "one", "three", "pool"]
EDGES = {"e1": [0, 1], "e2": [0, 2], "e3": [1, 2], "e4": [0, 3], "e5": [1, 3], "e6": [2, 3]}
ONE, THREE = 2, 3
GRID = declared_space("grid", {"a": list(range(6)), "b": list(range(6))})


def cell() -> EdgeCell:
    return edge_cell("cell", dict.fromkeys(EDGES, WORDS), EDGES, "none", "skip")


def same(values: np.ndarray) -> np.ndarray:
    return values


class Given:
    """Candidates of two objectives that are alike as a matrix says."""

    def __init__(self, middle: np.ndarray, covariance: np.ndarray) -> None:
        self._middle, self._covariance = middle, covariance

    def __call__(self, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        parts = self.joint(rows)
        return np.stack([part.outcomes(deviations[:, at]) for at, part in enumerate(parts)], axis=2)

    def joint(self, rows: np.ndarray) -> list[Part]:
        first = Correlated(self._middle[rows, 0], self._covariance[np.ix_(rows, rows)], 0.0, same)
        return [first, Alone(lambda deviations: self._middle[rows, 1][:, None] + 0 * deviations)]


def test_the_gradient_of_a_blend_is_that_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    views, told = [rng.random((15, 3)), rng.random((15, 2))], rng.standard_normal(15)
    frames = [Frame.of(view) for view in views]
    pairs = [frame.against(frame.features, frame.features) for frame in frames]
    doubts, expected = 0.5 + rng.random(15), _expected(frames)
    settings = expected[0] + rng.standard_normal(7) * 0.3
    _, gradient = _loss(settings, pairs, told, doubts, expected)
    for at in range(7):
        step = np.eye(7)[at] * 1e-5
        up, down = (_loss(settings + sign * step, pairs, told, doubts, expected)[0] for sign in (1, -1))
        assert gradient[at] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_a_blend_is_sure_at_its_facts_and_says_the_same_alone_and_together() -> None:
    rng = np.random.default_rng(0)
    views = [np.linspace(0, 1, 24)[:, None], rng.random((24, 2))]
    values = np.sin(4 * views[0][:, 0]) + views[1] @ np.array([1.0, -1.0])
    found = blend(views, values, 30)
    mean, spread = found.outlook(views)
    assert mean == pytest.approx(values, abs=0.05)
    away = [view + 3.0 for view in views]
    assert found.outlook(away)[1].min() > 3 * spread.max()
    own = np.diag(found.covariance(away)) + found.noise
    assert np.sqrt(own) == pytest.approx(found.outlook(away)[1], rel=1e-6)


def test_slow_outliers_are_doubted_and_no_longer_bend_what_is_believed() -> None:
    rng = np.random.default_rng(2)
    views = [np.sort(rng.random(40))[:, None]]
    truth = 1 + views[0][:, 0]
    values = truth + 0.01 * rng.standard_normal(40)
    values[[7, 21]] += 2.0
    first = blend(views, values, 30)
    second = steadied(first, values, 15)
    others = np.delete(np.arange(40), [7, 21])
    assert second.doubts[[7, 21]].min() > second.doubts[others].max()
    off = [np.abs(each.outlook(views)[0] - truth)[others].mean() for each in (first, second)]
    assert off[1] < off[0]


def test_believing_one_point_is_conditioning_on_it() -> None:
    root = np.random.default_rng(0).random((4, 4))
    covariance, noise = root @ root.T, 0.3
    part = Correlated(np.zeros(4), covariance, noise, same)
    part.believe(2)
    shared = covariance[:, 2]
    left = np.diag(covariance - np.outer(shared, shared) / (covariance[2, 2] + noise)) + noise
    assert part.outcomes(np.ones(1))[:, 0] == pytest.approx(np.sqrt(left))


def test_a_batch_does_not_ask_twice_for_one_piece_of_news() -> None:
    facts = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    # two copies of one point, and another one that promises a little less
    middle = np.array([[0.55, 0.45], [0.55, 0.45], [0.55, 0.46]])
    covariance = 0.04 * np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    given, rng = Given(middle, covariance), np.random.default_rng
    assert isinstance(GainTogether(), Weighing)
    assert set(GainTogether().weigh(given, 3, facts, 2, rng(0))) in ({0, 2}, {1, 2})
    assert set(ExpectedGain().weigh(given, 3, facts, 2, rng(0))) == {0, 1}
    assert sorted(GainTogether().weigh(given, 3, facts, 9, rng(0))) == [0, 1, 2]


def test_where_nothing_can_be_gained_points_are_chosen_all_the_same() -> None:
    facts = np.ones((3, 4))

    class Flat:
        def __call__(self, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
            return np.ones((len(rows), *deviations.shape))

        def joint(self, rows: np.ndarray) -> list[Part]:
            return [Alone(lambda deviations: np.ones((len(rows), len(deviations)))) for _ in range(4)]

    chosen = GainTogether(30, 4).weigh(Flat(), 5, facts, 3, np.random.default_rng(0))
    assert len(set(chosen)) == 3


def test_the_whole_search_finds_more_of_a_front_than_random_points_do() -> None:
    space = cell()

    def found(searcher: Searcher) -> float:
        facts: list[tuple[float, float]] = []
        while asked := searcher.ask():
            used = space.live(np.array([point.genes for point in asked]))
            three, one = ((used == word).sum(axis=1) for word in (THREE, ONE))
            error, cost = np.exp(-0.5 * three - 0.2 * one), 9.0 * three + one
            batch = list(zip(error.tolist(), cost.tolist(), strict=True))
            searcher.tell([Told(point, fact) for point, fact in zip(asked, batch, strict=True)])
            facts += batch
        return float(moocore.hypervolume(np.array(facts), ref=np.array([1.0, 54.0])))

    proposer = partial(Surroundings, far=60)
    choice = GainTogether(60, 16)
    for seed in (0, 1):
        near = GuidedSearch(space, seed, 4, 72, BlendedProcess(10), proposer, choice, initial=24)
        assert found(near) > found(RandomSearch(space, seed, 8, 144))


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="draws 0"):
        GainTogether(draws=0)
    with pytest.raises(UserError, match="far is -1"):
        Surroundings(GRID, 0, far=-1)


@pytest.mark.parametrize("far", [0, 5, 100])
def test_surroundings_are_neighbours_of_the_best_and_as_many_others_as_wanted(far: int) -> None:
    start = [GRID.from_vector(genes) for genes in ([0, 0], [2, 3], [5, 5])]
    values = {start[0]: (0.0, 1.0), start[1]: (1.0, 0.0), start[2]: (2.0, 2.0)}
    searcher = Surroundings(GRID, 0, far, start)
    assert searcher.ask() == start
    searcher.tell([Told(point, values[point]) for point in start])
    asked = searcher.ask()
    near = {point for member in start[:2] for point in GRID.neighbours(member)} - set(start)
    assert near <= set(asked)
    assert len(asked) == min(len(near) + far, GRID.size() - len(start))
    assert not set(asked) & set(start)
    searcher.tell([Told(point, (0.0, 0.0)) for point in asked])
    assert searcher.ask() == []


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0, 90.0], [1.0, 1.0, 1.0, 5.0]])
def test_a_scale_leads_there_and_back_and_keeps_the_order(values: list[float]) -> None:
    told = np.array(values)
    scale = Scale.of(told, 0.5)
    assert scale.back(scale.there(told)) == pytest.approx(told)
    assert (np.argsort(scale.there(told), kind="stable") == np.argsort(told, kind="stable")).all()
    assert np.isfinite(scale.back(np.array([1e6]))).all()


def test_a_cost_that_adds_up_is_a_line_and_an_error_follows_what_is_computed() -> None:
    space, rng = cell(), np.random.default_rng(0)
    points = list(dict.fromkeys(space.sample(rng) for _ in range(300)))
    genes = np.array([point.genes for point in points])
    used, rows = space.live(genes), [view(points) for view in views_of(space)]
    cost = (genes == THREE).sum(axis=1) * 9.0 + (genes == ONE).sum(axis=1)
    error = np.exp(-0.6 * (used == THREE).sum(axis=1) - 0.3 * (used == ONE).sum(axis=1))
    told, asked = slice(0, 90), slice(90, None)
    seen, unseen = [each[told] for each in rows], [each[asked] for each in rows]
    line, belief = (BlendedProcess().believe_views(seen, values[told]) for values in (cost, error))
    assert isinstance(line, Line)
    assert line.outcomes(unseen, np.ones(1))[:, 0] == pytest.approx(cost[asked], abs=0.01)
    few = BlendedProcess().believe_views([each[:24] for each in rows], error[:24])
    assert isinstance(few, Blended)
    assert isinstance(belief, Blended)
    assert belief.first == 1
    together = rank_agreement(belief.outcomes(unseen, np.zeros(1))[:, 0], error[asked])
    alone = BlendedProcess().fit(seen[0], error[told], 0)
    assert together > rank_agreement(alone(unseen[0]), error[asked])
    assert together > 0.8
