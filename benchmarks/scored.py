"""How scores without training rank the networks that benchmarks/strategies.py trained alone.

    python benchmarks/scored.py benchmarks/answers/strategies/synthetic-...
    python benchmarks/scored.py benchmarks/answers/strategies/camvid-... --set data.root=datasets/camvid

Networks have random weights and random images of the task's size; truth is the mean error over the seeds with
which they were trained.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from strategy_table import Numbers, at_equal_cost, spread
from trials import composed, markdown

from evonas import files
from evonas.config import to_plain
from evonas.objectives.bench import Bench
from evonas.objectives.zero_cost import ZeroCost
from evonas.proxies.catalogue import PROXIES


def main() -> None:
    """Score, compare and print, the best first."""
    given = arguments()
    torch.set_num_threads(1)
    alone = [files.read_json(path)["nets"] for path in sorted(given.answers.glob("alone-*.json"))]
    truth = np.array([[net["error"] for net in nets] for nets in alone]).mean(axis=0)
    macs = np.array([net["macs"] for net in alone[0]], dtype=float)
    bench = opened(given)
    rows = []
    for name in given.proxies:
        scores = np.mean([scored(name, bench, alone[0], seed) for seed in range(given.seeds)], axis=0)
        rows.append([name, spread([scores], truth), at_equal_cost([scores], truth, macs)])
        print(*rows[-1], flush=True)
    rows.sort(key=lambda row: -float(row[1].split()[0]))
    print("\n" + markdown(("score", "tau (95 %)", "at equal cost"), rows))


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("answers", type=Path, help="a folder with question.json and alone-*.json")
    parser.add_argument("--proxies", nargs="+", default=sorted(PROXIES), choices=sorted(PROXIES))
    parser.add_argument("--seeds", type=int, default=3, help="of weights and images; ranks are averaged")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of the config")
    return parser.parse_args()


def opened(given: argparse.Namespace) -> Bench:
    """The bench of the question's space, network and task; nobody asks it for weights."""
    question = files.read_json(given.answers / "question.json")
    cfg = composed(f"+task={question['task']}", *question["overrides"], *given.set)
    space, network, task = (to_plain(node) for node in (cfg.space, cfg.network, cfg.task))
    return Bench(space, network, task, given.answers / "none")


def scored(name: str, bench: Bench, nets: list[dict[str, str]], seed: int) -> Numbers:
    """Ranks by minus the score, least first, so that they go with errors; without a score last."""
    objective = ZeroCost(name, references=16, seed=seed)
    objective.prepare(bench)
    found = np.array([_one(objective, bench, net["genotype"]) for net in nets])
    ranks: Numbers = rankdata(found)
    return ranks


def _one(objective: ZeroCost, bench: Bench, text: str) -> float:
    try:
        return objective.measure(bench.space.parse(text))[0]
    except ValueError:
        return float("inf")


if __name__ == "__main__":
    main()
