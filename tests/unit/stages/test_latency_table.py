"""stage=latency_table on a tiny network, and the objective that reads its table."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_run
from omegaconf import OmegaConf

from evonas import files
from evonas.config import to_plain
from evonas.errors import DataError, DisturbedError, UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency import benchmark
from evonas.objectives.latency.benchmark import Plan, Timing, measure
from evonas.objectives.latency.lookup_table import LatencyTable, load
from evonas.objectives.latency.predicted import LookupLatency
from evonas.objectives.latency.reference_timing import TimedRunner
from evonas.run import Run
from evonas.schema import Budget
from evonas.stages.build.setup import LATENCY_TABLE, Setup
from evonas.stages.latency_table import BuildLatencyTable
from evonas.stages.report import Report
from evonas.stages.search import Search
from evonas.stages.select import Select


def bench(cfg: Any) -> EvaluationContext:
    return EvaluationContext(to_plain(cfg.space), to_plain(cfg.network), to_plain(cfg.task), path="")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = small_run.context(tmp_path_factory.mktemp("run"))
    # few choices, so that a handful of blocks is timed
    made.cfg.space.update({"mlp_ratio": [1, 4], "d_state": [16], "expand": [1, 4]})
    path = Path(BuildLatencyTable(fit=6, held_out=6, seconds=0.02).run(made))
    assert path == made.run.directory / LATENCY_TABLE
    return path


def test_table_says_what_it_is_of(built: Path) -> None:
    table = load(built)
    assert set(table.entries) >= {"stage1/m=1/s=16/e=4", "stage4/m=4"}
    assert len(table.entries) == 3 * 4 + 2
    assert all(value > 0 for value in (*table.entries.values(), table.fixed))
    assert table.about["machine"]["name"]
    assert set(table.held_out) == {"table", "predictor"}
    assert table.held_out["table"].subnets == 6


def test_objective_tells_value_and_error(built: Path) -> None:
    made = small_run.config()
    made.space.update({"mlp_ratio": [1, 4], "d_state": [16], "expand": [1, 4]})
    objective = LookupLatency(str(built), name="latency_phone")
    where = bench(made)
    objective.prepare(where)
    small, extra = objective.measure(where.space.smallest())
    large, _ = objective.measure(where.space.largest())
    assert 0 < small < large
    assert extra["latency_phone_source"]["mean_error"] == load(built).held_out["table"].mean_error
    assert objective.identity(where)["table"] == files.sha256(built)
    assert objective.identity(where) != LookupLatency(str(built), kind="predictor").identity(where)


def test_its_error_is_told_wherever_its_numbers_are(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # two machines at once: two tables with names of their own, here in fact the same
    two = {
        name: {
            "_target_": "evonas.objectives.latency.predicted.LookupLatency",
            "table": str(built),
            "name": name,
        }
        for name in ("phone", "board")
    }
    made = small_run.context(
        tmp_path,
        objective={"error": {"_target_": "evonas.objectives.error.Error"}, **two},
        budget=OmegaConf.structured(Budget(4, 8)),
        search={"_target_": "evonas.search.baselines.random.RandomSearch", "population": 4, "evaluations": 8},
        tracker={"_target_": "evonas.track.base.Silent"},
        select={"rules": ["knee", "phone<=1000&board<=1000"], "include_max": False, "genotypes": {}},
    )
    made.cfg.space.update({"mlp_ratio": [1, 4], "d_state": [16], "expand": [1, 4]})
    made.cfg.hardware.workers = 0
    small_run.train(made)
    line = load(built).held_out["table"].line
    for stage in (Search, Select):
        stage().run(made)
        said = "".join(capsys.readouterr().out.split())
        for name in two:
            assert "".join(f"{name} is predicted: table of".split()) in said
            assert "".join(line.split()) in said
    page = Path(Report().run(made).removeprefix("Report: ")).read_text()
    assert page.count(line) == 2
    assert "phone (ms)" in page


def test_a_table_of_another_space_is_refused(built: Path) -> None:
    with pytest.raises(DataError, match="another space"):
        LookupLatency(str(built)).prepare(bench(small_run.config()))


def test_missing_tables_name_their_command(tmp_path: Path) -> None:
    wanted = {"fast": {"_target_": "evonas.objectives.latency.predicted.LookupLatency", "table": None}}
    with pytest.raises(UserError, match="lookup") as caught:
        Setup(OmegaConf.create({"objective": wanted})).objectives(Run(tmp_path, "synthetic"))
    assert "stage=latency_table" in caught.value.hint
    with pytest.raises(UserError, match="no table"):
        LookupLatency()
    with pytest.raises(UserError, match="kind=guess is unknown"):
        LookupLatency("x", kind="guess")
    with pytest.raises(DataError, match="no latency table"):
        LookupLatency(str(tmp_path / "x")).identity(bench(small_run.config()))


def test_the_run_s_own_table_is_found(built: Path) -> None:
    run = Run(built.parent.parent, "synthetic")
    wanted = {
        "fast": {"_target_": "evonas.objectives.latency.predicted.LookupLatency", "table": None},
        "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
    }
    objectives = Setup(OmegaConf.create({"objective": wanted})).objectives(run)
    assert objectives["fast"]["table"] == str(built)
    assert objectives["macs"] == wanted["macs"]


def test_a_table_cannot_be_made_of_nothing() -> None:
    with pytest.raises(UserError, match="fit=2"):
        BuildLatencyTable(fit=2)


def test_a_doubtful_timing_is_repeated_and_left_to_the_other_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other programs interrupt every run of some timings, as the scheduler would tell it."""
    interrupted = range(0)
    timed = 0
    real: Timing

    def told(take: TimedRunner, plan: Plan) -> Timing:
        nonlocal timed, real
        timed += 1
        if timed in interrupted:
            # what is no measurement needs none
            return replace(real, times=tuple(time + 1e-6 * timed for time in real.times), disturbed=real.runs)
        # the computer that runs the test may be busy itself
        real = measure(take, plan)
        real = replace(real, times=(real.median,) * real.runs, disturbed=0)
        return real

    monkeypatch.setattr(benchmark, "measure", told)

    def build(name: str) -> LatencyTable:
        nonlocal timed
        timed = 0
        made = small_run.context(tmp_path / name / "run")
        made.cfg.space.update({"mlp_ratio": [1], "d_state": [16], "expand": [1, 4]})
        return load(Path(BuildLatencyTable(fit=5, held_out=5, seconds=0.02).run(made)))

    calm = build("calm")
    total = timed
    # the first two are those of the references; the third is doubtful in the first round, all three times
    interrupted = range(3, 6)
    table = build("one")
    assert timed == total + 2
    assert set(table.entries) == set(calm.entries)
    assert all(0 < value < float("inf") for value in (*table.entries.values(), table.fixed))
    count = len(table.entries) + 1 + 10
    assert calm.about["doubtful"] == table.about["doubtful"] == [0, count]
    # where no round has a measurement, the table says so wherever its numbers are
    interrupted = range(3, 10**6)
    with caplog.at_level(logging.WARNING):
        table = build("all")
    assert table.about["doubtful"] == [count, count]
    assert f"{count} of {count} latencies are doubtful" in caplog.text
    objective = LookupLatency(str(tmp_path / "all/run" / LATENCY_TABLE))
    assert objective.source.endswith(f", {count} of {count} timings doubtful")
    # without a reference there is no time at all
    interrupted = range(10**6)
    with pytest.raises(DisturbedError, match="latency was measured 3 times, and other programs interrupted"):
        build("none")
