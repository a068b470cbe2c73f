"""Facts of other searches stand in for measurements, and change nothing but the time."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evonas.archive import Archive, Evaluation
from evonas.errors import UserError
from evonas.evaluate.engine import Job, Measurement, Part
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.reuse import FingerprintOf, ReusingEngine, require_common
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.search.base import Searcher
from evonas.search.baselines.random import RandomSearch
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.asynchronous import asynchronous_search
from evonas.search.loop.generational import search
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "latency": "exclusive", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "s1", "exclusive": "x1"}


class Counting(AnalyticEvaluator):
    """Counts its measurements; a factory of itself."""

    def __init__(self) -> None:
        super().__init__(SPACE, tuple(PARTS))
        self.setup()
        self.count = 0

    def __call__(self) -> "Counting":
        return self

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        self.count += 1
        found = super().measure(genotype, part)
        return Measurement(found.objectives, {"part": part})


def nsga(evaluations: int = 24) -> NSGA2:
    return NSGA2(SPACE, seed=1, population=8, evaluations=evaluations)


def asked(
    archives: Sequence[Archive], prints: dict[Part, str] = PRINTS
) -> list[tuple[Archive, FingerprintOf]]:
    return [(archive, lambda part, _: prints[part]) for archive in archives]


def searched(path: Path, searcher: Searcher, *others: Archive, prints: dict[Part, str] = PRINTS) -> int:
    """How many measurements a search took."""
    evaluator = Counting()
    engine = ReusingEngine(InlineEngine(evaluator), asked(others, prints), SPACE)
    with Archive.open(path, {"fingerprints": prints}, resume=False) as archive, closing(engine):
        search(searcher, engine, archive, SPACE, PARTS, prints)
        assert evaluator.count + engine.reused == len(archive.evaluations())
    return evaluator.count


def dump(path: Path) -> str:
    with Archive.read(path) as archive:
        return archive.dump()


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Archive]:
    """The archive of a finished search."""
    searched(tmp_path / "first", nsga())
    with Archive.read(tmp_path / "first") as archive:
        yield archive


def test_equal_asks_are_not_measured_and_the_dump_is_that_of_measuring(
    tmp_path: Path, first: Archive
) -> None:
    assert searched(tmp_path / "again", nsga(), first) == 0
    assert dump(tmp_path / "again") == first.dump()


def test_only_new_points_are_measured(tmp_path: Path, first: Archive) -> None:
    assert searched(tmp_path / "longer", nsga(40), first) == 2 * 16
    searched(tmp_path / "alone", nsga(40))
    assert dump(tmp_path / "longer") == dump(tmp_path / "alone")


def test_another_searcher_measures_what_it_alone_asks(tmp_path: Path, first: Archive) -> None:
    start = [SPACE.parse(fact.genotype) for fact in first.evaluations() if fact.part == "shared"]
    other = RandomSearch(SPACE, seed=9, population=30, evaluations=30, start=start)
    assert searched(tmp_path / "random", other, first) == 2 * 6


def test_each_part_counts_under_its_own_fingerprint(tmp_path: Path, first: Archive) -> None:
    prints: dict[Part, str] = {"shared": "s1", "exclusive": "another machine"}
    assert searched(tmp_path / "moved", nsga(), first, prints=prints) == 24


def test_several_archives_are_asked_in_turn(tmp_path: Path, first: Archive) -> None:
    searched(tmp_path / "second", nsga(40))
    with Archive.read(tmp_path / "second") as second:
        assert searched(tmp_path / "third", nsga(40), first, second) == 0


def test_where_a_fact_came_from_is_noted_outside_of_the_dump(tmp_path: Path, first: Archive) -> None:
    searched(tmp_path / "again", nsga(), first)
    with Archive.read(tmp_path / "again") as archive:
        rows = archive._connection.execute("SELECT DISTINCT worker, seconds FROM execution").fetchall()
    assert rows == [(f"from {first.path}", 0.0)]
    assert "from " not in dump(tmp_path / "again")


def test_failures_are_measured_again(tmp_path: Path) -> None:
    with Archive.open(tmp_path / "failed", {"fingerprints": PRINTS}, resume=False) as archive:
        archive.record(
            Evaluation(0, "s1", SPACE.format(SPACE.smallest()), "shared", "failed", reason="timeout")
        )
        evaluator = Counting()
        engine = ReusingEngine(InlineEngine(evaluator), asked([archive]), SPACE)
        [outcome] = engine.run([Job(0, SPACE.smallest())])
    assert outcome.measurement is not None and (evaluator.count, engine.reused) == (1, 0)


def test_an_asynchronous_search_reuses_too_and_replays_without_the_archive(
    tmp_path: Path, first: Archive
) -> None:
    parts: dict[str, Part] = {"error": "shared", "macs": "shared"}

    def steady(others: list[Archive]) -> tuple[str, int]:
        evaluator = Counting()
        engine = ReusingEngine(InlineEngine(evaluator), asked(others), SPACE)
        with Archive.open(tmp_path / "steady", {}, resume=True) as archive:
            asynchronous_search(nsga(), engine, archive, SPACE, parts, PRINTS, 4, 8)
            return archive.dump(), evaluator.count

    dumped, measured = steady([first])
    # the first generation is that of the other search; later it breeds one by one
    assert 0 < measured <= 24 - 8
    assert steady([]) == (dumped, 0)


def test_jobs_submitted_while_it_runs_are_answered(first: Archive) -> None:
    known = [SPACE.parse(fact.genotype) for fact in first.evaluations() if fact.part == "shared"]
    fresh = [SPACE.sample(np.random.default_rng(seed)) for seed in range(4)]
    later = [Job(seq, point) for seq, point in enumerate([*fresh, *known[:4]])]
    evaluator, found = Counting(), []
    engine = ReusingEngine(InlineEngine(evaluator), asked([first]), SPACE)
    for outcome in engine.run([later.pop()]):
        found.append(outcome.job.seq)
        engine.submit([later.pop()] if later else [])
    assert sorted(found) == list(range(8)) and evaluator.count == engine.reused == 4


def test_an_archive_of_other_conditions_is_refused(first: Archive) -> None:
    require_common(first, {"shared": "s1", "exclusive": "elsewhere"})
    with pytest.raises(UserError, match="has no evaluation that this search can reuse"):
        require_common(first, {"shared": "other weights"})
