"""Asynchronous search loop: a new point is submitted as soon as a pending one completes.

No worker waits for the end of a generation. The order of completion depends on the machines, so two such
searches differ; but the archive stores that order, and a point is told only while the maximum number of
points is pending, so the order of completion alone determines what was asked in between. Resuming replays
the archived order; points that were pending are evaluated again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evonas import fault_injection
from evonas.archive import Archive, Evaluation
from evonas.errors import DataError, EngineError, UserError
from evonas.evaluate.engine import Engine, Job, Outcome, Part
from evonas.search.base import AsynchronousSearcher, Observation, Searcher
from evonas.search.loop.evaluation import CachedEngine
from evonas.search.loop.generational import Generation
from evonas.space.genotype import Genotype
from evonas.space.space import Space


@dataclass
class Pending:
    """Points that were asked and are not told yet.

    Args:
        searcher: in its initial state; a resumed search replays it from its seed.
        limit: maximum number of pending points.
        engine: makes jobs and assembles observations.
        report: called with each observation, failed or not.
        asked: number of points asked so far.
    """

    searcher: AsynchronousSearcher
    limit: int
    engine: CachedEngine
    report: Callable[[Observation], None]
    asked: int = 0
    _jobs: list[Job] = field(default_factory=list)
    _completed: dict[Genotype, Evaluation] = field(default_factory=dict)
    _submitted: set[Genotype] = field(default_factory=set)

    def __len__(self) -> int:
        """Number of pending points."""
        return len(self._jobs)

    def fill(self) -> None:
        """Ask until `limit` points are pending; points evaluated before are told at once."""
        while True:
            while len(self) < self.limit and (point := self.searcher.ask_one()) is not None:
                self._jobs += self.engine.jobs([point], self.asked)
                self.asked += 1
            repeated = next((job for job in self._jobs if job.genotype in self._completed), None)
            if repeated is None:
                return
            self._tell(repeated)

    def submit(self) -> list[Job]:
        """Jobs of pending points that were not submitted to the engine yet, one per genotype."""
        fresh: dict[Genotype, Job] = {}
        for job in self._jobs:
            if job.genotype not in self._submitted:
                fresh.setdefault(job.genotype, job)
        self._submitted.update(fresh)
        return list(fresh.values())

    def complete(self, genotype: Genotype, evaluation: Evaluation) -> bool:
        """Tell a genotype's evaluation and ask for a new point; False if the genotype is not pending."""
        job = next((job for job in self._jobs if job.genotype == genotype), None)
        if job is None:
            return False
        self._completed[genotype] = evaluation
        self._tell(job)
        self.fill()
        return True

    def _tell(self, job: Job) -> None:
        """Tell the completed evaluation of a pending job."""
        self._jobs.remove(job)
        point = job.genotype
        observation = self.engine.observation(point, {(point, job.part): self._completed[point]})
        self.searcher.tell_one(observation)
        fault_injection.point("search.after_tell")
        self.report(observation)


def asynchronous_search(
    searcher: Searcher,
    engine: Engine,
    archive: Archive,
    space: Space,
    objectives: Mapping[str, Part],
    fingerprints: Mapping[Part, str],
    in_flight: int,
    generation: int,
    on_generation: Callable[[Generation], None] | None = None,
    on_outcome: Callable[[Outcome, Evaluation], None] | None = None,
) -> int:
    """Run the searcher asynchronously until it is finished; returns the number of points told.

    Args:
        in_flight: maximum number of pending points; part of the search's identity.
        generation: `on_generation` is called after this many points, and at the end; it has no other effect.

    The other arguments are those of `evonas.search.loop.generational.search`.

    Raises:
        UserError: the searcher does not support asynchronous search, or an objective needs idle devices.
        DataError: the archived order of evaluations is not one of this search.
        EngineError: the engine loses a job or cannot work.
    """
    able = require_asynchronous(searcher, objectives, in_flight)
    cached = CachedEngine(engine, archive, space, objectives, fingerprints, on_outcome)
    reporter = _GenerationReporter(generation, cached, on_generation)
    pending = Pending(able, in_flight, cached, reporter.add)
    pending.fill()
    for evaluation in archive.in_order_recorded():
        if evaluation.fingerprint != fingerprints["shared"]:
            continue
        if not pending.complete(space.parse(evaluation.genotype), evaluation):
            raise DataError(
                f"{archive.path}: evaluation {evaluation.seq} does not belong to a replay of this search; "
                "another version of evonas recorded it.",
                "Start another search with run=<new name> and reuse=<this run>; no evaluation is lost",
            )
    for outcome in engine.run(pending.submit()):
        pending.complete(outcome.job.genotype, cached.record(outcome))
        engine.submit(pending.submit())
    if pending:
        raise EngineError(f"The engine lost {len(pending)} jobs.", "Repeat with resume=true")
    reporter.flush()
    return reporter.evaluations


def require_asynchronous(
    searcher: Searcher, objectives: Mapping[str, Part], in_flight: int
) -> AsynchronousSearcher:
    """Return the searcher if it supports asynchronous search with these objectives.

    Raises:
        UserError: it does not, or `in_flight` is below 1.
    """
    exclusive = [name for name, part in objectives.items() if part == "exclusive"]
    if exclusive:
        raise UserError(
            f"Objective {exclusive[0]} must be measured while no other evaluation runs, which an asynchronous "
            "search cannot grant.",
            "Use 'objective=[error,latency_lookup,macs]', or budget.in_flight=null",
        )
    if in_flight < 1:
        raise UserError(f"budget.in_flight must be at least 1, got {in_flight}.", "budget.in_flight=8")
    if not isinstance(searcher, AsynchronousSearcher):
        raise UserError(
            f"{type(searcher).__name__} does not support asynchronous search.",
            "Use search=nsga2, nsga3, regularized, nested or random, or budget.in_flight=null",
        )
    return searcher


class _GenerationReporter:
    """Groups observations into pseudo-generations of a fixed size for the listener."""

    def __init__(
        self, size: int, engine: CachedEngine, listener: Callable[[Generation], None] | None
    ) -> None:
        self._size, self._engine, self._listener = size, engine, listener
        self._told: list[Observation] = []
        self._number = self._failures = self.evaluations = 0

    def add(self, observation: Observation) -> None:
        self.evaluations += 1
        self._failures += observation.objectives is None
        self._told.append(observation)
        if len(self._told) >= self._size:
            self.flush()

    def flush(self) -> None:
        """Report the observations that were not reported yet."""
        told, self._told = tuple(self._told), []
        if told:
            self._number += 1
            if self._listener is not None:
                measured = self._engine.measured
                self._listener(Generation(self._number, told, self.evaluations, self._failures, measured))
