"""dry_run=true: estimates come true on small searches, and leave nothing behind."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
import small_run
from misbehaving import Obedient
from omegaconf import OmegaConf

from evonas.archive import Archive
from evonas.errors import EngineError
from evonas.evaluate.engine import Engine, Job, Measurement, Outcome
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.randomness import generator
from evonas.schema import Budget
from evonas.search.baselines.random import RandomSearch
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.generational import search
from evonas.space.genotype import Genotype
from evonas.stages.build.engine import prefix_order
from evonas.stages.build.setup import Setup
from evonas.stages.search import ARCHIVE, Search
from evonas.stages.searching.dry_run import Workload, estimate, rehearse
from evonas.supernets.evonet.space import evonet_space

ANALYTIC = {
    "_target_": "evonas.objectives.tabular.analytic.AnalyticEvaluator",
    "space": {"_target_": "evonas.supernets.evonet.space.evonet_space"},
}
# a small search that measures nothing but sums
ON_PAPER: dict[str, Any] = {
    "budget": OmegaConf.structured(Budget(4, 8)),
    "search": {"_target_": "evonas.search.baselines.random.RandomSearch", "population": 4, "evaluations": 8},
    "objective": {"macs": {"_target_": "evonas.objectives.analytic_costs.Macs"}},
}
PARTS = {"error": "shared", "latency": "exclusive"}


# slow, because on a busy computer both times waver
@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "parts", "lanes"),
    [
        (InlineEngine, {"error": "shared"}, {"shared": 1}),
        (lambda spec: LocalEngine(spec, workers=2), {"error": "shared"}, {"shared": 2}),
        (lambda spec: LocalEngine(spec, workers=2), PARTS, {"shared": 2, "exclusive": 1}),
    ],
)
def test_estimate_comes_true_within_30_percent(
    tmp_path: Path, make: Callable[[Any], Engine], parts: dict[str, Any], lanes: dict[Any, int]
) -> None:
    space, load = evonet_space(), Workload(60, 20, lanes)
    spec = {**ANALYTIC, "objectives": list(parts), "seconds": 0.06}
    engine = make(spec)
    found = estimate(engine, space, load)
    engine.close()
    engine = make(spec)
    with Archive.open(tmp_path / "archive.sqlite", {}, resume=False) as archive:
        began = time.monotonic()
        searcher = RandomSearch(space, seed=0, population=20, evaluations=60)
        search(searcher, engine, archive, space, parts, {"shared": "a", "exclusive": "b"})
        real = time.monotonic() - began
    engine.close()
    low, expected, high = found.wall_s
    assert low < expected < high
    assert expected == pytest.approx(real, rel=0.3)
    assert found.memory_mb is None or found.memory_mb > 10


class Paced:
    """An engine whose clock is a list: every pass of the shared part takes a second, whatever is in it."""

    def __init__(self, lanes: int, per_pass: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now, self._lanes, self._per_pass = 0.0, lanes, per_pass
        self.asked: list[list[Job]] = []
        monkeypatch.setattr("evonas.stages.searching.dry_run.time.monotonic", lambda: self._now)

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        self.asked.append(list(jobs))
        most = self._lanes * self._per_pass
        self._now += math.ceil(len(self.asked[-1]) / most)
        for number, job in enumerate(self.asked[-1]):
            name = f"worker{number % self._lanes}"
            yield Outcome(job, Measurement({"error": 1.0}), seconds=1.0 / self._per_pass, worker=name)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("population", "probes"), [(16, 16), (12, 12), (64, 16), (2, 6)])
def test_probes_fill_the_passes_of_a_generation(
    population: int, probes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Paced(2, 8, monkeypatch)
    found = estimate(engine, evonet_space(), Workload(160, population, {"shared": 2}, subnets_per_pass=8))
    warm, drawn, corners = engine.asked
    assert (len(warm), len(drawn), len(corners)) == (2, probes, 2)
    assert len({job.genotype for job in drawn}) == probes
    # a second of start, then a second for as many points as were probed at once
    assert found.wall_s[1] == pytest.approx(1 + 160 / probes, rel=0.05)


def test_later_generations_count_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, space = Paced(2, 8, monkeypatch), evonet_space()
    # a second for the first generation, and as long for half as many points later
    late = rehearse(NSGA2(space, seed=0, population=16, evaluations=96), space, 2)[:8]
    found = estimate(engine, space, Workload(160, 16, {"shared": 2}, 8), later=late)
    assert [job.genotype for job in engine.asked[2]] == late
    assert found.wall_s[1] == pytest.approx(1 + 16 / 16 + 144 / 8, rel=0.05)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_a_rehearsal_ends_with_points_that_share_more(objectives: int) -> None:
    space = evonet_space()
    network = {"_target_": "network/evonet", "dims": [8] * 4, "heads": [2] * 4}
    config = {"space": {"_target_": "space/evonet"}, "network": network}
    key = prefix_order(Setup(OmegaConf.create(config)), config)
    assert key is not None
    late = rehearse(NSGA2(space, seed=0, population=24, evaluations=480), space, objectives)
    assert len(set(late)) == 24
    drawn = [space.sample(generator(0, "drawn", number)) for number in range(24)]

    def shared(points: list[Genotype]) -> int:
        """How long the beginnings are that neighbours have in common, in all."""
        pairs = pairwise(sorted(map(key, points)))
        return sum(len(list(takewhile(lambda at: at[0] == at[1], zip(*pair, strict=True)))) for pair in pairs)

    assert shared(late) > shared(drawn)


def test_a_search_that_is_short_is_rehearsed_to_its_end() -> None:
    space = evonet_space()
    assert len(rehearse(RandomSearch(space, seed=0, population=4, evaluations=6), space, 2)) == 2


def test_a_race_is_told_to_be_counted_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = small_run.context(
        tmp_path, dry_run=True, fidelity={"_target_": "evonas.search.loop.racing.Racing"}, **ON_PAPER
    )
    made.cfg.hardware.workers = 0
    small_run.train(made)
    Search().run(made)
    assert "as if every point were measured in full" in capsys.readouterr().out


def test_probes_that_all_fail_are_an_error() -> None:
    # Obedient knows no genotypes of a space
    engine = InlineEngine(Obedient())
    with pytest.raises(EngineError, match=r"No probe of the part shared .* AttributeError"):
        estimate(engine, evonet_space(), Workload(10, 5, {"shared": 1}))


def test_stage_search_prints_it_and_makes_no_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = small_run.context(tmp_path, dry_run=True, **ON_PAPER)
    made.cfg.hardware.workers = 0
    small_run.train(made)
    assert "Nothing was kept" in Search().run(made)
    said = capsys.readouterr().out
    assert "8 points, 4 at a time" in said
    assert "shared: " in said
    assert "memory: " in said
    assert not (tmp_path / ARCHIVE).exists()
