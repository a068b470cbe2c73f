"""The asynchronous loop: the order of tells is kept, and resuming replays it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evonas.archive import Archive
from evonas.errors import DataError, EngineError, UserError
from evonas.evaluate.engine import Job, Measurement, Outcome, Part
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.evaluate.measure import attempt
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.search.base import Observation
from evonas.search.baselines.local import LocalSearch
from evonas.search.baselines.random import RandomSearch
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.evolution.regularized import RegularizedEvolution
from evonas.search.loop.asynchronous import asynchronous_search
from evonas.search.loop.generational import Generation
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "s1"}


class Analytic(AnalyticEvaluator):
    """A factory of itself."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(SPACE, tuple(PARTS), seconds)
        self.setup()

    def __call__(self) -> "Analytic":
        return self


class Erratic:
    """Answers a random one of the jobs it has, and can stop the process after some answers."""

    def __init__(self, order: int, stop_after: int | None = None) -> None:
        self.rng, self.left, self.waiting = np.random.default_rng(order), stop_after, list[Job]()
        self.evaluator, self.measured = Analytic(), 0

    def submit(self, jobs: Iterable[Job]) -> None:
        self.waiting += jobs

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        self.submit(jobs)
        while self.waiting:
            if self.measured == self.left:
                raise SystemExit(137)
            job = self.waiting.pop(int(self.rng.integers(len(self.waiting))))
            self.measured += 1
            found = attempt(self.evaluator, job.genotype, job.part)
            assert isinstance(found, Measurement)
            yield Outcome(job, found)

    def close(self) -> None: ...


def run(
    path: Path,
    engine: Erratic | InlineEngine | LocalEngine,
    make: type = NSGA2,
    in_flight: int = 4,
    objectives: Mapping[str, Part] = PARTS,
    listener: list[Generation] | None = None,
    **changes: int,
) -> list[str]:
    """The genotypes in the order told, after a search that goes on with whatever the archive holds."""
    searcher = make(SPACE, **{"seed": 3, "population": 8, "evaluations": 40, **changes})
    report = None if listener is None else listener.append
    with Archive.open(path, {"in_flight": in_flight, **PRINTS}, resume=True) as archive, closing(engine):
        asynchronous_search(searcher, engine, archive, SPACE, objectives, PRINTS, in_flight, 10, report)
        return [fact.genotype for fact in archive.in_order_recorded()]


def dump(path: Path) -> str:
    with Archive.read(path) as archive:
        return archive.dump()


@pytest.mark.parametrize("make", [NSGA2, RegularizedEvolution, RandomSearch])
@pytest.mark.parametrize("stop_after", [0, 1, 17, 39])
def test_a_killed_search_replays_what_it_recorded_and_goes_on(
    tmp_path: Path, make: type, stop_after: int
) -> None:
    path = tmp_path / "a"
    with pytest.raises(SystemExit):
        run(path, Erratic(1, stop_after), make)
    with Archive.read(path) as archive:
        before = [fact.genotype for fact in archive.in_order_recorded()]
    assert len(before) == stop_after
    resumed = Erratic(2)
    after = run(path, resumed, make)
    assert after[:stop_after] == before
    assert len(set(after)) == 40 and resumed.measured == 40 - stop_after


def test_the_recorded_order_alone_decides_what_was_asked(tmp_path: Path) -> None:
    """Replayed with another engine and in pieces, a search asks the very same points."""
    straight = run(tmp_path / "straight", Erratic(1))
    for cut in (3, 20, 33):
        path = tmp_path / str(cut)
        with pytest.raises(SystemExit):
            run(path, Erratic(1, cut))
        # it lands as the first one did, however often the engine is started
        engine = Ordered(straight)
        assert run(path, engine) == straight
        assert dump(path) == dump(tmp_path / "straight")


