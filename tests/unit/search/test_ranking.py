"""The parts of searchers: ranking, choices, monitor, closed forms, windows, directions, guided search."""

from functools import partial

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.analytic_objectives import GeneSum, by_index
from evonas.search.base import Observation
from evonas.search.baselines.local import LocalSearch
from evonas.search.baselines.ranked_pool import RankedPool
from evonas.search.evolution.constrained import ConstrainedEvolution
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.evolution.nsga3 import NSGA3, directions
from evonas.search.evolution.regularized import RegularizedEvolution
from evonas.search.history import History
from evonas.search.model_based.acquisition.subset import EvenSpacing, HypervolumeSubset, RankAndCrowding
from evonas.search.model_based.predictor import Predictor
from evonas.search.model_based.reliability import SurrogateMonitor
from evonas.search.model_based.surrogate_search import SurrogateSearch
from evonas.search.operators import crossover, mutate_each, mutate_one
from evonas.search.ranking import best_first, chebyshev, front_ranks
from evonas.search.surrogates.base import Predict
from evonas.search.surrogates.rbf import RBF
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.mbconv.space import mbconv_space

EVONET = evonet_space()
GRID = declared_space("grid", {f"x{number}": list(range(8)) for number in range(1, 7)})
RNG = np.random.default_rng


def costs(point: Genotype) -> tuple[float, float]:
    """Something to trade: the sum of the genes against the distance from the far corner, bent."""
    share = np.array(point.genes) / 7
    return float(np.exp(-2 * share.mean()) + 0.2 * np.mean((share - 0.6) ** 2)), float(share.mean())


def load(space: Space, point: Genotype) -> float:
    """The second of the costs, in other units."""
    del space
    return 3.0 * float(np.mean(np.array(point.genes) / 7)) + 5.0


def play(searcher: object, space: Space = GRID) -> list[Observation]:
    told: list[Observation] = []
    assert hasattr(searcher, "ask") and hasattr(searcher, "tell")
    while asked := searcher.ask():
        batch = [Observation(point, costs(point)) for point in asked]
        searcher.tell(batch)
        told += batch
    assert all(space.contains(fact.genotype) for fact in told)
    return told


def test_fronts_and_crowding_order_points() -> None:
    values = np.array([[0.0, 4.0], [1.0, 2.0], [1.5, 1.8], [4.0, 0.0], [5.0, 5.0]])
    assert front_ranks(values).tolist() == [0, 0, 0, 0, 1]
    assert sorted(best_first(values)[:2].tolist()) == [0, 3]
    assert best_first(values)[-1] == 4


def test_one_positive_weight_orders_by_its_objective() -> None:
    values = np.array([[3.0, 0.0], [1.0, 9.0], [2.0, 5.0]])
    assert np.argsort(chebyshev(values, np.array([1.0, 0.0]))).tolist() == [1, 2, 0]


def test_a_ledger_cuts_to_the_budget_and_forgets_failures() -> None:
    history = History(GRID, 4, 3)
    points = [GRID.sample(RNG(seed)) for seed in range(4)]
    asked = history.ask([points[0], points[0], *points[1:]])
    assert asked == points[:3] and history.remaining == 0
    counted = history.tell(
        [
            Observation(asked[0], (1.0, 2.0)),
            Observation(asked[1], None),
            Observation(asked[2], (float("nan"), 0.0)),
        ]
    )
    assert [fact.genotype for fact in counted] == [points[0]] == history.points() == history.front()


@pytest.mark.parametrize("seed", range(20))
def test_steps_change_points_and_stay_in_the_space(seed: int) -> None:
    rng = RNG(seed)
    point, other = EVONET.sample(rng), EVONET.sample(rng)
    stepped = mutate_one(EVONET, point, rng)
    assert stepped != point and EVONET.contains(stepped)
    assert mutate_each(EVONET, point, 0.0, rng) != point
    child = crossover(EVONET, point, other, 0.5, rng)
    assert all(gene in pair for gene, *pair in zip(child.genes, point.genes, other.genes, strict=True))


@pytest.mark.parametrize(
    ("objectives", "population", "count"), [(1, 8, 1), (2, 24, 24), (3, 91, 91), (3, 92, 91)]
)
def test_directions_fill_the_population(objectives: int, population: int, count: int) -> None:
    found = directions(objectives, population)
    assert found.shape == (count, objectives)
    assert found.sum(axis=1) == pytest.approx(np.ones(count))


def test_nsga3_survivors_never_failed() -> None:
    searcher = NSGA3(EVONET, 0, 12, 96)
    while asked := searcher.ask():
        searcher.tell([Observation(p, None if sum(p.genes) % 5 == 0 else costs(p)) for p in asked])
    assert all(sum(told.genotype.genes) % 5 for told in searcher.survivors())


