"""The released layouts of four benchmarks: what is read, and what is said of what cannot be."""

import json
from pathlib import Path
from typing import Any

import benchmarks_written as written
import numpy as np
import pytest

from evonas.data.nas_bench.accel_nasbench import accel
from evonas.data.nas_bench.macro import macro
from evonas.data.nas_bench.nb101 import nb101
from evonas.data.nas_bench.nb301 import edges, nb301
from evonas.data.nas_bench.surrogate_table import FittedTable
from evonas.errors import DataError, UserError

CHAIN = ("input", "conv3x3-bn-relu", "maxpool3x3", "output")
MATRIX = "0110001100010000"
SHORT = "nasbench_only108.tfrecord"


def cell(*edges: tuple[int, int]) -> tuple[str, ...]:
    """The digits of 21 edges."""
    return tuple("1" if (i, j) in edges else "0" for i in range(7) for j in range(i + 1, 7))


def test_nb101_means_over_trainings(tmp_path: Path) -> None:
    shares = (0.90, 0.92, 0.94)
    written.nb101(tmp_path / SHORT, [written.training(MATRIX, CHAIN, share) for share in shares])
    table = nb101(str(tmp_path))
    words = (
        "conv3x3-bn-relu",
        "maxpool3x3",
        *["maxpool3x3"] * 3,
        *cell((0, 1), (0, 2), (1, 2), (1, 6), (2, 6)),
    )
    found = table.values(words, ("error", "test_error", "half_error", "seconds", "params"))
    assert list(found.values()) == pytest.approx([8.0, 9.0, 18.0, 1080.0, 1.5])
    assert table.units == {"seconds": "s", "params": "M"}


def test_nb101_keeps_epochs_apart(tmp_path: Path) -> None:
    contents = [written.training(MATRIX, CHAIN, 0.5, epochs=4), written.training(MATRIX, CHAIN, 0.9)]
    written.nb101(tmp_path / "nasbench_full.tfrecord", contents)
    short, full = nb101(str(tmp_path), epochs=4), nb101(str(tmp_path))
    assert short.column("error")[0] == pytest.approx(50.0) and full.column("error")[0] == pytest.approx(10.0)
    with pytest.raises(DataError, match="has no training of 36 epochs"):
        nb101(str(tmp_path), epochs=36)
    with pytest.raises(UserError, match=r"data\.epochs=5 is unknown"):
        nb101(str(tmp_path), epochs=5)


def test_nb101_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nasbench_only108") as caught:
        nb101(str(tmp_path))
    assert "google-research/nasbench" in caught.value.hint
    written.nb101(tmp_path / SHORT, [written.training(MATRIX, CHAIN, 0.9)])
    with pytest.raises(DataError, match=r"nasbench_full\.tfrecord does not exist"):
        nb101(str(tmp_path), epochs=12)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no json", "Expecting value"),
        (b"[1, 2, 3]", "not enough values"),
        (b"{}", "not enough values"),
        (json.dumps(["h", 108, 5, "input,output", ""]).encode(), "has no len"),
        (written.training("01001", CHAIN[::3], 0.9), "is not an adjacency matrix of 2 vertices"),
        (written.training("0010", CHAIN[::3], 0.9), "points backwards"),
        (written.training("0100", ("output", "input"), 0.9), "the operations are output,input"),
        (written.training(MATRIX, ("input", "conv9x9", "maxpool3x3", "output"), 0.9), "conv9x9"),
        (written.training("0100", CHAIN[::3], float("nan")), "not finite"),
        (json.dumps(["h", 108, "0100", "input,output", ""]).encode(), "it has 0 evaluations"),
        (json.dumps(["h", 108, "0100", "input,output", "CgU="]).encode(), "longer than its message"),
    ],
)
def test_nb101_names_the_damaged_record(tmp_path: Path, content: bytes, reason: str) -> None:
    path = written.nb101(tmp_path / SHORT, [written.training(MATRIX, CHAIN, 0.9), content])
    with pytest.raises(DataError, match=f"Record 2 of {path} is not a training") as caught:
        nb101(str(tmp_path))
    assert reason in caught.value.message


