"""Search results as arrays."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.metric import Metric, metric_of
from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.pareto import Indices, Values, ends, front, front_within_noise


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of the evaluations of one part under one fingerprint.

    Args:
        part: "shared" or "exclusive".
        measured: number of evaluations, including failed ones.
        failed: number of failed evaluations.
        seconds: wall-clock time, summed over workers.
    """

    part: str
    fingerprint: str
    measured: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class SearchResults:
    """Completely evaluated points of a search, in the order asked.

    Args:
        names: names of the M objectives; the first is the error that selection rules minimise.
        genotypes: N formatted genotypes.
        values: (N, M) finite objective values, minimised.
        units: objective name -> unit.
        reference: (M,) reference point of the hypervolume, or None if the archive has none.
        ideal: (M,) ideal point of the hypervolume; None for zero.
        failures: reason -> number of evaluations that failed for it.
        identity: the archive's meta.
        seconds: wall-clock time of all evaluations, summed over workers.
        extras: other recorded data of each point; may be empty.
        asked: index of each point among all asked points, including failed ones; may be empty.
        costs: cost of each part.
    """

    names: tuple[str, ...]
    genotypes: tuple[str, ...]
    values: Values
    units: Mapping[str, str] = field(default_factory=dict)
    reference: tuple[float, ...] | None = None
    ideal: tuple[float, ...] | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    extras: Sequence[Mapping[str, Any]] = ()
    asked: Sequence[int] = ()
    costs: Sequence[Cost] = ()

    @cached_property
    def ends(self) -> tuple[Values, Values]:
        """(N, M) lower and upper confidence bounds; both are the value where no interval was recorded."""
        return ends(self.names, self.values, self.extras)

    @property
    def front_within_noise(self) -> Indices:
        """Rows that no other row dominates beyond the confidence intervals."""
        return front_within_noise(*self.ends)

    @cached_property
    def doubtful(self) -> Mapping[str, tuple[str, ...]]:
        """Objectives of a genotype whose value is no measurement (`is_doubtful`), by genotype; most have none."""
        found: dict[str, tuple[str, ...]] = {}
        for text, row, extra in zip(self.genotypes, self.values, self.extras, strict=False):
            pairs = zip(self.names, row.tolist(), strict=True)
            names = tuple(name for name, value in pairs if is_doubtful(value, extra.get(name)))
            if names:
                found[text] = names
        return found

    def mark(self, name: str, genotype: str) -> str:
        """What is shown behind a value of a genotype: `DOUBT` if it is no measurement."""
        return DOUBT if name in self.doubtful.get(genotype, ()) else ""

    @property
    def hypervolume(self) -> float | None:
        """Normalised hypervolume in [0, 1]; None without a reference point."""
        return None if self.reference is None else hypervolume(self.values, self.reference, self.ideal)

    @property
    def num_failed(self) -> int:
        """Number of failed evaluations."""
        return sum(self.failures.values())

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """How people read each objective: an error as the metric of its task, others as they are.

        Archives name the objective `error` and record all metrics of the task beside it; the error is the metric with
        equal values.
        """
        return tuple(self._metric(column) for column in range(len(self.names)))

    @cached_property
    def shown(self) -> Values:
        """(N, M) values as people read them: recorded metrics in place of errors."""
        shown = self.values.copy()
        for column, metric in enumerate(self.metrics):
            if metric.key:
                recorded = self._recorded(column)
                shown[:, column] = [
                    metric.read(error, found)
                    for error, found in zip(self.values[:, column], recorded, strict=True)
                ]
        return shown

    def _metric(self, column: int) -> Metric:
        name = self.names[column]
        recorded = self._recorded(column)
        keys = set.intersection(*map(set, recorded)) if recorded else set()
        same = [
            key
            for key in sorted(keys)
            if all(found[key] == error for found, error in zip(recorded, self.values[:, column], strict=True))
        ]
        if not same:
            return Metric(name, unit=self.units.get(name, ""))
        # of metrics that happen to be equal, prefer an error that stands for another metric
        metric = metric_of(min(same, key=lambda key: metric_of(key, keys).key == key), keys)
        task = name.partition("_")[2]
        return replace(metric, name=f"{metric.name}_{task}") if task else metric

    def _recorded(self, column: int) -> list[Mapping[str, float]]:
        """The metrics that were recorded beside an error of each point; empty for other objectives."""
        objective, _, task = self.names[column].partition("_")
        place = f"metrics_{task}" if task else "metrics"
        if objective != "error" or len(self.extras) != len(self.values):
            return []
        found = [extra.get(place) for extra in self.extras]
        return [each for each in found if isinstance(each, Mapping)] if all(found) else []

    def restricted(self, names: Sequence[str]) -> "SearchResults":
        """The same points with fewer objectives.

        Args:
            names: those that are left, in their own order.
        """
        kept = [self.names.index(name) for name in names]
        boxes = [
            None if box is None else tuple(box[at] for at in kept) for box in (self.reference, self.ideal)
        ]
        return replace(
            self, names=tuple(names), values=self.values[:, kept], reference=boxes[0], ideal=boxes[1]
        )

    def column(self, name: str) -> int:
        """Index of an objective by its own name, or by the name or key of the metric as which people read it.

        Raises:
            UserError: the name is unknown.
        """
        if name in self.names:
            return self.names.index(name)
        for column, metric in enumerate(self.metrics):
            if metric.key and name.lower() in (metric.name.lower(), metric.key):
                return column
        known = ", ".join(dict.fromkeys([*self.names, *(metric.name for metric in self.metrics)]))
        raise UserError(f"This search has no objective '{name}'.", f"Its objectives are: {known}")

    def objectives(self, row: int) -> dict[str, float]:
        """Minimised objective values of one point by the objective's name."""
        return dict(zip(self.names, (float(value) for value in self.values[row]), strict=True))

    def readings(self, row: int) -> dict[str, float]:
        """Values of one point as people read them, by the metric's name."""
        names = (metric.name for metric in self.metrics)
        return dict(zip(names, (float(value) for value in self.shown[row]), strict=True))

    def read(self, objectives: Mapping[str, float], genotype: str = "") -> list[float | None]:
        """Values as people read them of a network with recorded objectives, such as a selected one.

        Args:
            objectives: objective values by the objective's name.
            genotype: of the network, whose recorded metrics take precedence if the search evaluated it.
        """
        if genotype in self.rows:
            return [float(value) for value in self.shown[self.rows[genotype]]]
        pairs = zip(self.names, self.metrics, strict=True)
        return [metric.from_error(objectives[name]) if name in objectives else None for name, metric in pairs]

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Row of each genotype."""
        return {text: row for row, text in enumerate(self.genotypes)}


# behind a number that is no measurement
DOUBT = " (?)"


def is_doubtful(value: float, record: Any) -> bool:
    """Whether a measured value is none: its interval is wider than itself, or every repeat was disturbed.

    Such values are measured again or fail now; archives of earlier releases hold some.

    Args:
        record: what was recorded beside the value; no record of a measurement is no reason to doubt.
    """
    if not isinstance(record, Mapping) or not {"low_ms", "high_ms"} <= record.keys():
        return False
    # later records have their number of runs, and then disturbed ones were judged when they were measured
    all_disturbed = "runs" not in record and 0 < record.get("repeats", 0) <= record.get("disturbed", 0)
    return bool(all_disturbed or record["high_ms"] - record["low_ms"] > value)


def doubts(results: SearchResults) -> list[str]:
    """A sentence about values that are no measurements; nothing where there are none."""
    count, total = len(results.doubtful), len(results.genotypes)
    if not count:
        return []
    names = ", ".join(sorted({name for found in results.doubtful.values() for name in found}))
    return [
        f"{names} of {count} of {total} points, marked{DOUBT}, is no measurement: its interval is wider than its "
        "value, or other programs interrupted every repeat. The front and the hypervolume contain them."
    ]


def gather(
    names: Sequence[str], rows: Iterable[tuple[str, Mapping[str, float] | None, str]], **about: Any
) -> SearchResults:
    """Merge the parts of each genotype; points with a failed or missing part are left out.

    Args:
        names: objective names, in order.
        rows: (genotype, objective values or None if failed, reason of the failure), in the order asked.
        about: other fields of `SearchResults`.
    """
    points: dict[str, dict[str, float]] = {}
    failures: Counter[str] = Counter()
    for genotype, objectives, reason in rows:
        if objectives is None:
            failures[reason] += 1
        points.setdefault(genotype, {}).update(objectives or {})
    whole = {
        text: [found[name] for name in names] for text, found in points.items() if set(names) <= set(found)
    }
    values = np.array(list(whole.values()), dtype=float).reshape(len(whole), len(names))
    finite = np.isfinite(values).all(axis=1)
    genotypes = tuple(text for text, keep in zip(whole, finite, strict=True) if keep)
    return SearchResults(tuple(names), genotypes, values[finite], failures=dict(failures), **about)


def predictions(identity: Mapping[str, Any]) -> list[str]:
    """One sentence per predicted objective: its predictor and the predictor's accuracy.

    Args:
        identity: the archive's meta.
    """
    sources: Mapping[str, str] = identity.get("sources", {})
    return [f"{name} is predicted: {source}." for name, source in sources.items()]


def measured_with(results: SearchResults) -> list[str]:
    """How numbers came about, one sentence each: short trainings before errors, runtimes and devices of latencies."""
    found = dict[str, None]()
    for extra in results.extras:
        if steps := extra.get("trained_steps"):
            found[f"Errors are measured after a training of {steps} steps of each network alone."] = None
        found |= dict.fromkeys(latency_labels(extra))
    return list(found)


def latency_labels(extra: Any) -> list[str]:
    """How each latency of a network was measured, one sentence each, as far as that is known.

    Args:
        extra: what was recorded beside the objectives of the network.
    """
    found = []
    for name, facts in extra.items() if isinstance(extra, Mapping) else ():
        if not isinstance(facts, Mapping) or "runtime" not in facts:
            continue
        # those of a device elsewhere have it with them
        device = facts.get("device") or extra.get("device")
        if isinstance(device, Mapping):
            found.append(f"{name} is measured in {_how_measured(facts)} on {device.get('name')}.")
    return found


def _how_measured(facts: Mapping[str, Any]) -> str:
    """Runtime, precision, threads and images of a latency, as far as its facts have them, for people to read.

    Args:
        facts: what a search recorded as `latency` beside the value.
    """
    recorded = facts.get("runtime")
    words = (
        list(map(str, recorded)) if isinstance(recorded, list) else [str(recorded or "an unknown runtime")]
    )
    words += [str(precision)] if (precision := facts.get("precision")) else []
    threads, batch = facts.get("threads", 1), facts.get("batch", 1)
    counted = f"{threads} thread" + ("s" if threads != 1 else "")
    images = f" and {batch} images a pass" if batch != 1 else ""
    return f"{' '.join(words)} with {counted}{images}"


def front_summary(results: SearchResults) -> str:
    """One line of text: size of the Pareto front, hypervolume and best value of each objective."""
    parts = [f"{len(front(results.values))} on the front"]
    if results.hypervolume is not None:
        parts.append(f"hypervolume {results.hypervolume:.4f}")
    if len(results.values):
        for column, metric in enumerate(results.metrics):
            best = metric.best(results.shown[:, column])
            at = int(np.flatnonzero(results.shown[:, column] == best)[0])
            mark = results.mark(results.names[column], results.genotypes[at])
            parts.append(f"best {metric.label} {best:.4g}{mark}")
    return ", ".join(parts)
