"""dry_run=true: estimates come true on small searches, and leave nothing behind."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_run
from misbehaving import Obedient
from omegaconf import OmegaConf

from evonas.archive import Archive
from evonas.errors import EngineError
from evonas.evaluate.engine import Engine
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.schema import Budget
from evonas.search.loop import search
from evonas.search.random import RandomSearch
from evonas.space.evonet import evonet_space
from evonas.stages.dryrun import Load, _part_wall, estimate
from evonas.stages.search import ARCHIVE, Search

ANALYTIC = {
    "_target_": "evonas.objectives.synthetic.AnalyticEvaluator",
    "space": {"_target_": "evonas.space.evonet.evonet_space"},
}
PARTS = {"error": "shared", "latency": "exclusive"}


# slow, because on a busy computer both times waver
@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "parts", "lanes"),
    [
        (InlineEngine, {"error": "shared"}, {"shared": 1}),
        (lambda spec: LocalEngine(spec, workers=2), {"error": "shared"}, {"shared": 2}),
        (lambda spec: LocalEngine(spec, workers=2), PARTS, {"shared": 2, "exclusive": 1}),
    ],
)
def test_estimate_comes_true_within_30_percent(
    tmp_path: Path, make: Callable[[Any], Engine], parts: dict[str, Any], lanes: dict[Any, int]
) -> None:
    space, load = evonet_space(), Load(60, 20, lanes)
    spec = {**ANALYTIC, "objectives": list(parts), "seconds": 0.06}
    engine = make(spec)
    found = estimate(engine, space, load)
    engine.close()
    engine = make(spec)
    with Archive.open(tmp_path / "archive.sqlite", {}, resume=False) as archive:
        began = time.monotonic()
        searcher = RandomSearch(space, seed=0, population=20, evaluations=60)
        search(searcher, engine, archive, space, parts, {"shared": "a", "exclusive": "b"})
        real = time.monotonic() - began
    engine.close()
    low, expected, high = found.wall_s
    assert low < expected < high
    assert expected == pytest.approx(real, rel=0.3)
    assert found.memory_mb is None or found.memory_mb > 10


def test_generations_wait_for_their_last_measurement() -> None:
    one = _part_wall(Load(100, 10, {}), 1, 1.0)
    four = _part_wall(Load(100, 10, {}), 4, 1.0)
    assert one == pytest.approx(100, rel=0.01)
    assert 25 < four < 33


def test_probes_that_all_fail_are_an_error() -> None:
    # Obedient knows no genotypes of a space
    engine = InlineEngine(Obedient())
    with pytest.raises(EngineError, match=r"No probe of the part shared .* AttributeError"):
        estimate(engine, evonet_space(), Load(10, 5, {"shared": 1}))


def test_stage_search_prints_it_and_makes_no_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = small_run.context(
        tmp_path,
        dry_run=True,
        budget=OmegaConf.structured(Budget(4, 8)),
        search={"_target_": "evonas.search.random.RandomSearch", "population": 4, "evaluations": 8},
        objective={"macs": {"_target_": "evonas.objectives.macs.Macs"}},
    )
    made.cfg.hardware.workers = 0
    small_run.train(made)
    assert "Nothing was kept" in Search().run(made)
    said = capsys.readouterr().out
    assert "8 points, 4 at a time" in said
    assert "shared: " in said
    assert "memory: " in said
    assert not (tmp_path / ARCHIVE).exists()
