"""A search of the published size: 96 points times 200 generations is replayed, read and shown (R20)."""

import resource
import time
from pathlib import Path

import pytest

from evonas.archive import Archive
from evonas.evaluate.engine import Part
from evonas.evaluate.inline import InlineEngine
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.generational import Generation, search
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "analytic"}
POPULATION, EVALUATIONS = 96, 19_200
IDENTITY = {"objectives": list(PARTS), "fingerprints": PRINTS}


def searched(path: Path) -> tuple[str, int]:
    """The digest, and how many points had to be measured."""
    last: list[Generation] = []
    searcher = NSGA2(SPACE, seed=1, population=POPULATION, evaluations=EVALUATIONS)
    with Archive.open(path, IDENTITY, resume=True) as archive:
        engine = InlineEngine(lambda: AnalyticEvaluator(SPACE, tuple(PARTS)))
        search(searcher, engine, archive, SPACE, PARTS, PRINTS, last.append)
        return archive.digest(), last[-1].measured


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_of_the_published_size(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    digest, measured = searched(path)
    assert measured == EVALUATIONS
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    assert searched(path) == (digest, 0)
    replayed = time.process_time()
    facts = read(path)
    assert len(facts.values) == EVALUATIONS
    assert len(front(facts.values)) > 20
    # processor time, which other programs do not change much: some 20 s and 2 s here
    assert replayed - began < 60
    assert time.process_time() - replayed < 10
    # in KB: replaying and reading add little to a process that has searched
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert path.stat().st_size < 12_000_000