def test_macro_reads_every_chain(tmp_path: Path) -> None:
    table = macro(str(written.macro(tmp_path)))
    words = ("mb3_k3", "identity", "mb6_k5", *["identity"] * 5)
    found = table.values(words, ("error", "one_error", "deviation", "params", "flops"))
    assert len(table.rows) == 6561
    assert list(found.values()) == pytest.approx([26.5, 26.6, 0.1, 0.08, 12.0])
    assert table.units == {"params": "M", "flops": "M"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "must map names to networks"),
        ("{}", "must map names to networks"),
        ("{", "is not a JSON document"),
        ("[" * 100_000, "is not a JSON document"),
        ('{"0123": {}}', "is damaged"),
        ('{"00000000": {"mean_acc": 1}}', "the entry '00000000' is damaged: KeyError"),
        (
            '{"00000009": {"mean_acc": 1, "test_acc": [1], "std": 0, "params": 1, "flops": 1}}',
            "names a network '00000009'",
        ),
    ],
)
def test_macro_names_what_is_damaged(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "nas-bench-macro_cifar10.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        macro(str(tmp_path))


def test_macro_says_where_it_is_published(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nas-bench-macro_cifar10\.json does not exist") as caught:
        macro(str(tmp_path))
    assert "xiusu/NAS-Bench-Macro" in caught.value.hint


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accel")
    return written.documents(folder, {f"result_{n}.json": written.accel(n) for n in range(120)})


def test_accel_reads_what_was_measured(measured: Path) -> None:
    table = accel(str(measured), fitted=False)
    document = written.accel(7)
    chosen = document["architecture"]
    words = tuple(str(int(chosen[f"block{at}_{kind}"])) for kind in ("e", "k", "l", "se") for at in range(7))
    found = table.values(words, ("error", "zcu102_latency", "a100_throughput", "macs"))
    speeds = document["platform_perf"]
    assert found["error"] == pytest.approx(100 - document["metrics"]["val_top1"])
    assert found["zcu102_latency"] == speeds["latency_zcu102"]["latency_mean"]
    assert found["a100_throughput"] == -speeds["throughput_a100"]["throughput_mean"]
    assert int(np.isnan(table.column("zcu102_latency")).sum()) == 1
    assert (table.units["zcu102_latency"], table.units["a100_throughput"]) == ("ms", "1/s")


def test_an_archive_is_its_folder(measured: Path, tmp_path: Path) -> None:
    packed = accel(str(written.archive(tmp_path / "all.tar.gz", measured)), fitted=False)
    plain = accel(str(measured), fitted=False)
    assert packed.digest == plain.digest and list(packed.rows) == list(plain.rows)
    np.testing.assert_array_equal(packed.column("error"), plain.column("error"))


def test_trees_know_networks_they_have_not_seen(measured: Path) -> None:
    table = accel(str(measured))
    assert isinstance(table, FittedTable) and "scikit-learn" in table.digest
    unseen = [written.accel(number) for number in range(1000, 1040)]
    words = [tuple(str(int(value)) for value in by_kind(each["architecture"])) for each in unseen]
    predicted = np.array([table.values(each, ("error",))["error"] for each in words])
    true = np.array([100 - each["metrics"]["val_top1"] for each in unseen])
    assert np.corrcoef(predicted, true)[0, 1] > 0.7
    again = accel(str(measured)).values(words[0], ("error",))["error"]
    assert again == predicted[0]


def by_kind(chosen: dict[str, Any]) -> list[Any]:
    return [chosen[f"block{at}_{kind}"] for kind in ("e", "k", "l", "se") for at in range(7)]


def test_trees_answer_for_the_column_that_was_asked(measured: Path) -> None:
    table = accel(str(measured))
    words = next(iter(table.rows))
    found = table.values(words, ("error", "zcu102_latency"))
    assert found["error"] > 20 and found["zcu102_latency"] < 20
    with pytest.raises(UserError, match="has no column 'flops'"):
        table.values(words, ("flops",))
    with pytest.raises(ValueError, match="invalid literal"):
        table.values(("x",) * 28, ("error",))


def test_nb301_reads_both_cells(tmp_path: Path) -> None:
    table = nb301(str(written.documents(tmp_path, {"rs/results_3.json": written.nb301(3)})), fitted=False)
    config = written.nb301(3)["optimized_hyperparamater_config"]
    (words,) = table.rows
    found = edges(words)
    for cell_number, name in enumerate(("normal", "reduce")):
        for edge in range(14):
            stored = config.get(f"{written.PREFIX}edge_{name}_{edge}")
            code = found[14 * cell_number + edge]
            assert (code == 0) == (stored is None)
    assert sum(code > 0 for code in found) == 16
    assert len({code for code in found if code}) == len({config[key] for key in config if "edge" in key})
    numbers = table.values(words, ("error", "test_error", "params", "seconds"))
    assert numbers["test_error"] == numbers["error"] + 0.25 and numbers["seconds"] == 5000.0


def test_nb301_leaves_other_sizes_out(tmp_path: Path) -> None:
    named = {f"results_{n}.json": written.nb301(n) for n in range(4)}
    named["results_9.json"] = written.nb301(9, layers=20)
    named["notes.json"] = {"no": "network"}
    table = nb301(str(written.documents(tmp_path, named)), fitted=False)
    assert len(table.column("error")) == 4


def test_nb301_trees_count_skip_connections(tmp_path: Path) -> None:
    named = {f"a/results_{n}.json": written.nb301(n) for n in range(150)}
    table = nb301(str(written.documents(tmp_path, named)))
    unseen = nb301(
        str(
            written.documents(
                tmp_path / "more", {f"results_{n}.json": written.nb301(n) for n in range(900, 930)}
            )
        ),
        fitted=False,
    )
    predicted = [table.values(words, ("error",))["error"] for words in unseen.rows]
    true = [unseen.values(words, ("error",))["error"] for words in unseen.rows]
    assert np.corrcoef(predicted, true)[0, 1] > 0.8


def broken_nb301(**changes: Any) -> dict[str, Any]:
    document = written.nb301(0)
    document["optimized_hyperparamater_config"] |= changes
    return document


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        {"optimized_hyperparamater_config": {}},
        broken_nb301(**{f"{written.PREFIX}inputs_node_normal_4": "3_1"}),
        broken_nb301(**{f"{written.PREFIX}inputs_node_normal_4": "x"}),
        broken_nb301(**{f"{written.PREFIX}edge_normal_0": "conv_7x7"}),
        {**written.nb301(0), "info": []},
    ],
)
def test_a_damaged_document_is_named(tmp_path: Path, document: Any) -> None:
    with pytest.raises(DataError, match=r"results_0\.json"):
        nb301(str(written.documents(tmp_path, {"results_0.json": document})))


def test_missing_documents_say_where_they_are_published(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        nb301(str(tmp_path / "none"))
    assert "automl/nasbench301" in caught.value.hint
    with pytest.raises(DataError, match="contains no file whose name") as caught:
        accel(str(tmp_path))
    assert "afzalxo/Accel-NASBench" in caught.value.hint
    (tmp_path / "other.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"not a readable \.zip or \.tar\.gz"):
        accel(str(tmp_path / "other.tar.gz"))
