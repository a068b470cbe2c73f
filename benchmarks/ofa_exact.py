"""OFA-toy with the second objective known: what NSGANetV2 assumes of multiply-adds, and what it is worth.

    python benchmarks/ofa_exact.py --methods nsganetv2 model_based --seeds 5 --evaluations 340

As benchmarks/ofa.py, but searchers with a surrogate get the multiply-adds in closed form
(`search.analytic_objectives`).
"""

import argparse

import numpy as np
import ofa
import trials

from evonas import config
from evonas.search.base import Observation
from evonas.space.genotype import Genotype
from evonas.space.space import Space


def macs_of(space: Space, genotype: Genotype) -> float:
    """Multiply-adds in millions."""
    return ofa.macs(space.decode(genotype))


def hypervolume(method: str, seed: int, evaluations: int) -> float:
    """What one seed reaches, in the box of benchmarks/ofa.py."""
    name, *changes = method.split(",")
    node = trials.composed("+task=nb201", f"search={name}", f"budget.evaluations={evaluations}", *changes)
    space, values = ofa.ofa_space(), []
    known = {"objectives": ofa.NAMES, "cheap": {"macs": macs_of}}
    asking = config.build(node.search, space=space, seed=seed, **known)
    while asked := asking.ask():
        chosen = [space.decode(point) for point in asked]
        found = [(100.0 - ofa.top1(each), ofa.macs(each)) for each in chosen]
        asking.tell([Observation(point, pair) for point, pair in zip(asked, found, strict=True)])
        values += found
    counted = range(1, len(values) + 1)
    trial = trials.Trial("ofa", method, seed, np.array(values), counted, len(values), (), 0.0)
    return float(trials.worth(trial, ofa.scale(space))[-1])


def main() -> None:
    """Print the median and every seed of each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--methods", nargs="+", default=["nsganetv2", "model_based"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=340)
    given = parser.parse_args()
    for method in given.methods:
        found = [hypervolume(method, seed, given.evaluations) for seed in range(given.seeds)]
        each = " ".join(f"{share:.4f}" for share in found)
        print(f"{method}, multiply-adds known: median {np.median(found):.4f}, {each}", flush=True)


if __name__ == "__main__":
    main()
