"""The tasks on released benchmarks run from the command line; equal networks are asked once, others fail."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import benchmarks_written as written
import pytest
import yaml

from evonas.config import build
from evonas.evaluate.engine import Measurement
from evonas.evaluate.measure import Failure, attempt
from evonas.objectives.tabular.evaluator import TableEvaluator, aligned
from evonas.report.archive_reader import read

OPERATIONS = ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")


def nb101(folder: Path) -> Path:
    """Chains of two operations, each trained twice, and the same cell stored under two names."""
    matrix = "0110001100010000"
    chains = [("input", first, second, "output") for first in OPERATIONS for second in OPERATIONS]
    contents = [
        written.training(matrix, chain, 0.8 + written.WORTH[chain[1]] + written.WORTH[chain[2]] / 2 + shift)
        for chain in chains
        for shift in (0.0, 0.01)
    ]
    written.nb101(folder / "nasbench_only108.tfrecord", contents)
    return folder


def data_of(task: str, folder: Path) -> Path:
    """Small data of a task, in its released layout."""
    if task == "nb101":
        return nb101(folder)
    if task == "macro":
        return written.macro(folder)
    make, name = (written.accel, "result") if task == "accel" else (written.nb301, "results")
    return written.documents(folder, {f"{name}_{number}.json": make(number) for number in range(40)})


def evaluator_of(root: Path, task: str, folder: Path) -> TableEvaluator:
    """The evaluator of a task, on data of ours."""
    whole, space, data = (
        yaml.safe_load((root / "conf" / group / f"{task}.yaml").read_text(encoding="utf-8"))
        for group in ("task", "space", "data")
    )
    built: TableEvaluator = build(
        {**whole["evaluator"], "space": space, "table": {**data, "root": str(folder)}}
    )
    built.setup()
    return built


@pytest.mark.parametrize(
    "task", ["macro", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nb101", "nb301", "accel"))]
)
def test_a_run_ends_in_a_report(
    evonas_command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setattr("evonas.data.nas_bench.surrogate_table.TREES", 10)
    folder = data_of(task, tmp_path / "data")
    ended = evonas_command(f"+task={task}", f"data.root={folder}", "budget.evaluations=40", "run=one")
    assert ended.code == 0, ended.err
    assert (tmp_path / "outputs/one/report/index.html").exists()
    facts = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert facts.hypervolume is not None and facts.hypervolume > 0


@pytest.mark.parametrize("task", ["nb101", "macro", "nb301", "accel"])
def test_missing_data_says_where_it_comes_from(evonas_command: Callable, task: str) -> None:
    ended = evonas_command(f"+task={task}", "data.root=nowhere", "stage=search")
    assert ended.code == 3
    assert "does not exist" in ended.err and "https://github.com/" in ended.err


def test_cells_that_are_equal_have_the_same_numbers(root: Path, tmp_path: Path) -> None:
    evaluator = evaluator_of(root, "nb101", nb101(tmp_path))
    # conv3x3 and maxpool in a chain with skips, its vertices in other places, and a dead one more
    names = (
        "nb101:o=conv3x3-bn-relu,maxpool3x3,maxpool3x3,maxpool3x3,maxpool3x3/e=110000.10001.0001.000.00.0",
        "nb101:o=maxpool3x3,conv3x3-bn-relu,conv1x1-bn-relu,maxpool3x3,maxpool3x3/e=010100.00000.0101.000.01.1",
    )
    found = [attempt(evaluator, evaluator.space.parse(name), "shared") for name in names]
    assert isinstance(found[0], Measurement), found[0]
    assert found[0].objectives["error"] == pytest.approx(100 * (1 - 0.8 - 0.05 - 0.005 - 0.005))
    other = evaluator.space.parse(evaluator.space.format(evaluator.space.parse(names[0])))
    assert attempt(evaluator, other, "shared") == found[0]


def test_a_table_of_other_architectures_is_left_as_it_is(root: Path, tmp_path: Path) -> None:
    evaluator = evaluator_of(root, "nb101", nb101(tmp_path))
    table = replace(evaluator.table, rows={("elsewhere",) * 26: (0,)})
    assert aligned(table, evaluator.space).rows == table.rows


def test_what_is_no_cell_is_a_failed_fact(root: Path, tmp_path: Path) -> None:
    evaluator = evaluator_of(root, "nb101", nb101(tmp_path))
    same = ",".join(["maxpool3x3"] * 5)
    for bits in ("000000.00000.0000.000.00.0", "111111.00001.0001.001.01.1"):
        found = attempt(evaluator, evaluator.space.parse(f"nb101:o={same}/e={bits}"), "shared")
        assert isinstance(found, Failure) and found.reason.startswith("the table nb101/108 has no entry")
        # no other worker finds one either
        assert found.owner == "genotype"


def test_chains_that_are_equal_share_their_rows(root: Path, tmp_path: Path) -> None:
    evaluator = evaluator_of(root, "macro", written.macro(tmp_path))
    assert len(evaluator.table.rows) == 3969
    chain = "macro:m=mb3_k3,identity,mb3_k3,{},{},identity,identity,identity"
    either = [chain.format("identity", "mb6_k5"), chain.format("mb6_k5", "identity")]
    first, second = (attempt(evaluator, evaluator.space.parse(name), "shared") for name in either)
    assert first == second and isinstance(first, Measurement)


def test_trees_answer_for_any_point(root: Path, tmp_path: Path) -> None:
    evaluator = evaluator_of(root, "accel", data_of("accel", tmp_path))
    name = "accel:e=1,1,1,1,1,1,1/k=3,3,3,3,3,3,3/l=1,1,1,1,1,4,1/se=0000000"
    assert isinstance(found := attempt(evaluator, evaluator.space.parse(name), "shared"), Measurement), found
    assert evaluator.space.size() == 3**7 * 2**7 * 3**6 * 4 * 2**7


def test_the_darts_space_has_its_published_size(root: Path, tmp_path: Path) -> None:
    evaluator = evaluator_of(root, "nb301", data_of("nb301", tmp_path))
    assert evaluator.space.size() == (3 * 6 * 10 * 7**8) ** 2
