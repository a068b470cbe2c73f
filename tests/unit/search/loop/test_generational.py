"""The loop: every fact once, in the order asked, and resuming is replaying."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from evonas.archive import Archive
from evonas.errors import DisturbedError, EngineError, InfeasibleError, UserError
from evonas.evaluate.engine import Job, Measurement, Outcome, Part
from evonas.evaluate.inline import InlineEngine
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.evaluation import OWNER, CachedEngine
from evonas.search.loop.generational import Generation, search
from evonas.space.genotype import Genotype
from evonas.stages.searching.failures import failure_summary, machine_failures
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "latency": "exclusive", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "s1", "exclusive": "x1"}


class Counting:
    """The analytic evaluator, counting; it can stop the process or spoil one genotype in ten."""

    def __init__(self, stop_after: int | None = None, spoils: object = None) -> None:
        self.inner = AnalyticEvaluator(SPACE, tuple(PARTS))
        self.seen: Counter[tuple[Genotype, Part]] = Counter()
        self.stop_after, self.spoils = stop_after, spoils

    def __call__(self) -> "Counting":
        return self

    def setup(self) -> None:
        self.inner.setup()

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        if self.stop_after is not None and self.seen.total() >= self.stop_after:
            raise SystemExit(137)
        self.seen[genotype, part] += 1
        measured = self.inner.measure(genotype, part)
        if self.spoils is not None and sum(genotype.genes) % 10 == 0:
            return Measurement(dict.fromkeys(measured.objectives, self.spoils))  # type: ignore[arg-type]
        return measured


class Shuffled(InlineEngine):
    """Answers in another order than asked."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        yield from reversed(list(super().run(jobs)))


def run(path: Path, evaluator: Counting, engine: type[InlineEngine] = InlineEngine, **changes: int) -> str:
    settings = {"seed": 3, "population": 8, "evaluations": 40, **changes}
    with Archive.open(path, {"seed": settings["seed"], **PRINTS}, resume=True) as archive:
        count = search(NSGA2(SPACE, **settings), engine(evaluator), archive, SPACE, PARTS, PRINTS)
        assert count == settings["evaluations"]
        return archive.digest()


def test_order_of_completion_does_not_matter(tmp_path: Path) -> None:
    assert run(tmp_path / "a", Counting()) == run(tmp_path / "b", Counting(), Shuffled)


@pytest.mark.parametrize("stop_after", [0, 1, 13, 66])
def test_a_killed_search_resumes_to_the_same_archive(tmp_path: Path, stop_after: int) -> None:
    straight = run(tmp_path / "straight", Counting())
    with pytest.raises(SystemExit):
        run(tmp_path / "killed", Counting(stop_after))
    resumed = Counting()
    assert run(tmp_path / "killed", resumed) == straight
    assert resumed.seen.total() == 40 * 2 - stop_after


def test_a_finished_search_replays_without_measuring(tmp_path: Path) -> None:
    digest = run(tmp_path / "a", Counting())
    idle = Counting()
    assert run(tmp_path / "a", idle) == digest and not idle.seen


def test_a_larger_budget_continues_as_if_it_had_been_there(tmp_path: Path) -> None:
    run(tmp_path / "a", Counting(), evaluations=21)
    assert run(tmp_path / "a", Counting(), evaluations=40) == run(tmp_path / "b", Counting(), evaluations=40)


def test_a_changed_seed_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "a", Counting())
    with pytest.raises(UserError, match="seed=3"):
        run(tmp_path / "a", Counting(), seed=4)


@pytest.mark.parametrize("spoils", [float("nan"), [1]])
def test_spoilt_points_are_facts_and_told_as_failures(tmp_path: Path, spoils: object) -> None:
    generations: list[Generation] = []
    evaluator = Counting(spoils=spoils)
    with Archive.open(tmp_path / "a", {}, resume=False) as archive:
        searcher = NSGA2(SPACE, seed=0, population=20, evaluations=60)
        search(searcher, InlineEngine(evaluator), archive, SPACE, PARTS, PRINTS, generations.append)
        failed = [fact for fact in archive.evaluations() if fact.state == "failed"]
    assert generations[-1].failures * 2 == len(failed) > 0
    assert all(fact.reason for fact in failed)
    assert [generation.evaluations for generation in generations] == [20, 40, 60]
    told = [each for generation in generations for each in generation.told]
    for each in told:
        assert (each.objectives is None) == (sum(each.genotype.genes) % 10 == 0)
    assert all(sum(each.genotype.genes) % 10 for each in searcher.survivors())


