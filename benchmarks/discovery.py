"""Discovered formulas against known proxies and against chance, on TransNAS-Bench-101's cells.

    python benchmarks/discovery.py <folder with transnas101_micro.npz> outputs/discovery --seeds 5

A pool of networks runs once on random images of 64 x 64; its sampled tensors stay in the folder. Every seed
splits the pool anew: formulas are judged on 50 networks, and what is reported is Kendall's tau on the others,
with the pixel accuracy after the last epoch. Chance is the best of equally many random formulas. "Best known"
is the proxy that was best on the same 50 networks. Writes results.json, and prints a table.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from evonas.data.nas_bench.base import Table, transnas
from evonas.errors import UserError
from evonas.nn.cells.transnas import TransNASNet
from evonas.proxies.catalogue import PROXIES
from evonas.proxies.discovery import FormulaEvaluator, Schedule, added, at_random, discover
from evonas.proxies.expression import Calculator
from evonas.proxies.formula import SAMPLE, sampled
from evonas.proxies.inputs import random_images
from evonas.proxies.operators import LEAVES
from evonas.proxies.probe import Probe
from evonas.proxies.samples import LayerSamples, join
from evonas.randomness import derive, generator

KNOWN = ("params", "flops", "grad_norm", "l2_norm", "snip", "synflow", "nwot", "saswot_minus")
BESIDE = "nwot"
Scores = NDArray[np.float64]


def main() -> None:
    """Measure the pool, discover with every seed, print and write."""
    given = arguments()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    table = transnas(str(given.tables), "micro", "segmentsemantic")
    samples, known, quality = pool(given, table)
    rows = [one(given, seed, samples, known, quality) for seed in range(given.seeds)]
    (given.out / "results.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(markdown(rows))


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", type=int, default=150, help="of the pool")
    parser.add_argument("--training", type=int, default=50, help="that formulas are judged on")
    parser.add_argument("--formulas", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


def pool(given: argparse.Namespace, table: Table) -> tuple[LayerSamples, dict[str, Scores], Scores]:
    """Sampled tensors, known scores and accuracies of random networks, the same ones for every seed."""
    words = sorted(table.rows)
    rng = generator(0, "benchmark/pool")
    chosen = [words[i] for i in rng.choice(len(words), given.networks, replace=False)]
    quality = np.array([-table.values(each, ["error"])["error"] for each in chosen])
    path = given.out / f"pool-{given.networks}.npz"
    if not path.exists():
        np.savez(path, **measure(chosen))
    kept = np.load(path, allow_pickle=False)
    counts = {kind: kept[kind] for kind in ("weight", "map")}
    samples = LayerSamples({leaf: kept[leaf] for leaf in LEAVES}, counts, kept["starts"])
    return samples, {name: kept[f"score_{name}"] for name in KNOWN}, quality


def measure(chosen: list[tuple[str, ...]]) -> dict[str, Any]:
    """Every network once, as arrays to be kept."""
    images = random_images((4, 3, 64, 64), 0)
    parts, scores = [], []
    for number, words in enumerate(chosen, start=1):
        probe = Probe(TransNASNet(words, "segmentsemantic", derive(0, "benchmark/weights")), images, 0)
        parts.append(sampled(probe.statistics, SAMPLE, 0))
        scores.append([score(name, probe) for name in KNOWN])
        print(f"{number}/{len(chosen)} {','.join(words)}", flush=True)
    joined, columns = join(parts), np.array(scores).T
    known = {f"score_{name}": column for name, column in zip(KNOWN, columns, strict=True)}
    return {
        **joined.values,
        **{str(k): v for k, v in joined.counts.items()},
        "starts": joined.starts,
        **known,
    }


def score(name: str, probe: Probe) -> float:
    """One known proxy; a network without a score is worse than all others."""
    try:
        return PROXIES[name].parts(probe)[name]
    except (ValueError, UserError):
        return float("-inf")


def one(
    given: argparse.Namespace, seed: int, samples: LayerSamples, known: Mapping[str, Scores], quality: Scores
) -> dict[str, Any]:
    """One split: what was found, and how it ranks the networks that nobody looked at."""
    order = generator(seed, "benchmark/split").permutation(len(quality))
    seen, unseen = order[: given.training], order[given.training :]
    judge = FormulaEvaluator(samples.some(seen.tolist()), quality[seen])
    began = time.monotonic()
    found = discover(judge, given.formulas, seed, Schedule())[0].formula
    took = time.monotonic() - began
    drawn = at_random(judge, given.formulas, seed)[0].formula
    scores = {
        "discovered": Calculator(samples).score(found),
        "random search": Calculator(samples).score(drawn),
    }
    scores["discovered + nwot"] = added(scores["discovered"], known[BESIDE], seen)
    scores |= known
    taus = {
        name: (tau(each[seen], quality[seen]), tau(each[unseen], quality[unseen]))
        for name, each in scores.items()
    }
    best = max(KNOWN, key=lambda name: taus[name][0])
    print(
        f"seed {seed}: {found} {taus['discovered']}, random {drawn}, known {best}, {took:.0f} s", flush=True
    )
    return {
        "seed": seed,
        "formula": str(found),
        "random": str(drawn),
        "best": best,
        "seconds": took,
        "taus": taus,
    }


def tau(first: Scores, second: Scores) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(first, second).statistic)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Tau on unseen networks, one line a seed, and the means."""
    names = ["discovered", "discovered + nwot", "random search", *KNOWN]
    lines = [
        "| seed | " + " | ".join(names) + " | best known | formula | s |",
        "|---" * (len(names) + 4) + "|",
    ]
    for row in rows:
        shown = " | ".join(f"{row['taus'][name][1]:.3f}" for name in names)
        lines.append(
            f"| {row['seed']} | {shown} | {row['best']} | `{row['formula']}` | {row['seconds']:.0f} |"
        )
    means = " | ".join(f"{np.mean([row['taus'][name][1] for row in rows]):.3f}" for name in names)
    best = np.mean([row["taus"][row["best"]][1] for row in rows])
    lines.append(f"| mean | {means} | {best:.3f} | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
