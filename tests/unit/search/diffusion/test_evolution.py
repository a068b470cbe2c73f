"""Diffusion evolution and EDNAG, held to their formulas."""

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Observation, Searcher
from evonas.search.baselines.random import RandomSearch
from evonas.search.diffusion.ednag import EDNAG, select_survivors
from evonas.search.diffusion.evolution import DiffusionEvolution
from evonas.search.diffusion.fitness import AccuracyFitness, EnergyFitness, FrontFitness, PowerFitness
from evonas.search.diffusion.relaxation import Relaxation
from evonas.search.diffusion.schedules import (
    SCHEDULES,
    cosine_schedule,
    denoise,
    estimate_origin,
    polynomial_mutation,
    random_projection,
)
from evonas.space.cell import cell_space, is_cell, pruned
from evonas.space.declared import declared_space
from evonas.supernets.evonet.space import evonet_space

EVONET = evonet_space()
EDGES = declared_space("edges", {f"e{number}": ["none", "skip", "conv", "pool"] for number in range(1, 7)})


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_fall_from_no_noise_to_nearly_all(name: str) -> None:
    alphas = SCHEDULES[name](50)
    assert alphas[0] == 1.0
    assert (np.diff(alphas) < 0).all()
    assert 0 <= alphas[-1] < 1e-3


def test_the_cosine_is_the_papers() -> None:
    assert cosine_schedule(5).tolist() == pytest.approx(
        [1.0, (2**0.5 / 2 + 1) / 2, 0.5, (1 - 2**0.5 / 2) / 2, 0.0]
    )


def test_the_origin_is_the_weighted_mean_written_out() -> None:
    rng = np.random.default_rng(0)
    rows, quality, alpha = rng.standard_normal((4, 3)), np.array([1.0, 2.0, 0.0, 0.5]), 0.4
    expected = np.zeros((4, 3))
    for i in range(4):
        total = 0.0
        for j in (0, 1, 3):
            distance = ((rows[i] - alpha**0.5 * rows[j]) ** 2).sum()
            weight = quality[j] * np.exp(-distance / (2 * (1 - alpha)))
            expected[i] += weight * rows[j]
            total += weight
        expected[i] /= total
    assert estimate_origin(rows, quality, alpha) == pytest.approx(expected, abs=1e-6)


def test_without_signal_the_origin_is_the_best_mix_for_everybody() -> None:
    rows = np.random.default_rng(1).standard_normal((5, 4))
    origin = estimate_origin(rows, np.array([0.0, 0.0, 1.0, 0.0, 0.0]), 0.0)
    assert origin == pytest.approx(np.tile(rows[2], (5, 1)))


def test_a_latent_origin_weighs_by_the_projection_alone() -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((6, 10))
    projection = random_projection(10, 3, rng)
    assert np.linalg.norm(projection, axis=1) == pytest.approx(np.ones(3))
    hidden = np.linalg.svd(projection)[2][-1]
    moved = rows.copy()
    moved[0] += 5 * hidden
    first = estimate_origin(rows, np.ones(6), 0.5, projection)
    second = estimate_origin(moved, np.ones(6), 0.5, projection)
    assert not np.allclose(first, second)
    assert first @ projection.T == pytest.approx(second @ projection.T, abs=1e-9)


def test_one_step_is_the_formula() -> None:
    rng = np.random.default_rng(3)
    rows, origin, alpha, after, noise = (
        rng.standard_normal((3, 2)),
        rng.standard_normal((3, 2)),
        0.3,
        0.6,
        0.8,
    )
    guessed = (rows - alpha**0.5 * origin) / (1 - alpha) ** 0.5
    sigma = noise * ((1 - after) / (1 - alpha) * (1 - alpha / after)) ** 0.5
    fresh = np.random.default_rng(4).standard_normal((3, 2))
    expected = after**0.5 * origin + (1 - after - sigma**2) ** 0.5 * guessed + sigma * fresh
    assert denoise(rows, origin, alpha, after, noise, np.random.default_rng(4)) == pytest.approx(expected)


def test_the_last_step_ends_at_the_origin() -> None:
    rng = np.random.default_rng(5)
    rows, origin = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    assert denoise(rows, origin, 0.7, 1.0, 0.8, rng) == pytest.approx(origin)


def test_mutation_is_shared_by_an_individual_and_stays_inside() -> None:
    values = np.tile(np.linspace(-1, 1, 5), (200, 1))
    moved = polynomial_mutation(values, 5.0, 0.6, np.random.default_rng(6))
    assert (np.abs(moved) <= 1).all()
    changed = (moved != values).any(axis=1)
    assert 0.45 < changed.mean() < 0.75
    steps = moved[changed] - values[changed]
    assert ((steps >= -1e-12).all(axis=1) | (steps <= 1e-12).all(axis=1)).all()


def test_relaxation_and_its_inverse_agree() -> None:
    rng = np.random.default_rng(7)
    relaxation = Relaxation(EVONET)
    points = [EVONET.sample(rng) for _ in range(40)]
    rows = relaxation.encode(points)
    assert rows.shape == (40, relaxation.width)
    assert relaxation.decode(rows + 0.4 * rng.random(rows.shape)) == points
    assert relaxation.decode(relaxation.normalise(rows)) == points


