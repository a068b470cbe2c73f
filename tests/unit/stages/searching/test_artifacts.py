"""What stages hand to a tracker that keeps more than numbers."""

from pathlib import Path

import pytest
import small_run
from omegaconf import OmegaConf

from evonas.report.archive_reader import read
from evonas.stages.report import Report
from evonas.stages.searching.artifacts import search_tables
from evonas.stages.select import Select

WANDB = {"_target_": "evonas.track.wandb.WandbTracker", "artifacts": ["genotypes", "report"]}


def test_a_search_becomes_a_table_with_panels(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    small_run.search(made)
    facts = read(made.run.need("search/archive.sqlite", made_by="search"))
    points, progress = search_tables(facts)
    assert list(points.columns) == ["genotype", *facts.names]
    assert [row[0] for row in points.rows] == list(facts.genotypes)
    assert [(chart.x, chart.y) for chart in points.charts] == [
        (each, facts.names[0]) for each in facts.names[1:]
    ]
    assert progress.rows[-1] == [len(facts.genotypes), pytest.approx(facts.hypervolume)]
    assert progress.charts[0].is_line


def test_choice_and_report_reach_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    made = small_run.context(tmp_path / "run")
    OmegaConf.set_struct(made.cfg, False)
    made.cfg.tracker = WANDB
    small_run.search(made)
    Select().run(made)
    Report().run(made)
    wandb.teardown()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.wandb"))
    for each in (b"run-genotypes", b"selected.json", b"run-report", b"index.html"):
        assert each in written
