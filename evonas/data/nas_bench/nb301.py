"""NAS-Bench-301: some 60 000 of the 10^18 pairs of DARTS cells, trained on CIFAR-10 (Zela et al. 2022).

The released data set contains one file `results_<number>.json` per training: `optimized_hyperparamater_config` (sic)
with `edge_<cell>_<0 to 13>` (the operation, if the edge exists) and `inputs_node_<cell>_<3 to 5>` (such as `0_2`) after
the prefix `NetworkSelectorDatasetInfo:darts:`, `info` (its first entry has `val_accuracy` and `model_parameters`),
`test_accuracy` (percent) and `runtime` (s). Edges are numbered from node 2 and by their inputs; nodes 0 and 1 are the
inputs of the cell.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from evonas.data.nas_bench.base import Table, Words, tabulated
from evonas.data.nas_bench.json_records import Numbers, read_trained
from evonas.data.nas_bench.surrogate_table import completed

PAGE = "https://github.com/automl/nasbench301 (data set v1.0)"
NAMES = r"results_\w+\.json"
CELLS = ("normal", "reduce")
OPERATIONS = (
    "skip_connect",
    "max_pool_3x3",
    "avg_pool_3x3",
    "sep_conv_3x3",
    "dil_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_5x5",
)
_PREFIX = "NetworkSelectorDatasetInfo:darts:"
_SIZES = (
    f"{_PREFIX}layers",
    f"{_PREFIX}init_channels",
    "SimpleLearningrateSchedulerSelector:cosine_annealing:T_max",
)
# number of the edge from the first input to each node
_FIRST = {2: 0, 3: 2, 4: 5, 5: 9}
_EDGES = 14


def nb301(root: str, fitted: bool = True) -> Table:
    """NAS-Bench-301, with predictions for all networks by trees fitted to its data set.

    Columns: `error` (validation) and `test_error` in percent, `params` (M), `seconds` of training. Networks whose
    depth, width or length of training differs from that of most networks are excluded.

    Args:
        root: folder of the unpacked data set, or its archive.
        fitted: false for the measured values of trained networks only.
    """
    sizes: list[tuple[Any, ...]] = []

    def read(document: Any) -> tuple[Words, Numbers]:
        config = document["optimized_hyperparamater_config"]
        size = tuple(config.get(name) for name in _SIZES)
        sizes.append(size)
        return _words(config), {**_numbers(document), "size": float(sizes.index(size))}

    trained = read_trained(Path(root), NAMES, PAGE, read)
    usual = trained.columns.pop("size")
    kept = np.flatnonzero(usual == Counter(usual.tolist()).most_common(1)[0][0])
    words = [trained.words[row] for row in kept]
    columns = {name: column[kept] for name, column in trained.columns.items()}
    table = replace(tabulated("nb301", words, columns, []), digest=trained.digest)
    return completed(table, edges, is_ordered=False) if fitted else table


def edges(words: Words) -> list[int]:
    """The operation on each of the 28 edges of both cells, 0 for no edge.

    Raises:
        ValueError: the words are not a pair of cells.
    """
    found = [0] * (len(CELLS) * _EDGES)
    half = len(words) // 2
    for cell, named in enumerate((words[:half], words[half:])):
        inputs, operations = [(0, 1), *map(_pair, named[:3])], named[3:]
        for node, (pair, first) in enumerate(zip(inputs, _FIRST.values(), strict=True)):
            for place, source in enumerate(pair):
                operation = OPERATIONS.index(operations[2 * node + place])
                found[cell * _EDGES + first + source] = 1 + operation
    return found


def _pair(word: str) -> tuple[int, int]:
    first, second = word.removeprefix("n").split("_")
    return int(first), int(second)


def _words(config: Mapping[str, Any]) -> Words:
    """Inputs of nodes 3 to 5 and eight operations, of the normal cell and then of the reduction cell."""
    found: list[str] = []
    for cell in CELLS:
        inputs = [(0, 1)] + [_pair(str(config[f"{_PREFIX}inputs_node_{cell}_{node}"])) for node in (3, 4, 5)]
        for node, pair in zip(_FIRST, inputs, strict=True):
            if pair not in combinations(range(node), 2):
                raise ValueError(f"the inputs of node {node} are {pair}")
        operations = [
            config[f"{_PREFIX}edge_{cell}_{first + source}"]
            for pair, first in zip(inputs, _FIRST.values(), strict=True)
            for source in pair
        ]
        if set(operations) - set(OPERATIONS):
            raise ValueError(f"the operations are {operations}")
        found += [*(f"n{first}_{second}" for first, second in inputs[1:]), *operations]
    return tuple(found)


def _numbers(document: Mapping[str, Any]) -> Numbers:
    info = document["info"][0]
    return {
        "error": 100.0 - float(info["val_accuracy"]),
        "test_error": 100.0 - float(document["test_accuracy"]),
        "params": float(info["model_parameters"]) / 1e6,
        "seconds": float(document["runtime"]),
    }
