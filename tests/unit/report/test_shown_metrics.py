"""Every surface shows the task's metric with its direction, and machines keep the error."""

import io
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_made import command

from evonas.archive import Archive, Evaluation
from evonas.errors import UserError
from evonas.report.analysis.comparison import compared
from evonas.report.analysis.gene_importance import Importance
from evonas.report.archive_reader import read
from evonas.report.charts import plots
from evonas.report.charts.front_slider import front_slider
from evonas.report.page import tables
from evonas.report.page.analysis_sections import _bars
from evonas.report.page.html import render
from evonas.report.page.sources import Sources
from evonas.report.results import SearchResults, front_summary
from evonas.report.selection.rules import choose
from evonas.search.base import Observation
from evonas.search.loop.generational import Generation
from evonas.space.genotype import Genotype
from evonas.stages import compare, evaluate, select, show
from evonas.stages import list as listing
from evonas.stages.networks.model_card import _split
from evonas.stages.searching.artifacts import search_tables
from evonas.stages.searching.progress import SearchProgress
from evonas.track.base import GuardedTracker, Silent
from evonas.track.progress import Progress

ERRORS = [0.4, 0.5, 0.6, 0.7]
MACS = [4.0, 3.0, 2.0, 1.0]


def segmented() -> SearchResults:
    """A search that minimised 1 - mIoU, as archives hold it."""
    recorded = [{"one_minus_miou": error, "miou": 1 - error, "pixel_accuracy": 0.9} for error in ERRORS]
    return SearchResults(
        ("error", "macs"),
        tuple("abcd"),
        np.stack([ERRORS, MACS], axis=1),
        units={"error": "", "macs": "GMAC"},
        reference=(0.8, 5.0),
        extras=[{"metrics": metrics} for metrics in recorded],
        identity={"task": "camvid"},
    )


def views() -> SearchResults:
    """A search for view synthesis: PSNR is recorded beside the RMSE and does not follow from it."""
    pairs = [(0.1, 20.6), (0.2, 14.1)]
    extras = [{"metrics": {"rmse": rmse, "psnr": psnr, "ssim": 0.5}} for rmse, psnr in pairs]
    values = np.array([[0.1, 2.0], [0.2, 1.0]])
    return SearchResults(("error", "macs"), ("a", "b"), values, extras=extras)


def test_an_archive_names_the_metric_by_what_it_recorded() -> None:
    found = segmented()
    assert [metric.name for metric in found.metrics] == ["mIoU", "macs"]
    assert found.shown[:, 0].tolist() == [1 - error for error in ERRORS]
    assert found.values[:, 0].tolist() == ERRORS
    assert views().shown[:, 0].tolist() == [20.6, 14.1]


def test_an_archive_of_the_first_release_is_shown_so_too() -> None:
    golden = Path(__file__).parents[2] / "golden/first_release/outputs"
    assert read(golden / "small/search/archive.sqlite").metrics[0].name == "AbsRel"
    # a table names its own columns
    assert read(golden / "table/search/archive.sqlite").metrics[0].name == "error"


def test_the_tasks_of_a_multi_task_search_are_told_apart() -> None:
    extras = [{"metrics_depth": {"abs_rel": 0.1}, "metrics_seg": {"one_minus_miou": 0.4, "miou": 0.6}}]
    found = SearchResults(("error_depth", "error_seg"), ("a",), np.array([[0.1, 0.4]]), extras=extras)
    assert found.readings(0) == {"AbsRel_depth": 0.1, "mIoU_seg": 0.6}
    assert found.column("mIoU_seg") == found.column("error_seg") == 1


def test_the_line_of_a_generation() -> None:
    assert "best mIoU 0.6, best macs (GMAC) 1" in front_summary(segmented())


def test_charts_state_metric_and_direction() -> None:
    found = segmented()
    [figure] = plots.fronts(found, [])
    assert "mIoU, higher is better" in figure.svg and "macs (GMAC), lower is better" in figure.svg
    assert "macs 4, mIoU 0.6<" in figure.svg and "error" not in figure.svg
    assert figure.caption == "mIoU against macs; upper left is better."
    parallel = plots.parallel(found, [])
    assert parallel is not None and "mIoU 0.6 to 0.3" in parallel.caption
    slider = front_slider(found)
    assert slider is not None and "upper left" in slider.figures[0].caption
    curve = plots.hypervolume_curve(found)
    assert curve is not None and "mIoU 0.2" in curve.caption


def test_the_panel_and_the_ranking_check() -> None:
    row = {"name": "max", "metrics": {"one_minus_miou": 0.4, "miou": 0.6}}
    panel = {"error_name": "one_minus_miou", "steps": [{"name": "one", "panel": [row]}]}
    figure, _ = plots.panel_curves(panel)
    assert "validation mIoU, higher is better" in figure.svg and "max after one: 0.6" in figure.svg


def test_the_page_shows_no_error() -> None:
    nets = [{"name": "knee", "genotype": "b", "objectives": {"error": 0.5, "macs": 3.0}}]
    selected = {"error_name": "one_minus_miou", "nets": nets}
    metrics = {"one_minus_miou": 0.3, "miou": 0.7, "pixel_accuracy": 0.8}
    test = {
        "error_name": "one_minus_miou",
        "num_images": 3,
        "baseline": {"name": "always sky", "metrics": metrics},
        "nets": [],
        "teacher": None,
        "pictures": [],
    }
    retrained = {"knee": {"genotype": "b", "inherited": metrics, "retrained": metrics}}
    sources = Sources(
        "demo", "camvid", command, segmented(), selected=selected, retrained=retrained, test=test
    )
    page = render(sources)
    assert "Objectives: mIoU (higher is better), macs (GMAC) (lower is better)." in page
    assert "<dt>best mIoU</dt><dd>0.6</dd>" in page and "best mIoU ↑" in page
    assert "mIoU ↑, retrained" in page and "pixel accuracy ↑" in page
    assert "one_minus" not in page


