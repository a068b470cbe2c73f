"""Artifacts of a stage for trackers that store them: tables with charts, and files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from evonas.report.metrics.hypervolume import curve
from evonas.report.results import SearchResults
from evonas.stages.base import Context
from evonas.stages.tracking import chosen, trackers
from evonas.track.base import Chart, Results


def log_artifacts(context: Context, stage: str, kind: str, paths: Sequence[Path]) -> None:
    """Give files of one kind to the trackers of a stage that tracks nothing else, if one stores artifacts.

    As in all tracking, an error becomes one warning.
    """
    if any(node.get("artifacts") for node in chosen(context.cfg)):
        with trackers(context, stage, paths[0].parent) as group:
            group.artifact(kind, paths)


def search_tables(results: SearchResults) -> Iterator[Results]:
    """Every evaluated network with its objectives and metrics, and the hypervolume against their number."""
    metric, *others = (each.name for each in results.metrics)
    added = [column for column, each in enumerate(results.metrics) if each.name not in results.names]
    rows = [
        [text, *map(float, row), *map(float, shown[added])]
        for text, row, shown in zip(results.genotypes, results.values, results.shown, strict=True)
    ]
    columns = ["genotype", *results.names, *(results.metrics[column].name for column in added)]
    charts = [Chart(f"{metric} against {other}", other, metric) for other in others]
    yield Results("evaluations", columns, rows, charts)
    if results.reference is not None and len(results.values):
        pairs = zip(*curve(results.values, results.reference, ideal=results.ideal), strict=True)
        chart = Chart("hypervolume", "networks", "hypervolume", is_line=True)
        yield Results("progress", ["networks", "hypervolume"], [list(pair) for pair in pairs], [chart])
