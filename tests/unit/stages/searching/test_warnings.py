"""Noise and lifeless objectives are told; dominance can wait for clear differences."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from evonas.archive import Archive, Evaluation
from evonas.evaluate.engine import Measurement, Part
from evonas.evaluate.inline import InlineEngine
from evonas.report.metrics.pareto import front, front_within_noise, surely_dominates
from evonas.search.baselines.random import RandomSearch
from evonas.search.loop.asynchronous import asynchronous_search
from evonas.search.loop.generational import search
from evonas.space.genotype import Genotype
from evonas.stages.searching.progress import SearchProgress
from evonas.stages.searching.warnings import SHOWN, LatencyWarnings, constant_objectives
from evonas.supernets.evonet.space import evonet_space
from evonas.track.base import GuardedTracker, Silent
from evonas.track.progress import Progress


def fact(noisy: bool) -> Evaluation:
    extra = {"latency": {"noisy": noisy, "cv": 0.34, "cv_limit": 0.1}}
    return Evaluation(0, "f", "nano:m=1", "exclusive", "done", {"latency": 1.0}, extra)


def test_noise_is_told_a_few_times_and_counted_always() -> None:
    warnings = LatencyWarnings()
    assert list(warnings.check(fact(False))) == []
    said = [line for _ in range(10) for line in warnings.check(fact(True))]
    assert len(said) == SHOWN
    assert "34% of its mean, more than 10%" in said[0]
    assert warnings.noisy == 10
    assert list(warnings.check(Evaluation(0, "f", "g", "shared", "failed", reason="x"))) == []


def test_an_objective_that_never_changes_is_named() -> None:
    values = np.array([[0.1, 7.0], [0.2, 7.0], [0.3, 7.0]])
    [line] = constant_objectives(["error", "latency"], values)
    assert "'latency' is 7 for all 3 points" in line
    assert list(constant_objectives(["error"], values[:1, :1])) == []


class Dead:
    """Measures an error that tells points apart, and a latency that does not."""

    def setup(self) -> None: ...

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        assert part == "shared"
        return Measurement({"error": float(sum(genotype.genes)), "latency": 7.0})


@pytest.mark.parametrize("in_flight", [0, 4])
def test_a_search_names_it_after_its_first_generation(tmp_path: Path, in_flight: int) -> None:
    said, space = StringIO(), evonet_space()
    prints: dict[Part, str] = {"shared": "dead"}
    parts: dict[str, Part] = {"error": "shared", "latency": "shared"}
    with Archive.open(tmp_path / "archive.sqlite", {}, resume=False) as archive:
        progress = Progress("search", 24, unit="measurement", stream=said)
        watch = SearchProgress(
            archive, list(parts), 1, 24, progress, GuardedTracker(Silent(tmp_path, "run", "search"))
        )
        asking = RandomSearch(space, seed=0, population=8, evaluations=24)
        question = (asking, InlineEngine(Dead), archive, space, parts, prints)
        if in_flight:
            asynchronous_search(*question, in_flight, 8, watch.generation, watch.outcome)
        else:
            search(*question, watch.generation, watch.outcome)
    lines = said.getvalue().splitlines()
    [place] = [at for at, line in enumerate(lines) if line.startswith("objective 'latency' is 7 for all 8")]
    assert place < next(at for at, line in enumerate(lines) if line.startswith("generation 2"))
    assert "'error'" not in said.getvalue()


def test_intervals_without_width_are_points() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (60, 3)).astype(float)
    kept = values[front_within_noise(values, values)]
    assert {tuple(row) for row in kept} == {tuple(row) for row in values[front(values)]}


def test_only_clear_differences_count() -> None:
    # the second is better in both middles, but its latency is not surely so
    low, high = np.array([[0.5, 9.0], [0.4, 8.0]]), np.array([[0.5, 11.0], [0.4, 9.5]])
    assert set(front_within_noise(low, high)) == {0, 1}
    high[1, 1] = 8.9
    assert list(front_within_noise(low, high)) == [1]
    assert front_within_noise(np.empty((0, 2)), np.empty((0, 2))).size == 0


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_one_noisy_network_stay_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    measured = 10 * (1 + 0.05 * rng.standard_normal((20, 200)))
    errors = np.full(20, 0.3)
    half = 1.96 * measured.std(axis=1) / np.sqrt(200) * 3
    low = np.column_stack([errors, measured.mean(axis=1) - half])
    high = np.column_stack([errors, measured.mean(axis=1) + half])
    assert len(front_within_noise(low, high)) == 20
    assert not surely_dominates(low, high).any()
