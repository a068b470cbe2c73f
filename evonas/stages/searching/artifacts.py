"""What a stage hands to trackers that keep more than numbers: tables with charts, and files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from evonas.config import build
from evonas.report.metrics.hypervolume import curve
from evonas.report.results import SearchResults
from evonas.stages.base import Context
from evonas.track.base import Chart, GuardedTracker, Results

# a file takes longer to send than a number
PATIENCE_S = 60.0


def keep(
    context: Context,
    stage: str,
    kind: str,
    paths: Sequence[Path],
    tables: Callable[[], Iterable[Results]] = tuple,
) -> None:
    """Give files of one kind, and tables, to the tracker of the config if it keeps such things.

    Like all listening it cannot fail: what goes wrong is one warning.

    Args:
        tables: makes them; asked only where they are kept.
    """
    cfg = context.cfg.get("tracker")
    if not cfg or not cfg.get("artifacts"):
        return
    built = build(cfg, folder=paths[0].parent, run=context.run.name, stage=stage)
    with closing(GuardedTracker(built, PATIENCE_S)) as tracker:
        for table in tables():
            tracker.table(table)
        tracker.artifact(kind, paths)


def tables_of(facts: SearchResults) -> Iterator[Results]:
    """Every evaluated network with its objectives and metrics, and the hypervolume against their number."""
    metric, *others = (each.name for each in facts.metrics)
    added = [column for column, each in enumerate(facts.metrics) if each.name not in facts.names]
    rows = [
        [text, *map(float, row), *map(float, shown[added])]
        for text, row, shown in zip(facts.genotypes, facts.values, facts.shown, strict=True)
    ]
    columns = ["genotype", *facts.names, *(facts.metrics[column].name for column in added)]
    charts = [Chart(f"{metric} against {other}", other, metric) for other in others]
    yield Results("evaluations", columns, rows, charts)
    if facts.reference is not None and len(facts.values):
        pairs = zip(*curve(facts.values, facts.reference, ideal=facts.ideal), strict=True)
        chart = Chart("hypervolume", "networks", "hypervolume", is_line=True)
        yield Results("progress", ["networks", "hypervolume"], [list(pair) for pair in pairs], [chart])
