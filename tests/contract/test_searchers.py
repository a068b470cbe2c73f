"""What every searcher promises; a new searcher joins by one line in SEARCHERS."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from pymoo.indicators.hv import HV

from evonas.errors import UserError
from evonas.search.base import Observation, Searcher
from evonas.search.baselines.local import LocalSearch
from evonas.search.baselines.random import RandomSearch
from evonas.search.baselines.ranked_pool import RankedPool
from evonas.search.diffusion.ednag import EDNAG
from evonas.search.diffusion.evolution import DiffusionEvolution
from evonas.search.diffusion.fitness import AccuracyFitness, FrontFitness
from evonas.search.evolution.constrained import ConstrainedEvolution
from evonas.search.evolution.matrices import MatrixEvolution
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.evolution.nsga3 import NSGA3
from evonas.search.evolution.regularized import RegularizedEvolution
from evonas.search.model_based.acquisition.ehvi import EHVI, BatchEHVI
from evonas.search.model_based.acquisition.roulette import Roulette
from evonas.search.model_based.acquisition.subset import EvenSpacing, HypervolumeSubset, RankAndCrowding
from evonas.search.model_based.neighbourhood_proposer import NeighbourhoodProposer
from evonas.search.model_based.surrogate_search import SurrogateSearch
from evonas.search.pruning.nested_order import NestedOrder
from evonas.search.surrogates.gp import GaussianProcess
from evonas.search.surrogates.multi_view_gp import MultiViewGaussianProcess
from evonas.search.surrogates.pairwise_ranker import PairwiseRanker
from evonas.search.surrogates.rbf import RBF
from evonas.space.chain import chain_space
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.evonet.space import evonet_space

Make = Callable[[Space, int, int, int], Searcher]
INNER = partial(NSGA2, population=16, evaluations=64, changes=1.0, corners=False)


def guided(space: Space, seed: int, population: int, evaluations: int, **parts: object) -> Searcher:
    """The parts of a guided search, made small enough for a test."""
    given = {"surrogate": RBF(), "proposer": INNER, "acquisition": EvenSpacing(), "initial": 24, **parts}
    return SurrogateSearch(space, seed, population, evaluations, **given)


def load_of(space: Space, genotype: Genotype) -> float:
    """The cost of `trade_off` in closed form."""
    return float(np.mean(np.array(genotype.genes) / np.maximum(np.array(space.upper), 1)))


SEARCHERS: dict[str, Make] = {
    "random": RandomSearch,
    "nsga2": NSGA2,
    "nsga2_paper": partial(NSGA2, mutation_prob=0.1, changes=1.0, corners=False),
    "nsga3": NSGA3,
    "regularized": partial(RegularizedEvolution, batch=4),
    "local": LocalSearch,
    "nested": NestedOrder,
    "pool": partial(RankedPool, score=load_of, pool=64),
    "constrained": partial(ConstrainedEvolution, windows={}, corners=True),
    "elasticvit": partial(
        ConstrainedEvolution, windows={0: [0.4, 0.8]}, analytic_objectives={0: load_of}, initial=24
    ),
    "matrices": MatrixEvolution,
    "ednag": partial(EDNAG, fitness=FrontFitness(), steps=12),
    "ednag_paper": partial(EDNAG, fitness=AccuracyFitness(unit=50.0), steps=12, parity=True),
    "ednag_smaller": partial(EDNAG, fitness=FrontFitness(), steps=12, lower_params=0.3, init_valid=0.5),
    "diffusion": partial(DiffusionEvolution, fitness=FrontFitness(), steps=8),
    "nsganetv2": guided,
    "linas": partial(guided, acquisition=RankAndCrowding()),
    "composed": partial(guided, acquisition=HypervolumeSubset(30), surrogate=PairwiseRanker(500)),
    "expected": partial(guided, acquisition=EHVI(30, 8), surrogate=GaussianProcess(2), exhaustive_up_to=100),
    "drawn": partial(guided, acquisition=Roulette(FrontFitness(), params=load_of)),
    "near": partial(
        guided,
        acquisition=BatchEHVI(30, 8),
        surrogate=MultiViewGaussianProcess(3),
        proposer=partial(NeighbourhoodProposer, far=40),
    ),
}
# those that look for the whole front; what "near" finds is held to random search in its own test, sooner
GUIDED = [
    name
    for name in SEARCHERS
    if name
    not in ("random", "pool", "elasticvit", "ednag_paper", "ednag_smaller", "diffusion", "drawn", "near")
]
EVONET = evonet_space()
CONDITIONAL = declared_space(
    "cond",
    {
        "k1": {"choices": [3, 5, 7], "expressed_by": "d1.1"},
        "k2": {"choices": [3, 5, 7], "expressed_by": "d1.2"},
    },
    {"d1": {"length": 3, "minimum": 0}},
)

# ordinal depths, and a space with layouts that are no networks
DEPTHS = declared_space(
    "depths",
    {
        "r1": [0.5, 0.75, 1],
        "d1": [1, 2, 3],
        "k1": [3, 5, 7],
        "k2": {"choices": [3, 5, 7], "expressed_by": "d1>=2"},
        "k3": {"choices": [3, 5, 7], "expressed_by": "d1>=3"},
    },
)
CHAINS = chain_space(
    "chains",
    {
        f"m{at}": ["keep", "half", "both"] if at < 3 else ["none", "keep", "half", "both"]
        for at in range(1, 5)
    },
    "none",
    {"halvings": {"words": ["half", "both"], "least": 1, "most": 2}},
)


def trade_off(space: Space, genotype: Genotype) -> tuple[float, float]:
    """Capacity lowers the error and costs more; a hidden target makes some points better than others."""
    share = np.array(genotype.genes) / np.maximum(np.array(space.upper), 1)
    target = np.linspace(0.0, 1.0, share.size)
    load = float(share.mean())
    return float(np.exp(-2 * load) + 0.3 * np.mean((share - target) ** 2)), load


def fails(genotype: Genotype) -> bool:
    """About one point in ten, whoever asks."""
    return sum(index * gene for index, gene in enumerate(genotype.genes, start=1)) % 10 == 0


def play(searcher: Searcher, space: Space, is_failing: bool = False) -> list[list[Observation]]:
    """Every batch, told."""
    batches: list[list[Observation]] = []
    while asked := searcher.ask():
        batch = [
            Observation(point, None if is_failing and fails(point) else trade_off(space, point))
            for point in asked
        ]
        searcher.tell(batch)
        batches.append(batch)
        assert len(batches) < 1000, "a searcher ends"
    return batches


def points(batches: Sequence[Sequence[Observation]]) -> list[Genotype]:
    return [told.genotype for batch in batches for told in batch]


def volume(batches: Sequence[Sequence[Observation]]) -> float:
    front = np.array([told.objectives for batch in batches for told in batch])
    return float(HV(ref_point=np.array([1.2, 1.1]))(front))


@pytest.mark.parametrize("make", SEARCHERS.values(), ids=SEARCHERS)
class TestSearcherContract:
    """Holds for all of them."""

    def test_it_speaks_the_protocol(self, make: Make) -> None:
        assert isinstance(make(EVONET, 0, 8, 16), Searcher)

    @pytest.mark.parametrize("is_failing", [False, True])
    def test_same_arguments_and_facts_mean_same_questions(self, make: Make, is_failing: bool) -> None:
        first, second = (play(make(EVONET, 7, 16, 80), EVONET, is_failing) for _ in range(2))
        assert first == second
        assert points(first) != points(play(make(EVONET, 8, 16, 80), EVONET, is_failing))

    def test_it_neither_reads_nor_moves_the_global_generator(self, make: Make) -> None:
        np.random.seed(1)
        before = np.random.get_state()[1].tolist()
        first = points(play(make(EVONET, 7, 8, 40), EVONET))
        assert np.random.get_state()[1].tolist() == before
        np.random.seed(2)
        assert points(play(make(EVONET, 7, 8, 40), EVONET)) == first

    @pytest.mark.parametrize("space", [EVONET, CONDITIONAL, DEPTHS, CHAINS], ids=lambda space: space.name)
    def test_every_question_is_canonical_and_new(self, make: Make, space: Space) -> None:
        asked = points(play(make(space, 0, 6, 60), space))
        assert all(space.contains(point) for point in asked)
        assert len(set(asked)) == len(asked)

    @pytest.mark.parametrize("evaluations", [1, 15, 16, 50])
    def test_it_ends_at_its_budget(self, make: Make, evaluations: int) -> None:
        searcher = make(EVONET, 0, 16, evaluations)
        assert len(points(play(searcher, EVONET))) == evaluations
        assert searcher.ask() == []

    @pytest.mark.parametrize("space", [CONDITIONAL, DEPTHS, CHAINS], ids=lambda space: space.name)
    def test_it_ends_when_the_space_is_used_up(self, make: Make, space: Space) -> None:
        asked = points(play(make(space, 0, 8, 1000), space))
        assert set(asked) == set(space.points())
        assert len(asked) == space.size()

    def test_a_larger_budget_begins_with_the_same_questions(self, make: Make) -> None:
        short, long = (points(play(make(EVONET, 0, 16, count), EVONET)) for count in (40, 80))
        assert long[:40] == short

    def test_failures_are_survived_and_not_asked_again(self, make: Make) -> None:
        batches = play(make(EVONET, 0, 20, 200), EVONET, is_failing=True)
        asked = points(batches)
        assert len(set(asked)) == len(asked) == 200
        assert 5 < sum(fails(point) for point in asked) < 60

    @pytest.mark.parametrize("junk", [(float("nan"), 1.0), (0.0, float("inf")), (-float("inf"), 0.0)])
    def test_numbers_that_are_none_count_as_failures(self, make: Make, junk: tuple[float, float]) -> None:
        asked = []
        for told in (None, junk):
            searcher, batches = make(EVONET, 0, 8, 32), []
            while batch := searcher.ask():
                batches.append(batch)
                facts = [told if at % 3 == 2 else trade_off(EVONET, point) for at, point in enumerate(batch)]
                searcher.tell([Observation(point, fact) for point, fact in zip(batch, facts, strict=True)])
            asked.append(batches)
        assert asked[0] == asked[1]

    def test_nothing_but_failures_is_survived(self, make: Make) -> None:
        searcher = make(EVONET, 0, 10, 40)
        count = 0
        while asked := searcher.ask():
            count += len(asked)
            searcher.tell([Observation(point, None) for point in asked])
        assert count == 40

    def test_one_objective_and_four_are_fine(self, make: Make) -> None:
        for width in (1, 4):
            searcher = make(EVONET, 0, 8, 32)
            while asked := searcher.ask():
                searcher.tell([Observation(point, tuple(map(float, point.genes[:width]))) for point in asked])

    def test_impossible_budgets_are_refused(self, make: Make) -> None:
        for population, evaluations in ((0, 10), (8, 0), (-1, 10)):
            with pytest.raises(UserError, match="budget"):
                make(EVONET, 0, population, evaluations)


@pytest.mark.parametrize("name", GUIDED)
def test_guided_searchers_beat_random_search(name: str) -> None:
    guided, blind = (
        [volume(play(SEARCHERS[each](EVONET, seed, 20, 300), EVONET)) for seed in range(3)]
        for each in (name, "random")
    )
    assert min(guided) > max(blind)


@pytest.mark.parametrize("name", ["nsga2", "nsga2_paper"])
def test_a_failed_point_never_survives(name: str) -> None:
    searcher = SEARCHERS[name](EVONET, 0, 12, 120)
    assert isinstance(searcher, NSGA2)
    while asked := searcher.ask():
        searcher.tell(
            [Observation(point, None if fails(point) else trade_off(EVONET, point)) for point in asked]
        )
        kept = searcher.survivors()
        assert 0 < len(kept) <= 12
        for told in kept:
            assert not fails(told.genotype)
            assert told.objectives == trade_off(EVONET, told.genotype)


@pytest.mark.parametrize("rate", ["crossover_prob", "swap_prob", "mutation_prob"])
def test_rates_are_probabilities(rate: str) -> None:
    with pytest.raises(UserError, match=rf"{rate} must be in \[0, 1\], got 1.5"):
        NSGA2(EVONET, 0, 8, 16, **{rate: 1.5})