def test_importance_is_of_the_metric() -> None:
    found = Importance(segmented().metrics[0], (3, 1), 0.9, {"d1": (0.5, 0.1)}, {"d1": 0.8})
    figure = _bars(found)
    assert "decrease of R2 of mIoU" in figure.svg and "+" in figure.svg


def test_rules_take_either_name() -> None:
    found = segmented()
    for rule, row in {
        "best:error": 0,
        "best:mIoU": 0,
        "best:miou": 0,
        "error<=0.5": 0,
        "mIoU>=0.45&macs<=3": 1,
        "macs<=2.5": 2,
    }.items():
        [choice] = choose(found, [rule])
        assert choice.row == row, rule
    assert choose(found, ["mIoU>=0.45"])[0].reason == "the best mIoU with mIoU>=0.45"
    assert choose(found, ["asf:mIoU=0.5,macs=3"])[0].row == choose(found, ["asf:error=0.5,macs=3"])[0].row
    assert choose(views(), ["PSNR>=20"])[0].row == 0


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("mIoU<=0.5", "higher is better"),
        ("macs>=2", "lower is better"),
        ("mIoU>=0.9", "the largest mIoU found is 0.6"),
        ("asf:mIoU=1.5", "between 0 and 1, got mIoU=1.5"),
        ("best:mAP", "no objective 'mAP'"),
    ],
)
def test_limits_on_the_wrong_side_are_refused(rule: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose(segmented(), [rule])


def test_compare_prints_metrics_and_keeps_errors(capsys: pytest.CaptureFixture[str]) -> None:
    found = compared({"one": segmented(), "two": segmented()})
    compare._show(found, {}, {})
    out = " ".join(capsys.readouterr().out.split())
    assert "best mIoU" in out and "best mIoU within a cost (higher is better)" in out and "error" not in out
    [side, _] = compare.as_json(found, {})["runs"]
    assert side["best"]["error"] == 0.4 and side["best_metrics"]["mIoU"] == 0.6


class Kept(Silent):
    """A tracker that keeps what it is told."""

    values: dict[str, float]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        self.values = dict(values)


def test_a_running_search_and_its_points(tmp_path: Path) -> None:
    found, out = segmented(), io.StringIO()
    about = {"objectives": list(found.names), "fingerprints": {"shared": "f"}, "task": "camvid"}
    told = []
    with Archive.open(tmp_path / "archive.sqlite", about, resume=False) as archive:
        for row, text in enumerate(found.genotypes):
            fact = Evaluation(row, "f", text, "shared", "done", found.objectives(row), found.extras[row])
            archive.record(fact)
            told.append(Observation(Genotype("toy", (row,)), tuple(found.values[row].tolist())))
        kept = Kept(tmp_path, "r", "search")
        tracker, progress = GuardedTracker(kept), Progress("search", 8, stream=out)
        text_of = lambda genotype: "abcd"[genotype.genes[0]]  # noqa: E731
        watch = SearchProgress(archive, found.names, 1, 8, progress, tracker, text_of=text_of)
        watch.generation(Generation(1, tuple(told), 4, 0, 4))
        tracker.close()
        fact = archive.lookup("f", "b")
        assert fact is not None
        assert next(show._fact(fact, None, found)) == "  mIoU 0.5 (error 0.5)"
    assert "best mIoU 0.6, best macs 1" in out.getvalue()
    assert kept.values["best/error"] == 0.4 and kept.values["best/mIoU"] == 0.6


def test_list_has_the_best_metric(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "read", lambda _: segmented())
    found = listing._search_results(Path(__file__))
    assert found[0] == 4 and found[2:] == ("mIoU", 0.6)
    row = listing.Row("r", "camvid", "search", "done", *found, None, 1.0, 1.0)
    monkeypatch.setattr(listing, "listed", lambda _: iter([row]))
    context: Any = SimpleNamespace(cfg=SimpleNamespace(outputs="outputs"))
    listing.List().run(context)
    assert "mIoU 0.6" in " ".join(capsys.readouterr().out.split())


def test_select_and_evaluate_print_the_metric(capsys: pytest.CaptureFixture[str]) -> None:
    net = {"name": "knee", "genotype": "b", "objectives": {"error": 0.5, "macs": 3.0}, "reason": "knee"}
    select._show([net], segmented())
    out = capsys.readouterr().out
    assert "mIoU" in out and "macs (GMAC)" in out and "error" not in out
    metrics = {"one_minus_miou": 0.25, "miou": 0.75}
    test: dict[str, Any] = {
        "error_name": "one_minus_miou",
        "num_images": 9,
        "baseline": {"name": "always sky", "metrics": metrics},
        "teacher": None,
        "baselines": [],
        "nets": [],
    }
    evaluate._show(test)
    out = " ".join(capsys.readouterr().out.split())
    assert "mIoU on the test split, 9 images; higher is better" in out and "0.7500" in out
    assert [*tables.tested(test, {})[0].columns] == ["network", "parameters", "MACs", "mIoU ↑"]


def test_the_model_card() -> None:
    text = _split("test", "one_minus_miou", {"one_minus_miou": 0.25, "miou": 0.75})
    assert "| mIoU, higher is better | 0.75 |" in text and "one_minus" not in text


def test_trackers_gain_the_metric_and_keep_the_error() -> None:
    table, *_ = search_tables(segmented())
    assert table.columns == ["genotype", "error", "macs", "mIoU"]
    assert table.rows[0] == ["a", 0.4, 4.0, 0.6]
    assert table.charts[0].y == "mIoU"
