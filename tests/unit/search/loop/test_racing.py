"""Racing: who leaves, what is told of it, and how many image evaluations that took."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sampled import Sampled

from evonas.archive import Archive
from evonas.errors import UserError
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.report.archive_reader import read
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.evaluation import Fidelity, Full
from evonas.search.loop.generational import Generation, search
from evonas.search.loop.paired_test import MAX_BLOCKS, PairedSample, condense
from evonas.search.loop.racing import META, Racing, image_evaluations, rung_sizes
from evonas.space.genotype import Genotype


def race(
    path: Path,
    evaluator: Sampled,
    fidelity: Fidelity | None = None,
    searcher: object = None,
    workers: int = 0,
    evaluations: int = 96,
) -> list[Observation]:
    """Everything told in a search whose archive is at `path`."""
    evaluator.setup()
    fidelity = fidelity or Racing()
    parts = {objective.name: objective.part for objective in evaluator.objectives}
    prints = {part: evaluator.fingerprint(part) for part in set(parts.values())}
    about = {"objectives": list(parts), "fingerprints": prints, "reference": [2.0] * len(parts)}
    about |= fidelity.prepare(evaluator)
    asking = searcher or NSGA2(evaluator.space, seed=1, population=16, evaluations=evaluations)
    engine = LocalEngine(evaluator, workers=workers) if workers else InlineEngine(evaluator)
    told: list[Observation] = []

    def note(generation: Generation) -> None:
        told.extend(generation.told)

    try:
        with Archive.open(path, about, resume=True) as archive:
            search(asking, engine, archive, evaluator.space, parts, prints, note, fidelity=fidelity)  # type: ignore[arg-type]
    finally:
        engine.close()
    return told


def dump(path: Path) -> str:
    with Archive.read(path) as archive:
        return archive.dump()


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def test_estimates_are_dominated_by_what_is_measured_in_full(tmp_path: Path) -> None:
    evaluator = Sampled(("error", "macs", "latency"))
    told = race(tmp_path / "a", evaluator)
    full = [each.objectives for each in told if not each.estimated]
    estimated = [each for each in told if each.estimated]
    assert len(estimated) > 20 and len(full) > 5
    for each in estimated:
        assert any(dominates(known, each.objectives) for known in full if known and each.objectives)
        truth = evaluator.errors(each.genotype).mean()
        assert each.objectives is not None and each.objectives[0] == pytest.approx(truth, abs=0.1)


def test_reports_see_full_facts_alone(tmp_path: Path) -> None:
    told = race(tmp_path / "a", Sampled())
    facts = read(tmp_path / "a")
    assert len(facts.genotypes) == sum(not each.estimated for each in told) < len(told)
    known = {each.objectives for each in told if not each.estimated}
    assert {tuple(row) for row in facts.values.tolist()} == known


def test_what_is_confirmed_is_what_full_evaluation_records(tmp_path: Path) -> None:
    evaluator = Sampled()
    race(tmp_path / "a", evaluator)
    with Archive.read(tmp_path / "a") as archive:
        whole = [
            fact for fact in archive.evaluations() if fact.fingerprint == evaluator.fingerprint("shared")
        ]
    for fact in whole:
        assert fact.objectives == evaluator.measure(evaluator.space.parse(fact.genotype), "shared").objectives
        assert "errors" not in fact.extra


def test_a_race_keeps_the_front_for_less(tmp_path: Path) -> None:
    evaluator = Sampled(noise=0.02, num_images=512)
    told = race(tmp_path / "a", evaluator, Racing(confidence=0.9), evaluations=160)
    truth = np.array([evaluator.errors(each.genotype).mean() for each in told])
    macs = np.array([each.objectives[1] for each in told if each.objectives])
    lost = [
        row
        for row, each in enumerate(told)
        if each.estimated and not ((truth < truth[row]) & (macs <= macs[row])).any()
    ]
    assert len(lost) <= 0.1 * len(told)
    with Archive.read(tmp_path / "a") as archive:
        counts = image_evaluations(archive)
    assert counts is not None and counts[0] < 0.9 * counts[1] and counts[1] == 160 * 512


def test_spending_is_counted_from_the_facts(tmp_path: Path) -> None:
    evaluator = Sampled(events=str(tmp_path / "events"))
    race(tmp_path / "a", evaluator)
    noted = Counter(line.split()[1] for line in (tmp_path / "events").read_text().splitlines())
    with Archive.read(tmp_path / "a") as archive:
        assert image_evaluations(archive) == (noted["32"] * 32 + noted["None"] * 256, 96 * 256)
        assert archive.meta[META]["rungs"] == {"shared-32": 32}
    race(tmp_path / "b", Sampled(), Full())
    with Archive.read(tmp_path / "b") as archive:
        assert image_evaluations(archive) is None


@pytest.mark.parametrize("num_images", [1, 4, 8])
def test_a_split_too_small_for_a_rung_is_measured_in_full(tmp_path: Path, num_images: int) -> None:
    told = race(tmp_path / "a", Sampled(num_images=num_images), evaluations=32)
    full = race(tmp_path / "b", Sampled(num_images=num_images), Full(), evaluations=32)
    assert told == full and dump(tmp_path / "a") == dump(tmp_path / "b")


def test_points_that_fail_on_a_rung_are_failures_and_cost_no_more(tmp_path: Path) -> None:
    evaluator = Sampled(spoilt=(32, None))
    told = race(tmp_path / "a", evaluator)
    failed = [each for each in told if each.objectives is None]
    assert failed
    for each in told:
        assert (each.objectives is None) == evaluator.is_spoilt(each.genotype)
    with Archive.read(tmp_path / "a") as archive:
        states = [fact for fact in archive.evaluations() if fact.state == "failed"]
    assert len(states) == len(failed) and {fact.fingerprint for fact in states} == {"shared-32"}
    assert sum(read(tmp_path / "a").failures.values()) == len(failed)


@pytest.mark.parametrize("rungs", [1, 3])
def test_a_rival_that_fails_in_full_has_beaten_nobody(tmp_path: Path, rungs: int) -> None:
    evaluator = Sampled(spoilt=(None,))
    told = race(tmp_path / "a", evaluator, Racing(first=0.1, rungs=rungs))
    full = [each.objectives for each in told if each.objectives and not each.estimated]
    for each in told:
        if each.estimated:
            assert any(dominates(known, each.objectives) for known in full if each.objectives)
    assert any(each.objectives is None for each in told)


class Repeating:
    """Asks the same few points again and again."""

    def __init__(self, points: list[Genotype]) -> None:
        self.batches = [points[start : start + 8] + points[:3] for start in range(0, len(points), 4)]
        self.told: dict[Genotype, set[Observation]] = {}

    def ask(self) -> list[Genotype]:
        return self.batches.pop() if self.batches else []

    def tell(self, facts: list[Observation]) -> None:
        for fact in facts:
            self.told.setdefault(fact.genotype, set()).add(fact)


def test_a_point_asked_again_is_told_the_same(tmp_path: Path) -> None:
    evaluator = Sampled(events=str(tmp_path / "events"))
    evaluator.setup()
    rng = np.random.default_rng(0)
    searcher = Repeating([evaluator.space.sample(rng) for _ in range(40)])
    race(tmp_path / "a", evaluator, searcher=searcher)
    assert {len(facts) for facts in searcher.told.values()} == {1}
    assert max(Counter((tmp_path / "events").read_text().splitlines()).values()) == 1


def test_workers_change_nothing(tmp_path: Path) -> None:
    evaluator = Sampled(("error", "macs", "latency"), num_images=128)
    told = [race(tmp_path / str(count), evaluator, workers=count, evaluations=48) for count in (0, 2)]
    assert told[0] == told[1] and dump(tmp_path / "0") == dump(tmp_path / "2")


def test_ties_stay() -> None:
    errors = np.array([[0.1, 0.2, 0.3, 0.4]] * 2 + [[0.6, 0.7, 0.8, 0.9]])
    sample = PairedSample(errors.mean(axis=1), errors, np.ones(4), np.ones((3, 1)), 0.5)
    assert sample.rivals(2).tolist() == [0, 1]
    # equal errors, and differences that are the same on every piece, prove nothing
    assert sample.lower_bound(0, np.array([1]), 0.1).tolist() == [-np.inf]
    assert sample.lower_bound(2, np.array([0]), 0.1).tolist() == [-np.inf]


def test_the_interval_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        differences = rng.gamma(2.0, 1.0, 256)
        seen = differences[:64]
        errors = np.stack([seen, np.zeros(64)])
        sample = PairedSample(errors.mean(axis=1), errors, np.ones(64), np.zeros((2, 1)), 0.25)
        wrong += sample.lower_bound(0, np.array([1]), 0.1)[0] > differences.mean()
    assert 0.05 < wrong / 400 < 0.15
    assert sample.lower_bound(0, np.array([1]), 0.01)[0] < sample.lower_bound(0, np.array([1]), 0.1)[0]


def test_many_pieces_are_kept_as_few_of_the_same_mean() -> None:
    rng = np.random.default_rng(0)
    errors, sizes = rng.random(1000).tolist(), rng.integers(1, 9, 1000).tolist()
    few, weights = condense(errors, sizes)
    assert len(few) == len(weights) == MAX_BLOCKS and sum(weights) == sum(sizes)
    assert np.average(few, weights=weights) == pytest.approx(np.average(errors, weights=sizes), rel=1e-5)
    assert condense(few, weights) == (few, weights)
    assert condense([], []) == ([], [])


def test_rungs_are_parts_of_the_split() -> None:
    assert rung_sizes(512, 0.125, 2.0, 3) == [64, 128, 256]
    assert rung_sizes(512, 0.5, 4.0, 3) == [256]
    assert rung_sizes(100, 0.01, 2.0, 2) == [8]
    assert rung_sizes(8, 0.5, 2.0, 3) == []


@pytest.mark.parametrize(
    "wrong", [{"first": 0}, {"first": 1.0}, {"growth": 1}, {"rungs": 0}, {"confidence": 1}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="fidelity=racing needs first"):
        Racing(**wrong)  # type: ignore[arg-type]


def test_without_an_error_on_images_there_is_nothing_to_race_for() -> None:
    for evaluator in (object(), Sampled(("macs",))):
        with pytest.raises(UserError, match="needs an objective 'error'") as refused:
            Racing().prepare(evaluator)
        assert refused.value.hint == "Measure on all images with: fidelity=full"