def test_the_ends_of_the_space_are_asked_first_unless_told_otherwise() -> None:
    ends = [EVONET.smallest(), EVONET.largest()]
    given = EVONET.sample(RNG(5))
    assert NSGA2(EVONET, 0, 8, 16).ask()[:2] == ends
    assert NSGA2(EVONET, 0, 8, 16, start=[given]).ask()[:3] == [given, *ends]
    assert not set(NSGA2(EVONET, 0, 8, 16, corners=False).ask()) & set(ends)


def test_corners_of_each_group_are_asked_first_where_wanted() -> None:
    space = mbconv_space()
    asked = [space.decode(each) for each in NSGA2(space, 0, 16, 32, corners="groups").ask()]
    assert len(asked) == 16
    corners = asked[:12]
    assert corners[0]["r1"] == 0.5 and corners[1]["r1"] == 1.0
    # the narrowest and shallowest network that reads whole images, and the largest that reads small ones
    assert any(
        each["r1"] == 1.0 and each["d1"] == 1 and each["w1"] == 16 and each["k1"] == 3 for each in corners
    )
    assert any(
        each["r1"] == 0.5 and each["d1"] == 3 and each["w1"] == 32 and each["k1"] == 5 for each in corners
    )
    # a population below the number of corners is not exceeded
    assert len(NSGA2(space, 0, 4, 32, corners="groups").ask()) == 4
    with pytest.raises(UserError, match=r"search\.corners=both is unknown"):
        NSGA2(space, 0, 16, 32, corners="both")


def test_spread_evens_out_the_gaps() -> None:
    front = np.array([[1.0, 0.0], [0.0, 10.0]])
    predicted = np.array([[0.5, place] for place in (1.0, 2.0, 2.5, 5.0, 7.4, 7.5, 9.0)])
    chosen = EvenSpacing(along=1).select(predicted, front, 3, RNG(0))
    assert sorted(predicted[chosen, 1].tolist()) == [2.5, 5.0, 7.5]


def test_hypervolume_gain_prefers_the_large_gap_and_never_repeats() -> None:
    front = np.array([[0.0, 1.0], [0.1, 0.8], [1.0, 0.0]])
    predicted = np.array([[0.05, 0.9], [0.5, 0.3], [0.52, 0.31], [0.9, 0.9]])
    chosen = HypervolumeSubset().select(predicted, front, 3, RNG(0))
    assert chosen[0] == 1
    assert len(set(chosen)) == 3


@pytest.mark.parametrize("choice", [RankAndCrowding(), EvenSpacing(), HypervolumeSubset()])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_choices_give_what_there_is(
    choice: RankAndCrowding | EvenSpacing | HypervolumeSubset, width: int
) -> None:
    predicted, front = RNG(1).random((5, width)), RNG(2).random((3, width))
    assert len(set(choice.select(predicted, front, 4, RNG(0)))) == 4
    assert sorted(choice.select(predicted, front, 9, RNG(0))) == [0, 1, 2, 3, 4]


def test_trust_counts_only_what_was_predicted_and_raises_the_alarm() -> None:
    monitor = SurrogateMonitor(0.2, 16)
    found = np.arange(8.0)[:, None]
    monitor.update(found[:4], found[:4], 10)
    assert not monitor.is_alarmed and monitor.history[-1].taus == (1.0,)
    monitor.update(-found, found, 14)
    assert monitor.is_alarmed
    monitor.update(found, found, 22)
    monitor.update(found, found, 30)
    assert not monitor.is_alarmed
    assert "not used" in monitor.lines()[1]


def test_a_closed_form_is_aligned_to_the_facts() -> None:
    history = History(GRID, 30, 30)
    asked = history.ask_random(30, RNG(0))
    history.tell([Observation(point, costs(point)) for point in asked])
    predictor = Predictor(history, RBF(), {1: load}, 0)
    unseen = [
        point for point in (GRID.sample(RNG(seed)) for seed in range(50, 80)) if point not in history.seen
    ]
    assert predictor(unseen)[:, 1] == pytest.approx([costs(point)[1] for point in unseen])
    assert predictor(asked) == pytest.approx(history.values())


def test_names_become_positions_or_a_clear_sentence() -> None:
    assert by_index({"macs": 1, 0: 2}, ["error", "macs"]) == {1: 1, 0: 2}
    with pytest.raises(UserError, match="Unknown objective 'mac'"):
        by_index({"mac": 1}, ["error", "macs"])


class Backwards:
    """Predicts the opposite of what it learnt."""

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        right = RBF().fit(features, values, seed)
        return lambda asked: -right(asked)


INNER = partial(NSGA2, population=12, evaluations=48, changes=1.0, corners=False)


