"""Latencies are intervals: what of the front they leave certain, and what a choice may take."""

from pathlib import Path

import numpy as np
import pytest
import small_run

from evonas import files
from evonas.archive import Archive, Evaluation
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import ends, front, front_within_noise, surely_dominates, surely_on_front
from evonas.report.page.html import render
from evonas.report.page.sections import Sources
from evonas.report.results import SearchResults
from evonas.stages.select import Select

GENOTYPES = [f"tiny:m=4,4,4,{last}/s=64,64,64/e=4,4,4/d=1.1.11.1" for last in (1, 2, 3)]
# the second is slower than the first within the noise, and the third beyond it
TIMES = [(10.0, 9.0, 11.0), (10.5, 9.5, 11.5), (14.0, 13.0, 15.0)]
ERRORS = [0.30, 0.31, 0.40]


def intervals(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 8, (50, 3)).astype(float)
    width = rng.random((50, 1)) * 2
    low, high = values.copy(), values.copy()
    low[:, 2:], high[:, 2:] = values[:, 2:] - width, values[:, 2:] + width
    return values, low, high


@pytest.mark.parametrize("seed", range(10))
def test_the_front_within_noise_is_whatever_nobody_surely_beats(seed: int) -> None:
    _, low, high = intervals(seed)
    assert set(front_within_noise(low, high)) == set(np.flatnonzero(~surely_dominates(low, high).any(axis=0)))


@pytest.mark.parametrize("seed", range(10))
def test_certain_rows_stay_wherever_the_truth_lies(seed: int) -> None:
    values, low, high = intervals(seed)
    rows = front(values)
    certain = surely_on_front(rows, low, high)
    rng = np.random.default_rng(seed)
    for row, is_certain in zip(rows, certain, strict=True):
        worst = low.copy()
        worst[row] = high[row]
        others = np.delete(worst, row, axis=0)
        beaten = ((others <= worst[row]).all(1) & (others < worst[row]).any(1)).any()
        assert beaten == (not is_certain)
        truth = low + rng.random(low.shape) * (high - low)
        if is_certain:
            assert not ((truth <= truth[row]).all(1) & (truth < truth[row]).any(1)).any()


def archive(path: Path) -> None:
    prints = {"shared": "s", "exclusive": "x"}
    about = {"objectives": ["error", "latency"], "fingerprints": prints, "reference": [1.0, 20.0]}
    with Archive.open(path, about, resume=False) as opened:
        for seq, (text, error, (time, low, high)) in enumerate(zip(GENOTYPES, ERRORS, TIMES, strict=True)):
            opened.record(Evaluation(2 * seq, "s", text, "shared", "done", {"error": error}))
            extra = {"latency": {"low_ms": low, "high_ms": high}}
            opened.record(Evaluation(2 * seq + 1, "x", text, "exclusive", "done", {"latency": time}, extra))


def test_facts_read_their_intervals_from_the_archive(tmp_path: Path) -> None:
    archive(tmp_path / "a")
    facts = read(tmp_path / "a")
    low, high = facts.ends
    assert low.tolist() == [[0.30, 9.0], [0.31, 9.5], [0.40, 13.0]]
    assert high.tolist() == [[0.30, 11.0], [0.31, 11.5], [0.40, 15.0]]
    assert front(facts.values).tolist() == [0]
    assert facts.front_within_noise.tolist() == [0, 1]


def test_facts_without_intervals_are_points() -> None:
    values = np.array([[0.3, 1.0], [0.2, 2.0], [0.4, 3.0]])
    facts = SearchResults(("error", "macs"), ("a", "b", "c"), values)
    assert set(facts.front_within_noise) == set(front(values))
    assert all(np.array_equal(each, values) for each in ends(facts.names, values, [{}, {"macs": {}}, {}]))


@pytest.mark.parametrize(("noise", "expected"), [(False, {0}), (True, {0, 1})])
def test_select_may_choose_beyond_the_recorded_front(tmp_path: Path, noise: bool, expected: set[int]) -> None:
    made = small_run.context(tmp_path / "run")
    archive(made.run.path("search/archive.sqlite"))
    made.cfg.select.rules, made.cfg.select.include_max = ["knee", "spread:3"], False
    made.cfg.select.noise_aware = noise
    Select().run(made)
    nets = files.read_json(tmp_path / "run/selected.json")["nets"]
    assert {GENOTYPES.index(net["genotype"]) for net in nets} == expected


def test_the_report_says_how_certain_the_front_is(tmp_path: Path) -> None:
    archive(tmp_path / "a")
    facts = read(tmp_path / "a")
    page = render(Sources(run="r", task="t", command=lambda stage: stage, results=facts))
    assert "1 of 1 networks are certainly on the Pareto front, and 1 further networks may be on it" in page
