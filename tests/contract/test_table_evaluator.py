"""A table measures like any evaluator, and is honest about what it does not know."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.engine import EvaluatorLike, Job
from evonas.evaluate.inline import InlineEngine
from evonas.objectives.tabular.evaluator import KnownColumn, TableEvaluator
from evonas.space.space import Space

WORDS = ("none", "normal", "channel", "resolution", "both")
POINT = "transnas_macro:m=normal,channel,resolution,both,none,none"


def write(folder: Path, codes: np.ndarray, **columns: np.ndarray) -> None:
    np.savez(
        folder / "transnas101_macro.npz",
        tasks=np.array(["jigsaw"]),
        enc=codes,
        **{name: column[:, None] for name, column in columns.items()},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rows: a good one, one without a score, one that is there twice and disagrees with itself."""
    codes = np.array([[1, 2, 3, 4, 0, 0], [1, 1, 2, 3, 1, 0], [4, 1, 1, 1, 0, 0], [4, 1, 1, 1, 0, 0]])
    column = np.array([90.0, np.nan, 50.0, 51.0])
    flops = np.array([10.0, 20.0, 30.0, 30.0])
    write(tmp_path, codes, valid_final=column, flops=flops, params=flops)
    return tmp_path


def config(root: Path, name: str) -> Any:
    return yaml.safe_load((root / "conf" / name).read_text(encoding="utf-8"))


def spec(root: Path, folder: Path, *objectives: str) -> dict[str, Any]:
    data = {**config(root, "data/transnas_macro.yaml"), "root": str(folder), "dataset": "jigsaw"}
    return {
        "_target_": "evonas.objectives.tabular.evaluator.TableEvaluator",
        "_recursive_": False,
        "space": config(root, "space/transnas_macro.yaml"),
        "table": data,
        "objectives": list(objectives or ("error", "flops")),
    }


def test_it_measures_and_its_identity_is_plain(root: Path, folder: Path) -> None:
    evaluator: TableEvaluator = build(spec(root, folder))
    assert isinstance(evaluator, EvaluatorLike)
    evaluator.setup()
    assert dict(evaluator.measure(evaluator.space.parse(POINT), "shared").objectives) == {
        "error": 10.0,
        "flops": 10.0,
    }
    assert [(each.name, each.unit, each.part) for each in evaluator.objectives] == [
        ("error", "", "shared"),
        ("flops", "M", "shared"),
    ]
    assert evaluator.scale == {"ideal": [10.0, 10.0], "reference": [50.0, 30.0]}
    assert len(evaluator.fingerprint("shared")) == 64 and len(evaluator.weights_digest) == 64


def test_failures_of_the_table_are_failed_facts(root: Path, folder: Path) -> None:
    points = {
        POINT: "",
        "transnas_macro:m=normal,normal,channel,resolution,normal,none": "has no error for",
        "transnas_macro:m=both,normal,normal,normal,none,none": "has 2 different error for",
        "transnas_macro:m=both,both,channel,resolution,normal,normal": "has no entry for",
    }
    parse = build(spec(root, folder)).space.parse
    jobs = [Job(seq, parse(point)) for seq, point in enumerate(points)]
    outcomes = list(InlineEngine(spec(root, folder)).run(jobs))
    for outcome, reason in zip(outcomes, points.values(), strict=True):
        assert (outcome.measurement is None) == bool(reason) and reason in outcome.reason


def test_where_the_disagreement_is_not_asked_for_it_does_no_harm(root: Path, folder: Path) -> None:
    evaluator: TableEvaluator = build(spec(root, folder, "flops"))
    point = evaluator.space.parse("transnas_macro:m=both,normal,normal,normal,none,none")
    assert evaluator.measure(point, "shared").objectives == {"flops": 30.0}


def test_the_fingerprint_follows_the_numbers_and_not_the_place(
    root: Path, folder: Path, tmp_path: Path
) -> None:
    print_of = lambda where, *names: build(spec(root, where, *names)).fingerprint("shared")  # noqa: E731
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "transnas101_macro.npz").write_bytes((folder / "transnas101_macro.npz").read_bytes())
    assert print_of(folder) == print_of(moved)
    assert print_of(folder) != print_of(folder, "error", "params")
    write(moved, np.array([[1, 2, 3, 4, 0, 0]]), valid_final=np.ones(1), flops=np.ones(1), params=np.ones(1))
    assert print_of(folder) != print_of(moved)


def test_wrong_objectives_and_spaces_are_refused(root: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="has no column 'latency'"):
        build(spec(root, folder, "error", "latency")).setup()
    with pytest.raises(UserError, match="must name distinct columns"):
        build(spec(root, folder, "error", "error"))
    other = {**spec(root, folder), "space": config(root, "space/nb201.yaml")}
    with pytest.raises(UserError, match="Space nb201 contains no architecture"):
        build(other).setup()


def test_a_known_column_ranks_without_measuring(root: Path, folder: Path) -> None:
    about = spec(root, folder)
    space: Space = build(about["space"])
    form: KnownColumn = build(
        {
            "_target_": "evonas.objectives.tabular.evaluator.KnownColumn",
            "_recursive_": False,
            "table": about["table"],
            "column": "flops",
        }
    )
    assert form(space, space.parse(POINT)) == 10.0
    assert form(space, space.parse("transnas_macro:m=both,both,normal,normal,none,none")) == 30.0


def test_the_macro_space_holds_exactly_the_published_networks(root: Path) -> None:
    """3256: one to four halvings, one to three doublings, no gap (Duan et al. 2021)."""
    space: Space = build(config(root, "space/transnas_macro.yaml"))
    words = {
        tuple(word for word in map(str, space.decode(point).values()) if word != "none")
        for point in space.points()
    }
    every = [each for length in (4, 5, 6) for each in product(WORDS[1:], repeat=length)]
    networks = {
        each
        for each in every
        if 1 <= sum(word in ("resolution", "both") for word in each) <= 4
        and 1 <= sum(word in ("channel", "both") for word in each) <= 3
    }
    assert words == networks and len(words) == space.size() == 3256


def test_rows_under_other_names_of_a_chain_are_found(root: Path, tmp_path: Path) -> None:
    """A gap before the last module is the shorter chain; rows that are no networks do no harm."""
    column = np.array([90.0, 50.0])
    write(
        tmp_path,
        np.array([[1, 2, 3, 4, 0, 1], [1, 1, 1, 1, 0, 0]]),
        valid_final=column,
        flops=column,
        params=column,
    )
    evaluator: TableEvaluator = build(spec(root, tmp_path))
    for tail in ("none,normal", "normal,none"):
        point = evaluator.space.parse(f"transnas_macro:m=normal,channel,resolution,both,{tail}")
        assert evaluator.measure(point, "shared").objectives["error"] == 10.0


@pytest.mark.parametrize(("name", "size"), [("nb201", 5**6), ("transnas_micro", 4**6)])
def test_the_cell_spaces_hold_every_cell(root: Path, name: str, size: int) -> None:
    space: Space = build(config(root, f"space/{name}.yaml"))
    assert space.size() == size == len(list(product(*(axis.choices for axis in space.axes))))
