"""Charts of a report: Pareto fronts, hypervolume, parallel coordinates, validation panel, ranking check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from evonas.metric import Metric, metric_of
from evonas.report.charts.svg import SHAPES, Axis, Chart, key
from evonas.report.metrics.hypervolume import curve
from evonas.report.metrics.pareto import Values, front, normalised
from evonas.report.results import SearchResults

MAX_LINES = 150
MAX_LETTERS = 56

Legend = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG chart with its caption."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Star:
    """Marker of a selected network: name, shape, style, genotype and recorded objectives."""

    name: str
    shape: str
    style: str
    genotype: str
    objectives: Mapping[str, float]


def stars(nets: Sequence[Mapping[str, Any]]) -> list[Star]:
    """A distinct marker per selected network; circles are reserved for the front."""
    shapes = SHAPES[1:]
    return [
        Star(
            net["name"], shapes[place % len(shapes)], f"s{1 + place % 6}", net["genotype"], net["objectives"]
        )
        for place, net in enumerate(nets)
    ]


def trained_stars(
    chosen: Sequence[Star],
    retrained: Mapping[str, Mapping[str, Any]],
    rivals: Sequence[Mapping[str, Any]],
    error: str,
    results: SearchResults,
) -> list[Star]:
    """A star per baseline, and a second marker per selected network with its error after retraining.

    Args:
        chosen: markers of the selected networks.
        retrained: network name -> metrics after retraining.
        rivals: the baselines with their objectives; without them there are no markers.
        error: name of the task's error metric.
        results: the search, whose first objective is the error.
    """
    if not rivals:
        return []
    found = []
    for star in chosen:
        metrics = retrained.get(star.name, {}).get("retrained")
        if metrics is not None:
            objectives = {**star.objectives, results.names[0]: metrics[error]}
            # without its genotype, for which the search recorded other metrics
            found.append(Star(f"{star.name} retrained", star.shape, star.style, "", objectives))
    return found + [Star(each["name"], "star", "s0", "", each["objectives"]) for each in rivals]


def legend(chosen: Sequence[Star]) -> Legend:
    """Legend of the Pareto front charts: (marker, text)."""
    rows = [(key("circle", "dot"), "evaluated"), (key("circle", "front"), "Pareto front")]
    return rows + [(key(star.shape, star.style), star.name) for star in chosen]


def fronts(results: SearchResults, chosen: Sequence[Star]) -> list[Figure]:
    """One Pareto front chart per pair of objectives."""
    rows = front(results.values)
    pairs = [(x, y) for y, x in combinations(range(len(results.names)), 2)]
    return [_front(results, rows, x, y, chosen) for x, y in pairs]


def _front(
    results: SearchResults, rows: Sequence[int] | np.ndarray, x: int, y: int, chosen: Sequence[Star]
) -> Figure:
    across, up = results.shown[:, x], results.shown[:, y]
    metrics = results.metrics[x], results.metrics[y]
    read = [(star, results.read(star.objectives, star.genotype)) for star in chosen]
    marked = [
        (star, a, b) for star, found in read if (a := found[x]) is not None and (b := found[y]) is not None
    ]
    title = f"{metrics[1].name} against {metrics[0].name}"
    alt = f"{title} of {len(across)} networks, {len(rows)} of them on the Pareto front"
    chart = Chart(
        axis_over(metrics[0], [*across, *(a for _, a, _ in marked)]),
        axis_over(metrics[1], [*up, *(b for _, _, b in marked)]),
        alt,
    )
    chart.cloud(across, up)
    edge = front(results.values[:, [x, y]])
    chart.line(across[edge], up[edge], "s0", step=True)
    titles = [f"{results.genotypes[row]}: {_pair(metrics, across[row], up[row])}" for row in rows]
    chart.marks(across[rows], up[rows], "circle", "front", titles, size=2.6)
    for star, a, b in marked:
        chart.marks([a], [b], star.shape, star.style, [f"{star.name}: {_pair(metrics, a, b)}"], size=6)
    for star, a, b in marked:
        chart.name(a, b, star.name)
    return Figure(chart.render(), f"{title}; {best_corner(*metrics)} is better.")


def axis_over(metric: Metric, values: Sequence[float] | Values) -> Axis:
    """An axis that covers all values of a metric and states its direction."""
    return Axis.over(f"{metric.label}, {metric.direction}", values)


def best_corner(x: Metric, y: Metric) -> str:
    """The corner of a chart towards which networks become better, such as "upper left"."""
    return f"{'upper' if y.higher_is_better else 'lower'} {'right' if x.higher_is_better else 'left'}"


def hypervolume_curve(results: SearchResults) -> Figure | None:
    """Hypervolume against the number of evaluations; None without a reference point."""
    if results.reference is None or len(results.values) < 2:
        return None
    counts, shares = curve(results.values, results.reference, ideal=results.ideal)
    y = Axis.over("normalised hypervolume", shares)
    chart = Chart(Axis.over("evaluated networks", [0, len(results.values)]), y, "Hypervolume over the search")
    chart.line(counts, shares, "s0", step=True)
    low = "zero" if results.ideal is None else f"the ideal point ({_point(results.metrics, results.ideal)})"
    high = f"the reference point ({_point(results.metrics, results.reference)})"
    text = f"Fraction of the box between {low} and {high} that is dominated."
    return Figure(chart.render(), f"{text} Larger is better; the final value is {shares[-1]:.4f}.")


def parallel(results: SearchResults, chosen: Sequence[Star]) -> Figure | None:
    """Parallel coordinates of the Pareto front, scaled to its range; None for fewer than two points."""
    rows = front(results.values)
    values = results.values[rows]
    if len(values) < 2:
        return None
    axis, _ = _named([metric.name for metric in results.metrics])
    chart = Chart(
        axis,
        Axis.over("normalised objective, lower is better", [0, 1]),
        "Pareto front in parallel coordinates",
    )
    kept = np.unique(np.linspace(0, len(values) - 1, MAX_LINES).astype(int))
    for line in normalised(values)[kept]:
        chart.line(range(len(line)), line, "s0 thin")
    low, high = values.min(axis=0), values.max(axis=0)
    for star in chosen:
        if not set(results.names) <= set(star.objectives):
            continue
        line = (np.array([star.objectives[name] for name in results.names]) - low) / np.where(
            high > low, high - low, 1.0
        )
        # a network outside the range of the front is left out
        if line.min() >= 0 and line.max() <= 1:
            chart.line(range(len(line)), line, star.style)
            chart.marks(range(len(line)), line, star.shape, star.style, [star.name] * len(line), size=5)
    ranges = ", ".join(
        f"{metric.label} {metric.best(column):.4g} to {metric.worst(column):.4g}"
        for metric, column in zip(results.metrics, results.shown[rows].T, strict=True)
    )
    return Figure(
        chart.render(),
        f"Each line is a network of the Pareto front; 0 is the best value, 1 the worst: {ranges}.",
    )


def panel_curves(panel: Mapping[str, Any]) -> tuple[Figure, Legend]:
    """The task's metric of each panel subnet after each step of the curriculum, and the legend."""
    error, steps = panel["error_name"], panel["steps"]
    names, step_names = [row["name"] for row in steps[0]["panel"]], [step["name"] for step in steps]
    metric = metric_of(error, steps[0]["panel"][0]["metrics"])
    values = np.array(
        [[metric.read(row["metrics"][error], row["metrics"]) for row in step["panel"]] for step in steps]
    )
    axis, explained = _named(step_names)
    y = Axis.over(f"validation {metric.label}, {metric.direction}", values)
    chart, rows = Chart(axis, y, f"{metric.name} over the curriculum"), []
    for place, name in enumerate(names):
        shape, style = SHAPES[place % len(SHAPES)], f"s{place % 7}"
        titles = [
            f"{name} after {step}: {value:.4g}"
            for step, value in zip(step_names, values[:, place], strict=True)
        ]
        chart.line(range(len(values)), values[:, place], style)
        chart.marks(range(len(values)), values[:, place], shape, style, titles, size=4)
        rows.append((key(shape, style), name))
    caption = "Fixed subnets with inherited weights after each step of the supernet training."
    return Figure(chart.render(), f"{caption}{explained}"), rows


