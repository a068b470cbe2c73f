"""How asked points become facts: what the archive knows is looked up, the rest is measured once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from evonas.archive import Archive, Evaluation
from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Engine, Job, Measurement, Outcome, Part
from evonas.search.base import Told
from evonas.space.genotype import Genotype
from evonas.space.space import Space

Facts: TypeAlias = Mapping[tuple[str, Part], Evaluation]


def _whole(measurement: Measurement) -> Measurement:
    return measurement


@dataclass
class Measuring:
    """An engine whose every answer goes to the archive, and which is never asked what stands there.

    Args:
        objectives: part of each objective; their order is that of the objective vectors.
        fingerprints: of each part that an objective belongs to, measured in full.
        on_outcome: told after every measurement is recorded.
        measured: facts that this object measured rather than looked up.
    """

    engine: Engine
    archive: Archive
    space: Space
    objectives: Mapping[str, Part]
    fingerprints: Mapping[Part, str]
    on_outcome: Callable[[Outcome, Evaluation], None] | None = None
    measured: int = 0

    @property
    def parts(self) -> list[Part]:
        """The parts that an objective belongs to, shared ones first."""
        return [part for part in PARTS if part in self.objectives.values()]

    def jobs(self, texts: Sequence[str], first: int) -> list[Job]:
        """A job for every part of every point.

        Args:
            texts: of the points of a batch.
            first: points asked before them; `seq` counts all facts of all points asked.
        """
        parts = self.parts
        return [
            Job(index * len(parts) + place, text, part)
            for index, text in enumerate(texts, start=first)
            for place, part in enumerate(parts)
        ]

    def facts(
        self,
        jobs: Iterable[Job],
        fingerprints: Mapping[Part, str] | None = None,
        kept: Callable[[Measurement], Measurement] = _whole,
    ) -> Facts:
        """The fact of every job, by genotype and part; of equal jobs the first counts.

        Args:
            jobs: with different `seq` where their facts differ.
            fingerprints: under which the facts are known, if not those of full measurements.
            kept: what of a new measurement is recorded.

        Raises:
            EngineError: if the engine loses a job or cannot work.
        """
        prints = self.fingerprints if fingerprints is None else fingerprints
        wanted: dict[tuple[str, Part], Job] = {}
        for job in jobs:
            wanted.setdefault((job.genotype, job.part), job)
        looked_up = {key: self.archive.lookup(prints[key[1]], key[0]) for key in wanted}
        known = {key: fact for key, fact in looked_up.items() if fact is not None}
        missing = [job for key, job in wanted.items() if key not in known]
        for outcome in _answers(missing, self.engine):
            fact = self.record(_shortened(outcome, kept), prints)
            known[outcome.job.genotype, outcome.job.part] = fact
        return known

    def told(self, genotype: Genotype, facts: Facts) -> Told:
        """The objective vector that a point's facts make; None if one of them failed."""
        text = self.space.format(genotype)
        found = [facts[text, part].objectives.get(name) for name, part in self.objectives.items()]
        values = tuple(value for value in found if value is not None)
        return Told(genotype, values if len(values) == len(found) else None)

    def record(self, outcome: Outcome, fingerprints: Mapping[Part, str] | None = None) -> Evaluation:
        """The fact that an answer is, durable before it is returned; `fingerprints` as in `facts`."""
        found = _fact(outcome, self.objectives, self.fingerprints if fingerprints is None else fingerprints)
        fact = self.archive.record(found, outcome.seconds, outcome.worker)
        self.measured += 1
        if self.on_outcome is not None:
            self.on_outcome(outcome, fact)
        return fact


class Fidelity(Protocol):
    """How exactly points are measured: all in full, or all a little and the promising ones in full."""

    def prepare(self, evaluator: object) -> Mapping[str, Any]:
        """Get to know what measures; what must not change over the life of the search."""
        ...

    def told(self, asked: Sequence[Genotype], first: int, measuring: Measuring) -> list[Told]:
        """What a searcher is told about a batch, in the order asked; `first` points were asked before."""
        ...


class Full:
    """Every point is measured on the whole holdout split."""

    def prepare(self, evaluator: object) -> Mapping[str, Any]:  # noqa: ARG002
        """See `Fidelity`."""
        return {}

    def told(self, asked: Sequence[Genotype], first: int, measuring: Measuring) -> list[Told]:
        """See `Fidelity`."""
        texts = [measuring.space.format(genotype) for genotype in asked]
        facts = measuring.facts(measuring.jobs(texts, first))
        return [measuring.told(genotype, facts) for genotype in asked]


def _answers(jobs: list[Job], engine: Engine) -> Iterator[Outcome]:
    """The engine's outcomes; an EngineError if it did not answer every job."""
    waiting = {job.seq for job in jobs}
    for outcome in engine.run(jobs) if jobs else ():
        yield outcome
        waiting.discard(outcome.job.seq)
    if waiting:
        raise EngineError(f"The engine lost {len(waiting)} of {len(jobs)} jobs.", "Repeat with resume=true")


def _shortened(outcome: Outcome, kept: Callable[[Measurement], Measurement]) -> Outcome:
    return outcome if outcome.measurement is None else replace(outcome, measurement=kept(outcome.measurement))


def _fact(outcome: Outcome, objectives: Mapping[str, Part], fingerprints: Mapping[Part, str]) -> Evaluation:
    job, measurement = outcome.job, outcome.measurement
    failed = Evaluation(job.seq, fingerprints[job.part], job.genotype, job.part, "failed")
    if measurement is None:
        return replace(failed, reason=outcome.reason or "no reason was given")
    names = [name for name, part in objectives.items() if part == job.part]
    missing = [name for name in names if name not in measurement.objectives]
    if missing:
        return replace(failed, reason=f"objective {missing[0]} was not measured")
    values = {name: measurement.objectives[name] for name in names}
    return replace(failed, state="done", objectives=values, extra=measurement.extra)
