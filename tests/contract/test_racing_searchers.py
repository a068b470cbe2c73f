"""Every searcher under racing: failures and estimates are never part of what it found."""

from pathlib import Path

import pytest
from sampled import Sampled
from test_searchers import SEARCHERS, Make

from evonas.archive import Archive
from evonas.evaluate.inline import InlineEngine
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.search.base import Observation
from evonas.search.loop.generational import search
from evonas.search.loop.racing import Racing


def raced(path: Path, make: Make, seed: int) -> list[Observation]:
    """Everything told, with failures on rungs and on all images."""
    evaluator = Sampled(num_images=64, noise=0.02, spoilt=(8, None))
    evaluator.setup()
    parts = {objective.name: objective.part for objective in evaluator.objectives}
    prints = {"shared": evaluator.fingerprint("shared")}
    racing = Racing()
    about = {"objectives": list(parts), "fingerprints": prints, **racing.prepare(evaluator)}
    told: list[Observation] = []
    with Archive.open(path, about, resume=True) as archive:
        search(
            make(evaluator.space, seed, 12, 48),
            InlineEngine(evaluator),
            archive,
            evaluator.space,
            parts,
            prints,  # type: ignore[arg-type]
            lambda generation: told.extend(generation.told),
            fidelity=racing,
        )
    return told


@pytest.mark.parametrize("make", SEARCHERS.values(), ids=SEARCHERS)
def test_only_full_facts_are_found_and_replay_is_exact(tmp_path: Path, make: Make) -> None:
    evaluator = Sampled(num_images=64, noise=0.02)
    evaluator.setup()
    told = raced(tmp_path / "a", make, 3)
    facts = read(tmp_path / "a")
    full = {evaluator.space.format(each.genotype) for each in told if each.objectives and not each.estimated}
    assert set(facts.genotypes) == full and 0 < len(full) < len(told) == 48
    for row in front(facts.values):
        assert not evaluator.is_spoilt(evaluator.space.parse(facts.genotypes[row]))
        assert facts.values[row, 0] == evaluator.errors(evaluator.space.parse(facts.genotypes[row])).mean()
    assert raced(tmp_path / "a", make, 3) == told
