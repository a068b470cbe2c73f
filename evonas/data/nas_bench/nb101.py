"""NAS-Bench-101: 423 624 cells, each trained three times on CIFAR-10 (Ying et al. 2019, arXiv 1902.09635).

The released file is a TFRecord with one record per training: a JSON list of a hash, the epochs, the rows of the
adjacency matrix as digits, the operations separated by commas, and a ModelMetrics message in base64. ModelMetrics has
the fields 1 evaluations (before training, half-way, and at the end) and 2 trainable parameters; an evaluation has
2 training time (s), 3 training, 4 validation and 5 test accuracy (fractions). The hash is not used: cells are compared
by their graphs.
"""

import base64
import json
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.data.nas_bench.base import Table, Words, present, tabulated
from evonas.data.nas_bench.tfrecord import double, fields, read_records
from evonas.errors import DataError, UserError

PAGE = "https://github.com/google-research/nasbench"
FULL, SHORT = "nasbench_full.tfrecord", "nasbench_only108.tfrecord"
EPOCHS = (4, 12, 36, 108)
OPERATIONS = ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
INNER, VERTICES = 5, 7
_EVALUATIONS, _PARAMETERS = 1, 2
_SECONDS, _VALIDATION, _TEST = 2, 4, 5
Run = tuple[Words, tuple[float, ...]]
_COLUMNS = ("error", "test_error", "half_error", "seconds", "params")


def nb101(root: str, epochs: int = 108) -> Table:
    """NAS-Bench-101; reading its 1.3 million trainings takes a minute or two.

    Columns: `error` (validation) and `test_error` in percent after the last epoch, `half_error` (validation,
    half-way), `seconds` of training, each the mean of the three trainings, and `params` (M).

    Args:
        root: folder of `nasbench_full.tfrecord`, or, for 108 epochs, of `nasbench_only108.tfrecord`.
        epochs: 4, 12, 36 or 108.
    """
    if epochs not in EPOCHS:
        raise UserError(f"data.epochs={epochs} is unknown.", f"Choose among {', '.join(map(str, EPOCHS))}.")
    path = _file(Path(root), epochs)
    total: dict[Words, np.ndarray] = {}
    counts: dict[Words, int] = {}
    for words, numbers in _runs(path, epochs):
        total[words] = total.get(words, 0.0) + np.array(numbers)
        counts[words] = counts.get(words, 0) + 1
    if not total:
        raise DataError(f"{path} has no training of {epochs} epochs.", f"Set data.epochs, or get {FULL}.")
    means = np.array([found / counts[words] for words, found in total.items()])
    columns = {name: means[:, place] for place, name in enumerate(_COLUMNS)}
    return tabulated(f"nb101/{epochs}", list(total), columns, [files.sha256(path)])


def _file(root: Path, epochs: int) -> Path:
    short = root / SHORT
    if epochs == EPOCHS[-1] and (short.exists() or not (root / FULL).exists()):
        return present(short, PAGE)
    return present(root / FULL, PAGE)


def _runs(path: Path, epochs: int) -> Iterator[Run]:
    for number, record in enumerate(read_records(path), start=1):
        try:
            _, trained, matrix, operations, metrics = json.loads(record)
            if trained == epochs:
                yield _words(matrix, operations.split(",")), _numbers(base64.b64decode(metrics))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"Record {number} of {path} is not a training of NAS-Bench-101: {error}.",
                "Download the file again.",
            ) from error


def _words(matrix: str, operations: list[str]) -> Words:
    """Five operations and 21 edges; smaller cells are padded with unconnected vertices before the output."""
    size = len(operations)
    if not 2 <= size <= VERTICES or len(matrix) != size**2 or set(matrix) - {"0", "1"}:
        raise ValueError(f"{matrix[:60]!r} is not an adjacency matrix of {size} vertices")
    if operations[0] != "input" or operations[-1] != "output" or set(operations[1:-1]) - set(OPERATIONS):
        raise ValueError(f"the operations are {','.join(operations)[:120]}")
    place = [*range(size - 1), VERTICES - 1]
    ones = {divmod(at, size) for at, digit in enumerate(matrix) if digit == "1"}
    if any(source >= target for source, target in ones):
        raise ValueError(f"an edge of {matrix} points backwards")
    edges = {(place[source], place[target]) for source, target in ones}
    named = [*operations[1:-1], *[OPERATIONS[0]] * (VERTICES - size)]
    return (*named, *("1" if pair in edges else "0" for pair in combinations(range(VERTICES), 2)))


def _numbers(message: bytes) -> tuple[float, ...]:
    """The columns of a training, in the order of _COLUMNS."""
    evaluations: list[bytes] = []
    parameters: Any = None
    for number, value in fields(message):
        if number == _EVALUATIONS and isinstance(value, bytes):
            evaluations.append(value)
        elif number == _PARAMETERS:
            parameters = value
    if len(evaluations) != 3 or not isinstance(parameters, int):
        raise ValueError(f"it has {len(evaluations)} evaluations and parameters {parameters!r}")
    half, last = (dict(fields(each)) for each in evaluations[1:])
    shares = (last.get(_VALIDATION), last.get(_TEST), half.get(_VALIDATION))
    errors = [100.0 * (1.0 - double(share or 0)) for share in shares]
    found = (*errors, double(last.get(_SECONDS, 0)), parameters / 1e6)
    if not all(map(math.isfinite, found)):
        raise ValueError("a number is not finite")
    return found
