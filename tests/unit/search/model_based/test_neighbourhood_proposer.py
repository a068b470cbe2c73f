"""Searching near the front: blends of views, noise_factors that batches share, and surroundings."""

from functools import partial

import moocore
import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Observation, Searcher
from evonas.search.baselines.random import RandomSearch
from evonas.search.model_based.acquisition.ehvi import EHVI, Acquisition, BatchEHVI
from evonas.search.model_based.neighbourhood_proposer import NeighbourhoodProposer
from evonas.search.model_based.surrogate_search import SurrogateSearch
from evonas.search.surrogates.base import CorrelatedPosterior, Posterior, kendall_tau
from evonas.search.surrogates.graph_encoding import encodings_of
from evonas.search.surrogates.multi_view_gp import (
    LinearModel,
    LogScale,
    LogScaleModel,
    MultiViewGaussianProcess,
    ViewStatistics,
    _negative_log_posterior,
    _prior,
    fit_multi_view_gp,
    refit_robust,
)
from evonas.space.declared import declared_space
from evonas.space.edges import EdgeCell, edge_cell

WORDS = ["none", "skip", "one", "three", "pool"]
EDGES = {"e1": [0, 1], "e2": [0, 2], "e3": [1, 2], "e4": [0, 3], "e5": [1, 3], "e6": [2, 3]}
ONE, THREE = 2, 3
GRID = declared_space("grid", {"a": list(range(6)), "b": list(range(6))})


def cell() -> EdgeCell:
    return edge_cell("cell", dict.fromkeys(EDGES, WORDS), EDGES, "none", "skip")


class Given:
    """Candidates of two objectives that are alike as a matrix says."""

    def __init__(self, middle: np.ndarray, covariance: np.ndarray) -> None:
        self._middle, self._covariance = middle, covariance

    def __call__(self, rows: np.ndarray, joint: bool) -> list[Posterior]:
        covariance = self._covariance[np.ix_(rows, rows)]
        correlated = CorrelatedPosterior(self._middle[rows, 0], covariance, 0.0)
        alone = Posterior(self._middle[rows, 0], np.sqrt(np.diag(covariance)))
        known = Posterior(self._middle[rows, 1], np.zeros(len(rows)))
        return [correlated if joint else alone, known]


def test_the_gradient_of_a_blend_is_that_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    views, told = [rng.random((15, 3)), rng.random((15, 2))], rng.standard_normal(15)
    frames = [ViewStatistics.of(view) for view in views]
    pairs = [frame.compare(frame.features, frame.features) for frame in frames]
    noise_factors, expected = 0.5 + rng.random(15), _prior(frames)
    settings = expected[0] + rng.standard_normal(7) * 0.3
    _, gradient = _negative_log_posterior(settings, pairs, told, noise_factors, expected)
    for at in range(7):
        step = np.eye(7)[at] * 1e-5
        up, down = (
            _negative_log_posterior(settings + sign * step, pairs, told, noise_factors, expected)[0]
            for sign in (1, -1)
        )
        assert gradient[at] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_a_blend_is_sure_at_its_facts_and_says_the_same_alone_and_together() -> None:
    rng = np.random.default_rng(0)
    views = [np.linspace(0, 1, 24)[:, None], rng.random((24, 2))]
    values = np.sin(4 * views[0][:, 0]) + views[1] @ np.array([1.0, -1.0])
    found = fit_multi_view_gp(views, values, 30)
    mean, spread = found.predict(views)
    assert mean == pytest.approx(values, abs=0.05)
    away = [view + 3.0 for view in views]
    assert found.predict(away)[1].min() > 3 * spread.max()
    own = np.diag(found.covariance(away)) + found.noise
    assert np.sqrt(own) == pytest.approx(found.predict(away)[1], rel=1e-6)


def test_slow_outliers_are_doubted_and_no_longer_bend_what_is_believed() -> None:
    rng = np.random.default_rng(2)
    views = [np.sort(rng.random(40))[:, None]]
    truth = 1 + views[0][:, 0]
    values = truth + 0.01 * rng.standard_normal(40)
    values[[7, 21]] += 2.0
    first = fit_multi_view_gp(views, values, 30)
    second = refit_robust(first, values, 15)
    others = np.delete(np.arange(40), [7, 21])
    assert second.noise_factors[[7, 21]].min() > second.noise_factors[others].max()
    off = [np.abs(each.predict(views)[0] - truth)[others].mean() for each in (first, second)]
    assert off[1] < off[0]


def test_believing_one_point_is_conditioning_on_it() -> None:
    root = np.random.default_rng(0).random((4, 4))
    covariance, noise = root @ root.T, 0.3
    part = CorrelatedPosterior(np.zeros(4), covariance, noise)
    part.condition_on(2)
    shared = covariance[:, 2]
    left = np.diag(covariance - np.outer(shared, shared) / (covariance[2, 2] + noise)) + noise
    assert part.values_at(np.ones(1))[:, 0] == pytest.approx(np.sqrt(left))


