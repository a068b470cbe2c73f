"""Tables read from small files in the benchmarks' own layouts: columns, units, and what is missing."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tables_written

from evonas.data.nas_bench.base import Table, canonical_cell, nb201, own, transnas
from evonas.errors import DataError, UserError

CELL = ("nor_conv_3x3", "none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3", "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables")
    tables_written.nb201(made)
    tables_written.transnas(made, "micro", np.array(list(product(range(4), repeat=6))))
    tables_written.transnas(made, "macro", np.array([[1, 2, 3, 4, 0, 0], [4, 4, 1, 1, 2, 3]]))
    return made


def test_nb201_minimises_everything(folder: Path) -> None:
    table = nb201(str(folder), "c10")
    found = table.values(CELL, ("error", "test_error", "flops", "params", "edgegpu_latency"))
    assert found["error"] == pytest.approx(100 - (60 + 5 + 2 + 4 + 1), abs=1e-4)
    assert found["test_error"] == pytest.approx(found["error"] - 0.5, abs=1e-4)
    assert found["flops"] == pytest.approx(7.78305 + 3.93216 * 10)
    assert found["edgegpu_latency"] == 5.0
    assert table.units["flops"] == "M" and table.units["edgegpu_latency"] == "ms"
    assert len(table.rows) == 15625


def test_counts_that_are_equal_are_equal_to_the_bit(folder: Path) -> None:
    # the file's FLOPs carry rounding noise, which would put copies of a point on the front
    assert len(np.unique(nb201(str(folder)).column("flops"))) == len({7.78305 + 3.93216 * c for c in costs()})


def test_networks_that_a_device_cannot_run_have_no_latency_there(tmp_path: Path) -> None:
    """HW-NAS-Bench writes -1 for them."""
    latency = np.full((15625, 1), 2.5, dtype=np.float32)
    latency[7] = -1
    codes = tables_written.nb201(tmp_path, hw_columns=np.array(["edgetpu_latency"]), hw_c10=latency)
    table = nb201(str(tmp_path), "c10")
    runs, fails = (tuple(tables_written.OPS[code] for code in codes[row]) for row in (6, 7))
    assert table.values(runs, ("edgetpu_latency",)) == {"edgetpu_latency": 2.5}
    assert table.range("edgetpu_latency") == (2.5, 2.5)
    with pytest.raises(ValueError, match="has no edgetpu_latency for"):
        table.values(fails, ("edgetpu_latency",))


def costs() -> set[float]:
    return {float(sum(each)) for each in product((0.0, 1.0, 9.0), repeat=6)}


def test_a_set_without_test_accuracy_says_which_columns_it_has(folder: Path) -> None:
    with pytest.raises(UserError, match="nb201/c100 has no column 'test_error'") as caught:
        nb201(str(folder), "c100").column("test_error")
    assert "error, flops, params" in caught.value.hint


def test_other_files_of_the_folder_add_columns(tmp_path: Path) -> None:
    codes = tables_written.nb201(tmp_path)
    size = len(codes)
    np.savez(tmp_path / "nb201_test_acc_facts.npz", c100_test=np.full(size, 70.0))
    np.savez(
        tmp_path / "nb201_latency_help.npz", devices=np.array(["pixel2"]), latency=np.full((1, size), 3.5)
    )
    scores = {
        "names": np.array(["synflow"]),
        "c10_index": np.array([2, 5]),
        "c10": np.array([[11.0], [12.0]]),
    }
    np.savez(tmp_path / "nb201_proxies.npz", **scores)
    c100, c10 = nb201(str(tmp_path), "c100"), nb201(str(tmp_path), "c10")
    assert c100.column("test_error")[0] == 30.0 and c100.column("help_pixel2")[7] == 3.5
    assert c100.units["help_pixel2"] == "ms" and "synflow" not in c100.columns
    synflow = c10.column("synflow")
    assert (synflow[2], synflow[5]) == (-11.0, -12.0) and np.isnan(synflow).sum() == size - 2
    assert c10.digest != nb201_digest_without(tmp_path)


def nb201_digest_without(folder: Path) -> str:
    (folder / "nb201_proxies.npz").unlink()
    return nb201(str(folder), "c10").digest


def test_isomorphic_cells_share_the_numbers_of_the_first(tmp_path: Path) -> None:
    codes = tables_written.nb201(tmp_path)
    words = [tuple(tables_written.OPS[code] for code in row) for row in codes]
    first = {}
    for row, cell in enumerate(words):
        first.setdefault(canonical_cell(cell), row)
    plain, shared = nb201(str(tmp_path)), nb201(str(tmp_path), isomorphic=True)
    expected = [plain.column("error")[first[canonical_cell(cell)]] for cell in words]
    assert shared.column("error").tolist() == expected
    assert (shared.column("error") != plain.column("error")).any()


def test_transnas_turns_each_kind_of_score_into_an_error(folder: Path) -> None:
    words = ("none",) * 5 + ("conv3x3",)  # row 3
    errors = {
        dataset: transnas(str(folder), "micro", dataset).values(words, ("error",))["error"]
        for dataset in ("class_scene", "room_layout", "normal")
    }
    assert errors == {"class_scene": 97.0, "room_layout": 3.0, "normal": pytest.approx(0.997)}


def test_macro_networks_are_four_to_six_modules(folder: Path) -> None:
    table = transnas(str(folder), "macro")
    assert (
        table.values(("normal", "channel", "resolution", "both", "none", "none"), ("flops",))["flops"] == 100
    )
    with pytest.raises(ValueError, match="no entry for normal"):
        table.values(("normal",) * 6, ("flops",))


def test_what_the_file_does_not_know_has_no_value(folder: Path) -> None:
    table = transnas(str(folder), "micro")
    assert table.values(("none",) * 6, ("synflow",)) == {"synflow": -7.0}
    with pytest.raises(ValueError, match="has no synflow for skip"):
        table.values(("skip",) * 6, ("synflow",))


def test_rows_that_disagree_have_no_value_and_rows_that_agree_have_theirs() -> None:
    columns = {"error": np.array([1.0, 2.0]), "flops": np.array([3.0, 3.0])}
    table = Table("toy", {("a",): (0, 1)}, columns, {}, "")
    assert table.values(("a",), ("flops",)) == {"flops": 3.0}
    with pytest.raises(ValueError, match="2 different error for a"):
        table.values(("a",), ("error",))


def test_missing_data_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nb201_tables\.npz does not exist") as caught:
        nb201(str(tmp_path))
    assert "data.root" in caught.value.hint and "github.com/D-X-Y/NAS-Bench-201" in caught.value.hint
    with pytest.raises(DataError, match=r"transnas101_macro\.npz"):
        transnas(str(tmp_path), "macro")


def test_wrong_names_list_the_right_ones(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data\.dataset=cifar") as caught:
        nb201(str(folder), "cifar")
    assert caught.value.hint == "Choose among c10, c100, in16."
    with pytest.raises(UserError, match=r"data\.dataset=depth"):
        transnas(str(folder), "micro", "depth")


def test_files_of_another_shape_are_refused(tmp_path: Path) -> None:
    tables_written.nb201(tmp_path, c10_valid_naslib=np.zeros(3))
    with pytest.raises(DataError, match="Column error of nb201/c10 has 3 numbers; there are 15625"):
        nb201(str(tmp_path))
    np.savez(tmp_path / "nb201_tables.npz", enc=np.zeros((2, 6), dtype=int), ops=np.array(["none"]))
    with pytest.raises(DataError, match="no array 'c10_valid_naslib'"):
        nb201(str(tmp_path))


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, words=[["3", "relu"], ["5", "relu"]], error=[7.1, np.nan], macs=[1, 2])
    table = own(str(path))
    assert table.name == "mine" and table.values(("3", "relu"), ("error", "macs")) == {
        "error": 7.1,
        "macs": 1.0,
    }
    with pytest.raises(ValueError, match="has no error for 5,relu"):
        table.values(("5", "relu"), ("error",))
    np.savez(path, words=[["3"], ["5"]], error=["good", "bad"])
    with pytest.raises(DataError, match="column 'error' is not numeric"):
        own(str(path))
    np.savez(path, words=[["3"], ["5"]])
    with pytest.raises(DataError, match="no column besides 'words'"):
        own(str(path))
    np.savez(path, words=[["3"], ["5"]], error=[1.0])
    with pytest.raises(DataError, match="Column error of mine has 1 numbers; there are 2"):
        own(str(path))
    np.savez(path, words=[["3"], ["5"]], error=[[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(DataError, match="Column error of mine has 2x2 numbers; there are 2"):
        own(str(path))
    # scores may be negative, times and counts may not
    np.savez(path, words=[["3"], ["5"]], score=[-1.0, np.nan], macs=[0, 2], latency=[np.nan, 1.5])
    assert own(str(path)).values(("3",), ("score", "macs")) == {"score": -1.0, "macs": 0.0}
    for column, unit in (("latency", "ms"), ("params", "M"), ("edge_energy", "mJ")):
        np.savez(path, words=[["3"], ["5"]], error=[1.0, 2.0], **{column: [np.nan, -4.7]})
        with pytest.raises(
            DataError, match=f"Column {column} of mine is in {unit}, and its least value is -4.7"
        ):
            own(str(path))
    with pytest.raises(DataError, match="does not exist"):
        own(str(tmp_path / "other.npz"))


def test_cells_that_compute_the_same_are_recognised() -> None:
    cells = list(product(tables_written.OPS, repeat=6))
    assert len({canonical_cell(cell) for cell in cells}) == 4930
    conv, skip, none = "nor_conv_3x3", "skip_connect", "none"
    # one convolution on the way to the output, on three different ways
    ways = [(none, none, none, conv, none, none), (conv, none, none, none, skip, none)]
    ways.append((skip, none, skip, none, none, conv))
    assert len({canonical_cell(way) for way in ways}) == 1
    assert canonical_cell((none,) * 6) == canonical_cell((conv, conv, none, none, none, none)) == ""
    assert canonical_cell((conv, none, none, skip, skip, none)) != canonical_cell(ways[0])