class Ordered(Erratic):
    """Answers in an order given."""

    def __init__(self, order: Sequence[str]) -> None:
        super().__init__(0)
        self.order = order

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        self.submit(jobs)
        while self.waiting:
            self.waiting.sort(key=lambda job: self.order.index(SPACE.format(job.genotype)))
            job = self.waiting.pop(0)
            found = attempt(self.evaluator, job.genotype, job.part)
            assert isinstance(found, Measurement)
            yield Outcome(job, found)


def test_the_order_of_landing_changes_the_search(tmp_path: Path) -> None:
    assert set(run(tmp_path / "a", Erratic(1))) != set(run(tmp_path / "b", Erratic(2)))


def test_a_finished_search_replays_without_measuring(tmp_path: Path) -> None:
    told = run(tmp_path / "a", Erratic(1))
    idle = Erratic(2)
    assert run(tmp_path / "a", idle) == told and not idle.measured


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    before = run(tmp_path / "a", Erratic(1), evaluations=21)
    more = Erratic(1)
    after = run(tmp_path / "a", more, evaluations=40)
    assert after[:21] == before and more.measured == 19


def test_many_fly_and_no_more(tmp_path: Path) -> None:
    class Watched(Erratic):
        most = 0

        def submit(self, jobs: Iterable[Job]) -> None:
            super().submit(jobs)
            self.most = max(self.most, len(self.waiting))

    engine = Watched(1)
    run(tmp_path / "a", engine, in_flight=6)
    assert engine.most == 6


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_real_engines(tmp_path: Path, workers: int) -> None:
    engine = LocalEngine(Analytic(0.002), workers=workers) if workers else InlineEngine(Analytic())
    generations: list[Generation] = []
    assert len(set(run(tmp_path / "a", engine, listener=generations))) == 40
    assert [each.evaluations for each in generations] == [10, 20, 30, 40]
    assert sum(len(each.told) for each in generations) == 40 == generations[-1].measured


class Forgetful:
    """Asks the same few points again and again, also while they fly."""

    def __init__(self, _space: object, seed: int, population: int, evaluations: int) -> None:
        rng = np.random.default_rng(seed)
        points = [SPACE.sample(rng) for _ in range(population)]
        self.asks = [points[int(rng.integers(population))] for _ in range(evaluations)]
        self.told: list[Observation] = []

    def ask(self) -> list[Genotype]:
        raise AssertionError("asked for a batch")

    def tell(self, _facts: Sequence[Observation]) -> None:
        raise AssertionError("told a batch")

    def ask_one(self) -> Genotype | None:
        return self.asks.pop() if self.asks else None

    def tell_one(self, fact: Observation) -> None:
        self.told.append(fact)


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    engine, generations = Erratic(1), list[Generation]()
    run(tmp_path / "a", engine, Forgetful, evaluations=500, listener=generations)
    assert engine.measured == 8
    told = [each for generation in generations for each in generation.told]
    assert len(told) == 500 and len({each.objectives for each in told}) == 8
    again = Erratic(2)
    run(tmp_path / "a", again, Forgetful, evaluations=500)
    assert again.measured == 0


def test_what_cannot_be_asynchronous_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="latency must be measured while no other") as caught:
        run(tmp_path / "a", Erratic(1), objectives={"error": "shared", "latency": "exclusive"})
    assert "latency_lookup" in str(caught.value.hint)
    with pytest.raises(UserError, match="LocalSearch does not support"):
        run(tmp_path / "b", Erratic(1), LocalSearch)
    with pytest.raises(UserError, match="in_flight must be at least 1, got 0"):
        run(tmp_path / "c", Erratic(1), in_flight=0)


def test_an_order_that_this_search_would_not_have_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "a", Erratic(1))
    with pytest.raises(DataError, match="does not belong to a replay") as caught:
        run(tmp_path / "a", Erratic(1), seed=4)
    assert "reuse=" in str(caught.value.hint)


class Losing(Erratic):
    """Breaks the contract of engines: forgets one job."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        yield from super().run(list(jobs)[1:])


def test_an_engine_that_loses_jobs_is_caught(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="lost 1 job"):
        run(tmp_path / "a", Losing(1))
