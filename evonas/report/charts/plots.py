"""The charts of a report: fronts, hypervolume, parallel axes, panel and ranking check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from evonas.report.charts.svg import SHAPES, Axis, Chart, key
from evonas.report.metrics.hypervolume import curve
from evonas.report.metrics.pareto import Values, front, normalised
from evonas.report.results import Facts

MOST_LINES = 150
MOST_LETTERS = 56

Legend = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn chart and the sentence below it."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Star:
    """A chosen network on the charts: its name, style and objectives."""

    name: str
    shape: str
    style: str
    values: Mapping[str, float]


def stars(nets: Sequence[Mapping[str, Any]]) -> list[Star]:
    """The chosen networks, each with a marker and colour of its own; circles stay the front's."""
    shapes = SHAPES[1:]
    return [
        Star(net["name"], shapes[place % len(shapes)], f"s{1 + place % 6}", net["objectives"])
        for place, net in enumerate(nets)
    ]


def legend(chosen: Sequence[Star]) -> Legend:
    """Marker and text of everything that the front's charts show."""
    rows = [(key("circle", "dot"), "evaluated"), (key("circle", "front"), "on the front")]
    return rows + [(key(star.shape, star.style), star.name) for star in chosen]


def fronts(facts: Facts, chosen: Sequence[Star]) -> list[Figure]:
    """One chart for each pair of objectives; the second of the pair runs upwards."""
    rows = front(facts.values)
    pairs = [(x, y) for y, x in combinations(range(len(facts.names)), 2)]
    return [_front(facts, rows, x, y, chosen) for x, y in pairs]


def _front(facts: Facts, rows: Sequence[int] | np.ndarray, x: int, y: int, chosen: Sequence[Star]) -> Figure:
    across, up = facts.values[:, x], facts.values[:, y]
    names = facts.names[x], facts.names[y]
    marked = [star for star in chosen if all(name in star.values for name in names)]
    extra = np.array([[star.values[name] for name in names] for star in marked]).reshape(-1, 2)
    alt = f"{names[1]} against {names[0]} of {len(across)} networks, {len(rows)} of them on the front"
    chart = Chart(
        Axis.over(facts.label(names[0]), np.concatenate([across, extra[:, 0]])),
        Axis.over(facts.label(names[1]), np.concatenate([up, extra[:, 1]])),
        alt,
    )
    chart.cloud(across, up)
    edge = front(facts.values[:, [x, y]])
    chart.line(across[edge], up[edge], "s0", step=True)
    titles = [f"{facts.genotypes[row]}: {_pair(names, across[row], up[row])}" for row in rows]
    chart.marks(across[rows], up[rows], "circle", "front", titles, size=2.6)
    for star, (a, b) in zip(marked, extra, strict=True):
        chart.marks([a], [b], star.shape, star.style, [f"{star.name}: {_pair(names, a, b)}"], size=6)
    for star, (a, b) in zip(marked, extra, strict=True):
        chart.name(a, b, star.name)
    return Figure(chart.render(), f"{names[1]} against {names[0]}; lower left is better.")


def hypervolume_curve(facts: Facts) -> Figure | None:
    """Hypervolume against evaluations, or None without a reference point."""
    if facts.reference is None or len(facts.values) < 2:
        return None
    counts, shares = curve(facts.values, facts.reference, ideal=facts.ideal)
    y = Axis.over("hypervolume (share of the box)", shares)
    chart = Chart(Axis.over("evaluated networks", [0, len(facts.values)]), y, "Hypervolume over the search")
    chart.line(counts, shares, "s0", step=True)
    low = "zero" if facts.ideal is None else f"the ideal point ({_point(facts.names, facts.ideal)})"
    high = f"the reference point ({_point(facts.names, facts.reference)})"
    text = f"Share of the box between {low} and {high} that is dominated."
    return Figure(chart.render(), f"{text} More is better; it ends at {shares[-1]:.4f}.")


def parallel(facts: Facts, chosen: Sequence[Star]) -> Figure | None:
    """Each network of the front as a line over its objectives, scaled to the front's range."""
    values = facts.values[front(facts.values)]
    if len(values) < 2:
        return None
    axis, _ = _named(facts.names)
    chart = Chart(axis, Axis.over("share of the front's range", [0, 1]), "The front on parallel axes")
    kept = np.unique(np.linspace(0, len(values) - 1, MOST_LINES).astype(int))
    for line in normalised(values)[kept]:
        chart.line(range(len(line)), line, "s0 thin")
    low, high = values.min(axis=0), values.max(axis=0)
    for star in chosen:
        if set(facts.names) <= set(star.values):
            _highlight(chart, star, [star.values[name] for name in facts.names], low, high)
    spans = zip(map(facts.label, facts.names), low.tolist(), high.tolist(), strict=True)
    ranges = ", ".join(f"{label} {best:.4g} to {worst:.4g}" for label, best, worst in spans)
    return Figure(
        chart.render(), f"Every line is a network of the front; 0 is its best value, 1 its worst: {ranges}."
    )


