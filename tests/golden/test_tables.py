"""The exact optima and fronts of the public tables; needs their files in ../shared/bench.

Fronts and hypervolumes were computed from the tables by others than this package's authors' code path:
normalised over the whole table, reference (1, 1). The optima are those of the benchmarks.
"""

from pathlib import Path

import numpy as np
import pytest

from evonas.data.nas_bench.base import Table, nb201, transnas
from evonas.report.analysis.indicators import Scale, indicators
from evonas.report.metrics.pareto import front

BENCH = Path(__file__).parent.parent.parent.parent / "shared" / "bench"
pytestmark = pytest.mark.skipif(not (BENCH / "nb201_tables.npz").exists(), reason="the tables are not here")


def truth(table: Table, *names: str) -> tuple[int, float]:
    """Points of the exact front, and its hypervolume."""
    values = np.stack([table.column(name) for name in names], axis=1)
    return len(front(values)), indicators(values, Scale.over(names, values)).hypervolume


@pytest.mark.parametrize(
    ("dataset", "columns", "points", "share"),
    [
        ("c10", ("test_error", "flops"), 16, 0.99066),
        ("c10", ("test_error", "official_flops"), 13, 0.99092),
        ("c100", ("test_error", "official_flops"), 13, 0.97541),
        ("in16", ("test_error", "official_flops"), 13, 0.95750),
        ("c10", ("error", "edgegpu_latency"), 25, 0.90918),
        ("c10", ("test_error", "raspi4_latency"), 47, 0.96515),
    ],
)
def test_nb201_fronts(dataset: str, columns: tuple[str, str], points: int, share: float) -> None:
    found, volume = truth(nb201(str(BENCH), dataset), *columns)
    assert (found, round(volume, 5)) == (points, share)


def test_transnas_front() -> None:
    points, volume = truth(transnas(str(BENCH), "micro", "segmentsemantic"), "error", "flops")
    assert (points, round(volume, 5)) == (16, 0.91282)


@pytest.mark.parametrize(
    ("dataset", "column", "row", "accuracy"),
    [
        ("c10", "test_error", 6111, 94.3733),
        ("c10", "error", 1459, 91.57),
        ("c10", "mean_error", 6111, 91.6067),
        ("c100", "error", 3888, 73.26),
        ("c100", "test_error", 9930, 73.5133),
        ("in16", "error", 81, 47.3333),
        ("in16", "test_error", 857, 47.3111),
    ],
)
def test_nb201_optima(dataset: str, column: str, row: int, accuracy: float) -> None:
    values = nb201(str(BENCH), dataset).column(column)
    assert np.argmin(values) == row
    assert round(100 - values.min(), 4) == accuracy


@pytest.mark.parametrize(
    ("dataset", "best", "digits"),
    [
        ("class_scene", 100 - 54.9363, "332132"),
        ("class_object", 100 - 45.5862, "313113"),
        ("room_layout", 0.6010, "311133"),
        ("jigsaw", 100 - 95.3722, "330132"),
        ("segmentsemantic", 100 - 94.6125, "313022"),
        ("normal", 1 - 0.5873, "130123"),
    ],
)
def test_transnas_optima(dataset: str, best: float, digits: str) -> None:
    table = transnas(str(BENCH), "micro", dataset)
    names = ("none", "skip", "conv1x1", "conv3x3")
    words = tuple(names[int(digit)] for digit in digits)
    assert table.values(words, ("error",))["error"] == table.column("error").min()
    assert table.column("error").min() == pytest.approx(best, abs=6e-5)


def test_first_rows_read_as_published() -> None:
    table = nb201(str(BENCH))
    words = ("avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_1x1", "skip_connect", "skip_connect")
    found = table.values(words, ("test_error", "flops", "params", "edgegpu_latency", "edgegpu_energy"))
    assert found == pytest.approx(
        {
            "test_error": 100 - 85.863,
            "flops": 17.959,
            "params": 0.129306,
            "edgegpu_latency": 5.807,
            "edgegpu_energy": 24.227,
        },
        abs=6e-4,
    )
