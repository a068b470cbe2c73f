"""How scores without training rank the networks that benchmarks/strategies.py trained alone.

    python benchmarks/scored.py benchmarks/answers/strategies/synthetic-...
    python benchmarks/scored.py benchmarks/answers/strategies/camvid-... --set data.root=datasets/camvid

Networks have random weights and random images of the task's size; scores that compare do so within the set.
Truth is the mean error over the seeds with which networks were trained.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from proxies import Parts, measured_by, scores_of
from scipy.stats import rankdata
from strategy_table import Numbers, at_equal_cost, spread
from trials import composed, markdown

from evonas import files
from evonas.config import to_plain
from evonas.objectives.context import EvaluationContext
from evonas.proxies.catalogue import PROXIES
from evonas.proxies.inputs import random_images
from evonas.proxies.probe import Probe
from evonas.randomness import derive

BATCH = 8


def main() -> None:
    """Score, compare and print, the best first."""
    given = arguments()
    torch.set_num_threads(1)
    alone = [files.read_json(path)["nets"] for path in sorted(given.answers.glob("alone-*.json"))]
    truth = np.array([[net["error"] for net in nets] for nets in alone]).mean(axis=0)
    macs = np.array([net["macs"] for net in alone[0]], dtype=float)
    texts = [net["genotype"] for net in alone[0]]
    bench = opened(given)
    draws = [ranked(given.proxies, bench, texts, seed) for seed in range(given.seeds)]
    rows = []
    for name in given.proxies:
        ranks = np.mean([each[name] for each in draws], axis=0)
        rows.append([name, spread([ranks], truth), at_equal_cost([ranks], truth, macs)])
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


def opened(given: argparse.Namespace) -> EvaluationContext:
    """The bench of the question's space, network and task; nobody asks it for weights."""
    question = files.read_json(given.answers / "question.json")
    cfg = composed(f"+task={question['task']}", *question["overrides"], *given.set)
    space, network, task = (to_plain(node) for node in (cfg.space, cfg.network, cfg.task))
    return EvaluationContext(space, network, task, given.answers / "none")


def ranked(names: list[str], bench: EvaluationContext, texts: list[str], seed: int) -> dict[str, Numbers]:
    """By proxy ranks of minus the score, least first, so that they go with errors; without a score last."""
    parts: dict[str, list[Parts | None]] = {name: [] for name in names}
    images = random_images((BATCH, 3, *bench.input_size), seed)
    for number, text in enumerate(texts, start=1):
        net = bench.untrained(bench.space.parse(text), derive(seed, "scored/weights"))
        for name, (found, _) in measured_by(names, Probe(net, images, seed)).items():
            parts[name].append(found)
        print(f"seed {seed}: {number}/{len(texts)}", flush=True)
    return {name: rankdata(-scores_of(name, found)) for name, found in parts.items()}


if __name__ == "__main__":
    main()
