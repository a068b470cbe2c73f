"""What every engine promises; and, for engines with processes, what they survive."""

from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from misbehaving import JUNK, Obedient, Sociable, Unready, point

from evonas.errors import EngineError
from evonas.evaluate.engine import Engine, Job, Outcome
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.evaluate.ray import RayEngine


class Stranger(Obedient):
    """Pickles as something from a module that does not exist."""

    def __reduce__(self) -> str | tuple[object, ...]:
        return import_module, ("no_such_module",)


def jobs(*genotypes: str, part: str = "shared") -> list[Job]:
    return [Job(seq, point(text), part) for seq, text in enumerate(genotypes)]  # type: ignore[arg-type]


def by_seq(outcomes: Iterator[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.job.seq)


def passes(events: Path) -> list[list[str]]:
    """The genotypes of each pass that a `Sociable` evaluator was asked for."""
    noted = [line.split() for line in events.read_text().splitlines()]
    return [words[3].split(",") for words in noted if words[1] == "pass"]


class EngineContract:
    """Subclass it and say how an engine is made."""

    lanes = 1
    # of a genotype that raises
    tries = 3

    def make(self, evaluator: Obedient, **settings: Any) -> Engine:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Engine]:
        engine = cls().make(Obedient())
        yield engine
        engine.close()

    def test_is_an_engine(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)

    def test_one_outcome_per_job(self, engine: Engine) -> None:
        asked = jobs(*[f"ok:{number}" for number in range(17)])
        outcomes = by_seq(engine.run(asked))
        assert [outcome.job for outcome in outcomes] == asked
        assert [outcome.measurement.objectives["error"] for outcome in outcomes if outcome.measurement] == [
            float(number) for number in range(17)
        ]

    def test_no_jobs(self, engine: Engine) -> None:
        assert list(engine.run([])) == []

    def test_may_run_again(self, engine: Engine) -> None:
        first = [outcome.measurement for outcome in engine.run(jobs("ok:1"))]
        assert first == [outcome.measurement for outcome in engine.run(jobs("ok:1"))]

    @pytest.mark.parametrize("word", sorted(JUNK))
    def test_junk_is_failed_with_a_reason(self, engine: Engine, word: str) -> None:
        good, bad = by_seq(engine.run(jobs("ok:1", f"{word}:1")))
        assert good.measurement is not None
        assert bad.measurement is None
        assert bad.reason.startswith(("ValueError", "TypeError"))
        assert bad.attempts == 1

    def test_raising_is_failed_after_another_try(self, engine: Engine) -> None:
        good, bad = by_seq(engine.run(jobs("ok:1", "raises:1")))
        assert good.measurement is not None
        assert (bad.measurement, bad.reason) == (None, "ValueError: no such luck")
        assert (bad.attempts, bad.owner) == (self.tries, "genotype")

    @pytest.mark.parametrize("together", [False, True])
    def test_a_process_that_is_sick_is_replaced_and_fails_nothing(
        self, tmp_path: Path, together: bool
    ) -> None:
        events = tmp_path / "events"
        evaluator = (Sociable if together else Obedient)(str(events))
        engine = self.make(evaluator)
        # the first process that measures this one can measure nothing any more
        asked = jobs(*[f"ok:{number}" for number in range(6)], "sickens:1", *["ok:9"] * 6)
        with closing(engine):
            outcomes = by_seq(engine.run(asked))
        assert all(outcome.measurement for outcome in outcomes)

    def test_exclusive_jobs_run_alone_and_last(self, tmp_path: Path) -> None:
        events = tmp_path / "events"
        engine = self.make(Obedient(str(events), seconds=0.02))
        mixed = [Job(seq, point(f"ok:{seq}"), "exclusive" if seq % 2 else "shared") for seq in range(10)]
        try:
            assert all(outcome.measurement for outcome in engine.run(mixed))
        finally:
            engine.close()
        running = 0
        shared_ended = 0
        for line in sorted(events.read_text().splitlines(), key=lambda line: float(line.split()[0])):
            _, what, part, _, _ = line.split()
            if part == "exclusive":
                assert shared_ended == 5
                assert running == (0 if what == "begin" else 1)
            running += 1 if what == "begin" else -1
            shared_ended += part == "shared" and what == "end"

    def test_jobs_may_be_submitted_while_it_runs(self, engine: Engine) -> None:
        found, later = [], jobs(*[f"ok:{number}" for number in range(9)])[2:]
        for outcome in engine.run(jobs("ok:0", "ok:1")):
            found.append(outcome.job.seq)
            engine.submit(later[:2])
            del later[:2]
        assert sorted(found) == list(range(9))

    def test_what_was_submitted_and_abandoned_is_forgotten(self, engine: Engine) -> None:
        for _ in engine.run(jobs("ok:0", "ok:1")):
            engine.submit(jobs("ok:2", "ok:3"))
            break
        assert [outcome.job.genotype for outcome in engine.run(jobs("ok:5"))] == [point("ok:5")]

    def test_together_in_passes_of_equal_size(self, tmp_path: Path) -> None:
        events = tmp_path / "events"
        asked = jobs(*[f"ok:{number}" for number in range(20)])
        with closing(self.make(Sociable(str(events)), subnets_per_pass=8)) as engine:
            outcomes = by_seq(engine.run(asked))
        assert [outcome.job for outcome in outcomes] == asked
        assert [each.measurement.objectives["error"] for each in outcomes if each.measurement] == list(
            range(20)
        )
        expected = [6, 7, 7] if self.lanes == 1 else [5, 5, 5, 5]
        assert sorted(len(each) for each in passes(events)) == expected

    def test_a_bad_genotype_disturbs_no_neighbour(self) -> None:
        words = ["ok:0", "raises:1", "nan:2", "number:3", "ok:4", "ok:5"]
        with closing(self.make(Sociable(), subnets_per_pass=8)) as engine:
            outcomes = by_seq(engine.run(jobs(*words)))
        assert [outcome.measurement is not None for outcome in outcomes] == [
            word.startswith("ok") for word in words
        ]
        assert [outcome.attempts for outcome in outcomes] == [1, self.tries, 1, 1, 1, 1]

    def test_a_pass_that_is_too_large_is_measured_one_by_one(self) -> None:
        with closing(self.make(Sociable(), subnets_per_pass=8)) as engine:
            outcomes = list(engine.run(jobs("ok:0", "crowds:1", "ok:2", "ok:3")))
        assert sorted(each.measurement.objectives["error"] for each in outcomes if each.measurement) == [
            0,
            1,
            2,
            3,
        ]

    def test_neighbours_in_the_order_given_are_measured_together(self, tmp_path: Path) -> None:
        events = tmp_path / "events"
        asked = jobs("ok:3", "ok:10", "ok:1", "ok:12", "ok:2", "ok:11")
        order = attrgetter("genes")
        limit = 3 if self.lanes == 1 else 8
        with closing(self.make(Sociable(str(events)), subnets_per_pass=limit, order=order)) as engine:
            assert [outcome.job for outcome in by_seq(engine.run(asked))] == asked
        assert sorted(passes(events)) == [["ok:1", "ok:2", "ok:3"], ["ok:10", "ok:11", "ok:12"]]

    def test_a_pass_is_over_one_set_of_images(self, tmp_path: Path) -> None:
        events = tmp_path / "events"
        asked = [Job(seq, point(f"ok:{seq}"), images=(None, 4, 8)[seq % 3]) for seq in range(12)]
        with closing(self.make(Sociable(str(events)), subnets_per_pass=8)) as engine:
            assert len(list(engine.run(asked))) == 12
        for line in events.read_text().splitlines():
            _, what, _, genotypes, *images = line.split()
            if what == "pass":
                seqs = [int(word.partition(":")[2]) for word in genotypes.split(",")]
                assert {str((None, 4, 8)[seq % 3]) for seq in seqs} == set(images)

    def test_fewer_images_are_refused_where_they_mean_nothing(self, engine: Engine) -> None:
        with pytest.raises(EngineError, match="cannot measure on 4 images only"):
            list(engine.run([Job(0, point("ok:1"), images=4)]))

    def test_exclusive_jobs_are_never_measured_together(self, tmp_path: Path) -> None:
        events = tmp_path / "events"
        with closing(self.make(Sociable(str(events)), subnets_per_pass=8)) as engine:
            assert len(list(engine.run(jobs("ok:0", "ok:1", "ok:2", part="exclusive")))) == 3
        assert [len(each) for each in passes(events)] == [1, 1, 1]

    def test_setup_failure_is_one_engine_error(self) -> None:
        engine = self.make(Unready(how="data"))
        with pytest.raises(EngineError, match=r"weights.safetensors is missing") as caught:
            list(engine.run(jobs("ok:1", "ok:2")))
        assert caught.value.hint == "Train it first."
        engine.close()

    def test_close_twice(self, engine: Engine) -> None:
        list(engine.run(jobs("ok:1")))
        engine.close()
        engine.close()


