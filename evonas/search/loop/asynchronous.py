"""The asynchronous search: many points in flight, each told when it is known, and another asked at once.

No worker waits for a generation to end. Which point is known first is up to the machines, so two such
searches differ; but the archive keeps the order in which facts were told, and the rest follows from it: a
point is told only when as many fly as may, so the order of tells alone says what was asked between them.
Resuming replays the recorded order and goes on; what was in flight is measured again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evonas import fault_injection
from evonas.archive import Archive, Evaluation
from evonas.errors import DataError, EngineError, UserError
from evonas.evaluate.engine import Engine, Job, Outcome, Part
from evonas.search.base import Searcher, SteadySearcher, Told
from evonas.search.loop.evaluation import Measuring
from evonas.search.loop.generational import Generation
from evonas.space.genotype import Genotype
from evonas.space.space import Space


@dataclass
class Flight:
    """The points that were asked and not told yet; whoever lands is told, and another takes off.

    Args:
        searcher: fresh; it is replayed from its seed.
        limit: points in flight.
        measuring: makes facts of answers.
        report: told after every point, whether it was measured or not.
    """

    searcher: SteadySearcher
    limit: int
    measuring: Measuring
    report: Callable[[Told], None]
    asked: int = 0
    _flying: list[tuple[Genotype, Job]] = field(default_factory=list)
    _known: dict[str, Evaluation] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)

    def fill(self) -> None:
        """Ask until as many points fly as may; those that repeat a known one land at once."""
        while True:
            while len(self._flying) < self.limit and (point := self.searcher.ask_one()) is not None:
                text = self.measuring.space.format(point)
                self._flying.append((point, self.measuring.jobs([text], self.asked)[0]))
                self.asked += 1
            repeated = next((job for _, job in self._flying if job.genotype in self._known), None)
            if repeated is None:
                return
            self._tell(repeated.genotype)

    def take_off(self) -> list[Job]:
        """The jobs of points that fly and were not given to an engine yet, each genotype once."""
        fresh: dict[str, Job] = {}
        for _, job in self._flying:
            if job.genotype not in self._given:
                fresh.setdefault(job.genotype, job)
        self._given.update(fresh)
        return list(fresh.values())

    def land(self, fact: Evaluation) -> bool:
        """Tell what is known about a point and fill its place; False if no such point flies."""
        if not any(job.genotype == fact.genotype for _, job in self._flying):
            return False
        self._known[fact.genotype] = fact
        self._tell(fact.genotype)
        self.fill()
        return True

    @property
    def flying(self) -> int:
        """How many points were asked and not told yet."""
        return len(self._flying)

    def _tell(self, text: str) -> None:
        place = next(at for at, (_, job) in enumerate(self._flying) if job.genotype == text)
        point, job = self._flying.pop(place)
        told = self.measuring.told(point, {(text, job.part): self._known[text]})
        self.searcher.tell_one(told)
        fault_injection.point("search.after_tell")
        self.report(told)


def steady_search(
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
    """Run the searcher, asked point by point, until it has nothing more to ask; the number of points told.

    Args:
        in_flight: points that are asked and not told; part of the search's identity.
        generation: after so many points `on_generation` is told, and at the end; it changes nothing else.

    The other arguments are those of `evonas.search.loop.generational.search`.

    Raises:
        UserError: the searcher cannot be asked for one point at a time, or an objective needs quiet devices.
        DataError: the archive's order of facts is not that of this search.
        EngineError: if the engine loses a job or cannot work.
    """
    able = require_steady(searcher, objectives, in_flight)
    measuring = Measuring(engine, archive, space, objectives, fingerprints, on_outcome)
    batches = _Batches(generation, measuring, on_generation)
    flight = Flight(able, in_flight, measuring, batches.add)
    flight.fill()
    _replay(flight, archive, fingerprints["shared"])
    for outcome in engine.run(flight.take_off()):
        flight.land(measuring.record(outcome))
        engine.submit(flight.take_off())
    if flight.flying:
        raise EngineError(f"The engine lost {flight.flying} jobs.", "Repeat with resume=true")
    batches.end()
    return batches.evaluations


def require_steady(searcher: Searcher, objectives: Mapping[str, Part], in_flight: int) -> SteadySearcher:
    """The searcher, if it may be asked point by point for these objectives; else a UserError says why not."""
    alone = [name for name, part in objectives.items() if part == "exclusive"]
    if alone:
        raise UserError(
            f"{alone[0]} is measured while nothing else runs, but an asynchronous search never rests.",
            "Use 'objective=[error,latency_lookup,macs]', or budget.in_flight=null",
        )
    if in_flight < 1:
        raise UserError(
            f"budget.in_flight is {in_flight}; at least one point must fly.", "budget.in_flight=8"
        )
    if not isinstance(searcher, SteadySearcher):
        raise UserError(
            f"{type(searcher).__name__} asks for whole batches; an asynchronous search asks point by point.",
            "Use search=nsga2, nsga3, regularized or random, or budget.in_flight=null",
        )
    return searcher


def _replay(flight: Flight, archive: Archive, fingerprint: str) -> None:
    for fact in archive.in_order_recorded():
        if fact.fingerprint == fingerprint and not flight.land(fact):
            raise DataError(
                f"{archive.path}: this search would not have asked for evaluation {fact.seq} yet; "
                "another version of the software did.",
                "Start another search with run=<new name> and reuse=<this run>, which loses nothing",
            )


class _Batches:
    """Counts points, and reports them in batches as if they were generations."""

    def __init__(
        self, size: int, measuring: Measuring, listener: Callable[[Generation], None] | None
    ) -> None:
        self._size, self._measuring, self._listener = size, measuring, listener
        self._told: list[Told] = []
        self._number = self._failures = self.evaluations = 0

    def add(self, told: Told) -> None:
        """One more point was told."""
        self.evaluations += 1
        self._failures += told.objectives is None
        self._told.append(told)
        if len(self._told) >= self._size:
            self.end()

    def end(self) -> None:
        """Report what was not reported yet."""
        told, self._told = tuple(self._told), []
        if told:
            self._number += 1
            if self._listener is not None:
                measured = self._measuring.measured
                self._listener(Generation(self._number, told, self.evaluations, self._failures, measured))
