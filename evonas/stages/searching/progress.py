"""What a person sees of a running search: progress, one line a generation, and why points failed."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from evonas.archive import Archive, Evaluation
from evonas.errors import EngineError
from evonas.evaluate.engine import Outcome
from evonas.report.metrics.pareto import Values
from evonas.report.results import SearchResults, front_summary
from evonas.search.base import Observation
from evonas.search.loop.generational import Generation
from evonas.space.genotype import Genotype
from evonas.stages.searching.warnings import Doubts, lifeless
from evonas.track.base import GuardedTracker
from evonas.track.progress import Progress, human_time, plural

# the reference point lies this far beyond the worst of the first generation
MARGIN = 1.1
SHOWN_FAILURES = 5


class Watch:
    """Listens to `search.loop.search`; it never changes what the search does.

    The reference point of the hypervolume is settled in the archive after the first generation: 1.1 times the
    worst measured value of each objective, so that it is the same for the whole life of the search. A search
    whose identity names a reference keeps that one.

    Args:
        archive: where the reference point is settled.
        names: the objectives, in order.
        num_parts: measurements per point.
        budget: points in all.
        progress: counts measurements.
        tracker: is given a generation's numbers.
        long_after: seconds; when more are left after a generation, a line says once how to stop and go on.
        resume: the command that goes on.
        text_of: formats a genotype as the archive does, to look up its metrics.
    """

    def __init__(
        self,
        archive: Archive,
        names: Sequence[str],
        num_parts: int,
        budget: int,
        progress: Progress,
        tracker: GuardedTracker,
        long_after: float = math.inf,
        resume: str = "",
        text_of: Callable[[Genotype], str] = str,
    ) -> None:
        self._text_of = text_of
        self._archive, self._names, self._num_parts, self._budget = archive, names, num_parts, budget
        self._progress, self._tracker = progress, tracker
        self._long_after, self._resume = long_after, resume
        self._values: Values = np.empty((0, len(names)))
        self._extras: list[dict[str, Any]] = []
        self._reference: list[float] = []
        self._ideal: list[float] | None = archive.meta.get("ideal")
        self._began = time.monotonic()
        self._counted = self._taken = self._failed = self._replayed = 0
        self._last_reason = ""
        self._doubts = Doubts()

    def outcome(self, outcome: Outcome, fact: Evaluation) -> None:
        """A measurement was recorded; one on some images is no progress by itself."""
        if outcome.job.images is None:
            self._count(1)
        for doubt in self._doubts.about(fact):
            self._progress.note(doubt)
        if fact.state == "failed":
            self._failed += 1
            self._last_reason = fact.reason
            if self._failed <= SHOWN_FAILURES:
                more = " (further ones are in the archive)" if self._failed == SHOWN_FAILURES else ""
                self._progress.note(f"failed: {fact.genotype}: {fact.reason}{more}")

    def generation(self, generation: Generation) -> None:
        """A generation was told; EngineError if no point of the search could be measured so far."""
        known = self._rows(generation.told)
        measured = [each for each in generation.told if each.objectives is not None and not each.estimated]
        self._values = np.concatenate([self._values, self._rows(measured)])
        self._extras += map(self._metrics, measured)
        if not len(self._values):
            count = len(generation.told)
            reason = self._last_reason or f"{count} {plural('point', count)} failed in an earlier attempt"
            raise EngineError(
                f"None of {generation.evaluations} points could be measured: {reason}",
                "Read the workers' logs in the run's folder search/workers.",
            )
        if not self._reference:
            worst = MARGIN * known.max(axis=0)
            self._reference = list(self._archive.settle("reference", worst.tolist()))
        for doubt in lifeless(self._names, known) if generation.number == 1 else ():
            self._progress.note(doubt)
        is_replay = generation.measured == 0
        # what was known, left a race or failed in one has no outcome that counts
        missing = generation.evaluations * self._num_parts - self._counted
        self._count(max(missing, 0), is_replay)
        if is_replay:
            self._replayed = generation.evaluations
        else:
            self._say(generation)

    @property
    def reference(self) -> list[float]:
        """The reference point, in the order of the objectives; empty before the first generation."""
        return self._reference

    def _rows(self, told: Iterable[Observation]) -> Values:
        rows = [each.objectives for each in told if each.objectives is not None]
        return np.array(rows, dtype=float).reshape(-1, len(self._names))

    def _metrics(self, told: Observation) -> dict[str, Any]:
        """The metrics that the archive recorded beside the errors of a point."""
        found = [
            self._archive.lookup(fingerprint, self._text_of(told.genotype))
            for fingerprint in self._archive.meta.get("fingerprints", {}).values()
        ]
        extras = [fact.extra for fact in found if fact is not None]
        return {key: value for extra in extras for key, value in extra.items() if key.startswith("metrics")}

    def _count(self, number: int, is_replay: bool = False) -> None:
        """Note measurements as done; those of an earlier attempt took no time of this one."""
        self._counted += number
        self._taken += 0 if is_replay else number
        self._progress.advance(number)

    def _say(self, generation: Generation) -> None:
        if self._replayed:
            self._progress.note(f"{self._replayed} points were known from the archive.")
            self._replayed = 0
        results = SearchResults(
            tuple(self._names),
            ("",) * len(self._values),
            self._values,
            reference=tuple(self._reference),
            ideal=None if self._ideal is None else tuple(self._ideal),
            extras=self._extras,
        )
        failures = f", {generation.failures} failed" if generation.failures else ""
        is_over = generation.evaluations >= self._budget
        left = "done" if is_over else f"{human_time(self._seconds_left(generation))} left"
        self._progress.note(
            f"generation {generation.number}: {generation.evaluations}/{self._budget} points{failures}, "
            f"{front_summary(results)}, {left}"
        )
        self._announce(generation)
        best = {f"best/{n}": float(v) for n, v in zip(self._names, self._values.min(axis=0), strict=True)}
        for metric, column in zip(results.metrics, results.shown.T, strict=True):
            best[f"best/{metric.name}"] = metric.best(column)
        scalars = {"hypervolume": results.hypervolume or 0.0, "failures": generation.failures, **best}
        self._tracker.scalars(generation.evaluations, scalars)

    def _seconds_left(self, generation: Generation) -> float:
        """The time that the rest will take at the pace of this attempt."""
        remaining = max(0, self._budget - generation.evaluations) * self._num_parts
        return remaining * (time.monotonic() - self._began) / max(1, self._taken)

    def _announce(self, generation: Generation) -> None:
        """Nobody is asked, because nobody may be there."""
        left = self._seconds_left(generation)
        if left > self._long_after:
            self._long_after = math.inf
            self._progress.note(f"about {human_time(left)} to go; Ctrl-C is safe, go on with: {self._resume}")