class TestInlineEngine(EngineContract):
    tries = 2

    def make(self, evaluator: Obedient, **settings: Any) -> Engine:
        return InlineEngine(evaluator, **settings)


class TestLocalEngine(EngineContract):
    lanes = 2

    def make(self, evaluator: Obedient, **settings: Any) -> Engine:
        return LocalEngine(evaluator, workers=2, deadline_s=1.0, tries=3, **settings)

    def test_an_outage_of_the_disk_fails_nothing(self, tmp_path: Path) -> None:
        evaluator = Obedient(seconds=0.01, outage=str(tmp_path / "outage"))
        with closing(self.make(evaluator)) as engine:
            outcomes = list(engine.run(jobs(*[f"ok:{number}" for number in range(60)])))
        assert len(outcomes) == 60 and all(outcome.measurement for outcome in outcomes)

    def test_where_all_workers_are_sick_nothing_counts_as_failed(self, tmp_path: Path) -> None:
        evaluator = Obedient(outage=str(tmp_path / "outage"), outage_s=3600.0)
        found: list[Outcome] = []
        with (
            closing(self.make(evaluator)) as engine,
            pytest.raises(EngineError, match="can measure any more"),
        ):
            found.extend(engine.run(jobs(*[f"ok:{number}" for number in range(60)])))
        assert all(outcome.measurement for outcome in found)

    @pytest.mark.parametrize("word", ["aborts", "sleeps"])
    def test_neighbours_of_poison_are_not_blamed(self, tmp_path: Path, word: str) -> None:
        events = tmp_path / "events"
        asked = [f"ok:{number}" for number in range(7)] + [f"{word}:7"]
        engine = LocalEngine(Sociable(str(events)), workers=1, deadline_s=0.3, tries=2)
        with closing(engine):
            outcomes = by_seq(engine.run(jobs(*asked)))
        assert [outcome.measurement is not None for outcome in outcomes] == [True] * 7 + [False]
        assert [outcome.attempts for outcome in outcomes] == [1] * 7 + [2]
        assert outcomes[7].reason in ("worker died of SIGABRT", "timeout: no answer within 0.3 s")
        sizes = [len(each) for each in passes(events)]
        # all at once, which ends badly, then each alone, and the poison as often as it may, once after a control
        assert sizes == [8] + [1] * 10

    def test_a_pass_has_the_time_of_its_members(self) -> None:
        engine = LocalEngine(Sociable(seconds=0.25), workers=1, deadline_s=1.0)
        with closing(engine):
            outcomes = list(engine.run(jobs(*[f"ok:{number}" for number in range(8)])))
        assert all(outcome.measurement for outcome in outcomes)
        assert sum(outcome.seconds for outcome in outcomes) >= 2.0
        assert len({outcome.seconds for outcome in outcomes}) == 1

    def test_jobs_run_at_the_same_time(self, tmp_path: Path) -> None:
        events = tmp_path / "events"
        engine = LocalEngine(Obedient(str(events), seconds=0.1), workers=2)
        try:
            assert len(list(engine.run(jobs(*[f"ok:{number}" for number in range(8)])))) == 8
        finally:
            engine.close()
        assert len({line.split()[-1] for line in events.read_text().splitlines()}) == 2

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("aborts", "worker died of SIGABRT"),
            ("leaves", "worker exited with code 0"),
            ("exits", "worker exited with code 0"),
            ("garbles", "worker sent junk"),
            ("sleeps", "timeout: no answer within 1 s"),
        ],
    )
    def test_poison_is_failed_after_its_tries(self, engine: Engine, word: str, reason: str) -> None:
        outcomes = by_seq(engine.run(jobs("ok:0", f"{word}:1", "ok:2", "ok:3")))
        assert [outcome.measurement is not None for outcome in outcomes] == [True, False, True, True]
        assert (outcomes[1].reason, outcomes[1].attempts) == (reason, 3)

    def test_deaths_at_setup_end_in_an_error(self) -> None:
        engine = LocalEngine(Unready(how="leaves"), workers=2, tries=1)
        with pytest.raises(EngineError, match="exited with code 0"):
            list(engine.run(jobs("ok:1", "ok:2")))
        engine.close()

    def test_a_hanging_setup_ends_in_an_error(self) -> None:
        engine = LocalEngine(Unready(how="sleeps"), workers=1, tries=1, setup_s=0.5)
        with pytest.raises(EngineError, match="timeout"):
            list(engine.run(jobs("ok:1")))
        engine.close()

    def test_abandoning_the_iterator_stops_what_is_in_flight(self) -> None:
        engine = LocalEngine(Obedient(), workers=2, deadline_s=60)
        for _ in engine.run(jobs("ok:0", "sleeps:1", "ok:2")):
            break
        assert [outcome.job.genotype for outcome in engine.run(jobs("ok:5"))] == [point("ok:5")]
        engine.close()

    def test_threads_are_set_before_the_worker_starts(self) -> None:
        engine = LocalEngine(Obedient(), workers=1, threads_per_worker=3)
        [outcome] = engine.run(jobs("ok:0"))
        engine.close()
        assert outcome.measurement is not None
        assert outcome.measurement.extra["threads"] == "3"

    @pytest.mark.parametrize(
        "key", ["workers", "tries", "deadline_s", "threads_per_worker", "subnets_per_pass"]
    )
    def test_settings_must_be_positive(self, key: str) -> None:
        with pytest.raises(EngineError, match=f"hardware.{key} must be positive, got 0"):
            LocalEngine(Obedient(), **{key: 0})  # type: ignore[arg-type]

    def test_a_factory_that_workers_cannot_find_is_named(self) -> None:
        engine = LocalEngine(Stranger(), workers=1)
        with pytest.raises(EngineError, match="ModuleNotFoundError"):
            list(engine.run(jobs("ok:1")))
        engine.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("ray") is None, reason="needs pip install 'evonas[ray]'")
