"""Racing: evaluates every point on few images and only promising points on all of them.

A rung is a prefix of a fixed, shuffled order of the validation images, so errors of two points on one rung are
paired. A point is eliminated on a rung if a rival is no worse in every other objective and has a
significantly smaller error. Its rival is the confirmed point with the smallest error among those that are no
worse in the other objectives; if there is none, all such points of its batch are rivals. On the last rung the
apparent Pareto front is confirmed first, and the remaining points are compared with it. The other objectives
do not depend on the images; they are evaluated before the first comparison and compared exactly.

A point of the true Pareto front is eliminated with a probability of at most 1 - confidence, which is divided
by the number of rungs and of rivals (Bonferroni correction). The searcher is told an estimate for an
eliminated point: its rival's error on all images plus the difference of their errors on the rung. The
estimate is dominated, so only points evaluated on all images form the front.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from evonas.archive import Archive
from evonas.errors import UserError
from evonas.evaluate.engine import Job, Measurement, Part
from evonas.search.base import Observation
from evonas.search.loop.evaluation import CachedEngine
from evonas.search.loop.paired_test import PairedSample, condense
from evonas.search.ranking import non_dominated
from evonas.space.genotype import Genotype

ERROR = "error"
# key of the rungs in the archive's meta
META = "evaluate"
# smaller rungs cost a call per worker without eliminating points
LEAST_IMAGES = 8


@runtime_checkable
class SubsetEvaluator(Protocol):
    """An evaluator that can measure on the first `images` of its `num_images` images."""

    @property
    def num_images(self) -> int: ...

    def fingerprint(self, part: Part, images: int | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class RungResult:
    """Error of a point on the images of one rung.

    Args:
        error: over all images of the rung.
        errors: on each block of images.
        sizes: number of images of each block.
    """

    error: float
    errors: tuple[float, ...]
    sizes: tuple[int, ...]


@dataclass(eq=False)
class Candidate:
    """A point in the race.

    Args:
        jobs: job on all images, per part.
        exact: the objectives besides the error, in order, once evaluated.
        rungs: number of images -> result on that rung.
        rival: the candidate that eliminated this one, and how much smaller its error was; None if not
            eliminated.
        told: the final observation, once known.
    """

    genotype: Genotype
    jobs: dict[Part, Job] = field(default_factory=dict)
    exact: tuple[float, ...] = ()
    rungs: dict[int, RungResult] = field(default_factory=dict)
    rival: "tuple[Candidate, float] | None" = None
    told: Observation | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether the point was evaluated on all images."""
        return self.told is not None and self.told.objectives is not None

    @property
    def has_failed_rival(self) -> bool:
        """Whether a rival eliminated this point and later failed on all images."""
        if self.told is not None or self.rival is None:
            return False
        rival = self.rival[0].told
        return rival is not None and rival.objectives is None

    def observation(self, error_index: int) -> Observation:
        """The final observation; for an eliminated point, the estimate from its rival's error.

        Args:
            error_index: index of the error among the objectives.
        """
        if self.told is None:
            assert self.rival is not None
            rival, difference = self.rival
            known = rival.observation(error_index).objectives
            assert known is not None
            before, after = self.exact[:error_index], self.exact[error_index:]
            values = (*before, known[error_index] + difference, *after)
            self.told = Observation(self.genotype, values, estimated=True)
        return self.told


