"""Every proxy on TransNAS-Bench-101: how it ranks its cells or skeletons for segmentation, and what it costs.

    python benchmarks/proxies.py <folder with transnas101_micro.npz> outputs/proxies --seeds 0 1 2 3 4
    python benchmarks/proxies.py <folder with transnas101_macro.npz> outputs/proxies --kind macro --seeds 0 1 2 3 4

Random images of 64 x 64 and random labels; truth is the pixel accuracy after the last epoch. A network with
no score (no way from input to output) ranks last. Every seed draws its own networks, weights and images, and
is kept in the folder, so that a repeated command goes on where it was. results.md gets means and deviations
over the draws: Kendall and Spearman beside the published figures, which are means over draws of 50 networks
(Dong et al., SasWOT, AAAI 2024, table 3), and milliseconds of processor time an architecture, which `--costs`
compares with the error of inherited weights on the rendered scenes.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau, pearsonr, spearmanr
from trials import composed, kept, spread_of

from evonas import weights
from evonas.config import to_plain
from evonas.data.nas_bench.base import transnas
from evonas.errors import UserError
from evonas.nn.cells.transnas import TransNASNet
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.objectives.zero_cost import ZeroCost
from evonas.proxies.catalogue import PROXIES
from evonas.proxies.inputs import random_images
from evonas.proxies.probe import Probe
from evonas.randomness import derive, generator
from evonas.supernets.supernet import Supernet

# Kendall, Spearman and Pearson in percent: table 3 of Dong et al., AAAI 2024
PUBLISHED = {
    "micro": {
        "fisher": (11.11, 15.20, 10.84),
        "flops": (43.98, 62.55, 53.12),
        "grad_norm": (38.83, 53.49, 22.48),
        "grasp": (1.90, 3.02, 3.02),
        "epe": (53.48, 68.40, 66.29),
        "jacov": (46.45, 62.53, 43.64),
        "nwot": (36.7, 58.52, 52.09),
        "params": (45.11, 63.96, 58.27),
        "snip": (48.34, 64.17, 35.47),
        "synflow": (45.36, 61.94, 51.83),
        "zen": (48.27, 66.27, 43.64),
        "saswot_minus": (55.22, 77.63, 75.51),
        "saswot": (64.08, 83.98, 76.62),
    },
    "macro": {
        "fisher": (7.66, 11.17, 5.99),
        "flops": (51.18, 70.69, 46.72),
        "grad_norm": (3.62, 5.49, 4.42),
        "grasp": (0.66, 6.28, 4.18),
        "epe": (14.26, 19.15, 10.71),
        "jacov": (10.31, 15.08, 19.80),
        "nwot": (45.71, 66.09, 58.40),
        "params": (1.22, 2.05, 1.56),
        "snip": (17.17, 25.88, 24.38),
        "synflow": (10.85, 16.82, 18.40),
        "zen": (23.73, 34.78, 35.05),
        "saswot_minus": (28.92, 41.34, 37.06),
        "saswot": (52.76, 74.06, 67.97),
    },
}
UNPUBLISHED = ("l2_norm", "plain", "meco", "swap", "zico", "az_nas", "swap_regularised")
# measured as parts of others, and so without a time of their own
MADE_OF = {"saswot": ("saswot_minus", "nwot")}
Parts = dict[str, float]


def main() -> None:
    """Measure, print and write."""
    given = arguments()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    draws = [draw(given, seed) for seed in given.seeds] if given.networks else []
    tables = [ranking_table(given.kind, draws)] if draws else []
    if given.costs:
        tables.append(cost_table(costs(given.proxies, given.seeds[0])))
    text = "\n\n".join(tables)
    (given.out / "results.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path)
    parser.add_argument("out", type=Path)
    known = [*PUBLISHED["micro"]]
    parser.add_argument("--kind", choices=[*PUBLISHED], default="micro", help="cells or skeletons")
    parser.add_argument("--networks", type=int, default=70)
    parser.add_argument("--proxies", nargs="+", default=known, choices=[*known, *UNPUBLISHED])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--costs", action="store_true")
    return parser.parse_args()


def draw(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One draw, from its file or measured now."""
    # draws of cells are kept under the names that they had before there were others
    kind = [given.kind] if given.kind != "micro" else []
    asked = json.dumps([given.networks, given.batch, given.size, given.proxies, *kind])
    return kept(given.out / f"draw-{seed}-{derive(0, asked):x}.json", partial(ranking, given, seed))


