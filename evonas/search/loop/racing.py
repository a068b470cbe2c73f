"""Racing: every point is measured on a few images, and only those that may matter on all of them.

The images of a rung are the first of a fixed, mixed order, so that the errors of two points on them
are paired. A point leaves a rung if a rival is no worse in every other objective and has beyond
doubt the smaller error. Its rival is the best confirmed point of the front that is no worse in the
other objectives; where there is none, all such points of its batch are. On the last rung those whom
nobody seems to beat are confirmed first, and the others compared with the front that they make.
What images do not change is compared exactly: costs, and latencies as recorded, which are therefore
measured before the first comparison. An objective that is not known yet could be the better one.

The risk is that of a point that belongs to the front on all images: it leaves with a probability of at
most 1 - confidence, which is divided over the rungs and over the rivals that it is compared with
(Bonferroni). A searcher is told of a point that left what all images would show to best knowledge: its
rival's error on all of them plus the difference on the rung. So it stays dominated, and nothing but
facts about all images makes a front.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from evonas.archive import Archive
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.search.base import Told
from evonas.search.loop.evaluation import Measuring
from evonas.search.loop.paired_test import Rows, Sample, condensed
from evonas.search.ranking import non_dominated
from evonas.search.runner import Runner, Shown
from evonas.space.genotype import Genotype

ERROR = "error"
# where the archive's meta tells of the rungs
META = "evaluate"
# a smaller rung costs a call to every worker and decides nothing
LEAST_IMAGES = 8


@runtime_checkable
class Limited(Protocol):
    """What racing must know of an evaluator: its images, and the fingerprint of a measurement on some."""

    @property
    def num_images(self) -> int: ...

    def fingerprint(self, part: Part, images: int | None = None) -> str: ...


class Racing:
    """A `Fidelity` of rungs: parts of the holdout split that grow until a point leaves or has seen all.

    Args:
        first: images of the first rung, as a share of the holdout split.
        growth: images of a rung over those of the one before.
        rungs: how many there are at most before the whole split.
        confidence: of keeping a point that belongs to the front.
    """

    def __init__(
        self, first: float = 0.125, growth: float = 2.0, rungs: int = 1, confidence: float = 0.6
    ) -> None:
        if not (0 < first < 1 and growth > 1 and rungs >= 1 and 0.5 <= confidence < 1):
            raise UserError(
                f"evaluate=racing cannot work with first={first}, growth={growth}, rungs={rungs} and "
                f"confidence={confidence}.",
                "Try: evaluate.first=0.125 evaluate.growth=2 evaluate.rungs=1 evaluate.confidence=0.6",
            )
        self.first, self.growth, self.rungs, self.confidence = first, growth, rungs, confidence
        self._total = 0
        self._prints: dict[int, str] = {}
        self._front: list[Runner] = []
        self._done: dict[str, Told] = {}

    def prepare(self, evaluator: object) -> dict[str, Any]:
        """See `Fidelity`; there are those rungs that the evaluator's images allow.

        Raises:
            UserError: the evaluator has no images, or no error to race for.
        """
        names = [objective.name for objective in getattr(evaluator, "objectives", ())]
        if not isinstance(evaluator, Limited) or ERROR not in names:
            raise UserError(
                "There is nothing to race for: this search measures no error on images.",
                "Measure in full with: evaluate=full",
            )
        self._total = evaluator.num_images
        sizes = ladder(self._total, self.first, self.growth, self.rungs)
        self._prints = {images: evaluator.fingerprint("shared", images) for images in sizes}
        by_print = {fingerprint: images for images, fingerprint in self._prints.items()}
        return {META: {"confidence": self.confidence, "images": self._total, "rungs": by_print}}

    def told(self, asked: Sequence[Genotype], first: int, measuring: Measuring) -> list[Told]:
        """See `Fidelity`; a point that is asked again is told the same again."""
        texts = [measuring.space.format(genotype) for genotype in asked]
        fresh = {text: Runner(genotype, text) for text, genotype in zip(texts, asked, strict=True)}
        for text in self._done.keys() & fresh.keys():
            del fresh[text]
        for job in measuring.jobs(texts, first):
            if job.genotype in fresh:
                fresh[job.genotype].jobs.setdefault(job.part, job)
        self._race(list(fresh.values()), measuring)
        return [self._done[text] for text in texts]

    def _race(self, runners: list[Runner], measuring: Measuring) -> None:
        alive, last = runners, max(self._prints, default=0)
        for images in self._prints:
            alive = self._look(alive, images, measuring)
            if images == last:
                self._confirm(self._leaders(alive, images), measuring)
            alive = self._compare([runner for runner in alive if runner.told is None], images)
        self._confirm(alive, measuring)
        # a rival that cannot be measured in full has beaten nobody
        while orphans := [runner for runner in runners if runner.is_orphan]:
            self._confirm(orphans, measuring)
        place = list(measuring.objectives).index(ERROR)
        self._done.update((runner.text, runner.last_word(place)) for runner in runners)

    def _leaders(self, runners: Sequence[Runner], images: int) -> list[Runner]:
        """Those that nobody seems to beat; once they are confirmed, the others can be told from the front."""
        field = [*runners, *self._confirmed(images)]
        if not runners:
            return []
        shown = np.array([[each.shown[images].error, *each.exact] for each in field])
        return [runners[row] for row in non_dominated(shown) if row < len(runners)]

    def _confirmed(self, images: int) -> list[Runner]:
        """The front, as far as a rung has seen it, by error."""
        return [runner for runner in self._front if images in runner.shown]

    def _look(self, runners: Sequence[Runner], images: int, measuring: Measuring) -> list[Runner]:
        """Measure the error on a rung and everything else as ever; those that could be measured."""
        jobs = [job for runner in runners for job in runner.jobs.values()]
        limited = [replace(job, images=images) if job.part == "shared" else job for job in jobs]
        prints = {**measuring.fingerprints, "shared": self._prints[images]}
        facts = measuring.facts(limited, prints, _short)
        for runner in runners:
            told = measuring.told(runner.genotype, facts)
            if told.objectives is None:
                runner.told = told
                continue
            named = dict(zip(measuring.objectives, told.objectives, strict=True))
            runner.shown[images] = Shown.of(named.pop(ERROR), facts[runner.text, "shared"].extra)
            runner.exact = tuple(named.values())
        return [runner for runner in runners if runner.told is None]

    def _compare(self, runners: Sequence[Runner], images: int) -> list[Runner]:
        """Note who has a rival that is better beyond doubt; the others."""
        confirmed = self._confirmed(images)
        field = [*confirmed, *runners]
        if not runners or len(field) < 2:
            return list(runners)
        sample = _sample(field, images, images / self._total)
        for row, runner in enumerate(runners, start=len(confirmed)):
            rivals = self._rivals(sample, row, len(confirmed))
            risk = (1.0 - self.confidence) / len(self._prints) / max(len(rivals), 1)
            excess = sample.excess(row, rivals, risk)
            if len(rivals) and excess.max() > 0:
                rival = rivals[excess.argmax()]
                runner.rival = field[rival], float(sample.values[row] - sample.values[rival])
        return [runner for runner in runners if runner.rival is None]

    def _rivals(self, sample: Sample, row: int, num_confirmed: int) -> Rows:
        """The first of the confirmed points, which the front keeps by error; else all of the batch."""
        rivals = sample.rivals(row)
        return rivals[:1] if len(rivals) and rivals[0] < num_confirmed else rivals

    def _confirm(self, runners: Sequence[Runner], measuring: Measuring) -> None:
        """Measure on all images; the front is made of nothing else."""
        facts = measuring.facts(job for runner in runners for job in runner.jobs.values())
        for runner in runners:
            runner.told = measuring.told(runner.genotype, facts)
        members = [*self._front, *(runner for runner in runners if runner.is_confirmed)]
        if members:
            place = list(measuring.objectives).index(ERROR)
            vectors = np.array([each.told.objectives for each in members if each.told is not None])
            kept = non_dominated(vectors)
            self._front = [members[row] for row in sorted(kept, key=lambda row: vectors[row, place])]


def ladder(total: int, first: float, growth: float, rungs: int) -> list[int]:
    """Images of each rung below the whole split; none where the split is too small to be divided."""
    sizes = [math.ceil(total * first * growth**number) for number in range(rungs)]
    return sorted({max(size, LEAST_IMAGES) for size in sizes if max(size, LEAST_IMAGES) < total})


def spent(archive: Archive) -> tuple[int, int] | None:
    """Image evaluations of a race so far, and those that full evaluation of its points would have taken.

    None where nothing was raced.
    """
    meta = archive.meta
    if META not in meta:
        return None
    images = {**meta[META]["rungs"], meta["fingerprints"]["shared"]: meta[META]["images"]}
    shared = [fact for fact in archive.evaluations() if fact.fingerprint in images]
    points = {fact.genotype for fact in shared}
    return sum(images[fact.fingerprint] for fact in shared), len(points) * meta[META]["images"]


def _sample(field: Sequence[Runner], images: int, share: float) -> Sample:
    shown = [runner.shown[images] for runner in field]
    return Sample(
        np.array([each.error for each in shown]),
        np.array([each.errors for each in shown]).reshape(len(shown), -1),
        np.array(shown[0].sizes, dtype=float),
        np.array([runner.exact for runner in field]).reshape(len(shown), -1),
        share,
    )


def _short(measurement: Measurement) -> Measurement:
    """What of a measurement on a rung is worth keeping."""
    errors, sizes = condensed(measurement.extra.get("errors", ()), measurement.extra.get("error_sizes", ()))
    kept: Mapping[str, Any] = {"errors": errors, "error_sizes": sizes}
    return Measurement(measurement.objectives, kept)