class Racing:
    """A `Fidelity` that races the points of a batch over rungs with a growing number of images.

    Args:
        first: images of the first rung, as a fraction of the validation split.
        growth: ratio of the image counts of consecutive rungs.
        rungs: maximum number of rungs before the whole split.
        confidence: probability of keeping a point of the true Pareto front.

    Raises:
        UserError: an argument is out of its range.
    """

    def __init__(
        self, first: float = 0.125, growth: float = 2.0, rungs: int = 1, confidence: float = 0.6
    ) -> None:
        if not (0 < first < 1 and growth > 1 and rungs >= 1 and 0.5 <= confidence < 1):
            raise UserError(
                "fidelity=racing needs first in (0, 1), growth > 1, rungs >= 1 and confidence in [0.5, 1), "
                f"got first={first}, growth={growth}, rungs={rungs} and confidence={confidence}.",
                "Try: fidelity.first=0.125 fidelity.growth=2 fidelity.rungs=1 fidelity.confidence=0.6",
            )
        self.first, self.growth, self.rungs, self.confidence = first, growth, rungs, confidence
        self._total = 0
        self._prints: dict[int, str] = {}
        self._front: list[Candidate] = []
        self._done: dict[Genotype, Observation] = {}

    def prepare(self, evaluator: object) -> dict[str, Any]:
        """Compute the rungs that the evaluator's number of images allows; returns them as settings.

        Raises:
            UserError: the evaluator measures no error on images.
        """
        names = [objective.name for objective in getattr(evaluator, "objectives", ())]
        if not isinstance(evaluator, SubsetEvaluator) or ERROR not in names:
            raise UserError(
                "fidelity=racing needs an objective 'error' that is measured on images.",
                "Measure on all images with: fidelity=full",
            )
        self._total = evaluator.num_images
        sizes = rung_sizes(self._total, self.first, self.growth, self.rungs)
        self._prints = {images: evaluator.fingerprint("shared", images) for images in sizes}
        by_print = {fingerprint: images for images, fingerprint in self._prints.items()}
        return {META: {"confidence": self.confidence, "images": self._total, "rungs": by_print}}

    def evaluate(self, asked: Sequence[Genotype], first: int, engine: CachedEngine) -> list[Observation]:
        """Race a batch; a point that is asked again gets the same observation again."""
        fresh = {genotype: Candidate(genotype) for genotype in asked if genotype not in self._done}
        for job in engine.jobs(asked, first):
            if job.genotype in fresh:
                fresh[job.genotype].jobs.setdefault(job.part, job)
        self._race(list(fresh.values()), engine)
        return [self._done[genotype] for genotype in asked]

    def _race(self, candidates: list[Candidate], engine: CachedEngine) -> None:
        alive, last = candidates, max(self._prints, default=0)
        for images in self._prints:
            alive = self._evaluate_rung(alive, images, engine)
            if images == last:
                self._confirm(self._apparent_front(alive, images), engine)
            alive = self._eliminate([each for each in alive if each.told is None], images)
        self._confirm(alive, engine)
        # an elimination does not count if the rival fails on all images
        while orphans := [each for each in candidates if each.has_failed_rival]:
            self._confirm(orphans, engine)
        error_index = list(engine.objectives).index(ERROR)
        self._done.update((each.genotype, each.observation(error_index)) for each in candidates)

    def _apparent_front(self, candidates: Sequence[Candidate], images: int) -> list[Candidate]:
        """Candidates that are non-dominated by the errors on a rung."""
        if not candidates:
            return []
        compared = [*candidates, *self._confirmed(images)]
        values = np.array([[each.rungs[images].error, *each.exact] for each in compared])
        return [candidates[row] for row in non_dominated(values) if row < len(candidates)]

    def _confirmed(self, images: int) -> list[Candidate]:
        """Members of the confirmed front with a result on this rung, by increasing error."""
        return [each for each in self._front if images in each.rungs]

    def _evaluate_rung(
        self, candidates: Sequence[Candidate], images: int, engine: CachedEngine
    ) -> list[Candidate]:
        """Evaluate the error on a rung and the other objectives exactly; returns those that did not fail."""
        jobs = [job for each in candidates for job in each.jobs.values()]
        limited = [replace(job, images=images) if job.part == "shared" else job for job in jobs]
        prints = {**engine.fingerprints, "shared": self._prints[images]}
        evaluations = engine.evaluate(limited, prints, condensed)
        for each in candidates:
            observation = engine.observation(each.genotype, evaluations)
            if observation.objectives is None:
                each.told = observation
                continue
            named = dict(zip(engine.objectives, observation.objectives, strict=True))
            error, extra = named.pop(ERROR), evaluations[each.genotype, "shared"].extra
            blocks = tuple(extra.get("errors", ())), tuple(extra.get("error_sizes", ()))
            each.rungs[images], each.exact = RungResult(error, *blocks), tuple(named.values())
        return [each for each in candidates if each.told is None]

    def _eliminate(self, candidates: Sequence[Candidate], images: int) -> list[Candidate]:
        """Set the rival of each candidate with a significantly larger error; returns the other candidates."""
        confirmed = self._confirmed(images)
        compared = [*confirmed, *candidates]
        if not candidates or len(compared) < 2:
            return list(candidates)
        results = [each.rungs[images] for each in compared]
        sample = PairedSample(
            np.array([each.error for each in results]),
            np.array([each.errors for each in results]).reshape(len(results), -1),
            np.array(results[0].sizes, dtype=float),
            np.array([each.exact for each in compared]).reshape(len(results), -1),
            images / self._total,
        )
        for row, candidate in enumerate(candidates, start=len(confirmed)):
            # the confirmed rival with the smallest error, or else all rivals of the batch
            rivals = sample.rivals(row)
            rivals = rivals[:1] if len(rivals) and rivals[0] < len(confirmed) else rivals
            risk = (1.0 - self.confidence) / len(self._prints) / max(len(rivals), 1)
            bounds = sample.lower_bound(row, rivals, risk)
            if len(rivals) and bounds.max() > 0:
                rival = rivals[bounds.argmax()]
                candidate.rival = compared[rival], float(sample.values[row] - sample.values[rival])
        return [each for each in candidates if each.rival is None]

    def _confirm(self, candidates: Sequence[Candidate], engine: CachedEngine) -> None:
        """Evaluate on all images and update the confirmed front, sorted by increasing error."""
        evaluations = engine.evaluate(job for each in candidates for job in each.jobs.values())
        for each in candidates:
            each.told = engine.observation(each.genotype, evaluations)
        members = [*self._front, *(each for each in candidates if each.is_confirmed)]
        if members:
            error_index = list(engine.objectives).index(ERROR)
            vectors = np.array([each.told.objectives for each in members if each.told is not None])
            front = non_dominated(vectors)
            self._front = [members[row] for row in sorted(front, key=lambda row: vectors[row, error_index])]