def ranking(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Parts of scores of random networks, and what the table says of these."""
    table = transnas(str(given.tables), given.kind, "segmentsemantic")
    rows = sorted(table.rows)
    chosen = generator(seed, "benchmark/networks").choice(len(rows), given.networks, replace=False)
    words = [rows[index] for index in chosen]
    truth = [-table.values(each, ["error"])["error"] for each in words]
    measured: dict[str, list[Parts | None]] = {name: [] for name in given.proxies}
    seconds: dict[str, list[float]] = {name: [] for name in given.proxies}
    for number, each in enumerate(words, start=1):
        net = TransNASNet(each, "segmentsemantic", derive(seed, "benchmark/weights"))
        images = random_images((given.batch, 3, given.size, given.size), seed)
        for name, (parts, took) in measured_by(given.proxies, Probe(net, images, seed)).items():
            measured[name].append(parts)
            seconds[name].append(took)
        print(f"{number}/{len(words)} {','.join(each)}", flush=True)
    return {
        "networks": len(words),
        "words": words,
        "truth": truth,
        "parts": measured,
        "ms": {name: statistics.median(times) * 1e3 for name, times in seconds.items()},
    }


def measured_by(names: Sequence[str], probe: Probe) -> dict[str, tuple[Parts | None, float]]:
    """One network's parts and seconds by proxy; the first of a family pays for what its family shares."""
    known: dict[str, tuple[Parts | None, float]] = {}
    for name in names:
        started = time.process_time()
        pieces = [known.get(piece, (None, 0.0))[0] for piece in MADE_OF.get(name, ())]
        if pieces and all(pieces):
            parts = {key: value for piece in pieces if piece for key, value in piece.items()}
        else:
            parts = parts_of(name, probe)
        known[name] = parts, time.process_time() - started
    return known


def parts_of(name: str, probe: Probe) -> Parts | None:
    """The parts of a score, or None for a network that has none."""
    try:
        return PROXIES[name].parts(probe)
    except (ValueError, UserError):
        return None


def scores_of(name: str, parts: Sequence[Parts | None]) -> NDArray[np.float64]:
    """Numbers of a set, its own reference for scores that compare; minus infinity for a network without."""
    known = [each for each in parts if each is not None]
    return np.array([-math.inf if each is None else PROXIES[name].score(each, known) for each in parts])


def agreement(name: str, parts: Sequence[Parts | None], truth: Sequence[float]) -> dict[str, float]:
    """Kendall's tau, Spearman's rho and Pearson's r in percent; the last over networks with a score alone."""
    scores = scores_of(name, parts)
    known = np.isfinite(scores)
    return {
        "kendall": 100 * float(kendalltau(scores, truth).statistic),
        "spearman": 100 * float(spearmanr(scores, truth).statistic),
        "pearson": 100 * float(pearsonr(scores[known], np.array(truth)[known]).statistic),
        "without": sum(each is None for each in parts),
    }


def costs(names: Sequence[str], seed: int) -> dict[str, float]:
    """Milliseconds a subnet of the small supernet: every proxy, and the error with inherited weights."""
    cfg = composed("+task=synthetic", "network=nano")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "supernet.safetensors"
        space, network, task = (to_plain(node) for node in (cfg.space, cfg.network, cfg.task))
        bench = EvaluationContext(space, network, task, path)
        # the time of an evaluation does not depend on how good the weights are
        weights.save(path, Supernet(bench.family, bench.head).state_dict())
        objectives: dict[str, Any] = {"inherited error": Error()}
        objectives["inherited error, statistics renewed"] = Error(
            bn_calibration_images=cfg.train.bn_calibration_images
        )
        objectives |= {name: ZeroCost(name, references=2, seed=seed) for name in names}
        return {name: timed(objective, bench) for name, objective in objectives.items()}


def timed(objective: Any, bench: EvaluationContext) -> float:
    """The median over a few subnets, after one that nobody times."""
    objective.prepare(bench)
    rng = generator(0, "benchmark/subnets")
    points = [bench.space.sample(rng) for _ in range(4)]
    times = [_seconds(partial(objective.measure, point)) for point in points]
    return statistics.median(times[1:]) * 1e3


def _seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def ranking_table(kind: str, draws: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: ours beside the published figures."""
    head = f"{len(draws)} draws of {draws[0]['networks']} networks, TransNAS-Bench-101 {kind}, segmentation"
    lines = [
        head,
        "",
        "| proxy | Kendall | least to most | published | Spearman | published | Pearson | published "
        "| no score | ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in draws[0]["parts"]:
        found = [agreement(name, each["parts"][name], each["truth"]) for each in draws]
        taus, rhos, rs = ([each[kind] for each in found] for kind in ("kendall", "spearman", "pearson"))
        theirs = PUBLISHED[kind].get(name, ("-", "-", "-"))
        cells = [name, spread_of(taus, _tenth), f"{min(taus):.1f} to {max(taus):.1f}", theirs[0]]
        cells += [spread_of(rhos, _tenth), theirs[1], spread_of(rs, _tenth), theirs[2]]
        cells.append(sum(each["without"] for each in found))
        cells.append(f"{statistics.mean(each['ms'][name] for each in draws):.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _tenth(number: float) -> str:
    return f"{number:.1f}"


def cost_table(found: Mapping[str, float]) -> str:
    """Markdown: milliseconds of one subnet of the small supernet."""
    lines = ["| score of one subnet, rendered scenes | ms |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {each:.0f} |" for name, each in found.items())])


if __name__ == "__main__":
    main()
