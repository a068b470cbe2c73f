"""The fronts that searchers find on a fixed problem, written down.

Objectives are integer sums, so no rounding is involved, and the generators of NumPy are the
same everywhere. The baselines were taken with CPython 3.11, NumPy 2 and pymoo 0.6.2 on Linux
x86-64. Another pymoo may draw in another order, so the exact test needs 0.6.2; a change of the
baseline with the same pymoo means that searches of users no longer replay, and is a breaking change.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from evonas.search.base import Searcher, Told
from evonas.search.nsga import NSGA2
from evonas.search.random import RandomSearch
from evonas.space.evonet import evonet_space
from evonas.space.genotype import Genotype

SPACE = evonet_space()
BASELINES = json.loads((Path(__file__).parent / "fronts.json").read_text(encoding="utf-8"))
SEARCHERS: dict[str, Searcher] = {
    "random": RandomSearch(SPACE, seed=1, population=24, evaluations=240),
    "nsga2": NSGA2(SPACE, seed=1, population=24, evaluations=240),
    "nsga2_paper": NSGA2(SPACE, seed=1, population=24, evaluations=240, mutation_prob=0.1, changes=1.0),
}


def objectives(genotype: Genotype) -> tuple[float, float]:
    """A cost, and a distance from a target that costs more the nearer it is."""
    target = [index % 3 + 2 if index < 10 else 1 for index in range(28)]
    distance = sum((gene - wanted) ** 2 for gene, wanted in zip(genotype.genes, target, strict=True))
    return float(sum(genotype.genes)), float(distance)


def outcome(searcher: Searcher) -> dict[str, object]:
    """The front, and a digest of every question in order."""
    asked: list[Told] = []
    while batch := searcher.ask():
        told = [Told(point, objectives(point)) for point in batch]
        searcher.tell(told)
        asked += told
    values = sorted({told.objectives for told in asked if told.objectives is not None})
    front = [a for a in values if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in values)]
    text = "\n".join(SPACE.format(told.genotype) for told in asked)
    return {"front": [list(each) for each in front], "asked": hashlib.sha256(text.encode()).hexdigest()}


@pytest.mark.skipif(not version("pymoo").startswith("0.6.2"), reason="baselines were taken with pymoo 0.6.2")
@pytest.mark.parametrize("name", SEARCHERS)
def test_front_is_as_written_down(name: str) -> None:
    assert outcome(SEARCHERS[name]) == BASELINES[name]


def test_no_searcher_is_without_a_baseline(root: Path) -> None:
    assert (
        set(BASELINES) == set(SEARCHERS) == {path.stem for path in (root / "conf" / "search").glob("*.yaml")}
    )
