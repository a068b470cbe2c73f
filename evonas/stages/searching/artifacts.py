"""Artifacts of a stage for trackers that store them: tables with charts, and files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from evonas.config import build
from evonas.report.metrics.hypervolume import curve
from evonas.report.results import SearchResults
from evonas.stages.base import Context
from evonas.track.base import Chart, GuardedTracker, Results

# a file takes longer to send than a number
TIMEOUT_S = 60.0


def log_artifacts(
    context: Context,
    stage: str,
    kind: str,
    paths: Sequence[Path],
    tables: Callable[[], Iterable[Results]] = tuple,
) -> None:
    """Give files of one kind, and tables, to the tracker of the config if it stores artifacts.

    As in all tracking, an error becomes one warning.

    Args:
        tables: makes the tables; called only if they are stored.
    """
    cfg = context.cfg.get("tracker")
    if not cfg or not cfg.get("artifacts"):
        return
    built = build(cfg, folder=paths[0].parent, run=context.run.name, stage=stage)
    with closing(GuardedTracker(built, TIMEOUT_S)) as tracker:
        for table in tables():
            tracker.table(table)
        tracker.artifact(kind, paths)


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
