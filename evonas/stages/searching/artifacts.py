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


def log_artifacts(
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


def search_tables(facts: SearchResults) -> Iterator[Results]:
    """Every evaluated network with its objectives, and the hypervolume against their number."""
    error, *others = facts.names
    rows = [[text, *map(float, row)] for text, row in zip(facts.genotypes, facts.values, strict=True)]
    charts = [Chart(f"{error} against {other}", other, error) for other in others]
    yield Results("evaluations", ["genotype", *facts.names], rows, charts)
    if facts.reference is not None and len(facts.values):
        pairs = zip(*curve(facts.values, facts.reference, ideal=facts.ideal), strict=True)
        chart = Chart("hypervolume", "networks", "hypervolume", is_line=True)
        yield Results("progress", ["networks", "hypervolume"], [list(pair) for pair in pairs], [chart])
