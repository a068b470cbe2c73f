"""Searches side by side: one box, one front, and the settings that differ."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from evonas import files
from evonas.archive import Archive, Evaluation
from evonas.errors import UserError
from evonas.report.analysis.comparison import compared, differences
from evonas.report.results import SearchResults
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.compare import Compare


def facts(
    points: list[tuple[float, float]], reference: tuple[float, float] = (4.0, 4.0), **about: object
) -> SearchResults:
    names = tuple(f"g{at}" for at in range(len(points)))
    identity = {"task": "toy", "fingerprints": {"shared": "f"}, **about}
    return SearchResults(
        ("error", "macs"), names, np.array(points, dtype=float), reference=reference, identity=identity
    )


LEFT = facts([(3.0, 1.0), (2.0, 2.0), (3.0, 3.0)])
RIGHT = facts([(1.0, 3.0), (2.0, 2.0), (3.5, 1.5)])


def test_one_box_and_one_front() -> None:
    found = compared({"left": LEFT, "right": RIGHT})
    assert found.is_own_box and found.box.reference == (4.0, 4.0)
    left, right = found.sides
    assert (left.points, left.front_size, left.common) == (3, 2, 2)
    assert (right.points, right.front_size, right.common) == (3, 3, 2)
    # of 16: columns of 1 x 2 + 1 x 3, and 0.5 x 2.5 + 1.5 x 2 + 1 x 1
    assert left.hypervolume == pytest.approx(5 / 16)
    assert right.hypervolume == pytest.approx((0.5 * 2.5 + 1.5 * 2 + 1) / 16)
    assert [(list(each.runs), each.genotype) for each in found.front] == [
        (["right"], "g0"),
        (["left", "right"], "g1"),
        (["left"], "g0"),
    ]
    assert found.coverage == {("left", "right"): pytest.approx(1 / 3), ("right", "left"): 0.0}


def test_who_is_better_within_which_cost() -> None:
    found = compared({"left": LEFT, "right": RIGHT})
    told = [(each.limit, each.errors["left"], each.errors["right"], each.better) for each in found.budgets]
    assert told == [(1.0, 3.0, None, "left"), (2.0, 2.0, 2.0, ""), (3.0, 2.0, 1.0, "right")]


def test_different_boxes_are_joined_and_said() -> None:
    wide = facts([(1.0, 3.0)], reference=(2.0, 8.0))
    found = compared({"left": LEFT, "wide": wide})
    assert not found.is_own_box and found.box.reference == (4.0, 8.0)
    assert found.sides[1].hypervolume == pytest.approx(3 * 5 / 32)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (facts([(1.0, 1.0)], task="another"), "task toy and another"),
        (
            SearchResults(
                ("error", "ms"), ("g",), np.ones((1, 2)), reference=(2.0, 2.0), identity=LEFT.identity
            ),
            "'ms'",
        ),
        (SearchResults(LEFT.names, (), np.empty((0, 2)), identity=LEFT.identity), "no reference point yet"),
    ],
)
def test_other_questions_are_refused(other: SearchResults, said: str) -> None:
    with pytest.raises(UserError, match=said):
        compared({"left": LEFT, "other": other})


def test_another_device_is_doubted() -> None:
    here = facts([(1.0, 1.0)], fingerprints={"exclusive": "here"})
    there = facts([(1.0, 1.0)], fingerprints={"exclusive": "there"})
    [warning] = compared({"here": here, "there": there}).warnings
    assert "latency" in warning
    assert not compared({"here": here, "again": here}).warnings


def test_settings_that_differ_have_dotted_keys() -> None:
    one, other = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 3, "c": [1]}, "e": {}}
    assert differences({"x": one, "y": other}) == {
        "a.b": {"x": 1, "y": 3},
        "d": {"x": 2, "y": None},
        "e": {"x": None, "y": {}},
    }


def searched(outputs: Path, name: str, seed: int, points: list[tuple[float, float]]) -> None:
    """A run as a search would leave it."""
    folder = outputs / name
    question = {"task": {"name": "toy"}, "seed": seed, "space": "toy", "network": None, "data": None}
    files.write_json(folder / "run.json", {**question, "created": f"2026-01-0{seed + 1}T00:00:00+00:00"})
    config = {"run": name, "seed": seed, "task": {"name": "toy"}, "search": {"population": 8}}
    files.write_text(folder / "attempts/001/config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    about = {"objectives": ["error", "macs"], "fingerprints": {"shared": "f"}, "task": "toy"}
    about |= {"reference": [4.0, 4.0], "units": {"macs": "GMAC"}}
    (folder / "search").mkdir()
    with Archive.open(folder / "search/archive.sqlite", about, resume=False) as archive:
        for seq, (error, macs) in enumerate(points):
            found = {"error": error, "macs": macs}
            archive.record(Evaluation(seq, "f", f"toy:g={seq}", "shared", "done", found))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    searched(tmp_path / "outputs", "first", 0, LEFT.values.tolist())
    searched(tmp_path / "outputs", "second", 1, RIGHT.values.tolist())
    return tmp_path / "outputs"


def kept(folder: Path) -> list[Path]:
    """Every file but those that SQLite lays beside an archive that somebody looks at."""
    return sorted(path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal")))


def test_the_command_prints_and_changes_nothing(evonas_command: Callable, outputs: Path) -> None:
    before = kept(outputs.parent)
    ended = evonas_command("compare", "runs=[first,second]")
    assert ended.code == 0, ended.err
    assert "as each run recorded it" in ended.out and "common front, 3 points" in ended.out
    assert "first dominates 33% of the front of second" in ended.out
    [differs] = [line for line in ended.out.splitlines() if line.startswith("| seed ")]
    assert differs.replace("|", "").split() == ["seed", "0", "1"] and "population" not in ended.out
    assert ended.out.splitlines()[-1] == "Next: python -m evonas report run=second"
    assert kept(outputs.parent) == before


def test_what_it_prints_and_writes_is_the_same(outputs: Path, tmp_path: Path) -> None:
    context = Context(OmegaConf.create({"outputs": str(outputs)}), Run(outputs, ""))
    printed = json.loads(Compare(["first", "second"], json=True).run(context))
    ended = Compare(["first", "last"], json=str(tmp_path / "both.json")).run(context)
    assert ended == f"Comparison: {tmp_path / 'both.json'}"
    assert json.loads((tmp_path / "both.json").read_text()) == printed
    assert [each["run"] for each in printed["runs"]] == ["first", "second"]
    assert [point["runs"] for point in printed["front"]] == [["second"], ["first", "second"], ["first"]]
    assert printed["box"]["reference"] == {"error": 4.0, "macs": 4.0} and printed["is_own_box"]
    assert printed["differences"] == {"seed": {"first": 0, "second": 1}}
    assert {"of": "second", "by": "first", "share": pytest.approx(1 / 3)} in printed["coverage"]
    assert [each["better"] for each in printed["budgets"]] == ["first", "", "second"]


def test_what_a_run_gained_over_its_baselines_is_a_column(evonas_command: Callable, outputs: Path) -> None:
    error, macs = LEFT.values[0].tolist()
    net = {"name": "knee", "genotype": "toy:g=0", "objectives": {"error": error, "macs": macs}}
    files.write_json(outputs / "first/selected.json", {"nets": [net]})
    trained = {"genotype": "toy:g=0", "retrained": {"abs_rel": 0.2}}
    files.write_json(outputs / "first/retrain/knee/result.json", trained)
    rival = {
        "name": "r",
        "costs": {"macs": 0.5},
        "objectives": {},
        "trained": {"total": {"metrics": {"abs_rel": 0.3}}},
    }
    found = {"error_name": "abs_rel", "budget": "total", "networks": [rival]}
    files.write_json(outputs / "first/baselines/baselines.json", found)
    ended = evonas_command("compare", "runs=[first,second]")
    assert ended.code == 0, ended.err
    assert "better than baselines" in ended.out and "1 of 1" in ended.out
    gained = f"first: At equal macs the search gained 0.1 over the best baseline at macs {macs:g} GMAC"
    assert gained in ended.out
    assert '"better": 1' in evonas_command("compare", "runs=[first,second]", "stage.json=true").out
    assert json.loads(evonas_command("list", "stage.json=true").out)[0]["over_baselines"] == "1 of 1"


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "needs two different runs"),
        (["second", "last"], "needs two different runs"),
        (["first", "nobody"], "There is no run 'nobody'"),
    ],
)
def test_wrong_runs_are_said(outputs: Path, runs: list[str], said: str) -> None:
    context = Context(OmegaConf.create({"outputs": str(outputs)}), Run(outputs, ""))
    with pytest.raises(UserError, match=said):
        Compare(runs).run(context)


def timed(points: list[tuple[float, float, float]], **about: object) -> SearchResults:
    """A search whose latency was measured under stated conditions."""
    timing = {key: about[key] for key in ("runtime", "threads") if key in about}
    device = {"type": "cpu", "name": about.get("name", "one")}
    return SearchResults(
        ("error", "latency", "macs"),
        tuple(f"g{at}" for at in range(len(points))),
        np.array(points, dtype=float),
        units={"latency": "ms"},
        reference=(4.0, 9.0, 4.0),
        identity={"task": "toy", "fingerprints": {"shared": "f"}},
        extras=[{"latency": timing, "device": device} for _ in points],
    )


TORCH = timed([(1.0, 5.0, 2.0), (3.0, 4.0, 1.0)], runtime="torch", threads="1")


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"runtime": "onnxruntime", "threads": "1"}, "runtime (torch in 'a', onnxruntime in 'b')"),
        ({"runtime": "torch", "threads": "4"}, "threads"),
        ({"runtime": ["onnxruntime", "1.32"], "threads": "1"}, "runtime (torch in 'a', onnxruntime in 'b')"),
        ({"runtime": "torch", "threads": "1", "name": "two"}, "devices"),
    ],
)
def test_latencies_of_other_runtimes_and_devices_are_never_joined(other: dict[str, object], key: str) -> None:
    # b is better only by a latency that cannot be compared
    found = compared({"a": TORCH, "b": timed([(3.0, 1.0, 2.0)], **other)})
    assert found.box.names == ("error", "macs") and [each.name for each in found.metrics] == ["error", "macs"]
    assert [list(each.runs) for each in found.front] == [["a"], ["a"]]
    [left_out] = [text for text in found.warnings if "left out" in text]
    assert left_out.startswith("latency was measured with different ") and key in left_out


def test_equal_conditions_are_joined() -> None:
    again = timed([(3.0, 1.0, 2.0)], runtime="torch", threads="1")
    assert compared({"a": TORCH, "b": again}).box.names == ("error", "latency", "macs")
    # an archive of an earlier release says nothing of the runtime; the config of its run does
    silent = timed([(3.0, 1.0, 2.0)], threads="1")
    assert "latency" in compared({"a": TORCH, "b": silent}).box.names
    assert "latency" not in compared({"a": TORCH, "b": silent}, {"b": "onnxruntime"}).box.names


def test_nothing_is_left_to_compare() -> None:
    one, other = (
        timed([(1.0, 5.0, 2.0)], runtime=runtime).restricted(["error", "latency"])
        for runtime in ("torch", "tensorrt")
    )
    with pytest.raises(
        UserError, match="Only error can be compared: latency was measured with different runtime"
    ):
        compared({"a": one, "b": other})


def test_words_of_later_commands_are_no_differences(evonas_command: Callable, outputs: Path) -> None:
    files.write_text(outputs / "second/attempts/001/overrides.yaml", "- stage=search\n")
    later = {
        "run": "second",
        "seed": 5,
        "networks": "knee",
        "task": {"name": "toy"},
        "select": {"rules": ["x"]},
    }
    files.write_text(outputs / "second/attempts/002/config.yaml", OmegaConf.to_yaml(OmegaConf.create(later)))
    files.write_text(outputs / "second/attempts/002/overrides.yaml", "- stage=show\n- networks=knee\n")
    ended = evonas_command("compare", "runs=[first,second]")
    assert ended.code == 0, ended.err
    assert "networks" not in ended.out and "select" not in ended.out
    [differs] = [line for line in ended.out.splitlines() if line.startswith("| seed ")]
    assert differs.replace("|", "").split() == ["seed", "0", "1"]