def test_a_surrogate_that_ranks_badly_is_not_followed() -> None:
    settings = {"initial": 24, "rank_correlation_window": 16}
    searcher = SurrogateSearch(GRID, 0, 8, 96, Backwards(), INNER, HypervolumeSubset(), **settings)
    play(searcher)
    alarmed = [each.is_alarmed for each in searcher.monitor.history]
    assert any(alarmed)
    assert all(tau < 0 for each in searcher.monitor.history if each.is_alarmed for tau in each.taus[:1])


def test_a_surrogate_that_ranks_well_is_followed_and_beats_blind_search() -> None:
    searcher = SurrogateSearch(GRID, 0, 8, 72, RBF(), INNER, HypervolumeSubset(), initial=24)
    guided = play(searcher)
    assert not any(each.is_alarmed for each in searcher.monitor.history)
    assert [each.observations for each in searcher.monitor.history] == [24, 32, 40, 48, 56, 64]
    assert searcher.monitor.history[-1].taus[0] > 0.8
    by_pool = play(RankedPool(GRID, 0, 24, 72, score=GeneSum(), pool=200))
    ranks = front_ranks(np.array([fact.objectives for fact in (*guided, *by_pool)], dtype=float))
    assert (ranks[:72] == 0).sum() > 2 * (ranks[72:] == 0).sum()


def test_a_pool_is_asked_in_the_order_of_its_score() -> None:
    scores = [load(GRID, fact.genotype) for fact in play(RankedPool(GRID, 0, 10, 60, score=load, pool=60))]
    assert scores == sorted(scores)


def test_children_stay_inside_windows_when_the_cost_is_known() -> None:
    window = [load(GRID, GRID.smallest()) + 1.0, load(GRID, GRID.smallest()) + 1.6]
    known = ConstrainedEvolution(
        GRID, 0, 16, 160, windows={"load": window}, objectives=["e", "load"], analytic_objectives={1: load}
    )
    told: list[Observation] = []
    while asked := known.ask():
        batch = [Observation(point, (costs(point)[0], load(GRID, point))) for point in asked]
        known.tell(batch)
        told += batch
    assert all(window[0] <= fact.objectives[1] <= window[1] for fact in told if fact.objectives)
    best = known.survivors()[0].objectives
    assert best is not None
    assert best[0] == min(fact.objectives[0] for fact in told if fact.objectives)


def test_points_outside_a_window_survive_only_behind_those_inside() -> None:
    searcher = ConstrainedEvolution(GRID, 0, 16, 96, windows={1: [None, 0.4]}, keep=96)
    play(searcher)
    loads = [told.objectives[1] for told in searcher.survivors() if told.objectives]
    inside = [value <= 0.4 for value in loads]
    assert inside == sorted(inside, reverse=True)
    outside = [value for value in loads if value > 0.4]
    assert outside == sorted(outside)


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(UserError, match=r"\[2, 1\] is empty"):
        ConstrainedEvolution(GRID, 0, 8, 16, windows={0: [2, 1]})
    with pytest.raises(UserError, match="must be \\[low, high\\]"):
        ConstrainedEvolution(GRID, 0, 8, 16, windows={0: [2]})
    searcher = ConstrainedEvolution(GRID, 0, 8, 16, windows={7: [0, 1]})
    with pytest.raises(UserError, match="objective 7 of 2"):
        play(searcher)


def test_local_search_asks_neighbours_of_the_front_alone() -> None:
    searcher = LocalSearch(GRID, 0, 6, 80)
    told = {fact.genotype: fact for fact in [Observation(point, costs(point)) for point in searcher.ask()]}
    searcher.tell(list(told.values()))
    while asked := searcher.ask():
        ranks = front_ranks(np.array([fact.objectives for fact in told.values()], dtype=float))
        front = [point for point, rank in zip(told, ranks, strict=True) if rank == 0]
        near = {neighbour for point in front for neighbour in GRID.neighbours(point)}
        assert set(asked) <= near
        batch = [Observation(point, costs(point)) for point in asked]
        searcher.tell(batch)
        told |= {fact.genotype: fact for fact in batch}


def test_regularized_evolution_minimises_the_weighted_objective() -> None:
    first = play(RegularizedEvolution(GRID, 0, 12, 200, tournament=4, weights=[1, 0], corners=False))
    second = play(RegularizedEvolution(GRID, 0, 12, 200, tournament=4, weights=[0, 1], corners=False))
    late = [fact.objectives for fact in (*first[-50:], *second[-50:]) if fact.objectives]
    assert np.mean([value[0] for value in late[:50]]) < np.mean([value[0] for value in late[50:]])
    assert np.mean([value[1] for value in late[:50]]) > np.mean([value[1] for value in late[50:]])
    with pytest.raises(UserError, match="weights has 3 numbers for 2"):
        play(RegularizedEvolution(GRID, 0, 12, 40, weights=[1, 1, 1]))
