"""What an engine is: it turns jobs into outcomes, in parallel, and loses nothing.

The contract. `run` yields exactly one outcome per job, in any order. Jobs that are
handed to `submit` while the outcomes are taken are answered too, before `run` ends; a
worker that waits for work is given them at once. Jobs of the
`shared` part may run at the same time; jobs of the `exclusive` part run after them,
one at a time on each device, and nothing else of ours runs on that device meanwhile.
An engine may give a worker several shared jobs at a time if its evaluator measures
`Together`; each of them has an outcome of its own, and if they lose their worker, each
is tried again alone, so that none is blamed for another.
An engine never raises because of one genotype: a measurement that raises, hangs past
the deadline, kills its process or returns anything but finite numbers becomes a failed
outcome with a reason, after at most `tries` attempts for failures of the process (a
measurement that raises is not retried: it would raise again). An engine raises
EngineError only when it cannot work at all, for instance when no worker can start.
`close` leaves no process behind and may be called twice. An engine knows nothing of
archives, searchers or tasks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Part = Literal["shared", "exclusive"]
PARTS: tuple[Part, ...] = ("shared", "exclusive")


@dataclass(frozen=True, slots=True)
class Job:
    """One part of one genotype to be measured; `seq` identifies it within the search.

    `images` limits the data objectives to the first so many images of the holdout split; None means all.
    """

    seq: int
    genotype: str
    part: Part = "shared"
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an evaluator returns: objective values by name, and other facts worth keeping."""

    objectives: Mapping[str, float]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a job: a measurement, or a reason why there is none.

    `seconds` is the job's share of the time that its worker took for all it measured at once.
    """

    job: Job
    measurement: Measurement | None
    reason: str = ""
    seconds: float = 0.0
    worker: str = ""
    attempts: int = 1


@runtime_checkable
class EvaluatorLike(Protocol):
    """Runs inside a worker; built there from a plain config by `config.build`."""

    def setup(self) -> None: ...

    def measure(self, genotype: str, part: Part) -> Measurement: ...


@runtime_checkable
class Together(Protocol):
    """An evaluator that measures several genotypes in one pass over its data.

    The answers, one per genotype and in their order, are those that `measure` would give,
    bit for bit on the CPU; a genotype that cannot be measured has the exception in its
    place, and does not disturb the others.
    """

    def measure_together(
        self, genotypes: Sequence[str], part: Part, images: int | None = None
    ) -> Sequence[Measurement | Exception]: ...


@runtime_checkable
class Engine(Protocol):
    """See the module's contract."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]: ...

    def submit(self, jobs: Iterable[Job]) -> None: ...

    def close(self) -> None: ...