def rank_check(rank: Mapping[str, Any], metric: Metric) -> Figure:
    """The task's metric of each subnet after training alone against that with inherited weights."""
    pairs = rank["pairs"]
    inherited, retrained = (
        # a pair holds errors, or all metrics of both trainings
        [
            metric.read(kind[rank["error_name"]], kind)
            if isinstance(kind := pair[part], Mapping)
            else metric.read(kind)
            for pair in pairs
        ]
        for part in ("inherited", "retrained")
    )
    x = Axis.over(f"{metric.label}, inherited weights", inherited)
    chart = Chart(
        x, Axis.over(f"{metric.label}, trained alone, {metric.direction}", retrained), "Ranking check"
    )
    chart.marks(inherited, retrained, "circle", "s0", [pair["genotype"] for pair in pairs], size=4.5)
    tau, low, high, by_macs = (two_digits(rank[key]) for key in ("tau", "low", "high", "tau_macs"))
    setting = f"{len(pairs)} subnets after {rank['steps']} steps each"
    text = f"Kendall tau {tau} (95% interval {low} to {high}) over {setting}"
    return Figure(chart.render(), f"{text}; ranking by MACs alone reaches {by_macs}.")


def discovery(found: Mapping[str, Any], metric: Metric) -> tuple[Figure, Legend]:
    """The task's metric after training against a discovered zero-cost proxy, and the legend."""
    every, number = found["networks"], found["training"]
    scores, values = (
        [float(net["score"]) for net in every],
        [metric.from_error(float(net["error"])) for net in every],
    )
    chart = Chart(Axis.over("score, higher is better", scores), axis_over(metric, values), "Discovered score")
    legend: Legend = []
    for shape, style, part, name in (
        ("circle", "s0", slice(number), "training networks"),
        ("square", "s1", slice(number, None), "held-out networks"),
    ):
        titles = [net["genotype"] for net in every[part]]
        chart.marks(scores[part], values[part], shape, style, titles, size=4.5)
        legend.append((key(shape, style), name))
    change = "increases" if metric.higher_is_better else "decreases"
    return Figure(
        chart.render(),
        f"Each mark is a network; with a perfect score, the {metric.name} {change} from left to right.",
    ), legend


def two_digits(value: float | None) -> str:
    """A statistic with two decimals, or "undefined"."""
    return "undefined" if value is None else f"{value:.2f}"


def _point(metrics: Sequence[Metric], errors: Sequence[float]) -> str:
    pairs = zip(metrics, errors, strict=True)
    return ", ".join(f"{metric.name} {metric.from_error(error):.6g}" for metric, error in pairs)


def _pair(metrics: tuple[Metric, Metric], x: float, y: float) -> str:
    return f"{metrics[0].name} {x:.4g}, {metrics[1].name} {y:.4g}"


def _named(names: Sequence[str]) -> tuple[Axis, str]:
    """A categorical axis; names that do not fit are numbered, and the returned text explains the numbers."""
    room = 0.12 * max(1, len(names) - 1)
    fits = max(len(name) for name in names) * len(names) < MAX_LETTERS
    ticks = tuple(names) if fits else tuple(str(place + 1) for place in range(len(names)))
    explained = (
        ""
        if fits
        else " " + ", ".join(f"{tick} {name}" for tick, name in zip(ticks, names, strict=True)) + "."
    )
    places = tuple(float(place) for place in range(len(names)))
    return Axis("", -room, len(names) - 1 + room, places, ticks), explained
