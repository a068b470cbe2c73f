"""Searching by what may turn out: gains, beliefs, and cells as models see them."""

import moocore
import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.model_based.acquisition.ehvi import EHVI, Acquisition
from evonas.search.model_based.acquisition.hypervolume_improvement import HypervolumeImprovement
from evonas.search.surrogates.base import Posterior, kendall_tau
from evonas.search.surrogates.gp import GaussianProcess, _negative_log_posterior, fit_gp
from evonas.search.surrogates.graph_encoding import encodings_of
from evonas.search.surrogates.rank_transform import RankTransform
from evonas.space.declared import declared_space
from evonas.space.edges import EdgeCell, edge_cell

WORDS = ["none", "skip", "one", "three", "pool"]
EDGES = {"e1": [0, 1], "e2": [0, 2], "e3": [1, 2], "e4": [0, 3], "e5": [1, 3], "e6": [2, 3]}
NONE, SKIP, ONE, THREE, POOL = range(5)


def cell() -> EdgeCell:
    return edge_cell("cell", dict.fromkeys(EDGES, WORDS), EDGES, "none", "skip")


def volume(points: np.ndarray, reference: np.ndarray) -> float:
    return float(moocore.hypervolume(points, ref=reference))


@pytest.mark.parametrize(("width", "tolerance"), [(1, 1e-12), (2, 1e-12), (3, 0.03)])
def test_a_gain_is_the_hypervolume_that_a_point_adds(width: int, tolerance: float) -> None:
    rng = np.random.default_rng(3)
    front, offered = rng.random((12, width)), rng.random((40, width)) * 1.2 - 0.1
    ideal, reference = np.full(width, -0.1), np.ones(width)
    room = HypervolumeImprovement(front, ideal, reference, np.random.default_rng(0))
    before = volume(front, reference)
    added = np.array([volume(np.vstack([front, point]), reference) - before for point in offered])
    found = room(offered)
    # beyond two objectives gains are shares of the room
    whole = 1.0 if width < 3 else float(np.prod(reference - ideal)) - before
    assert found * whole == pytest.approx(added, abs=tolerance)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_what_is_taken_can_not_be_gained_again(width: int) -> None:
    room = HypervolumeImprovement(
        np.full((1, width), 0.5), np.zeros(width), np.ones(width), np.random.default_rng(0)
    )
    offered = np.full((1, width), 0.3)
    assert room(offered)[0] > 0
    room.add(offered[0])
    assert room(offered)[0] == 0


def test_ehvi_prefers_a_doubtful_point_to_a_sure_one_that_gains_nothing() -> None:
    facts = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    middle = np.array([[0.6, 0.6], [0.6, 0.6], [0.9, 0.9]])
    spread = np.array([0.0, 0.2, 0.2])

    def posterior(rows: np.ndarray, joint: bool) -> list[Posterior]:
        assert not joint
        return [Posterior(middle[rows, at], spread[rows]) for at in range(2)]

    choice = EHVI()
    assert isinstance(choice, Acquisition)
    assert choice.acquire(posterior, 3, facts, 2, np.random.default_rng(0))[0] == 1
    assert len(choice.acquire(posterior, 3, facts, 9, np.random.default_rng(0))) == 3


def test_impossible_pools_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1, got 0 and"):
        EHVI(pool=0)


def test_the_gradient_of_the_process_is_that_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    features, told = rng.random((15, 3)), rng.standard_normal(15)
    apart = np.stack([(column[:, None] - column).ravel() ** 2 for column in features.T])
    along = features @ features.T
    settings = rng.standard_normal(6) * 0.3
    _, gradient = _negative_log_posterior(settings, apart, along, told)
    for at in range(6):
        step = np.eye(6)[at] * 1e-5
        up, down = (
            _negative_log_posterior(settings + sign * step, apart, along, told)[0] for sign in (1, -1)
        )
        assert gradient[at] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_a_process_is_sure_where_it_has_facts_and_doubtful_away_from_them() -> None:
    features = np.linspace(0, 1, 24)[:, None]
    values = np.sin(4 * features[:, 0])
    posterior = fit_gp(features, values, 0)
    mean, near = posterior.predict(features)
    assert mean == pytest.approx(values, abs=0.02)
    assert posterior.predict(np.array([[3.0]]))[1][0] > 5 * near.max()


def test_left_out_facts_are_predicted_as_if_they_had_never_been_seen() -> None:
    rng = np.random.default_rng(1)
    features, values = rng.random((9, 2)), rng.standard_normal(9)
    posterior = fit_gp(features, values, 0)
    spread = np.exp(posterior.theta[-1]) + 1e-10
    gram = posterior.factor @ posterior.factor.T
    kept, told = slice(1, None), (values - posterior.centre) / posterior.scale
    alone = gram[0, kept] @ np.linalg.solve(gram[kept, kept], told[kept])
    assert spread > 0
    assert posterior.leave_one_out(values)[0] == pytest.approx(alone * posterior.scale + posterior.centre)


