"""Charts of a report: Pareto fronts, hypervolume, parallel coordinates, validation panel, ranking check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

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
    """Marker of a selected network: name, shape, style and objectives."""

    name: str
    shape: str
    style: str
    values: Mapping[str, float]


def stars(nets: Sequence[Mapping[str, Any]]) -> list[Star]:
    """A distinct marker per selected network; circles are reserved for the front."""
    shapes = SHAPES[1:]
    return [
        Star(net["name"], shapes[place % len(shapes)], f"s{1 + place % 6}", net["objectives"])
        for place, net in enumerate(nets)
    ]


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
    across, up = results.values[:, x], results.values[:, y]
    names = results.names[x], results.names[y]
    marked = [star for star in chosen if all(name in star.values for name in names)]
    extra = np.array([[star.values[name] for name in names] for star in marked]).reshape(-1, 2)
    alt = f"{names[1]} against {names[0]} of {len(across)} networks, {len(rows)} of them on the Pareto front"
    chart = Chart(
        Axis.over(results.label(names[0]), np.concatenate([across, extra[:, 0]])),
        Axis.over(results.label(names[1]), np.concatenate([up, extra[:, 1]])),
        alt,
    )
    chart.cloud(across, up)
    edge = front(results.values[:, [x, y]])
    chart.line(across[edge], up[edge], "s0", step=True)
    titles = [f"{results.genotypes[row]}: {_pair(names, across[row], up[row])}" for row in rows]
    chart.marks(across[rows], up[rows], "circle", "front", titles, size=2.6)
    for star, (a, b) in zip(marked, extra, strict=True):
        chart.marks([a], [b], star.shape, star.style, [f"{star.name}: {_pair(names, a, b)}"], size=6)
    for star, (a, b) in zip(marked, extra, strict=True):
        chart.name(a, b, star.name)
    return Figure(chart.render(), f"{names[1]} against {names[0]}; lower left is better.")


def hypervolume_curve(results: SearchResults) -> Figure | None:
    """Hypervolume against the number of evaluations; None without a reference point."""
    if results.reference is None or len(results.values) < 2:
        return None
    counts, shares = curve(results.values, results.reference, ideal=results.ideal)
    y = Axis.over("normalised hypervolume", shares)
    chart = Chart(Axis.over("evaluated networks", [0, len(results.values)]), y, "Hypervolume over the search")
    chart.line(counts, shares, "s0", step=True)
    low = "zero" if results.ideal is None else f"the ideal point ({_point(results.names, results.ideal)})"
    high = f"the reference point ({_point(results.names, results.reference)})"
    text = f"Fraction of the box between {low} and {high} that is dominated."
    return Figure(chart.render(), f"{text} Larger is better; the final value is {shares[-1]:.4f}.")


def parallel(results: SearchResults, chosen: Sequence[Star]) -> Figure | None:
    """Parallel coordinates of the Pareto front, scaled to its range; None for fewer than two points."""
    values = results.values[front(results.values)]
    if len(values) < 2:
        return None
    axis, _ = _named(results.names)
    chart = Chart(axis, Axis.over("normalised objective", [0, 1]), "Pareto front in parallel coordinates")
    kept = np.unique(np.linspace(0, len(values) - 1, MAX_LINES).astype(int))
    for line in normalised(values)[kept]:
        chart.line(range(len(line)), line, "s0 thin")
    low, high = values.min(axis=0), values.max(axis=0)
    for star in chosen:
        if set(results.names) <= set(star.values):
            _highlight(chart, star, [star.values[name] for name in results.names], low, high)
    spans = zip(map(results.label, results.names), low.tolist(), high.tolist(), strict=True)
    ranges = ", ".join(f"{label} {best:.4g} to {worst:.4g}" for label, best, worst in spans)
    return Figure(
        chart.render(),
        f"Each line is a network of the Pareto front; 0 is the best value, 1 the worst: {ranges}.",
    )


def _highlight(chart: Chart, star: Star, values: Sequence[float], low: Values, high: Values) -> None:
    """Draw a selected network; a network outside the range of the front is left out."""
    line = (np.array(values) - low) / np.where(high > low, high - low, 1.0)
    if line.min() < 0 or line.max() > 1:
        return
    chart.line(range(len(line)), line, star.style)
    chart.marks(range(len(line)), line, star.shape, star.style, [star.name] * len(line), size=5)


def panel_curves(panel: Mapping[str, Any]) -> tuple[Figure, Legend]:
    """Error of each panel subnet after each step of the curriculum, and the legend."""
    error, steps = panel["error_name"], panel["steps"]
    names, step_names = [row["name"] for row in steps[0]["panel"]], [step["name"] for step in steps]
    errors = np.array([[row["metrics"][error] for row in step["panel"]] for step in steps])
    axis, explained = _named(step_names)
    chart = Chart(axis, Axis.over(f"{error} on holdout", errors), f"{error} over the curriculum")
    rows = [_panel_line(chart, place, name, step_names, errors[:, place]) for place, name in enumerate(names)]
    caption = "Fixed subnets with inherited weights after each step of the supernet training."
    return Figure(chart.render(), f"{caption}{explained}"), rows


def _panel_line(
    chart: Chart, place: int, name: str, step_names: Sequence[str], errors: Values
) -> tuple[str, str]:
    shape, style = SHAPES[place % len(SHAPES)], f"s{place % 7}"
    titles = [f"{name} after {step}: {error:.4g}" for step, error in zip(step_names, errors, strict=True)]
    chart.line(range(len(errors)), errors, style)
    chart.marks(range(len(errors)), errors, shape, style, titles, size=4)
    return key(shape, style), name


def rank_check(rank: Mapping[str, Any]) -> Figure:
    """Error of each subnet after training alone against its error with inherited weights."""
    pairs, error = rank["pairs"], rank["error_name"]
    inherited, retrained = (
        [_error(pair[kind], error) for pair in pairs] for kind in ("inherited", "retrained")
    )
    x = Axis.over(f"{error}, inherited weights", inherited)
    chart = Chart(x, Axis.over(f"{error}, trained alone", retrained), "Ranking check")
    chart.marks(inherited, retrained, "circle", "s0", [pair["genotype"] for pair in pairs], size=4.5)
    tau, low, high, by_macs = (two_digits(rank[key]) for key in ("tau", "low", "high", "tau_macs"))
    setting = f"{len(pairs)} subnets after {rank['steps']} steps each"
    text = f"Kendall tau {tau} (95% interval {low} to {high}) over {setting}"
    return Figure(chart.render(), f"{text}; ranking by MACs alone reaches {by_macs}.")


def discovery(found: Mapping[str, Any]) -> tuple[Figure, Legend]:
    """Error after training against a discovered zero-cost proxy, and the legend."""
    every, number = found["networks"], found["training"]
    scores, errors = ([float(net[key]) for net in every] for key in ("score", "error"))
    chart = Chart(Axis.over("score", scores), Axis.over(found["error_name"], errors), "Discovered score")
    legend: Legend = []
    for shape, style, part, name in (
        ("circle", "s0", slice(number), "training networks"),
        ("square", "s1", slice(number, None), "held-out networks"),
    ):
        titles = [net["genotype"] for net in every[part]]
        chart.marks(scores[part], errors[part], shape, style, titles, size=4.5)
        legend.append((key(shape, style), name))
    return Figure(
        chart.render(),
        "Each mark is a network; with a perfect score, the error decreases from left to right.",
    ), legend


def two_digits(value: float | None) -> str:
    """A statistic with two decimals, or "undefined"."""
    return "undefined" if value is None else f"{value:.2f}"


def _error(value: Any, name: str) -> float:
    return float(value[name]) if isinstance(value, Mapping) else float(value)


def _point(names: Sequence[str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in zip(names, values, strict=True))


def _pair(names: tuple[str, str], x: float, y: float) -> str:
    return f"{names[0]} {x:.4g}, {names[1]} {y:.4g}"


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