def rung_sizes(total: int, first: float, growth: float, rungs: int) -> list[int]:
    """Number of images of each rung, ascending; rungs that would cover the whole split are left out.

    Args:
        total: images of the validation split.
        first: see `Racing`.
        growth: see `Racing`.
        rungs: see `Racing`.
    """
    sizes = [math.ceil(total * first * growth**number) for number in range(rungs)]
    return sorted({max(size, LEAST_IMAGES) for size in sizes if max(size, LEAST_IMAGES) < total})


def image_evaluations(archive: Archive) -> tuple[int, int] | None:
    """Image evaluations of a race so far, and those that evaluating its points on all images would take.

    Returns:
        None if the archive's search does not race.
    """
    meta = archive.meta
    if META not in meta:
        return None
    images = {**meta[META]["rungs"], meta["fingerprints"]["shared"]: meta[META]["images"]}
    shared = [each for each in archive.evaluations() if each.fingerprint in images]
    points = {each.genotype for each in shared}
    return sum(images[each.fingerprint] for each in shared), len(points) * meta[META]["images"]


def condensed(measurement: Measurement) -> Measurement:
    """The measurement with merged blocks; other extras of a rung are not archived."""
    errors, sizes = condense(measurement.extra.get("errors", ()), measurement.extra.get("error_sizes", ()))
    extra: Mapping[str, Any] = {"errors": errors, "error_sizes": sizes}
    return Measurement(measurement.objectives, extra)