def test_a_linear_cost_is_taken_as_known_and_an_error_is_not() -> None:
    space = cell()
    rng = np.random.default_rng(0)
    points = [space.sample(rng) for _ in range(80)]
    rows = [view(points) for view in encodings_of(space)]
    genes = np.array([point.genes for point in points])
    cost = (genes == THREE).sum(axis=1) * 9.0 + (genes == ONE).sum(axis=1)
    noisy = np.exp(-space.paths(genes) @ np.linspace(0, 1, rows[2].shape[1])) + 0.05 * rng.random(80)
    sure, doubtful = (GaussianProcess().fit_views(rows, values, 0) for values in (cost, noisy))
    deviations = np.array([-2.0, 2.0])
    assert (np.ptp(sure.posterior(rows).values_at(deviations), axis=1) == 0).all()
    assert sure.posterior(rows).median() == pytest.approx(cost, abs=0.05)
    assert (np.ptp(doubtful.posterior(rows).values_at(deviations), axis=1) > 0).all()


def test_an_error_of_what_is_computed_is_learnt_from_the_view_that_shows_it() -> None:
    space = cell()
    rng = np.random.default_rng(0)
    points = list(dict.fromkeys(space.sample(rng) for _ in range(400)))
    genes = np.array([point.genes for point in points])
    rows = [view(points) for view in encodings_of(space)]
    used = space.live(genes)
    error = np.exp(
        -0.6 * (used == THREE).sum(axis=1)
        - 0.3 * (used == ONE).sum(axis=1)
        - 0.1 * (used == POOL).sum(axis=1)
    )
    told, asked = slice(0, 100), slice(100, None)
    belief = GaussianProcess().fit_views([each[told] for each in rows], error[told], 0)
    alone = GaussianProcess().fit_views([rows[0][told]], error[told], 0)
    assert belief.view > 0
    together = kendall_tau(belief.posterior([each[asked] for each in rows]).median(), error[asked])
    assert together > kendall_tau(alone.posterior([rows[0][asked]]).median(), error[asked]) + 0.05


def test_ranks_come_back_as_the_values_they_were() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0, 50.0])
    ranks = RankTransform.of(values, tail=5)
    assert ranks.values(ranks.scores) == pytest.approx(values)
    assert ranks.values(np.array([-9.0]))[0] < 1.0


def test_dead_edges_are_no_part_of_what_a_cell_computes() -> None:
    space = cell()
    genes = np.array(
        [
            [THREE, NONE, NONE, ONE, NONE, NONE],
            [NONE, POOL, NONE, ONE, NONE, NONE],
            [NONE, NONE, NONE, ONE, THREE, POOL],
            [NONE, NONE, NONE, ONE, NONE, NONE],
        ]
    )
    assert (space.live(genes) == [-1, -1, -1, ONE, -1, -1]).all()
    assert len(np.unique(space.paths(genes), axis=0)) == 1


def test_the_names_of_nodes_do_not_matter_to_paths() -> None:
    space = cell()
    first = np.array([[THREE, ONE, NONE, SKIP, POOL, SKIP]])
    swapped = np.array([[ONE, THREE, NONE, SKIP, SKIP, POOL]])
    assert (space.paths(first) == space.paths(swapped)).all()
    other = np.array([[ONE, THREE, NONE, SKIP, POOL, SKIP]])
    assert (space.paths(first) != space.paths(other)).any()


def test_paths_tell_as_many_cells_apart_as_the_graph_allows() -> None:
    space = cell()
    genes = np.array([point.genes for point in space.points()])
    assert genes.shape == (15625, 6)
    assert space.walks == ((0, 2, 5), (0, 4), (1, 5), (3,))
    kinds = len(np.unique(space.live(genes), axis=0))
    assert 1000 < len(np.unique(space.paths(genes), axis=0)) < kinds < 15625


def test_other_spaces_have_the_view_of_their_genes_alone() -> None:
    assert len(encodings_of(declared_space("toy", {"a": [1, 2]}))) == 1
    assert len(encodings_of(cell())) == 3


@pytest.mark.parametrize(
    ("edges", "absent", "said"),
    [
        ({**EDGES, "e6": [3, 2]}, "none", "An edge is"),
        (dict(list(EDGES.items())[:5]), "none", "every axis its edge"),
        (EDGES, "nothing", "not an operation"),
    ],
)
def test_cells_that_make_no_sense_are_refused(edges: dict[str, list[int]], absent: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        edge_cell("cell", dict.fromkeys(EDGES, WORDS), edges, absent, "skip")
    assert said in f"{caught.value} {caught.value.hint}"
