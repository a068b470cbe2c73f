"""Small tables in the benchmarks' own layouts, with numbers that follow from the architecture."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# what each operation adds to the accuracy, and what it costs
WORTH, COST = np.array([0.0, 2.0, 4.0, 5.0, 1.0]), np.array([0.0, 0.0, 1.0, 9.0, 0.0])


def nb201(folder: Path, **changes: Any) -> np.ndarray:
    """Write nb201_tables.npz with all 15625 cells; the encodings."""
    codes = np.array(list(product(range(5), repeat=6)), dtype=np.int8)
    accuracy = 60 + WORTH[codes].sum(axis=1) + np.arange(6) @ (codes == 3).T * 0.1
    arrays: dict[str, Any] = {"enc": codes, "ops": np.array(OPS), "hw_columns": np.array(["edgegpu_latency"])}
    for dataset in ("c10", "c100", "in16"):
        arrays |= {
            f"{dataset}_valid_naslib": accuracy.astype(np.float32),
            f"flops_{dataset}": 7.78305 + 3.93216 * COST[codes].sum(axis=1) + 1e-13 * codes[:, 0],
            f"params_{dataset}": 0.07 + 0.01 * COST[codes].sum(axis=1),
            f"hw_{dataset}": (1.0 + (codes > 0).sum(axis=1, keepdims=True)).astype(np.float32),
        }
    arrays["c10_test"] = (accuracy + 0.5).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "nb201_tables.npz", **{**arrays, **changes})
    return codes


def skeletons() -> np.ndarray:
    """The encodings of all 3256 networks of TransNAS-Bench-101 macro, shorter ones with zeros at the end."""
    every = (each for length in (4, 5, 6) for each in product((1, 2, 3, 4), repeat=length))
    networks = (
        each
        for each in every
        if 1 <= each.count(3) + each.count(4) <= 4 and 1 <= each.count(2) + each.count(4) <= 3
    )
    return np.array([each + (0,) * (6 - len(each)) for each in networks], dtype=np.int8)


def transnas(folder: Path, kind: str, codes: np.ndarray) -> None:
    """Write transnas101_<kind>.npz with these architectures; the score of row i is i."""
    tasks = ("class_scene", "room_layout", "segmentsemantic", "normal", "jigsaw")
    score = np.arange(len(codes), dtype=np.float64)
    valid = np.stack([score, -score, score, score / 1000, score], axis=1)
    flops = np.tile(100.0 + score[:, None], (1, len(tasks)))
    synflow = np.full_like(valid, np.nan)
    synflow[0] = 7.0
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / f"transnas101_{kind}.npz",
        tasks=np.array(tasks),
        enc=codes.astype(np.int8),
        valid_final=valid.astype(np.float32),
        flops=flops,
        params=flops / 10,
        synflow=synflow,
    )
