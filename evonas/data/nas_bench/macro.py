"""NAS-Bench-Macro: 6561 chains of eight blocks, each trained three times on CIFAR-10 (Su et al. 2021).

The released file `nas-bench-macro_cifar10.json` maps eight digits to `test_acc` (three, percent), `mean_acc`,
`std`, `params` and `flops`: 0 identity, 1 MobileNetV2 block of kernel 3 and expansion 3, 2 of kernel 5
and expansion 6. Chains that differ only in the position of an identity within a stage are the same network and have
the same values.
"""

from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.data.io.safe import read_json
from evonas.data.nas_bench.base import Table, Words, present, tabulated
from evonas.errors import DataError

PAGE = "https://github.com/xiusu/NAS-Bench-Macro"
FILE = "nas-bench-macro_cifar10.json"
BLOCKS = {"0": "identity", "1": "mb3_k3", "2": "mb6_k5"}
LAYERS = 8


def macro(root: str) -> Table:
    """NAS-Bench-Macro on CIFAR-10.

    Columns: `error` (test, percent, mean of three trainings), `one_error` (the first training alone),
    `deviation` of the accuracy over the trainings, `params` and `flops` (M).

    Args:
        root: folder of `nas-bench-macro_cifar10.json`.
    """
    path = present(Path(root) / FILE, PAGE)
    found = read_json(path)
    if not isinstance(found, dict) or not found:
        raise DataError(
            f"{path} is not NAS-Bench-Macro: it must map names to networks.", "Download it again."
        )
    rows = np.array([_row(path, name, entry) for name, entry in found.items()])
    names = ("error", "one_error", "deviation", "params", "flops")
    columns = {name: rows[:, place] for place, name in enumerate(names)}
    return tabulated("macro/c10", [_words(path, name) for name in found], columns, [files.sha256(path)])


def _words(path: Path, name: str) -> Words:
    if len(name) != LAYERS or set(name) - set(BLOCKS):
        raise DataError(f"{path} names a network {name[:40]!r}.", f"Names are {LAYERS} digits from 0 to 2.")
    return tuple(BLOCKS[digit] for digit in name)


def _row(path: Path, name: str, entry: Any) -> tuple[float, ...]:
    try:
        errors = (100.0 - float(entry["mean_acc"]), 100.0 - float(entry["test_acc"][0]))
        return (*errors, float(entry["std"]), float(entry["params"]) / 1e6, float(entry["flops"]) / 1e6)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise DataError(
            f"{path}: the entry {name[:40]!r} is damaged: {error!r}.", "Download it again."
        ) from error