class TestRayEngine(EngineContract):
    lanes = 2
    tries = 2

    def make(self, evaluator: Obedient, **settings: Any) -> Engine:
        return RayEngine(evaluator, workers=2, deadline_s=2.0, tries=2, **settings)

    # one Ray at a time in one process, and starting one takes seconds: each test has its own
    @pytest.fixture
    @classmethod
    def engine(cls) -> Iterator[Engine]:
        engine = cls().make(Obedient())
        yield engine
        engine.close()

    @pytest.mark.parametrize(
        ("word", "reason"),
        [("aborts", "worker died"), ("exits", "worker died"), ("sleeps", "timeout: no answer within 2 s")],
    )
    def test_poison_is_failed_after_its_tries(self, engine: Engine, word: str, reason: str) -> None:
        outcomes = by_seq(engine.run(jobs("ok:0", f"{word}:1", "ok:2", "ok:3")))
        assert [outcome.measurement is not None for outcome in outcomes] == [True, False, True, True]
        assert (outcomes[1].reason, outcomes[1].attempts) == (reason, 2)

    def test_a_factory_that_actors_cannot_find_is_named(self) -> None:
        engine = RayEngine(Stranger(), workers=1)
        with closing(engine), pytest.raises(EngineError, match="no_such_module"):
            list(engine.run(jobs("ok:1")))

    def test_it_listens_to_this_machine_alone_and_leaves_nothing_behind(self, engine: Engine) -> None:
        assert len(list(engine.run(jobs("ok:1")))) == 1
        psutil = pytest.importorskip("psutil")
        ours = psutil.Process().children(recursive=True)
        addresses = {
            connection.laddr.ip.removeprefix("::ffff:")
            for process in ours
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}
        engine.close()
        assert not [process for process in ours if process.is_running() and process.status() != "zombie"]
