"""Neither the order of answers nor a wall clock that jumps changes a search (R11, R16)."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evonas.archive import Archive
from evonas.evaluate.engine import Job, Outcome, Part
from evonas.evaluate.inline import InlineEngine
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.randomness import generator
from evonas.search.baselines.local import LocalSearch
from evonas.search.baselines.random import RandomSearch
from evonas.search.diffusion.ednag import EDNAG
from evonas.search.diffusion.fitness import FrontFitness
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.evolution.nsga3 import NSGA3
from evonas.search.evolution.regularized import RegularizedEvolution
from evonas.search.loop.generational import search
from evonas.stages.searching.progress import SearchProgress
from evonas.supernets.evonet.space import evonet_space
from evonas.track.base import GuardedTracker, Silent
from evonas.track.progress import Progress

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "analytic"}
SEARCHERS: dict[str, Callable[..., Any]] = {
    "random": RandomSearch,
    "nsga2": NSGA2,
    "nsga3": NSGA3,
    "regularized": partial(RegularizedEvolution, batch=6),
    "local": LocalSearch,
    "ednag": partial(EDNAG, fitness=FrontFitness(), steps=8),
}


class Scrambled(InlineEngine):
    """Answers in an order of its own."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        found = list(super().run(jobs))
        for place in generator(len(found), "scrambled").permutation(len(found)):
            yield found[place]


def searched(path: Path, make: Callable[..., Any], engine: type[InlineEngine], **listeners: Any) -> str:
    searcher = make(SPACE, seed=2, population=12, evaluations=48)
    with Archive.open(path, {"seed": 2, **PRINTS}, resume=False) as archive:
        measuring = engine(lambda: AnalyticEvaluator(SPACE, tuple(PARTS)))
        made = {name: listener(archive) for name, listener in listeners.items()}
        search(searcher, measuring, archive, SPACE, PARTS, PRINTS, **made)
        return archive.dump()


@pytest.mark.parametrize("name", SEARCHERS)
def test_the_order_of_answers_does_not_matter(name: str, tmp_path: Path) -> None:
    in_order = searched(tmp_path / "a.sqlite", SEARCHERS[name], InlineEngine)
    scrambled = searched(tmp_path / "b.sqlite", SEARCHERS[name], Scrambled)
    assert in_order == scrambled
    assert in_order.count("\n") >= 40


def test_a_wall_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = searched(tmp_path / "a.sqlite", NSGA2, InlineEngine)
    said, clock = StringIO(), time.time
    jumps = iter(np.resize([86_400.0, -86_400.0], 10_000))
    monkeypatch.setattr(time, "time", lambda: clock() + next(jumps))

    def watch(archive: Archive) -> Callable[..., None]:
        progress = Progress("search", 48, unit="measurement", stream=said)
        tracker = GuardedTracker(Silent(tmp_path, "run", "search"))
        return SearchProgress(archive, list(PARTS), 1, 48, progress, tracker).generation

    assert searched(tmp_path / "b.sqlite", NSGA2, InlineEngine, on_generation=watch) == straight
    told = [line for line in said.getvalue().splitlines() if line.startswith("generation")]
    assert len(told) == 4
    # a day that never was must not be part of what is left, nor may anything be negative
    assert told[-1].endswith("done")
    assert all(line.endswith("s left") and " h " not in line and ", -" not in line for line in told[:-1])
