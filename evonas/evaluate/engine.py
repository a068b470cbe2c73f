"""The contract of engines: an engine runs jobs in parallel and returns one outcome per job.

`run` yields exactly one outcome per job, in any order. Jobs passed to `submit` during the iteration are also
answered before `run` ends; idle workers start them at once. Jobs of the `shared` part may run concurrently.
Jobs of the `exclusive` part run after them, one at a time per device, and no other job runs on that device
meanwhile. If its evaluator is a `BatchEvaluator`, an engine may give a worker several shared jobs at a time;
each has its own outcome, and if the worker is lost, each is retried alone, so that the faulty job is found.

Failures have an owner. The genotype's are failed outcomes with a reason: it has no result (`InfeasibleError`), its
values are no finite numbers, or it raises, exceeds the deadline or kills its process again and again while a genotype
that was measured before, the control, is measured well in the same process. The machine's are not recorded: a worker on
which a measurement raises or is lost is replaced, and its job is tried on another one. A worker that fails on the
control too is stopped, and an engine without a worker raises EngineError, after which no job that it still holds counts
as failed. `close` leaves no process behind and may be called twice. An engine is independent of archives, searchers and
tasks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from evonas.space.genotype import Genotype

Part = Literal["shared", "exclusive"]
Owner = Literal["genotype", "machine"]
PARTS: tuple[Part, ...] = ("shared", "exclusive")


@dataclass(frozen=True, slots=True)
class Job:
    """The measurement of one part of one genotype.

    Args:
        seq: identifies the job within the search.
        genotype: point to measure, canonical.
        part: the objectives to measure: "shared" or "exclusive".
        images: data objectives use the first `images` images of the validation split; None means all.
    """

    seq: int
    genotype: Genotype
    part: Part = "shared"
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Result of an evaluator: objective values by name, and other data to archive."""

    objectives: Mapping[str, float]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a job: a measurement, or the reason of a failure.

    Args:
        measurement: None if the job failed.
        reason: reason of the failure.
        seconds: wall-clock time of the pass, divided by its number of jobs.
        worker: name of the worker.
        attempts: number of attempts, including lost workers.
        owner: of a failure: the genotype, which is never selected, or the machine, which may do better later.
    """

    job: Job
    measurement: Measurement | None
    reason: str = ""
    seconds: float = 0.0
    worker: str = ""
    attempts: int = 1
    owner: Owner = "genotype"


@runtime_checkable
class EvaluatorLike(Protocol):
    """An evaluator, built inside a worker from its config by `config.build`."""

    def setup(self) -> None: ...

    def measure(self, genotype: Genotype, part: Part) -> Measurement: ...


@runtime_checkable
class BatchEvaluator(Protocol):
    """An evaluator that can measure several genotypes in one pass over its data.

    Returns one answer per genotype, in order, equal to the answer of `measure` (bit for bit on the CPU). A
    failed genotype has its exception in its place and does not affect the others. An engine with an `order`
    passes the genotypes sorted by it.
    """

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> Sequence[Measurement | Exception]: ...


@runtime_checkable
class Engine(Protocol):
    """An engine; the module's docstring states the contract."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]: ...

    def submit(self, jobs: Iterable[Job]) -> None: ...

    def close(self) -> None: ...