def test_objective_vectors_follow_the_order_given(tmp_path: Path) -> None:
    generations: list[Generation] = []
    evaluator = Counting()
    with Archive.open(tmp_path / "a", {}, resume=False) as archive:
        searcher = NSGA2(SPACE, seed=0, population=4, evaluations=4)
        search(searcher, InlineEngine(evaluator), archive, SPACE, PARTS, PRINTS, generations.append)
    for each in generations[0].told:
        expected = {
            **evaluator.inner.measure(each.genotype, "shared").objectives,
            **evaluator.inner.measure(each.genotype, "exclusive").objectives,
        }
        assert each.objectives == tuple(expected[name] for name in PARTS)


class Repeating:
    """Asks the same few points again and again, several times within a batch."""

    def __init__(self, batches: int) -> None:
        rng = np.random.default_rng(0)
        self.points = [SPACE.sample(rng) for _ in range(30)]
        self.batches = [[self.points[int(rng.integers(30))] for _ in range(20)] for _ in range(batches)]
        self.told: list[Observation] = []

    def ask(self) -> list[Genotype]:
        return self.batches.pop() if self.batches else []

    def tell(self, facts: Sequence[Observation]) -> None:
        self.told += facts


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    searcher, evaluator = Repeating(batches=50), Counting()
    with Archive.open(tmp_path / "a", {}, resume=False) as archive:
        assert search(searcher, InlineEngine(evaluator), archive, SPACE, PARTS, PRINTS) == 1000
        assert len(archive.evaluations()) == 60
    assert set(evaluator.seen.values()) == {1} and len(evaluator.seen) == 60
    assert len(searcher.told) == 1000 and len({each.objectives for each in searcher.told}) == 30


class Losing(InlineEngine):
    """Breaks the contract of engines: forgets one job."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        yield from super().run(list(jobs)[1:])


def test_an_engine_that_loses_jobs_is_caught(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="lost 1 of 16"):
        run(tmp_path / "a", Counting(), Losing)


def test_six_hundred_facts_replay_fast(tmp_path: Path) -> None:
    run(tmp_path / "a", Counting(), population=96, evaluations=288)
    begin = time.process_time()
    run(tmp_path / "a", Counting(), population=96, evaluations=288)
    assert time.process_time() - begin < 3.0


@pytest.mark.parametrize("spoils", [float("nan")])
def test_failed_facts_are_measured_again_on_request(tmp_path: Path, spoils: object) -> None:
    """The archive ends as if nothing had ever failed, and nothing else is measured twice."""
    straight, spoilt = Counting(), Counting(spoils=spoils)
    settings = {"population": 20, "evaluations": 20, "seed": 0}
    run(tmp_path / "good", straight, **settings)
    run(tmp_path / "bad", spoilt, **settings)
    again = Counting()

    def retry(cached: CachedEngine) -> None:
        assert cached.retry_failed({}) == len(failed) > 0

    with Archive.open(tmp_path / "bad", {"seed": 0, **PRINTS}, resume=True) as archive:
        failed = [each for each in archive.evaluations() if each.state == "failed"]
        search(
            NSGA2(SPACE, **settings),
            InlineEngine(again),
            archive,
            SPACE,
            PARTS,
            PRINTS,
            before=retry,
        )
        digest = archive.digest()
    assert again.seen.total() == len(failed)
    with Archive.read(tmp_path / "good") as archive:
        assert archive.digest() == digest
    with Archive.read(tmp_path / "bad") as archive:
        assert not [each for each in archive.evaluations() if each.state == "failed"]


def test_failures_of_the_machine_are_recorded_as_such(tmp_path: Path) -> None:
    class Disturbed(Counting):
        def measure(self, genotype: Genotype, part: Part) -> Measurement:
            if part == "exclusive" and sum(genotype.genes) % 3 == 0:
                raise DisturbedError("latency was measured 3 times")
            if part == "shared" and sum(genotype.genes) % 5 == 0:
                raise InfeasibleError("the table has no entry")
            return super().measure(genotype, part)

    run(tmp_path / "a", Disturbed())
    with Archive.read(tmp_path / "a") as archive:
        failed = [each for each in archive.evaluations() if each.state == "failed"]
        owners = {(each.part, each.reason, each.extra.get(OWNER, "genotype")) for each in failed}
        lines = list(failure_summary(archive))
        count = machine_failures(archive)
    assert owners == {
        ("exclusive", "latency was measured 3 times", "machine"),
        ("shared", "the table has no entry", "genotype"),
    }
    assert count == sum(each.part == "exclusive" for each in failed) > 0
    assert lines[0] == f"{len(failed)} of 80 evaluations failed:"
    assert any(
        f"{count} by the machine: latency was measured 3 times (such as evonet:" in line for line in lines
    )
