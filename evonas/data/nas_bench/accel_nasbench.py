"""Accel-NASBench: 5138 networks of the MnasNet space, trained on ImageNet and timed on six accelerators.

Ahmad et al. 2024 (arXiv 2404.08005). The released `anb_dataset_jsons.tar.gz` contains one file `result_<number>.json`
per network: `architecture` (`block<0 to 6>_` `e`, `k`, `l`, `se`), `metrics` (`val_top1` in percent after shortened
training), `model_info` (`macs`, `params` in millions) and `platform_perf` (`latency_<device>` in ms,
`throughput_<device>` in images per second, each with a mean).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from evonas.data.nas_bench.base import Table, Words, tabulated
from evonas.data.nas_bench.json_records import Numbers, read_trained
from evonas.data.nas_bench.surrogate_table import completed

PAGE = "https://github.com/afzalxo/Accel-NASBench (anb_dataset)"
NAMES = r"result_\d+\.json"
BLOCKS = 7
_KINDS = ("e", "k", "l", "se")


def accel(root: str, fitted: bool = True) -> Table:
    """Accel-NASBench, with predictions for all networks of the space by trees fitted to its data set.

    Columns: `error` (percent), `macs` and `params` (M), `seconds` of training, `<device>_latency` (ms; zcu102, vck190)
    and the negated `<device>_throughput` (images per second; also a100, 3090, tpuv2, tpuv3).

    Args:
        root: `anb_dataset_jsons.tar.gz`, or the folder of its content.
        fitted: false for the measured values of the 5138 networks only.
    """
    trained = read_trained(Path(root), NAMES, PAGE, _read)
    table = replace(tabulated("accel", trained.words, trained.columns, []), digest=trained.digest)
    return completed(table, integers, is_ordered=True) if fitted else table


def integers(words: Words) -> list[int]:
    """The 28 integers that describe a network; a ValueError for other words."""
    return [int(word) for word in words]


def _read(document: Any) -> tuple[Words, Numbers]:
    blocks = document["architecture"]
    chosen = [blocks[f"block{block}_{kind}"] for kind in _KINDS for block in range(BLOCKS)]
    numbers = {
        "error": 100.0 - float(document["metrics"]["val_top1"]),
        "seconds": float(document["metrics"]["train_time"]),
        "macs": float(document["model_info"]["macs"]),
        "params": float(document["model_info"]["params"]),
    }
    for name, entry in document["platform_perf"].items():
        kind, device = name.split("_")
        sign = -1.0 if kind == "throughput" else 1.0
        # some networks do not run on the smaller devices
        if entry[f"{kind}_mean"] is not None:
            numbers[f"{device}_{kind}"] = sign * float(entry[f"{kind}_mean"])
    return tuple(str(int(each)) for each in chosen), numbers
