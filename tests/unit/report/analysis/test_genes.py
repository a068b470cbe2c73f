"""What a report says about genes: which matter, and which networks are alike."""

from dataclasses import replace

import numpy as np
import pytest
from report_made import bred, chosen, space

from evonas.report.analysis.gene_importance import importances
from evonas.report.analysis.gene_matrix import GeneMatrix, to_vectors
from evonas.report.analysis.genealogy import Genealogy, LikelyParents, survivors
from evonas.report.analysis.snapshots import snapshots
from evonas.report.page.analysis_sections import gene_importance, genealogy_of_selected
from evonas.report.page.genealogy_section import genealogy
from evonas.report.page.sources import Sources
from evonas.report.results import SearchResults
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2

NSGA2_NAME = "evonas.search.evolution.nsga2.NSGA2"


def sampled(count: int) -> GeneMatrix:
    """Distinct networks without an order."""
    of, rng = space(), np.random.default_rng(5)
    texts = list(dict.fromkeys(of.format(of.sample(rng)) for _ in range(count)))
    genome = GeneMatrix.of(of, texts)
    assert genome is not None
    return genome


def facts_of(values: np.ndarray, population: int | None = None) -> SearchResults:
    texts = tuple(f"g{row}" for row in range(len(values)))
    about = {} if population is None else {"searcher": {"population": population}}
    return SearchResults(("error", "macs"), texts, values, identity=about)


def test_codes_can_be_spread_out_into_layouts_again() -> None:
    genome = sampled(60)
    assert genome.codes().shape == (len(genome.rows), len(genome.genes))
    assert (to_vectors(genome.codes(), genome.genes) == genome.rows).all()


def test_texts_of_another_space_have_no_genes() -> None:
    assert GeneMatrix.of(space(), ["other:m=1"]) is None


def test_the_genes_that_make_an_objective_are_found() -> None:
    genome = sampled(300)
    places = genome.space.spans
    depth = genome.rows[:, places["d3"]].sum(axis=1)
    error = 3.0 * genome.rows[:, places["m2"]][:, 0] - 1.0 * genome.rows[:, places["e1"]][:, 0]
    error_found, macs_found = importances(facts_of(np.stack([error, depth], axis=1).astype(float)), genome)
    assert error_found.largest(2) == ["m2", "e1"] and macs_found.largest(1) == ["d3"]
    assert error_found.r2 > 0.9 and error_found.losses["m2"][0] > 1.0
    assert error_found.signs["m2"] > 0.8 and error_found.signs["e1"] < -0.2 and macs_found.signs["d3"] > 0.9
    others = [loss for name, (loss, _) in error_found.losses.items() if name not in ("m2", "e1")]
    assert max(others) < 0.05


def test_noise_is_called_noise() -> None:
    genome = sampled(120)
    values = np.random.default_rng(2).random((len(genome.rows), 2))
    facts = replace(facts_of(values), genotypes=tuple(map(genome.space.format, points(genome))))
    section = gene_importance(Sources("demo", "synthetic", str, facts, space=genome.space))
    assert section is not None and len(section.figures) == 2
    assert all("R2 is low" in figure.caption for figure in section.figures)


def points(genome: GeneMatrix) -> list:
    return [genome.space.from_vector(row) for row in genome.rows]


def test_too_few_networks_teach_nothing_and_an_objective_that_is_constant_too() -> None:
    genome = sampled(30)
    values = np.random.default_rng(2).random((len(genome.rows), 2))
    assert importances(facts_of(values), genome) == []
    section = gene_importance(Sources("demo", "synthetic", str, bred(16), space=space()))
    assert (
        section is not None
        and "at least 40 evaluated networks, got 16" in section.texts[0]
        and not section.figures
    )
    many = sampled(80)
    flat = np.stack([np.ones(len(many.rows)), many.rows[:, 0]], axis=1).astype(float)
    assert [found.metric.name for found in importances(facts_of(flat), many)] == ["macs"]


def family() -> GeneMatrix:
    """Two parents of different genes, a stranger, and children of the parents."""
    of = space()
    mother = np.array(of.largest().genes)
    father = np.array(of.smallest().genes)
    stranger = mother.copy()
    stranger[:4] = 0
    crossed = mother.copy()
    crossed[4:7] = father[4:7]
    mutated = crossed.copy()
    mutated[0] -= 1
    return GeneMatrix(of, np.stack([mother, father, stranger, crossed, mutated]))


def test_a_crossed_child_is_told_with_both_parents() -> None:
    genome = family()
    facts = facts_of(np.ones((5, 2)))
    bred_from_three = replace(facts, identity={"searcher": {"population": 3, "_target_": NSGA2_NAME}})
    kinship = Genealogy(bred_from_three, genome)
    assert kinship.parents(3).tolist() == [0, 1, 2]
    assert kinship.of(3) == LikelyParents(3, nearest=0, mate=1, changed=3, shared=3)
    assert kinship.of(4) == LikelyParents(4, nearest=0, mate=1, changed=4, shared=3)


