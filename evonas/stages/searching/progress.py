"""Progress of a running search: a bar, one line for each generation, and the reasons of failures."""

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
from evonas.stages.searching.warnings import LatencyWarnings, constant_objectives
from evonas.track.base import Tracker
from evonas.track.progress import Progress, human_time, plural

# the reference point lies this far beyond the worst of the first generation
MARGIN = 1.1
SHOWN_FAILURES = 5


class SearchProgress:
    """Listener of the search loops; it does not change the search.

    The reference point of the hypervolume is recorded in the archive after the first generation and then fixed:
    1.1 times the worst measured value of each objective. A search whose identity names a reference keeps it.

    Args:
        archive: records the reference point.
        names: the objectives, in order.
        num_parts: measurements per point.
        budget: points in all.
        progress: counts measurements.
        tracker: given the numbers of each generation.
        announce_after: seconds; when more are left after a generation, one line says how to stop and resume.
        resume: the command that resumes.
        text_of: formats a genotype as the archive does, to look up its metrics.
    """

    def __init__(
        self,
        archive: Archive,
        names: Sequence[str],
        num_parts: int,
        budget: int,
        progress: Progress,
        tracker: Tracker,
        announce_after: float = math.inf,
        resume: str = "",
        text_of: Callable[[Genotype], str] = str,
    ) -> None:
        self._text_of = text_of
        self._archive, self._names, self._num_parts, self._budget = archive, names, num_parts, budget
        self._progress, self._tracker = progress, tracker
        self._announce_after, self._resume = announce_after, resume
        self._values: Values = np.empty((0, len(names)))
        self._extras: list[dict[str, Any]] = []
        self._reference: list[float] = []
        self._ideal: list[float] | None = archive.meta.get("ideal")
        self._units: dict[str, str] = archive.meta.get("units", {})
        self._began = time.monotonic()
        # measurements: all that count, and those of this attempt
        self._counted = self._measured = 0
        self._failed = self._replayed = 0
        self._last_reason = ""
        self._latency_warnings = LatencyWarnings()

    def outcome(self, outcome: Outcome, evaluation: Evaluation) -> None:
        """A measurement was recorded; one on a part of the images does not count as progress."""
        if outcome.job.images is None:
            self._count(1)
        for warning in self._latency_warnings.check(evaluation):
            self._progress.note(warning)
        if evaluation.state == "failed":
            self._failed += 1
            self._last_reason = evaluation.reason
            if self._failed <= SHOWN_FAILURES:
                more = " (further ones are in the archive)" if self._failed == SHOWN_FAILURES else ""
                self._progress.note(f"failed: {evaluation.genotype}: {evaluation.reason}{more}")

    def generation(self, generation: Generation) -> None:
        """A generation is complete.

        Raises:
            EngineError: no point of the search could be measured so far.
        """
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
        for warning in constant_objectives(self._names, known) if generation.number == 1 else ():
            self._progress.note(warning)
        is_replay = generation.measured == 0
        # points that were known, lost a race or failed in one have no outcome that counts
        missing = generation.evaluations * self._num_parts - self._counted
        self._count(max(missing, 0), is_replay)
        if is_replay:
            self._replayed = generation.evaluations
        else:
            self._report(generation)

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
        """Count finished measurements; replayed ones took no time in this attempt."""
        self._counted += number
        self._measured += 0 if is_replay else number
        self._progress.advance(number)

    def _report(self, generation: Generation) -> None:
        if self._replayed:
            self._progress.note(f"{self._replayed} points were known from the archive.")
            self._replayed = 0
        results = SearchResults(
            tuple(self._names),
            ("",) * len(self._values),
            self._values,
            reference=tuple(self._reference),
            ideal=None if self._ideal is None else tuple(self._ideal),
            units=self._units,
            extras=self._extras,
        )
        failures = f", {generation.failures} failed" if generation.failures else ""
        is_over = generation.evaluations >= self._budget
        left = "done" if is_over else f"{human_time(self._seconds_left(generation))} left"
        self._progress.note(
            f"generation {generation.number}: {generation.evaluations}/{self._budget} points{failures}, "
            f"{front_summary(results)}, {left}"
        )
        if not is_over and (left_s := self._seconds_left(generation)) > self._announce_after:
            # no question is asked, since the run may be unattended
            self._announce_after = math.inf
            self._progress.note(
                f"about {human_time(left_s)} to go; Ctrl-C is safe, go on with: {self._resume}"
            )
        best = {f"best/{n}": float(v) for n, v in zip(self._names, self._values.min(axis=0), strict=True)}
        for metric, column in zip(results.metrics, results.shown.T, strict=True):
            best[f"best/{metric.name}"] = metric.best(column)
        scalars = {"hypervolume": results.hypervolume or 0.0, "failures": generation.failures, **best}
        self._tracker.scalars(generation.evaluations, scalars)

    def _seconds_left(self, generation: Generation) -> float:
        """Seconds of the remaining measurements at the pace of this attempt."""
        remaining = max(0, self._budget - generation.evaluations) * self._num_parts
        return remaining * (time.monotonic() - self._began) / max(1, self._measured)
