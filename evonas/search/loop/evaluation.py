"""Evaluates points through an engine; archived results are looked up, and every new result is archived."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from evonas.archive import Archive, Evaluation
from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Engine, Job, Measurement, Outcome, Part
from evonas.search.base import Observation
from evonas.space.genotype import Genotype
from evonas.space.space import Space

Evaluations: TypeAlias = Mapping[tuple[str, Part], Evaluation]


def _unchanged(measurement: Measurement) -> Measurement:
    return measurement


@dataclass
class CachedEngine:
    """An engine behind the archive: archived evaluations are never repeated, new ones are always recorded.

    Args:
        objectives: objective name -> part that measures it, in the order of the objective vectors.
        fingerprints: fingerprint of each part, for measurements on all images.
        on_outcome: called after each new evaluation is recorded.
        measured: number of evaluations that the engine computed, in contrast to those looked up.
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
        """Parts that measure an objective, "shared" first."""
        return [part for part in PARTS if part in self.objectives.values()]

    def jobs(self, texts: Sequence[str], first: int) -> list[Job]:
        """One job per part and point.

        Args:
            texts: formatted genotypes of a batch.
            first: number of points asked before; it offsets `Job.seq`, which counts the jobs of a search.
        """
        parts = self.parts
        return [
            Job(index * len(parts) + offset, text, part)
            for index, text in enumerate(texts, start=first)
            for offset, part in enumerate(parts)
        ]

    def evaluate(
        self,
        jobs: Iterable[Job],
        fingerprints: Mapping[Part, str] | None = None,
        condense: Callable[[Measurement], Measurement] = _unchanged,
    ) -> Evaluations:
        """Look up or compute the evaluation of every job.

        Args:
            jobs: of jobs with equal genotype and part, only the first runs.
            fingerprints: used instead of `self.fingerprints`, for measurements on some of the images.
            condense: maps each new measurement to what the archive stores.

        Returns:
            (genotype text, part) -> evaluation.

        Raises:
            EngineError: the engine loses a job or cannot work.
        """
        prints = self.fingerprints if fingerprints is None else fingerprints
        wanted: dict[tuple[str, Part], Job] = {}
        for job in jobs:
            wanted.setdefault((job.genotype, job.part), job)
        cached = {key: self.archive.lookup(prints[key[1]], key[0]) for key in wanted}
        known = {key: found for key, found in cached.items() if found is not None}
        missing = [job for key, job in wanted.items() if key not in known]
        for outcome in _run(missing, self.engine):
            if outcome.measurement is not None:
                outcome = replace(outcome, measurement=condense(outcome.measurement))
            known[outcome.job.genotype, outcome.job.part] = self.record(outcome, prints)
        return known

    def observation(self, genotype: Genotype, evaluations: Evaluations) -> Observation:
        """Assemble a point's objective vector from the evaluations of its parts; None if one failed."""
        text = self.space.format(genotype)
        found = [evaluations[text, part].objectives.get(name) for name, part in self.objectives.items()]
        values = tuple(value for value in found if value is not None)
        return Observation(genotype, values if len(values) == len(found) else None)

    def record(self, outcome: Outcome, fingerprints: Mapping[Part, str] | None = None) -> Evaluation:
        """Archive an outcome durably and return it as an evaluation; `fingerprints` as in `evaluate`."""
        found = _evaluation(
            outcome, self.objectives, self.fingerprints if fingerprints is None else fingerprints
        )
        evaluation = self.archive.record(found, outcome.seconds, outcome.worker)
        self.measured += 1
        if self.on_outcome is not None:
            self.on_outcome(outcome, evaluation)
        return evaluation


class Fidelity(Protocol):
    """How many images points are evaluated on: all of them, or some first and all for promising points."""

    def prepare(self, evaluator: object) -> Mapping[str, Any]:
        """Read what the fidelity needs from the evaluator; returns settings that a resume must not change."""
        ...

    def evaluate(self, asked: Sequence[Genotype], first: int, engine: CachedEngine) -> list[Observation]:
        """Evaluate a batch; returns its observations in the order asked. `first` points were asked before."""
        ...


class Full:
    """Evaluates every point on the whole holdout split."""

    def prepare(self, evaluator: object) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def evaluate(self, asked: Sequence[Genotype], first: int, engine: CachedEngine) -> list[Observation]:
        texts = [engine.space.format(genotype) for genotype in asked]
        evaluations = engine.evaluate(engine.jobs(texts, first))
        return [engine.observation(genotype, evaluations) for genotype in asked]


def _run(jobs: list[Job], engine: Engine) -> Iterator[Outcome]:
    pending = {job.seq for job in jobs}
    for outcome in engine.run(jobs) if jobs else ():
        yield outcome
        pending.discard(outcome.job.seq)
    if pending:
        raise EngineError(f"The engine lost {len(pending)} of {len(jobs)} jobs.", "Repeat with resume=true")


def _evaluation(
    outcome: Outcome, objectives: Mapping[str, Part], fingerprints: Mapping[Part, str]
) -> Evaluation:
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
