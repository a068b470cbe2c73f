"""A long search says at a terminal, once, how to stop and go on; the time that is left is told steadily."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from evonas.archive import Archive
from evonas.search.base import Observation
from evonas.search.loop.generational import Generation
from evonas.space.genotype import Genotype
from evonas.stages.search import announcement_limit
from evonas.stages.searching import progress as search_progress
from evonas.stages.searching.progress import SearchProgress
from evonas.track.base import GuardedTracker, Silent
from evonas.track.progress import Pace, Progress


def said(folder: Path, long_after: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed of a search of 100 points, ten an hour."""
    hours = iter(range(100))
    monkeypatch.setattr(search_progress, "time", SimpleNamespace(monotonic=lambda: 3600.0 * next(hours)))
    out = io.StringIO()
    told = tuple(Observation(Genotype("toy", (gene,)), (1.0 + gene, 2.0 - gene)) for gene in range(10))
    with Archive.open(folder / "archive.sqlite", {}, resume=False) as archive:
        tracker, progress = GuardedTracker(Silent(folder, "r", "search")), Progress("search", 100, stream=out)
        resume = "python -m evonas stage=search run=r resume=true"
        watch = SearchProgress(archive, ["error", "macs"], 1, 100, progress, tracker, long_after, resume)
        for number in (1, 2, 3):
            for _ in range(10):
                watch._count(1)
            watch.generation(Generation(number, told, 10 * number, 0, 10))
        tracker.close()
    return [line for line in out.getvalue().splitlines() if "Ctrl-C" in line]


def test_it_is_said_once_and_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = said(tmp_path, 3600.0, monkeypatch)
    assert line.startswith("about ") and line.endswith(
        "go on with: python -m evonas stage=search run=r resume=true"
    )


def test_a_short_search_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(tmp_path, 1e9, monkeypatch) == []


@pytest.mark.parametrize(("attended", "seconds"), [(True, 7200.0), (False, float("inf"))])
def test_only_whoever_sits_there_is_told(
    attended: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: attended))
    assert announcement_limit(OmegaConf.create({"notice_after_hours": 2.0})) == seconds
    monkeypatch.setattr("sys.stdin", None)
    assert announcement_limit(OmegaConf.create({"notice_after_hours": 2.0})) == float("inf")


@pytest.mark.parametrize("seed", range(5))
def test_the_time_that_is_left_is_steady(seed: int) -> None:
    """After a quarter of the work, what was foretold and what had passed stay within a fifth of the truth."""
    took = np.random.default_rng(seed).lognormal(0.0, 0.3, 400)
    pace, now, total = Pace(0.0), 0.0, float(took.sum())
    for done, seconds in enumerate(took, start=1):
        now += seconds
        pace.add(now, done)
        left = pace.remaining(400 - done)
        assert left is not None
        if done >= 100:
            assert abs(now + left - total) < 0.2 * total
