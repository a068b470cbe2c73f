"""EDNAG on NAS-Bench-201 in its published encoding: how many distinct cells one run looks up.

    python benchmarks/ednag.py <folder with the tables> --dataset c10 --scale 1 --seeds 20

The published encoding has eight rows of seven choices: six edges, a row before and one behind that mean
nothing, and two choices (input, output) that make an edge, and with it the cell, invalid. Invalid cells are
told as failures. Our space has six rows of five choices, where nothing is invalid, so one run looks up more
cells.
Zhou and Tang, arXiv 2504.17827: 99 steps of 30 individuals; scales 1 (c10), 1.2 (c100), 2 (in16).
"""

import argparse

import numpy as np
import trials

from evonas import config
from evonas.data.nas_bench.base import Table, Words, nb201
from evonas.search.base import Observation, Searcher
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Space

OPERATIONS = ("input", "output", "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ROWS = 8


def padded_space() -> Space:
    """The published encoding."""
    return Space("padded", tuple(Axis(f"e{row}", OPERATIONS) for row in range(ROWS)))


def words_of(point: Genotype) -> Words:
    """The six operations that count."""
    return tuple(OPERATIONS[gene] for gene in point.genes[1:-1])


def run(table: Table, space: Space, seed: int, scale: float) -> tuple[int, int, float]:
    """Points asked, distinct cells that exist, and the best test accuracy in percent."""
    words = (f"search.fitness.scale={scale}", "search.restarts=false", "budget.evaluations=1000000")
    node = trials.composed("+task=nb201", "search=ednag_paper", *words).search
    asking: Searcher = config.build(node, space=space, seed=seed)
    asked, found = 0, dict[Words, float]()
    while batch := asking.ask():
        asked += len(batch)
        fresh = {words_of(point) for point in batch} & table.rows.keys()
        found |= {cell: table.values(cell, ("test_error",))["test_error"] for cell in fresh}
        errors = [found.get(words_of(point)) for point in batch]
        asking.tell([Observation(p, None if e is None else (e,)) for p, e in zip(batch, errors, strict=True)])
    return asked, len(found), 100 - min(found.values())


def main() -> None:
    """Print a line a seed and what they say together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", help="the folder that holds the tables")
    parser.add_argument("--dataset", default="c10", choices=["c10", "c100", "in16"])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    table, space, cells, bests = nb201(given.root, given.dataset), padded_space(), [], []
    optimum = 100 - float(np.nanmin(table.column("test_error")))
    for seed in range(given.seeds):
        asked, count, best = run(table, space, seed, given.scale)
        cells.append(count)
        bests.append(best)
        print(f"seed {seed}: {asked} points, {count} distinct cells, best {best:.3f}", flush=True)
    hits = sum(best >= optimum - 1e-9 for best in bests)
    together = trials.spread_of(bests, lambda value: f"{value:.3f}")
    print(
        f"{given.dataset}: {together}, optimum {hits}/{given.seeds}, cells {min(cells)} to {max(cells)}, ",
        end="",
    )
    print(f"median {np.median(cells):.0f}")


if __name__ == "__main__":
    main()