def _highlight(chart: Chart, star: Star, values: Sequence[float], low: Values, high: Values) -> None:
    """Draw a chosen network; one that is not on the front may lie outside and is left out."""
    line = (np.array(values) - low) / np.where(high > low, high - low, 1.0)
    if line.min() < 0 or line.max() > 1:
        return
    chart.line(range(len(line)), line, star.style)
    chart.marks(range(len(line)), line, star.shape, star.style, [star.name] * len(line), size=5)


def panel_curves(panel: Mapping[str, Any]) -> tuple[Figure, Legend]:
    """The error of each fixed subnet after each step of the curriculum, and the legend."""
    error, steps = panel["error_name"], panel["steps"]
    names, moments = [row["name"] for row in steps[0]["panel"]], [step["name"] for step in steps]
    errors = np.array([[row["metrics"][error] for row in step["panel"]] for step in steps])
    axis, explained = _named(moments)
    chart = Chart(axis, Axis.over(f"{error} on holdout", errors), f"{error} over the curriculum")
    rows = [_panel_line(chart, place, name, moments, errors[:, place]) for place, name in enumerate(names)]
    caption = "Fixed subnets with the supernet's weights after each step of its training."
    return Figure(chart.render(), f"{caption}{explained}"), rows


def _panel_line(
    chart: Chart, place: int, name: str, moments: Sequence[str], errors: Values
) -> tuple[str, str]:
    shape, style = SHAPES[place % len(SHAPES)], f"s{place % 7}"
    titles = [f"{name} after {moment}: {error:.4g}" for moment, error in zip(moments, errors, strict=True)]
    chart.line(range(len(errors)), errors, style)
    chart.marks(range(len(errors)), errors, shape, style, titles, size=4)
    return key(shape, style), name


def rank_check(rank: Mapping[str, Any]) -> Figure:
    """Error of each subnet trained alone against its error with inherited weights."""
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
    return Figure(chart.render(), f"{text}; ranking by MACs alone would reach {by_macs}.")


def discovery(found: Mapping[str, Any]) -> tuple[Figure, Legend]:
    """Error after training against a discovered score, and what the shapes mean."""
    every, number = found["networks"], found["training"]
    scores, errors = ([float(net[key]) for net in every] for key in ("score", "error"))
    chart = Chart(Axis.over("score", scores), Axis.over(found["error_name"], errors), "Discovered score")
    legend: Legend = []
    for shape, style, part, name in (
        ("circle", "s0", slice(number), "found on"),
        ("square", "s1", slice(number, None), "not seen before"),
    ):
        titles = [net["genotype"] for net in every[part]]
        chart.marks(scores[part], errors[part], shape, style, titles, size=4.5)
        legend.append((key(shape, style), name))
    return Figure(
        chart.render(), "Each mark is a network; a perfect score would fall from left to right."
    ), legend


def two_digits(value: float | None) -> str:
    """A statistic with two decimals, or the word for one that is not defined."""
    return "undefined" if value is None else f"{value:.2f}"


def _error(value: Any, name: str) -> float:
    return float(value[name]) if isinstance(value, Mapping) else float(value)


def _point(names: Sequence[str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in zip(names, values, strict=True))


def _pair(names: tuple[str, str], x: float, y: float) -> str:
    return f"{names[0]} {x:.4g}, {names[1]} {y:.4g}"


def _named(names: Sequence[str]) -> tuple[Axis, str]:
    """An axis of names; where they do not fit they are numbered, and the text explains the numbers."""
    room = 0.12 * max(1, len(names) - 1)
    fits = max(len(name) for name in names) * len(names) < MOST_LETTERS
    ticks = tuple(names) if fits else tuple(str(place + 1) for place in range(len(names)))
    explained = (
        ""
        if fits
        else " " + ", ".join(f"{tick} {name}" for tick, name in zip(ticks, names, strict=True)) + "."
    )
    places = tuple(float(place) for place in range(len(names)))
    return Axis("", -room, len(names) - 1 + room, places, ticks), explained
