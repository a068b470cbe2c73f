"""A disk that is full for a while costs no search, no checkpoint and no report (R8)."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from evonas import files, weights
from evonas.archive import Archive
from evonas.errors import EngineError
from evonas.evaluate.engine import Part
from evonas.evaluate.inline import InlineEngine
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.generational import search
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "analytic"}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def searched(path: Path, evaluations: int = 48) -> str:
    """The dump of a search that begins or goes on there."""
    searcher = NSGA2(SPACE, seed=1, population=12, evaluations=evaluations)
    with Archive.open(path, {"seed": 1, **PRINTS}, resume=True) as archive:
        engine = InlineEngine(lambda: AnalyticEvaluator(SPACE, tuple(PARTS)))
        search(searcher, engine, archive, SPACE, PARTS, PRINTS)
        return archive.dump()


@pytest.mark.parametrize("room", [64_000, 90_000, 130_000])
def test_a_search_goes_on_when_there_is_room_again(tmp_path: Path, room: int) -> None:
    path = tmp_path / "archive.sqlite"
    with (
        room_for(room),
        pytest.raises(EngineError, match=r"archive\.sqlite cannot be used: .*MiB free") as told,
    ):
        searched(path)
    assert "resume=true" in told.value.hint
    with Archive.read(path) as archive:
        kept = archive.dump()
    straight = searched(tmp_path / "straight.sqlite")
    assert 0 < kept.count("\n") < straight.count("\n")
    assert searched(path) == straight
    # what was kept is the beginning of what came to be
    assert straight.startswith(kept)


def test_a_checkpoint_that_finds_no_room_keeps_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights.save(path, {"w": torch.ones(8)})
    before = sorted(entry.name for entry in tmp_path.iterdir())
    with room_for(50_000), pytest.raises(OSError, match="File too large"):
        weights.save(path, {"w": torch.zeros(100_000)})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before
    assert torch.equal(weights.load(path)["w"], torch.ones(8))
    weights.save(path, {"w": torch.zeros(100_000)})
    assert torch.equal(weights.load(path)["w"], torch.zeros(100_000))


def test_a_report_that_finds_no_room_keeps_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "report" / "index.html"
    files.write_text(page, "the page before")
    with room_for(1_000), pytest.raises(OSError, match="File too large"):
        files.write_text(page, "x" * 100_000)
    assert page.read_text() == "the page before"
    assert [entry.name for entry in page.parent.iterdir()] == ["index.html"]
