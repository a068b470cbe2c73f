"""OFA-toy: a closed-form stand-in for searching the MobileNetV3 space of once-for-all, in seconds.

    python benchmarks/ofa.py outputs/ofa --methods random nsga2 nsganetv2 --seeds 5 --evaluations 340

A network has five stages of two to four layers, a kernel and an expansion for each layer, and a resolution;
layers beyond the depth mean nothing, so their genes are neutral. Multiply-adds are those of the real network
(stage widths, strides and squeeze-excite places of OFA-MobileNetV3, width 1.0). The accuracy is made up: each
layer adds to a utility, more in later stages, less in later layers of a stage, more for larger kernels and
expansions, and 5x5 best in a stage's first layer; it saturates as 60 + 22 (1 - exp(-utility / 8)) percent.
Every trial is kept in the folder, so the command may be stopped and typed again.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kept
import numpy as np
import trials

from evonas.evaluate.engine import Measurement, Part
from evonas.files import sha256
from evonas.report.analysis.indicators import Scale
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Space

STAGES, LAYERS = 5, 4
WIDTHS, STRIDES, SQUEEZES = (24, 40, 80, 112, 160), (2, 2, 2, 1, 2), (False, True, False, True, True)
STEM, LAST, FEATURES, CLASSES = 16, 960, 1280, 1000
KERNELS, EXPANSIONS = (3, 5, 7), (3, 4, 6)
WEIGHTS = (0.6, 0.8, 1.0, 1.2, 1.4)
NAMES = ("error", "macs")


@dataclass(frozen=True)
class OfaSpace(Space):
    """The 46 genes of OFA-MobileNetV3, where a depth says which layers are expressed."""

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, 46) layouts whose layers beyond the depth have index 0."""
        found = np.array(rows)
        beyond = np.tile(range(LAYERS), STAGES) >= 2 + np.repeat(found[:, :STAGES], LAYERS, axis=1)
        found[:, STAGES:-1] *= ~np.tile(beyond, 2)
        return found

    def size(self) -> int:
        """Networks that differ, times resolutions."""
        layer = len(KERNELS) * len(EXPANSIONS)
        return sum(layer**depth for depth in (2, 3, 4)) ** STAGES * len(self.axes[-1].choices)


def ofa_space() -> OfaSpace:
    """Depths, kernels, expansions, resolution, in this order."""
    depths = [Axis(f"d{stage}", (2, 3, 4)) for stage in range(1, STAGES + 1)]
    layers = range(1, STAGES * LAYERS + 1)
    kernels = [Axis(f"k{layer}", KERNELS) for layer in layers]
    expansions = [Axis(f"e{layer}", EXPANSIONS) for layer in layers]
    return OfaSpace("ofa", (*depths, *kernels, *expansions, Axis("r", tuple(range(192, 257, 4)))))


class OfaEvaluator:
    """Error in percent and multiply-adds in millions, both in closed form."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def setup(self) -> None:
        """Nothing to load."""

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """Exact and at once."""
        del part
        chosen = self._space.decode(genotype)
        return Measurement({"error": 100.0 - top1(chosen), "macs": macs(chosen)})


def top1(chosen: Mapping[str, Any]) -> float:
    """The made-up accuracy in percent."""
    utility = (chosen["r"] - 192) / 16
    for stage, layer, kernel, expansion in _layers(chosen):
        size = 0.25 * KERNELS.index(kernel) + 0.35 * EXPANSIONS.index(expansion)
        utility += WEIGHTS[stage] * 0.8**layer * (1 + size)
        utility += 0.3 if layer == 0 and kernel == 5 else 0.0
    return 60 + 22 * (1 - math.exp(-utility / 8))


def macs(chosen: Mapping[str, Any]) -> float:
    """Multiply-adds of one image, in millions."""
    side, width = math.ceil(chosen["r"] / 2), STEM
    total = side**2 * (3 * STEM * 9 + STEM * 9 + STEM * STEM)
    for stage, layer, kernel, expansion in _layers(chosen):
        inner = round_to_8(width * expansion)
        after = math.ceil(side / (STRIDES[stage] if layer == 0 else 1))
        total += side**2 * width * inner + after**2 * inner * (kernel**2 + WIDTHS[stage])
        if SQUEEZES[stage]:
            total += 2 * inner * round_to_8(inner // 4)
        side, width = after, WIDTHS[stage]
    return (total + side**2 * width * LAST + LAST * FEATURES + FEATURES * CLASSES) / 1e6


def round_to_8(channels: int) -> int:
    """The nearest multiple of eight that loses less than a tenth, as MobileNetV3 rounds widths."""
    near = max(8, (channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _layers(chosen: Mapping[str, Any]) -> list[tuple[int, int, int, int]]:
    """Stage, layer within it, kernel and expansion of every layer that exists."""
    return [
        (stage, layer, chosen[f"k{stage * LAYERS + layer + 1}"], chosen[f"e{stage * LAYERS + layer + 1}"])
        for stage in range(STAGES)
        for layer in range(chosen[f"d{stage + 1}"])
    ]


def scale(space: Space) -> Scale:
    """The box from zero to 1.01 times the smallest network's error and the largest one's multiply-adds."""
    small, large = space.decode(space.smallest()), space.decode(space.largest())
    return Scale(NAMES, (0.0, 0.0), (1.01 * (100 - top1(small)), 1.01 * macs(large)))


def hypervolumes(
    method: str, seeds: Sequence[int], evaluations: int, folder: Path | None = None
) -> list[float]:
    """The hypervolume each seed reaches with a searcher of conf/search (and overrides after commas).

    Args:
        folder: where trials are kept; None keeps none.
    """
    name, *changes = method.split(",")
    node = trials.composed("+task=nb201", f"search={name}", f"budget.evaluations={evaluations}", *changes)
    space = ofa_space()
    box, found, facts = scale(space), [], sha256(Path(__file__))
    for seed in seeds:
        about = ("ofa", method, seed)
        run = partial(trials.run, about, node.search, space, OfaEvaluator(space), NAMES)
        trial = run() if folder is None else kept.kept(folder, kept.identity(about, node.search, facts), run)
        assert trial.asked <= evaluations
        found.append(float(trials.worth(trial, box)[-1]))
    return found


def main() -> None:
    """Write ofa.json and ofa.md below the folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=["random", "nsga2"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=340)
    given = parser.parse_args()
    results, rows = {}, []
    for method in given.methods:
        began = time.monotonic()
        folder = given.folder / "trials"
        found = results[method] = hypervolumes(method, range(given.seeds), given.evaluations, folder)
        seconds = (time.monotonic() - began) / given.seeds
        each = " ".join(f"{share:.4f}" for share in found)
        rows.append([method, f"{np.median(found):.4f}", each, f"{seconds:.1f}"])
    columns = ["method", f"median hypervolume at {given.evaluations}", "per seed", "seconds a seed"]
    table = trials.markdown(columns, rows)
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "ofa.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (given.folder / "ofa.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
