"""Evolution of FasterSeg's matrices: what children have of their parents, and what it finds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Observation
from evonas.search.evolution.matrices import MatrixEvolution
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.fasterseg.matrix_encoding import FasterSegMatrices
from evonas.supernets.fasterseg.space import fasterseg_space

SASWOT = fasterseg_space("saswot", widths=[4], shared=3)
ENCODING = FasterSegMatrices()


class Recorded(FasterSegMatrices):
    """Remembers all matrices that became networks."""

    def __init__(self) -> None:
        self.said: dict[Genotype, Any] = {}

    def decode(self, space: Space, groups: Any) -> Genotype | None:
        found = super().decode(space, groups)
        if found is not None:
            self.said[found] = groups
        return found


def cells(genotype: Genotype) -> float:
    """How many cells a network has, in both branches."""
    return float(sum(map(len, SASWOT.branches(genotype.genes).branches)))


def play(searcher: MatrixEvolution, score: Callable[[Genotype], float]) -> list[list[Genotype]]:
    batches = []
    while asked := searcher.ask():
        batches.append(asked)
        searcher.tell([Observation(point, (score(point),)) for point in asked])
    return batches


def equal(mine: Any, theirs: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_all_networks_are_new_ones_of_the_space() -> None:
    batches = play(MatrixEvolution(SASWOT, 0, 12, 48, ENCODING), cells)
    asked = [point for batch in batches for point in batch]
    assert [len(batch) for batch in batches] == [12] * 4 and len(set(asked)) == 48
    assert all(SASWOT.contains(point) for point in asked)
    assert all(SASWOT.branches(point.genes).shared == 3 for point in asked)


def test_a_crossover_has_alpha_of_one_parent_and_beta_of_another() -> None:
    recorded = Recorded()
    searcher = MatrixEvolution(SASWOT, 0, 12, 36, recorded, keep=4, mutants=0.0, crossovers=0.5)
    first, second, _ = play(searcher, cells)
    known = [recorded.said[point] for point in first]
    children = [recorded.said[point] for point in second]
    crossed = [
        (
            [at for at, parent in enumerate(known) if equal(parent["alpha"], child["alpha"])],
            [at for at, parent in enumerate(known) if equal(parent["beta"], child["beta"])],
        )
        for child in children
    ]
    pairs = [(one[0], other[0]) for one, other in crossed if one and other]
    assert pairs and all(one != other for one, other in pairs)
    # the four with the fewest cells
    best = set(np.argsort([cells(point) for point in first], kind="stable")[:4].tolist())
    assert {at for pair in pairs for at in pair} <= best
    # the others are random
    assert sum(not one and not other for one, other in crossed) == 12 - len(pairs)


def test_a_mutant_has_new_rows_in_one_matrix() -> None:
    recorded = Recorded()
    searcher = MatrixEvolution(SASWOT, 0, 8, 16, recorded, keep=1, mutants=1.0, crossovers=0.0, row_prob=0.05)
    first, second = play(searcher, cells)
    parent = recorded.said[min(first, key=cells)]
    changes = []
    for point in second:
        child = recorded.said[point]
        changed = {
            group: sum(
                int((old != new).any(1).sum()) for old, new in zip(parent[group], child[group], strict=True)
            )
            for group in parent
        }
        if min(changed.values()) == 0:
            changes.append(max(changed.values()))
    assert len(changes) >= 4 and min(changes) >= 1 and max(changes) < 15


def test_evolution_finds_shorter_networks_than_random_matrices() -> None:
    """With 16 cells at least; random matrices have about 24."""
    found = {}
    for share in (0.4, 0.0):
        searcher = MatrixEvolution(SASWOT, 1, 20, 120, ENCODING, 5, share, share)
        found[share] = min(cells(point) for batch in play(searcher, cells) for point in batch)
    assert found[0.4] < found[0.0]


@pytest.mark.parametrize(
    "options", [{}, {"branches": [32, 8]}, {"operators": ["conv", "zoom2"], "widths": [6]}], ids=str
)
def test_matrices_say_networks_of_each_space_of_sixteen_layers(options: dict[str, Any]) -> None:
    space = fasterseg_space("try", **options)
    rng = np.random.default_rng(0)
    drawn = [ENCODING.draw(space, rng) for _ in range(20)]
    assert all(("ratio" in each) == (options.get("widths") != [4]) for each in drawn)
    found = [ENCODING.decode(space, each) for each in drawn]
    # of random matrices nearly all are networks
    assert sum(each is not None and space.contains(each) for each in found) > 15


def test_other_spaces_have_no_matrices() -> None:
    with pytest.raises(UserError, match=r"16 layers.*space nine has 9 layers") as caught:
        MatrixEvolution(fasterseg_space("nine", layers=9), 0, 4, 8, ENCODING).ask()
    assert "search=saswot" in caught.value.hint


def test_shares_are_shares() -> None:
    with pytest.raises(UserError, match=r"at most 1 together, got 0\.7 and 0\.6"):
        MatrixEvolution(SASWOT, 0, 4, 8, mutants=0.7, crossovers=0.6)
    with pytest.raises(UserError, match=r"row_prob must be in \[0, 1\], got 2"):
        MatrixEvolution(SASWOT, 0, 4, 8, row_prob=2)
    with pytest.raises(UserError, match=r"search\.keep must be at least 1, got 0"):
        MatrixEvolution(SASWOT, 0, 4, 8, keep=0)
    with pytest.raises(UserError, match="objective"):
        MatrixEvolution(SASWOT, 0, 4, 8, compete=["zero_cost"], objectives=["error"])
