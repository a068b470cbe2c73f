"""Who a failure belongs to: the genotype, which is recorded, or the machine, whose workers are replaced and stopped."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from misbehaving import Obedient, point, text

from evonas.errors import EngineError
from evonas.evaluate import supervisor
from evonas.evaluate.backlog import Pass
from evonas.evaluate.code import code_digest
from evonas.evaluate.engine import Job, Outcome
from evonas.evaluate.supervisor import RetryPolicy, Supervisor, WorkerLostError
from evonas.version import __version__

SPEC = Obedient()
RAISED = {"reason": "RuntimeError: sick", "owner": None}


class DiesError(Exception):
    """The scripted process dies."""


# name of the worker, number of its process, genotype -> a value, or an exception
Script = Callable[[str, int, str], Any]


@dataclass
class Scripted:
    """A worker without a process: it answers at once what a script says."""

    name: str
    script: Script
    greeting: dict[str, Any]
    device: str = "cpu"
    task: Pass | None = None
    is_ready: bool = False
    process: int = 0
    asked: list[str] = field(default_factory=list)
    _is_running: bool = False

    @property
    def is_running(self) -> bool:
        return self._is_running

    @property
    def is_waited_for(self) -> bool:
        return self._is_running and (self.task is not None or not self.is_ready)

    @property
    def deadline(self) -> float:
        return time.monotonic() + 10.0

    def start(self, setup_s: float) -> None:
        assert setup_s > 0
        self._is_running, self.process = True, self.process + 1

    def send(self, task: Pass, deadline_s: float) -> bool:
        assert deadline_s > 0
        self.task = task
        return True

    def receive(self) -> dict[str, Any]:
        if self.task is None:
            return self.greeting
        return {"answers": [self._answer(text(job.genotype)) for job in self.task.jobs]}

    def _answer(self, genotype: str) -> dict[str, Any]:
        self.asked.append(genotype)
        try:
            return {"objectives": {"error": float(self.script(self.name, self.process, genotype))}}
        except DiesError as error:
            raise WorkerLostError(str(error) or "worker died of SIGKILL") from None
        except Exception as error:
            return {"reason": f"{type(error).__name__}: {error}", "owner": getattr(error, "owner", None)}

    def stop(self) -> None:
        self._is_running, self.is_ready, self.task = False, False, None


class Engine(Supervisor):
    """A supervisor of scripted workers."""

    def __init__(self, script: Script, count: int = 2, size: int = 1, **greetings: dict[str, Any]) -> None:
        own = {
            "ready": True,
            "together": True,
            "host": "here",
            "version": __version__,
            "code": code_digest(SPEC),
        }
        names = [f"w{index}" for index in range(count)]
        self.workers = [Scripted(name, script, {**own, **greetings.get(name, {})}) for name in names]
        super().__init__(SPEC, self.workers, self.workers[:1], RetryPolicy(), subnets_per_pass=size)

    def wait(self, workers: Sequence[Any], seconds: float) -> None:
        assert workers and seconds >= 0

    def outcomes(self, *genotypes: str, part: str = "shared") -> list[Outcome]:
        jobs = [Job(seq, point(each), part) for seq, each in enumerate(genotypes)]  # type: ignore[arg-type]
        return sorted(self.run(jobs), key=lambda outcome: outcome.job.seq)

    @property
    def processes(self) -> dict[str, int]:
        return {worker.name: worker.process for worker in self.workers}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSES_S", (0.0,))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def goods(count: int, first: int = 0) -> list[str]:
    return [f"ok:{number}" for number in range(first, first + count)]


@pytest.mark.parametrize("size", [1, 8])
def test_a_sick_process_is_replaced_and_nothing_fails(size: int, caplog: pytest.LogCaptureFixture) -> None:
    def script(worker: str, process: int, _: str) -> float:
        if (worker, process) == ("w0", 1):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return 1.0

    engine = Engine(script, size=size)
    assert all(each.measurement for each in engine.outcomes(*goods(800)))
    assert engine.processes == {"w0": 2, "w1": 1}
    engine.close()
    [warning] = warnings(caplog)
    assert "w0 could not measure what another worker measured" in warning and "CUDA error" in warning


@pytest.mark.parametrize(
    "error", [RuntimeError("sick"), OSError(5, "Input/output error"), DiesError(), MemoryError()]
)
@pytest.mark.parametrize("size", [1, 8])
def test_a_worker_that_fails_for_ever_is_stopped_and_nothing_fails(
    error: Exception, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    def script(worker: str, _: int, __: str) -> float:
        if worker == "w0":
            raise error
        return 1.0

    engine = Engine(script, size=size)
    found = engine.outcomes(*goods(800))
    assert all(each.measurement for each in found) and {each.worker for each in found} == {"w1"}
    assert engine.processes["w0"] <= supervisor.BLIND_MISHAPS
    [warning] = warnings(caplog)
    assert "w0 is not used any more" in warning
    # the healthy worker goes on in later batches, also with what runs alone
    assert engine.outcomes("ok:1")[0].worker == "w1"
    assert engine.outcomes("ok:1", part="exclusive")[0].worker == "w1"
    engine.close()
    assert len(warnings(caplog)) == 1


def test_where_all_fail_the_search_stops_and_nothing_counts_as_failed() -> None:
    measured: list[str] = []

    def script(_: str, __: int, genotype: str) -> float:
        if len(measured) >= 100:
            raise RuntimeError("CUDA error: unspecified launch failure")
        measured.append(genotype)
        return 1.0

    engine, found = Engine(script), list[Outcome]()
    with pytest.raises(EngineError, match=r"No worker can measure any more.*unspecified launch") as caught:
        found.extend(engine.run([Job(seq, point(f"ok:{seq}")) for seq in range(800)]))
    assert "resume=true" in caught.value.hint and all(each.measurement for each in found)
    assert all(process <= 10 for process in engine.processes.values())


def test_where_nothing_was_ever_measured_the_search_stops() -> None:
    def script(*_: object) -> float:
        raise RuntimeError("no kernel image is available")

    engine = Engine(script)
    with pytest.raises(EngineError, match="no kernel image"):
        engine.outcomes(*goods(800))
    assert max(engine.processes.values()) <= supervisor.BLIND_MISHAPS


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 8])
def test_a_genotype_that_raises_fails_once_and_nobody_else(
    count: int, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    def script(_: str, __: int, genotype: str) -> float:
        if genotype.startswith("raises"):
            raise ValueError("no such luck")
        return 1.0

    engine = Engine(script, count, size)
    poison = {3: "raises:1", 4: "raises:2", 40: "raises:3"}
    found = engine.outcomes(*(poison.get(seq, f"ok:{seq}") for seq in range(80)))
    failed = {each.job.seq: each for each in found if each.measurement is None}
    assert set(failed) == set(poison)
    assert {(each.reason, each.owner) for each in failed.values()} == {
        ("ValueError: no such luck", "genotype")
    }
    assert not warnings(caplog)
    tried = Counter(genotype for worker in engine.workers for genotype in worker.asked)
    assert all(tried[genotype] == 3 for genotype in poison.values())


def test_many_bad_genotypes_in_a_row_stop_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    def script(_: str, __: int, genotype: str) -> float:
        if genotype.startswith("raises"):
            raise ValueError("no such luck")
        return 1.0

    engine = Engine(script)
    found = engine.outcomes(*goods(4), *(f"raises:{number}" for number in range(20)), *goods(4, 100))
    assert [each.measurement is None for each in found] == [False] * 4 + [True] * 20 + [False] * 4
    assert not warnings(caplog)


def test_an_outage_of_all_workers_costs_no_genotype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSES_S", (0.0, 0.1, 0.2, 0.4))
    began = time.monotonic()
    first = iter([True] * 10)

    def script(*_: object) -> float:
        if next(first, False):
            return 1.0
        if time.monotonic() - began < 0.2:
            raise OSError(5, "Input/output error")
        return 1.0

    found = Engine(script, count=8).outcomes(*goods(100))
    assert all(each.measurement for each in found)


def test_a_result_that_is_none_is_final() -> None:
    class InfeasibleError(ValueError):
        owner = "genotype"

    def script(_: str, __: int, genotype: str) -> float:
        if genotype.startswith("raises"):
            raise InfeasibleError("no row")
        return 1.0

    engine = Engine(script)
    _, bad, _ = engine.outcomes("ok:1", "raises:1", "ok:2")
    assert (bad.measurement, bad.attempts, bad.owner) == (None, 1, "genotype")
    assert set(engine.processes.values()) <= {0, 1}


@pytest.mark.parametrize(
    "changed", [{"version": "0.0.1"}, {"code": "0" * 64}, {"version": None, "code": None}]
)
def test_a_worker_with_other_code_is_not_used(
    changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(lambda *_: 1.0, w1={**changed, "host": "node7"})
    assert {each.worker for each in engine.outcomes(*goods(100))} == {"w0"}
    [warning] = warnings(caplog)
    assert "w1 on node7 runs other code" in warning and __version__ in warning
    assert engine.workers[1].asked == []
    alone = Engine(lambda *_: 1.0, count=1, w0=changed)
    with pytest.raises(EngineError, match="runs other code") as caught:
        alone.outcomes("ok:1")
    assert "same release of evonas" in str(caught.value.hint)


def test_a_setup_that_fails_later_is_the_machines() -> None:
    def script(worker: str, process: int, _: str) -> float:
        if (worker, process) == ("w0", 1):
            raise OSError(5, "Input/output error")
        return 1.0

    engine = Engine(script)
    engine.workers[0].greeting = dict(engine.workers[0].greeting)

    def start(setup_s: float, worker: Scripted = engine.workers[0]) -> None:
        Scripted.start(worker, setup_s)
        worker.greeting["ready"] = worker.process != 2

    engine.workers[0].start = start  # type: ignore[method-assign]
    assert all(each.measurement for each in engine.outcomes(*goods(50)))


def test_the_checksum_of_the_code_sees_every_module_that_is_named(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/__init__.py").touch()
    (tmp_path / "ours/task.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"_target_": "evonas.x.Y", "objectives": {"a": [{"_target_": "ours.task.Task"}]}}
    before, own = code_digest(spec), code_digest({"_target_": "evonas.x.Y"})
    assert before == code_digest(spec) != own
    (tmp_path / "ours/task.py").write_text("A = 2\n")
    assert code_digest(spec) != before and code_digest({"_target_": "evonas.x.Y"}) == own


def test_the_checksum_of_a_namespace_package_does_not_depend_on_repeated_import_paths(
    tmp_path: Any, monkeypatch: Any
) -> None:
    (tmp_path / "namespaced").mkdir()
    (tmp_path / "namespaced/task.py").write_text("A = 1\n")
    spec = {"_target_": "namespaced.task.Task"}
    monkeypatch.syspath_prepend(str(tmp_path))
    once = code_digest(spec)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), f"{tmp_path}/."])
    assert code_digest(spec) == once != code_digest({"_target_": "evonas.x.Y"})
