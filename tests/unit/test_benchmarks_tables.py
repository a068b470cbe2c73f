"""The drivers of the benchmarks: exact counts, curves that never lie, and tables that can be read."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tables_written

from evonas.report.indicators import Scale

NAMES = ("trials", "tables", "ofa", "pictures")


@pytest.fixture(scope="module")
def drivers() -> Iterator[dict[str, ModuleType]]:
    """The modules of the folder benchmarks, which is no package."""
    folder = str(Path(__file__).parent.parent.parent / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield {name: __import__(name) for name in NAMES}
    finally:
        sys.path.remove(folder)


def test_ofa_has_exactly_the_published_size(drivers: dict[str, ModuleType]) -> None:
    assert drivers["ofa"].ofa_space().size() == 369_897_143_373_732_259_467


def test_ofa_extremes(drivers: dict[str, ModuleType]) -> None:
    ofa = drivers["ofa"]
    space = ofa.ofa_space()
    least, most = space.decode(space.smallest()), space.decode(space.largest())
    assert (round(ofa.macs(least), 4), round(ofa.top1(least), 4)) == (89.8413, 74.8576)
    assert (round(ofa.macs(most), 4), round(ofa.top1(most), 4)) == (737.9535, 81.7696)


def test_ofa_genes_beyond_the_depth_mean_nothing(drivers: dict[str, ModuleType]) -> None:
    ofa = drivers["ofa"]
    space, rng = ofa.ofa_space(), np.random.default_rng(0)
    for _ in range(50):
        vector = [int(rng.integers(count)) for count in space.cardinalities]
        point, plain = space.from_vector(vector), vector
        chosen = space.decode(point)
        assert space.canonical(point) == point and space.parse(space.format(point)) == point
        raw = {axis.name: axis.choices[gene] for axis, gene in zip(space.axes, plain, strict=True)}
        assert (ofa.macs(raw), ofa.top1(raw)) == (ofa.macs(chosen), ofa.top1(chosen))
        assert chosen["k4"] == 3 or chosen["d1"] == 4


def test_nsga2_on_ofa_reaches_what_the_original_loop_reached(drivers: dict[str, ModuleType]) -> None:
    """The original's NSGA-II: 0.2221 to 0.2231 at 340 evaluations; the band allows for other operators."""
    found = drivers["ofa"].hypervolumes("nsga2,budget.population=40", range(2), 340)
    assert all(0.219 <= share <= 0.2255 for share in found)


def test_the_curve_counts_points_asked_and_never_falls(drivers: dict[str, ModuleType]) -> None:
    trials = drivers["trials"]
    values = np.array([[0.5, 0.5], [0.9, 0.9], [0.2, 0.6]])
    trial = trials.Trial("p", "m", 0, values, [2, 3, 5], 6, ["none"] * 3, 0.0)
    curve = trials.worth(trial, Scale(("a", "b"), (0.0, 0.0), (1.0, 1.0)))
    assert curve == pytest.approx([0, 0.25, 0.25, 0.25, 0.25 + 0.3 * 0.4, 0.37])
    assert trials.needed(curve, 0.25) == 2 and trials.needed(curve, 0.37) == 5
    assert trials.needed(curve, 0.5) == np.inf
    least = trials.worth(trial, None)
    assert np.isnan(least[0]) and least[1:].tolist() == [0.5, 0.5, 0.5, 0.2, 0.2]
    assert trials.spread_at([curve, curve], 2, str) == "0.25 +- 0.0"
    assert trials.spread_at([curve, curve[:1]], 2, str) == "-"
    assert trials.median_of([np.inf, 20, 30, 10], 100) == "30 (10 to >100)"


def test_the_driver_writes_what_it_found(
    drivers: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables_written.nb201(tmp_path / "tables")
    words = ["--problems", "flops", "c10", "--methods", "random", "nsga2,budget.population=10", "nsga2"]
    words += ["--seeds", "2", "--evaluations", "60"]
    monkeypatch.setattr("sys.argv", ["tables.py", str(tmp_path / "tables"), str(tmp_path / "out"), *words])
    drivers["tables"].main()
    text = (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    assert "## flops: test_error, flops" in text and "| nsga2,budget.population=10 |" in text
    assert "nsga2's median at 60" in text and "optimum 92.0000" in text
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert len(results) == 2 * 3 * 2
    assert {each["asked"] for each in results} == {60}
    assert all(list(each["curve"])[-1] == "60" for each in results)
    for name in ("flops", "flops-attained", "c10"):
        assert (tmp_path / "out" / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