def test_a_batch_does_not_ask_twice_for_one_piece_of_news() -> None:
    facts = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    # two copies of one point, and another one that promises a little less
    middle = np.array([[0.55, 0.45], [0.55, 0.45], [0.55, 0.46]])
    covariance = 0.04 * np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    given, rng = Given(middle, covariance), np.random.default_rng
    assert isinstance(BatchEHVI(), Acquisition)
    assert set(BatchEHVI().acquire(given, 3, facts, 2, rng(0))) in ({0, 2}, {1, 2})
    assert set(EHVI().acquire(given, 3, facts, 2, rng(0))) == {0, 1}
    assert sorted(BatchEHVI().acquire(given, 3, facts, 9, rng(0))) == [0, 1, 2]


def test_where_nothing_can_be_gained_points_are_chosen_all_the_same() -> None:
    facts = np.ones((3, 4))

    def flat(rows: np.ndarray, joint: bool) -> list[Posterior]:
        del joint
        return [Posterior(np.ones(len(rows)), np.zeros(len(rows))) for _ in range(4)]

    chosen = BatchEHVI(30, 4).acquire(flat, 5, facts, 3, np.random.default_rng(0))
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
            searcher.tell([Observation(point, fact) for point, fact in zip(asked, batch, strict=True)])
            facts += batch
        return float(moocore.hypervolume(np.array(facts), ref=np.array([1.0, 54.0])))

    proposer = partial(NeighbourhoodProposer, far=60)
    choice = BatchEHVI(60, 16)
    for seed in (0, 1):
        near = SurrogateSearch(space, seed, 4, 72, MultiViewGaussianProcess(10), proposer, choice, initial=24)
        assert found(near) > found(RandomSearch(space, seed, 8, 144))


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(UserError, match=r"at least 1, got .* and 0"):
        BatchEHVI(draws=0)
    with pytest.raises(UserError, match="at least 0, got -1"):
        NeighbourhoodProposer(GRID, 0, far=-1)


@pytest.mark.parametrize("far", [0, 5, 100])
def test_proposals_are_neighbours_of_the_best_and_as_many_others_as_wanted(far: int) -> None:
    start = [GRID.from_vector(genes) for genes in ([0, 0], [2, 3], [5, 5])]
    values = {start[0]: (0.0, 1.0), start[1]: (1.0, 0.0), start[2]: (2.0, 2.0)}
    searcher = NeighbourhoodProposer(GRID, 0, far, start)
    assert searcher.ask() == start
    searcher.tell([Observation(point, values[point]) for point in start])
    asked = searcher.ask()
    near = {point for member in start[:2] for point in GRID.neighbours(member)} - set(start)
    assert near <= set(asked)
    assert len(asked) == min(len(near) + far, GRID.size() - len(start))
    assert not set(asked) & set(start)
    searcher.tell([Observation(point, (0.0, 0.0)) for point in asked])
    assert searcher.ask() == []


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0, 90.0], [1.0, 1.0, 1.0, 5.0]])
def test_a_scale_leads_there_and_back_and_keeps_the_order(values: list[float]) -> None:
    told = np.array(values)
    scale = LogScale.of(told, 0.5)
    assert scale.inverse(scale.transform(told)) == pytest.approx(told)
    assert (np.argsort(scale.transform(told), kind="stable") == np.argsort(told, kind="stable")).all()
    assert np.isfinite(scale.inverse(np.array([1e6]))).all()


def test_a_cost_that_adds_up_is_a_line_and_an_error_follows_what_is_computed() -> None:
    space, rng = cell(), np.random.default_rng(0)
    points = list(dict.fromkeys(space.sample(rng) for _ in range(300)))
    genes = np.array([point.genes for point in points])
    used, rows = space.live(genes), [view(points) for view in encodings_of(space)]
    cost = (genes == THREE).sum(axis=1) * 9.0 + (genes == ONE).sum(axis=1)
    error = np.exp(-0.6 * (used == THREE).sum(axis=1) - 0.3 * (used == ONE).sum(axis=1))
    told, asked = slice(0, 90), slice(90, None)
    seen, unseen = [each[told] for each in rows], [each[asked] for each in rows]
    line, belief = (MultiViewGaussianProcess().fit_views(seen, values[told], 0) for values in (cost, error))
    assert isinstance(line, LinearModel)
    assert line.posterior(unseen).values_at(np.ones(1))[:, 0] == pytest.approx(cost[asked], abs=0.01)
    few = MultiViewGaussianProcess().fit_views([each[:24] for each in rows], error[:24], 0)
    assert isinstance(few, LogScaleModel)
    assert isinstance(belief, LogScaleModel)
    assert belief.first == 1
    together = kendall_tau(belief.posterior(unseen).median(), error[asked])
    alone = MultiViewGaussianProcess().fit(seen[0], error[told], 0)
    assert together > kendall_tau(alone(unseen[0]), error[asked])
    assert together > 0.8