def test_noise_always_means_a_point() -> None:
    rows = np.random.default_rng(8).standard_normal((200, Relaxation(EVONET).width))
    assert all(EVONET.contains(point) for point in Relaxation(EVONET).decode(rows))


def test_noise_always_means_a_cell_where_points_are_cells() -> None:
    space = cell_space("nb101", ["maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu"])
    relaxation = Relaxation(space)
    rows = np.random.default_rng(9).standard_normal((100, relaxation.width))
    found = relaxation.decode(rows)
    genes = np.array([point.genes for point in found])
    assert is_cell(pruned(genes)).all()
    assert relaxation.decode(rows[::-1]) == found[::-1], "the company of a row changes nothing"


def test_accuracies_are_stretched_as_published() -> None:
    accuracies = np.array([0.0, 30.0, 50.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 96.0])
    found = AccuracyFitness()(np.column_stack([100 - accuracies, accuracies * 0]))
    assert found.tolist() == pytest.approx([0, 3, 23, 63, 78, 103, 153, 303, 503, 553])
    assert AccuracyFitness(unit=100.0)(np.array([[0.15]]))[0] == pytest.approx(153)
    assert AccuracyFitness(scale=2.0)(np.array([[60.0]]))[0] == pytest.approx(103)


def test_other_maps_are_their_formulas() -> None:
    values = np.array([[3.0], [1.0], [2.0]])
    assert PowerFitness(power=2.0)(values).tolist() == pytest.approx([0.0, 1.0, 0.25])
    assert EnergyFitness(temperature=0.5)(values).tolist() == pytest.approx([np.exp(-2), 1.0, np.exp(-1)])
    with pytest.raises(UserError, match="temperature must be positive"):
        EnergyFitness(temperature=0.0)


def test_front_fitness_prefers_fronts_then_room_and_treats_equals_equally() -> None:
    values = np.array([[0.0, 4.0], [1.0, 1.0], [4.0, 0.0], [5.0, 5.0], [1.0, 1.0]])
    fitness = FrontFitness(10.0)(values)
    assert fitness[1] == fitness[4] > fitness[3] == 0.0
    assert min(fitness[0], fitness[2]) > fitness[1]
    assert fitness.max() == 10.0


def test_selection_takes_the_best_and_the_distant_and_nobody_twice() -> None:
    rng = np.random.default_rng(9)
    rows, fitness = rng.standard_normal((20, 4)), np.linspace(1.0, 5.0, 20)
    rows[7] += 100
    fitness[18] = fitness[19]
    kept = select_survivors(rows, fitness, 10, 0.2, 0.1, rng)
    assert len(set(kept)) == 10
    assert set(kept[:2]) == {18, 17}
    assert kept[2] == 7
    assert (
        select_survivors(rows[:3], fitness[:3], 10, 0.2, 0.1, rng)
        and len(select_survivors(rows[:3], fitness[:3], 10, 0.2, 0.1, rng)) == 3
    )


def trap(genes: tuple[int, ...]) -> tuple[float, ...]:
    """Best at all twos."""
    return (10.0 * sum(abs(gene - 2) for gene in genes) / len(genes),)


def found(searcher: Searcher) -> list[float]:
    values: list[float] = []
    while asked := searcher.ask():
        told = [Observation(point, trap(point.genes)) for point in asked]
        searcher.tell(told)
        values += [fact.objectives[0] for fact in told if fact.objectives]
    return values


def test_ednag_comes_nearer_to_a_hidden_target_than_chance() -> None:
    nearest, by_chance = [], []
    for seed in range(3):
        values = found(EDNAG(EDGES, seed, 20, 4096, AccuracyFitness(), steps=40, restarts=False))
        nearest.append(min(values))
        by_chance.append(min(found(RandomSearch(EDGES, seed, 20, len(values)))))
    # ten sixths is a single gene away from the target, one point in three hundred
    assert max(nearest) <= 10 / 6 + 1e-9
    assert sum(nearest) < sum(by_chance)


def test_a_run_without_restarts_ends_after_its_schedule() -> None:
    values = found(DiffusionEvolution(EVONET, 0, 10, 10_000, PowerFitness(), steps=8, restarts=False))
    assert 10 < len(values) <= 70


def test_the_slip_of_the_reference_acts_at_the_other_end() -> None:
    runs = [
        found(EDNAG(EDGES, 0, 12, 150, AccuracyFitness(), steps=8, parity=parity)) for parity in (False, True)
    ]
    assert runs[0] != runs[1]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="got 'sine'"):
        EDNAG(EDGES, 0, 10, 50, FrontFitness(), schedule="sine")
    with pytest.raises(UserError, match=r"0\.7, 0\.6 and 0\.0"):
        EDNAG(EDGES, 0, 10, 50, FrontFitness(), elite=0.7, diverse=0.6)
    with pytest.raises(UserError, match=r"noise must be in \[0, 1\], got 1\.5"):
        DiffusionEvolution(EDGES, 0, 10, 50, FrontFitness(), noise=1.5)
