"""Parts of guided searches as the command line combines them."""

from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from evonas import config, schema
from evonas.cli import conf_dir
from evonas.errors import UserError
from evonas.objectives.analytic_costs import AnalyticMacs
from evonas.search.base import Observation
from evonas.search.diffusion.ednag import EDNAG
from evonas.search.model_based.surrogate_search import SurrogateSearch
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import cost
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3


def parts(group: str) -> list[str]:
    """Every file of a group below conf/search."""
    return sorted(path.stem for path in (conf_dir() / "search" / group).glob("*.yaml"))


def node(*overrides: str) -> Any:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=["+task=synthetic", "network=nano", *overrides])


def costs(point: Genotype) -> tuple[float, float]:
    genes = np.array(point.genes, dtype=float)
    return float(np.sum((genes - 2) ** 2)), float(genes.sum())


def play(cfg: Any) -> SurrogateSearch:
    """The searcher after its budget."""
    space: Space = config.build(cfg.space)
    searcher: SurrogateSearch = config.build(cfg.search, space=space, seed=0, objectives=["error", "macs"])
    while asked := searcher.ask():
        assert all(space.contains(point) for point in asked)
        searcher.tell([Observation(point, costs(point)) for point in asked])
    return searcher


@pytest.mark.parametrize("surrogate", parts("surrogate"))
def test_every_surrogate_serves_every_guided_search(surrogate: str) -> None:
    words = [
        "search=model_based",
        f"search/surrogate={surrogate}",
        "search.initial=20",
        "budget.evaluations=28",
    ]
    faster = {"carts": ["search.surrogate.trees=20"], "adaptive_switching": ["search.surrogate.folds=2"]}
    cfg = node(*words, "search/proposer=random", *faster.get(surrogate, []))
    assert [each.observations for each in play(cfg).monitor.history] == [20]


@pytest.mark.parametrize("proposer", parts("proposer"))
def test_every_proposer_serves_every_guided_search(proposer: str) -> None:
    cfg = node(
        "search=nsganetv2", f"search/proposer={proposer}", "search.initial=20", "budget.evaluations=28"
    )
    assert [each.observations for each in play(cfg).monitor.history] == [20]


def test_presets_hold_the_published_numbers() -> None:
    nsganetv2, linas, elasticvit = (
        node(f"search={name}").search for name in ("nsganetv2", "linas", "elasticvit")
    )
    assert (nsganetv2.initial, nsganetv2.population) == (100, 8)
    inner = nsganetv2.proposer
    assert (inner.population, inner.evaluations, inner.crossover_prob, inner.get("eta", 1.0)) == (
        40,
        800,
        0.9,
        1.0,
    )
    assert (linas.initial, linas.population) == (50, 50)
    assert (elasticvit.initial, elasticvit.population, elasticvit.keep) == (512, 256, 256)
    assert (elasticvit.mutants, elasticvit.mutation_prob, list(elasticvit.compete)) == (0.5, 0.2, ["error"])
    ednag = node("search=ednag_paper").search
    settings = (
        ednag.population,
        ednag.steps,
        ednag.noise,
        ednag.mutation_prob,
        ednag.eta,
        ednag.elite,
        ednag.diverse,
    )
    assert settings == (30, 100, 0.8, 0.6, 5.0, 0.1, 0.2)


def test_ednag_of_mobilenet_holds_the_published_numbers() -> None:
    search = node("network=ofa_mbv3", "space.resolutions=[224]", "search=ednag_mbv3").search
    inner, acquisition = search.proposer, search.acquisition
    assert (inner.population, inner.steps, inner.noise, inner.mutation_prob, inner.eta) == (
        100,
        100,
        0.8,
        0.6,
        4.0,
    )
    assert (inner.elite, inner.diverse, inner.lower_params, inner.init_valid) == (0.1, 0.2, 0.3, 0.5)
    assert (search.population, acquisition.lower_params, acquisition.pool) == (30, 0.1, 100)
    layout = node("search=ednag_room_layout").search
    paper = node("search=ednag_paper").search
    assert {**layout, "fitness": None} == {**paper, "fitness": None}
    assert (layout.fitness.base, layout.fitness.gain) == (50.0, 2814.0)


def test_ednag_of_mobilenet_proposes_networks_of_its_predictions() -> None:
    cfg = node(
        "network=ofa_mbv3",
        "space.resolutions=[224]",
        "search=ednag_mbv3",
        "search.proposer.steps=6",
        "search.initial=20",
        "search.population=6",
        "budget.evaluations=26",
    )
    searcher = play(cfg)
    assert [each.observations for each in searcher.monitor.history] == [20]


def test_ednag_takes_the_matrix_and_sizes_in_closed_form_by_choice() -> None:
    words = ["network=ofa_mbv3", "space.resolutions=[224]", "search=ednag_paper", "budget.evaluations=12"]
    added = ["+search/encoding=layers", "+search.init_valid=0.5", "+search.lower_params=0.3"]
    cfg = node(*words, *added, "+search/params=closed_form", "search.population=8")
    searcher: EDNAG = config.build(cfg.search, space=config.build(cfg.space), seed=0)
    assert len(searcher.ask()) == 4
    space = config.build(cfg.space)
    family = OFAMobileNetV3(space)
    points = [space.smallest(), space.largest()]
    assert searcher._sizes is not None
    assert searcher._sizes(points).tolist() == [cost(family, each, (64, 64)).params / 1e6 for each in points]


@pytest.mark.parametrize("search", ["nsganetv2", "constrained"])
def test_closed_multiply_adds_reach_the_searcher(search: str) -> None:
    cfg = node(f"search={search}", "+search/analytic_objectives=macs")
    space: Space = config.build(cfg.space)
    searcher = config.build(cfg.search, space=space, seed=0, objectives=["error", "macs"])
    form = searcher._analytic[1]
    family = EvoNet(space, (24, 48, 96, 192), (2, 4, 8, 8), 16, 2.0, 2.0)
    point = space.largest()
    assert form(space, point) == cost(family, point, (64, 96)).macs / 1e9


def test_closed_parameters_reach_the_searcher() -> None:
    cfg = node("search=nsganetv2", "+search/analytic_objectives=params")
    space: Space = config.build(cfg.space)
    form = config.build(cfg.search, space=space, seed=0, objectives=["error", "params"])._analytic[1]
    family = EvoNet(space, (24, 48, 96, 192), (2, 4, 8, 8), 16, 2.0, 2.0)
    assert form(space, space.largest()) == cost(family, space.largest(), (64, 96)).params / 1e6


def test_what_is_no_network_has_no_closed_form() -> None:
    with pytest.raises(UserError, match="AnalyticMacs needs"):
        AnalyticMacs({"dims": [8, 8, 8, 8]}, 64, 64)
    with pytest.raises(UserError, match=r"somebody\.elses"):
        AnalyticMacs({"_target_": "somebody.elses"}, 64, 64)(evonet_space(), evonet_space().smallest())
    network = {"_target_": "evonas.supernets.evonet.family.EvoNet", "dims": [8] * 4, "heads": [1] * 4}
    assert AnalyticMacs(network, 32, 32)(evonet_space(), evonet_space().smallest()) > 0


def test_an_objective_that_is_not_there_is_named() -> None:
    cfg = node("search=constrained", "+search.windows.latency=[null,20]")
    with pytest.raises(UserError, match="Unknown objective 'latency'"):
        config.build(cfg.search, space=config.build(cfg.space), seed=0, objectives=["error", "macs"])
