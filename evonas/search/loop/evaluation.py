"""Evaluates points through an engine; archived results are looked up, and every new result is archived."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from evonas.archive import Archive, Evaluation
from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Engine, Job, Measurement, Outcome, Part
from evonas.search.base import Observation
from evonas.space.genotype import Genotype
from evonas.space.space import Space

# key of a failed evaluation's extra data: whose failure it is; absent for the genotype's
OWNER = "failure_of"
Evaluations: TypeAlias = Mapping[tuple[Genotype, Part], Evaluation]


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
    _again: set[tuple[str, str]] = field(default_factory=set)

    def retry_failed(
        self, rungs: Mapping[str, int], condense: Callable[[Measurement], Measurement] | None = None
    ) -> int:
        """Measure the failed evaluations of the archive again; returns how many succeed now.

        Args:
            rungs: fingerprint -> number of images, of measurements on some of the images.
            condense: as in `evaluate`, for measurements on some of the images.
        """
        own = dict.fromkeys(self.fingerprints.values())
        images: dict[str, int | None] = {**own, **rungs}
        failed = [
            found
            for found in self.archive.evaluations()
            if found.state == "failed" and found.fingerprint in images
        ]
        self._again = {(found.fingerprint, found.genotype) for found in failed}
        count = 0
        for fingerprint, number in images.items():
            jobs = [
                Job(
                    found.seq,
                    self.space.parse(found.genotype),
                    "exclusive" if found.part == "exclusive" else "shared",
                    number,
                )
                for found in failed
                if found.fingerprint == fingerprint
            ]
            if jobs:
                prints: dict[Part, str] = {jobs[0].part: fingerprint}
                again = self.evaluate(jobs, prints, None if number is None else condense)
                count += sum(each.state == "done" for each in again.values())
        return count

    @property
    def parts(self) -> list[Part]:
        """Parts that measure an objective, "shared" first."""
        return [part for part in PARTS if part in self.objectives.values()]

    def jobs(self, points: Sequence[Genotype], first: int) -> list[Job]:
        """One job per part and point.

        Args:
            points: genotypes of a batch.
            first: number of points asked before; it offsets `Job.seq`, which counts the jobs of a search.
        """
        parts = self.parts
        return [
            Job(index * len(parts) + offset, point, part)
            for index, point in enumerate(points, start=first)
            for offset, part in enumerate(parts)
        ]

    def evaluate(
        self,
        jobs: Iterable[Job],
        fingerprints: Mapping[Part, str] | None = None,
        condense: Callable[[Measurement], Measurement] | None = None,
    ) -> Evaluations:
        """Look up or compute the evaluation of every job.

        Args:
            jobs: of jobs with equal genotype and part, only the first runs.
            fingerprints: used instead of `self.fingerprints`, for measurements on some of the images.
            condense: maps each new measurement to what the archive stores; None for the measurement itself.

        Returns:
            (genotype, part) -> evaluation.

        Raises:
            EngineError: the engine loses a job or cannot work.
        """
        prints = self.fingerprints if fingerprints is None else fingerprints
        known: dict[tuple[Genotype, Part], Evaluation] = {}
        missing: dict[tuple[Genotype, Part], Job] = {}
        for job in jobs:
            key = job.genotype, job.part
            if key in known or key in missing:
                continue
            found = self.archive.lookup(prints[job.part], self.space.format(job.genotype))
            if found is None or (prints[job.part], found.genotype) in self._again:
                missing[key] = job
            else:
                known[key] = found
        lost = {job.seq for job in missing.values()}
        for outcome in self.engine.run(list(missing.values())) if missing else ():
            if condense is not None and outcome.measurement is not None:
                outcome = replace(outcome, measurement=condense(outcome.measurement))
            known[outcome.job.genotype, outcome.job.part] = self.record(outcome, prints)
            lost.discard(outcome.job.seq)
        if lost:
            raise EngineError(
                f"The engine lost {len(lost)} of {len(missing)} jobs.", "Repeat with resume=true"
            )
        return known

    def observation(self, genotype: Genotype, evaluations: Evaluations) -> Observation:
        """Assemble a point's objective vector from the evaluations of its parts; None if one failed."""
        found = [evaluations[genotype, part].objectives.get(name) for name, part in self.objectives.items()]
        values = tuple(value for value in found if value is not None)
        return Observation(genotype, values if len(values) == len(found) else None)

    def record(self, outcome: Outcome, fingerprints: Mapping[Part, str] | None = None) -> Evaluation:
        """Archive an outcome durably and return it as an evaluation; `fingerprints` as in `evaluate`."""
        job, measurement = outcome.job, outcome.measurement
        fingerprint = (self.fingerprints if fingerprints is None else fingerprints)[job.part]
        text = self.space.format(job.genotype)
        names = [name for name, part in self.objectives.items() if part == job.part]
        missing = (
            [] if measurement is None else [name for name in names if name not in measurement.objectives]
        )
        if measurement is None or missing:
            reason = f"objective {missing[0]} was not measured" if missing else outcome.reason
            extra = {OWNER: outcome.owner} if outcome.owner == "machine" else {}
            found = Evaluation(
                job.seq,
                fingerprint,
                text,
                job.part,
                "failed",
                extra=extra,
                reason=reason or "no reason was given",
            )
        else:
            values = {name: measurement.objectives[name] for name in names}
            found = Evaluation(job.seq, fingerprint, text, job.part, "done", values, measurement.extra)
        store = self.archive.replace_failed if (fingerprint, text) in self._again else self.archive.record
        evaluation = store(found, outcome.seconds, outcome.worker)
        self._again.discard((fingerprint, text))
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
    """Evaluates every point on the whole validation split."""

    def prepare(self, evaluator: object) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def evaluate(self, asked: Sequence[Genotype], first: int, engine: CachedEngine) -> list[Observation]:
        evaluations = engine.evaluate(engine.jobs(asked, first))
        return [engine.observation(genotype, evaluations) for genotype in asked]