def test_without_known_crossings_there_is_one_forerunner() -> None:
    genome = family()
    facts = facts_of(np.ones((5, 2)))
    assert Genealogy(facts, genome).of(3) == LikelyParents(3, nearest=0, changed=3)
    assert [each.row for each in Genealogy(facts, genome).descent(4)] == [4, 3, 0]
    assert genome.differences(4, 3) == ["m1 3 to 2"]


def test_a_mutant_has_no_second_parent() -> None:
    genome = family()
    rows = genome.rows[[0, 1, 2, 0]].copy()
    rows[3, 0] -= 1
    facts = replace(
        facts_of(np.ones((4, 2))), identity={"searcher": {"population": 3, "_target_": NSGA2_NAME}}
    )
    assert Genealogy(facts, GeneMatrix(genome.space, rows)).of(3) == LikelyParents(3, nearest=0, changed=1)


def test_networks_asked_together_are_no_parents_of_each_other() -> None:
    genome = family()
    facts = facts_of(np.ones((5, 2)), population=4)
    assert Genealogy(facts, genome).of(3).nearest is None
    assert Genealogy(facts, genome).of(4).nearest == 3


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_is_what_a_search_through_all_finds(seed: int) -> None:
    facts = bred(96)
    genome = GeneMatrix.of(space(), facts.genotypes)
    assert genome is not None
    row = int(np.random.default_rng(seed).integers(16, 96))
    begun = row // 16 * 16
    least = min(int((genome.rows[other] != genome.rows[row]).sum()) for other in range(begun))
    found = Genealogy(facts, genome).of(row)
    assert found.changed == least and found.nearest is not None and found.nearest < begun


def test_the_parents_of_an_evolution_are_those_that_it_kept() -> None:
    facts, last = bred(96), bred(80)
    assert survivors(facts) is None
    named = replace(
        facts, identity={**facts.identity, "searcher": {"population": 16, "_target_": NSGA2_NAME}}
    )
    kept = survivors(named)
    assert kept is not None and list(kept) == list(range(6)) and not len(kept[0])
    assert kept[1].tolist() == list(range(16)) and all(len(rows) == 16 for rows in list(kept.values())[1:])
    genome = GeneMatrix.of(space(), facts.genotypes)
    assert genome is not None and last.genotypes == facts.genotypes[:80]
    assert {facts.genotypes[row] for row in kept[5]} == kept_by_the_searcher(80)
    kinship = Genealogy(named, genome)
    assert all(
        {kinship.of(row).nearest, kinship.of(row).mate} - {None} <= {*kept[3]} for row in range(48, 64)
    )
    assert kinship.of(3).nearest is None


def kept_by_the_searcher(count: int) -> set[str]:
    """The survivors of the search of `bred`, as it says itself."""
    of, searcher = space(), NSGA2(space(), seed=1, population=16, evaluations=count)
    known = dict(zip(bred(count).genotypes, bred(count).values.tolist(), strict=True))
    while asked := searcher.ask():
        searcher.tell([Observation(point, tuple(known[of.format(point)])) for point in asked])
    return {of.format(told.genotype) for told in searcher.survivors()}


def test_the_pedigree_tells_each_chosen_network_once() -> None:
    facts = bred(96)
    genome = GeneMatrix.of(space(), facts.genotypes)
    assert genome is not None
    nets = chosen(facts, ("knee", "max"))
    strange = {"name": "typed", "genotype": "nano:m=0", "objectives": {}}
    found = genealogy(facts, genome, [*nets, strange], {"knee": "<svg/>"})
    assert found is not None
    names = [row[0] for row in found[2].rows]
    assert names[0] == "knee" and names.count("max") == 1 and "typed" not in names
    assert found[2].rows[0][3] == "-" and found[2].rows[names.index("max")][1] == "96"
    assert genealogy(facts, genome, [strange], {}) is None


def test_kinship_is_never_said_to_be_recorded() -> None:
    facts = bred(96)
    chosen_now = {"error_name": "error", "nets": chosen(facts)}
    section = genealogy_of_selected(Sources("demo", "synthetic", str, facts, chosen_now, space=space()))
    assert section is not None and "these are estimates" in section.texts[0]


def test_moments_are_generations_where_there_are_some() -> None:
    facts = bred(96)
    assert [moment.count for moment in snapshots(facts, 24)] == [16, 32, 48, 64, 80, 96]
    assert snapshots(facts, 3)[1].label == "generation 3, after 48 networks"
    gone = replace(
        facts, asked=[n for n in range(96) if n != 20], values=facts.values[1:], genotypes=facts.genotypes[1:]
    )
    assert [moment.count for moment in snapshots(gone, 24)] == [16, 31, 47, 63, 79, 95]


@pytest.mark.parametrize("about", [{}, {"searcher": {"population": 8, "initial": 40}}, {"in_flight": 4}])
def test_moments_without_generations_are_even(about: dict) -> None:
    facts = replace(bred(40), identity=about)
    assert [moment.count for moment in snapshots(facts, 4)] == [10, 20, 30, 40]
    assert snapshots(facts, 4)[0].label == "after 10 networks"
    assert [moment.count for moment in snapshots(facts, 400)] == list(range(1, 41))
