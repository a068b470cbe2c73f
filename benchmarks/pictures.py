"""Pictures of many trials: curves with their spread, and attainment surfaces over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trials
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from trials import Trial

from evonas.errors import UserError
from evonas.report.analysis.attainment import surfaces
from evonas.report.analysis.indicators import Scale, common_scale


def curves(path: Path, title: str, methods: Mapping[str, Sequence[Trial]], scale: Scale | None) -> None:
    """Median over seeds with the band of the middle half of them; all on one scale."""
    figure, axes = _figure(title)
    for method, group in methods.items():
        found = [trials.worth(trial, scale) for trial in group]
        length = max(map(len, found))
        # a searcher that has nothing more to ask keeps what it has
        rows = np.array([np.pad(curve, (0, length - len(curve)), mode="edge") for curve in found])
        _band(axes, f"{method} ({len(group)} seeds)", np.arange(1, length + 1), rows)
    _finish(figure, axes, path, scale)


def joined(path: Path, title: str, methods: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """As `curves`, from records of results.json that may stem from several runs.

    Raises:
        UserError: two records were measured on different scales.
    """
    records = {f"{each['method']}, seed {each['seed']}": each for group in methods.values() for each in group}
    boxes = {name: each["scale"] for name, each in records.items()}
    scale = common_scale({name: _scale(box) for name, box in boxes.items()})
    figure, axes = _figure(title)
    for method, group in methods.items():
        counts = sorted({int(count) for each in group for count in each["curve"]})
        found = [(list(map(int, each["curve"])), list(each["curve"].values())) for each in group]
        rows = np.array([np.interp(counts, places, values) for places, values in found])
        _band(axes, f"{method} ({len(group)} seeds)", np.array(counts), rows)
    _finish(figure, axes, path, scale)


def _scale(box: Mapping[str, Any] | None) -> Scale:
    """The scale of a record; one objective has none, and no two of those are compared here."""
    if box is None:
        raise UserError("A record has one objective and no scale.", "Join runs of two objectives or more.")
    return Scale(tuple(box["names"]), tuple(box["ideal"]), tuple(box["reference"]))


def _band(axes: Axes, label: str, counts: np.ndarray, rows: np.ndarray) -> None:
    low, middle, high = np.percentile(rows, (25, 50, 75), axis=0)
    (line,) = axes.plot(counts, middle, label=label)
    axes.fill_between(counts, low, high, alpha=0.2, color=line.get_color())


def _finish(figure: Figure, axes: Axes, path: Path, scale: Scale | None) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("points asked")
    axes.set_ylabel("best first objective" if scale is None else "hypervolume (share of the table's box)")
    _save(figure, axes, path)


def attained(path: Path, title: str, methods: Mapping[str, Sequence[Trial]], truth: Any) -> None:
    """What half of the seeds attain, as a line, between what one seed and what all seeds attain."""
    figure, axes = _figure(title)
    worst = np.asarray(truth.scale.reference)
    axes.plot(*_steps(truth.exact, worst), "k:", linewidth=1, label="exact front")
    for method, group in methods.items():
        found = surfaces([trial.values for trial in group])
        (line,) = axes.plot(*_steps(found[50.0], worst), label=f"{method}, half of {len(group)} seeds")
        for level in (0.0, 100.0):
            axes.plot(*_steps(found[level], worst), color=line.get_color(), linewidth=0.5, alpha=0.6)
    for axis, low, high in zip("xy", truth.exact.min(axis=0), truth.exact.max(axis=0), strict=True):
        margin = 0.05 * (high - low)
        getattr(axes, f"set_{axis}lim")(low - margin, high + margin)
    axes.set_xlabel(truth.scale.names[0])
    axes.set_ylabel(truth.scale.names[1])
    _save(figure, axes, path)


def _steps(points: np.ndarray, worst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corner line of a front of two objectives, from edge to edge of the box."""
    if not len(points):
        return np.empty(0), np.empty(0)
    x, y = points.T
    return np.append(np.repeat(x, 2), worst[0]), np.concatenate([[worst[1]], np.repeat(y, 2)])


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
