"""Tabular benchmarks: published results for all architectures of a small space.

A table is read from `.npz` files of the user (`data.root=<folder>`); evonas ships none. Layout of the files, with one
row per architecture:

`nb201_tables.npz`: `enc` (N 6, indices into `ops`, edges 0->1 0->2 1->2 0->3 1->3 2->3), `ops`,
and per data set d of c10, c100, in16: `<d>_valid_naslib`, `flops_<d>`, `params_<d>`, `hw_<d>` with
`hw_columns`; optional `<d>_test`, `c10_valid`, `<d>_valid_12ep`, `<d>_test_12ep`, `flops_official_<d>`,
`zen_<d>`. `nb201_test_acc_facts.npz` adds `<d>_test`, `nb201_proxies.npz` adds `<d>` with `names` and
`<d>_index`, `nb201_latency_help.npz` adds `latency` (devices N) with `devices`.
`transnas101_<micro or macro>.npz`: `tasks`, `enc` (N 6), and `valid_final`, `flops`, `params` (N tasks);
optional `zen`, `synflow`, `epe_nas`, `fisher`.

All columns are minimised: accuracies become errors in percent, and scores where more is better are negated. Unknown
values are NaN, and so are infinite ones, which no ideal or reference point could hold. The benchmarks: Dong and Yang
2020 (NAS-Bench-201), Duan et al. 2021 (TransNAS-Bench-101), Li et al. 2021 (HW-NAS-Bench), Lee et al. 2021 (HELP),
Krishnakumar et al. 2022 (the scores of NAS-Bench-Suite-Zero).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas import files
from evonas.data.io.safe import read_arrays
from evonas.errors import DataError, InfeasibleError, UserError

Words = tuple[str, ...]
Column = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

# (from, to) of the six edges of a cell of NAS-Bench-201, in the order of the benchmark's strings
NB201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NB201_SETS = ("c10", "c100", "in16")
NB201_PAGE = "https://github.com/D-X-Y/NAS-Bench-201"
TRANSNAS_PAGE = "https://github.com/yawen-d/TransNASBench"
TRANSNAS_WORDS = {
    "micro": ("none", "skip", "conv1x1", "conv3x3"),
    "macro": ("none", "normal", "channel", "resolution", "both"),
}
# tasks that report a negative loss, and tasks that report a similarity of at most 1; the others report percent
_LOSSES, _SIMILARITIES = {"room_layout"}, {"normal", "autoencoder"}
_SCORES = ("zen", "synflow", "epe_nas", "fisher")
# the authors computed counts in millions by regression, so that they are exact only up to rounding
_DIGITS = 6


@dataclass(frozen=True)
class Table:
    """Architectures as words, and columns of values that are minimised.

    Args:
        name: name of the benchmark and its data set.
        rows: rows of each architecture; several if the file contains it repeatedly.
        columns: one value per row, NaN if unknown; never infinite.
        units: unit of each column that has one.
        digest: sha256 of the files.
    """

    name: str
    rows: Mapping[Words, tuple[int, ...]]
    columns: Mapping[str, Column]
    units: Mapping[str, str]
    digest: str

    def column(self, name: str) -> Column:
        """The values of a column; a UserError for an unknown name."""
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise UserError(f"The table {self.name} has no column '{name}'.", f"It has: {known}")
        return self.columns[name]

    def range(self, name: str) -> tuple[float, float]:
        """The least and the largest known value of a column.

        Raises:
            DataError: it has none.
        """
        column = self.column(name)
        known = column[np.isfinite(column)]
        if not len(known):
            raise DataError(
                f"Column '{name}' of the table {self.name} has no finite value.", "Choose another column."
            )
        return float(known.min()), float(known.max())

    def values(self, words: Words, names: Sequence[str]) -> dict[str, float]:
        """Values of an architecture by column.

        Raises:
            ValueError: the table has no entry, an unknown value, or contradictory entries.
        """
        rows = self.rows.get(words, ())
        if not rows:
            raise InfeasibleError(f"the table {self.name} has no entry for {','.join(words)}")
        values: dict[str, float] = {}
        for name in names:
            found = self.column(name)[list(rows)]
            if not np.isfinite(found).all():
                raise InfeasibleError(f"the table {self.name} has no {name} for {','.join(words)}")
            if (found != found[0]).any():
                raise InfeasibleError(
                    f"the table {self.name} has {len(found)} different {name} for {','.join(words)}"
                )
            values[name] = float(found[0])
        return values


def nb201(root: str, dataset: str = "c10", isomorphic: bool = False) -> Table:
    """NAS-Bench-201 on one data set.

    Columns: `error` (validation, one query), `test_error`, `mean_error` (validation, mean of the seeds; c10),
    `short_error` and `short_test_error` (12 epochs), `flops`, `params`, `official_flops` (all M), latencies
    in ms and energies in mJ of HW-NAS-Bench, `help_<device>` (ms), and negated scores such as `synflow`.

    Args:
        root: folder of the files listed above.
        dataset: c10, c100 or in16.
        isomorphic: whether each cell has the values of the first cell that computes the same function; their own values
            differ, because each cell was trained separately.
    """
    if dataset not in NB201_SETS:
        raise UserError(f"data.dataset={dataset} is unknown.", f"Choose among {', '.join(NB201_SETS)}.")
    main, digests = _read(Path(root), "nb201_tables.npz", NB201_PAGE)
    words = [tuple(str(main["ops"][code]) for code in row) for row in _need(main, "enc", "nb201_tables.npz")]
    columns = _nb201_columns(main, dataset)
    for file, add in (
        ("nb201_test_acc_facts.npz", _add_tests),
        ("nb201_proxies.npz", _add_scores),
        ("nb201_latency_help.npz", _add_devices),
    ):
        if (Path(root) / file).exists():
            arrays, more = _read(Path(root), file, NB201_PAGE)
            add(columns, arrays, dataset)
            digests += more
    if isomorphic:
        columns = _of_first(columns, words)
    return tabulated(f"nb201/{dataset}", words, columns, digests)


def canonical_cell(words: Sequence[str]) -> str:
    """A text that is equal for two cells of NAS-Bench-201 exactly if they compute the same function.

    A node is the sum of its inputs: `none` contributes nothing, `skip_connect` passes a node on, an operation on
    nothing contributes nothing, and the order of a sum does not matter. The 15 625 cells are 4 930 functions; Dong
    and Yang 2020 (arXiv 2001.00326) count 6 466, because they keep zeros as terms of sums.

    Args:
        words: operations of the six edges, in the order of `NB201_EDGES`.
    """
    nodes: list[tuple[str, ...]] = [("input",)]
    for node in (1, 2, 3):
        terms: list[str] = []
        for (source, target), word in zip(NB201_EDGES, words, strict=True):
            if target != node or word == "none" or not nodes[source]:
                continue
            terms += nodes[source] if word == "skip_connect" else (f"{word}({'+'.join(nodes[source])})",)
        nodes.append(tuple(sorted(terms)))
    return "+".join(nodes[3])


def transnas(root: str, kind: str, dataset: str = "segmentsemantic") -> Table:
    """TransNAS-Bench-101 on one of its seven tasks, after the last epoch.

    Columns: `error` (validation: 100 - top-1 or pixel accuracy in percent; loss of room_layout; 1 - SSIM),
    `flops`, `params` (M), and the negated scores the file has, NaN where it lacks them.

    Args:
        root: folder of `transnas101_<kind>.npz`.
        kind: micro (cells) or macro (skeletons of four to six modules).
        dataset: class_scene, class_object, room_layout, jigsaw, segmentsemantic, normal or autoencoder.
    """
    file = f"transnas101_{kind}.npz"
    arrays, digests = _read(Path(root), file, TRANSNAS_PAGE)
    tasks = [str(task) for task in _need(arrays, "tasks", file)]
    if dataset not in tasks:
        raise UserError(f"data.dataset={dataset} is unknown.", f"Choose among {', '.join(tasks)}.")
    place, names = tasks.index(dataset), TRANSNAS_WORDS[kind]
    words = [tuple(names[code] for code in row) for row in _need(arrays, "enc", file)]
    columns = {"error": _missed(_need(arrays, "valid_final", file)[:, place], dataset)}
    columns |= {name: _counts(_need(arrays, name, file)[:, place]) for name in ("flops", "params")}
    columns |= {name: -_floats(arrays[name][:, place]) for name in _SCORES if name in arrays}
    return tabulated(f"transnas_{kind}/{dataset}", words, columns, digests)


def own(root: str) -> Table:
    """A table of the user: one file with `words` and any columns, all of which are minimised.

    Args:
        root: an `.npz` file: `words` (N genes) are the choices of each architecture, in the order of the space's axes;
            each other array is a column with one value per row.
    """
    path = Path(root)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}.", "Set data.root to your .npz file; see docs/tables.md.")
    arrays = read_arrays(path)
    words = [tuple(map(str, row)) for row in np.atleast_2d(_need(arrays, "words", path.name))]
    numbers = {name: array for name, array in arrays.items() if name != "words"}
    odd = [name for name, array in numbers.items() if array.dtype.kind not in "fiu"]
    if odd or not numbers:
        what = f"column '{odd[0]}' is not numeric" if odd else "there is no column besides 'words'"
        raise DataError(f"{path} is not a table: {what}.", "Store one number per row in each column.")
    columns = {name: _floats(array) for name, array in numbers.items()}
    return tabulated(path.stem, words, columns, [files.sha256(path)])


def _missed(reported: NDArray[Any], dataset: str) -> Column:
    if dataset in _LOSSES:
        return -_floats(reported)
    return (1.0 if dataset in _SIMILARITIES else 100.0) - _floats(reported)


def _nb201_columns(main: Arrays, dataset: str) -> dict[str, Column]:
    file = "nb201_tables.npz"
    columns = {"error": 100.0 - _floats(_need(main, f"{dataset}_valid_naslib", file))}
    accuracies = {
        "test_error": f"{dataset}_test",
        "mean_error": f"{dataset}_valid",
        "short_error": f"{dataset}_valid_12ep",
        "short_test_error": f"{dataset}_test_12ep",
    }
    columns |= {name: 100.0 - _floats(main[key]) for name, key in accuracies.items() if key in main}
    columns |= {name: _counts(_need(main, f"{name}_{dataset}", file)) for name in ("flops", "params")}
    if f"flops_official_{dataset}" in main:
        columns["official_flops"] = _counts(main[f"flops_official_{dataset}"])
    # HW-NAS-Bench writes -1 where a device cannot run a network: 4699 of the 15 625 on the Edge TPU
    hardware = _floats(_need(main, f"hw_{dataset}", file))
    hardware = np.where(hardware == -1, np.nan, hardware)
    columns |= {str(name): hardware[:, place] for place, name in enumerate(_need(main, "hw_columns", file))}
    if f"zen_{dataset}" in main:
        columns["zen"] = -_floats(main[f"zen_{dataset}"])
    return columns


def _add_tests(columns: dict[str, Column], arrays: Arrays, dataset: str) -> None:
    if f"{dataset}_test" in arrays:
        columns.setdefault("test_error", 100.0 - _floats(arrays[f"{dataset}_test"]))


def _add_scores(columns: dict[str, Column], arrays: Arrays, dataset: str) -> None:
    if dataset not in arrays:
        return
    for place, name in enumerate(map(str, arrays["names"])):
        whole = np.full(len(columns["error"]), np.nan)
        whole[arrays[f"{dataset}_index"]] = -_floats(arrays[dataset][:, place])
        columns.setdefault(name, whole)


def _add_devices(columns: dict[str, Column], arrays: Arrays, dataset: str) -> None:
    del dataset  # latency was measured once per topology, for all data sets
    for name, latency in zip(arrays["devices"], arrays["latency"], strict=True):
        columns[f"help_{name}"] = _floats(latency)


def _of_first(columns: Mapping[str, Column], words: Sequence[Words]) -> dict[str, Column]:
    """Replaces each row by the first row whose cell computes the same function."""
    first: dict[str, int] = {}
    rows = [first.setdefault(canonical_cell(cell), row) for row, cell in enumerate(words)]
    return {name: column[rows] for name, column in columns.items()}


def tabulated(
    name: str, words: Sequence[Words], columns: Mapping[str, Column], digests: Sequence[str]
) -> Table:
    """A table of architectures and columns with equal numbers of rows; values that are not finite become NaN.

    Raises:
        DataError: a column has another shape than one number for each architecture, or a time, energy or count below
            zero.
    """
    odd = [column for column, values in columns.items() if values.shape != (len(words),)]
    if odd:
        shape = "x".join(map(str, columns[odd[0]].shape)) or "one"
        raise DataError(
            f"Column {odd[0]} of {name} has {shape} numbers; there are {len(words)} architectures.",
            "Store one number for each.",
        )
    # rates are negated, because objectives are minimised
    below = [
        column
        for column, values in columns.items()
        if _unit(column) not in ("", "1/s") and np.nanmin(values, initial=0) < 0
    ]
    if below:
        least = float(np.nanmin(columns[below[0]]))
        raise DataError(
            f"Column {below[0]} of {name} is in {_unit(below[0])}, and its least value is {least:g}.",
            "A time, an energy or a count is not negative: correct the values, or name the column otherwise.",
        )
    rows: dict[Words, tuple[int, ...]] = {}
    for row, key in enumerate(words):
        rows[key] = (*rows.get(key, ()), row)
    units = {column: unit for column in columns if (unit := _unit(column))}
    finite = {column: np.where(np.isfinite(values), values, np.nan) for column, values in columns.items()}
    return Table(name, rows, finite, units, hashlib.sha256("".join(digests).encode()).hexdigest())


def _unit(column: str) -> str:
    if column.endswith("throughput"):
        return "1/s"
    if column.endswith("latency") or column.startswith("help_"):
        return "ms"
    if column.endswith("energy"):
        return "mJ"
    if column == "seconds":
        return "s"
    return "M" if column in ("flops", "macs", "params", "official_flops") else ""


def _read(root: Path, file: str, page: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays of a file, and its sha256."""
    path = present(root / file, page, "; docs/tables.md lists the arrays of the file")
    return read_arrays(path), [files.sha256(path)]


def present(path: Path, page: str, more: str = "") -> Path:
    """The path of a benchmark's file; if it is missing, a DataError that says where to get it."""
    if path.parent.is_file():
        raise DataError(
            f"{path.parent} is a file, and data.root must be the folder of {path.name}.",
            f"Set data.root={path.parent.parent}",
        )
    if not path.exists():
        raise DataError(
            f"{path} does not exist.",
            f"Set data.root to the folder of {path.name}. The benchmark is published at {page}{more}.",
        )
    return path


def _need(arrays: Arrays, name: str, file: str) -> NDArray[Any]:
    if name not in arrays:
        raise DataError(f"{file} has no array '{name}'.", f"It has: {', '.join(arrays)}")
    return arrays[name]


def _floats(values: NDArray[Any]) -> Column:
    return np.asarray(values, dtype=np.float64)


def _counts(values: NDArray[Any]) -> Column:
    return np.round(_floats(values), _DIGITS)
