"""Whether a search by the error in int8 finds better int8 networks than a search in float whose choices are quantised.

    python benchmarks/int8.py run outputs/int8 --seeds 0 1 2 -- +task=synthetic network=resnet10t
    python benchmarks/int8.py table benchmarks/answers/int8/*.json

`run` trains one supernet for each seed and searches it twice with the same budget: by `objective=[error,latency]` in
fp32, and by `objective=[error_int8,latency]` in int8. Both fronts are then measured in int8 by one evaluator, in turns,
with inherited weights, on the validation images that both searches used. A command that was stopped is continued:
finished runs and answers are kept.

`table` gives, at equal latency in int8, the least error in int8 that either front reaches.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from evonas.config import build
from evonas.errors import DisturbedError
from evonas.evaluate.engine import Measurement
from evonas.objectives.latency.machine import machine
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.run import Run, recorded_config
from evonas.stages.base import Context
from evonas.stages.build.evaluator import evaluator_config

ANSWERS = Path(__file__).parent / "answers/int8"
# exit code of a search whose machine was busy, and how often it is continued
DISTURBED, TRIES = 4, 4
# options of the two searches
SIDES = {
    "fp32": ["objective=[error,latency]", "runtime=onnxruntime", "runtime.precision=fp32"],
    "int8": ["objective=[error_int8,latency]", "runtime=onnxruntime", "runtime.precision=int8"],
}


def main() -> None:
    """Run and measure, or print the table of kept answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    ran = verbs.add_parser("run")
    ran.add_argument("outputs", type=Path)
    ran.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    # what stands behind -- is of every command
    typed = sys.argv[1:]
    end = typed.index("--") if "--" in typed else len(typed)
    words = typed[end + 1 :]
    ran.set_defaults(do=lambda given: run(given.outputs, given.seeds, words))
    shown = verbs.add_parser("table")
    shown.add_argument("answers", nargs="+", type=Path)
    shown.set_defaults(do=lambda given: table([json.loads(each.read_text()) for each in given.answers]))
    given = parser.parse_args(typed[:end])
    given.do(given)


def run(outputs: Path, seeds: Sequence[int], words: Sequence[str]) -> None:
    """Train, search twice and measure, for each seed that has no answer."""
    for seed in seeds:
        task = next((word.partition("=")[2] for word in words if word.startswith("+task=")), "task")
        path = ANSWERS / f"{task}-{seed}.json"
        if path.exists():
            continue
        common = [*words, f"seed={seed}", f"outputs={outputs}", "tracker=none"]
        for stage in ("pretrain", "supernet"):
            _evonas(outputs, f"base-{seed}", stage, common)
        for side, options in SIDES.items():
            _evonas(outputs, f"{side}-{seed}", "search", [*common, *options, f"inputs=base-{seed}"])
        answer = {"task": task, "words": list(words), "seed": seed, **_measured(outputs, seed)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer, indent=1) + "\n")
        print(path, flush=True)


def _evonas(outputs: Path, name: str, stage: str, words: Sequence[str]) -> None:
    """One command, unless it ended before; what other programs disturbed is measured again, and in the end left out."""
    done = outputs / f"{name}.{stage}.done"
    command = [sys.executable, "-m", "evonas", f"stage={stage}", f"run={name}", *words]
    for _ in range(0 if done.exists() else TRIES):
        again = ["resume=true", "retry_failed=true"] if (outputs / name).exists() else []
        code = subprocess.run([*command, *again], check=False).returncode
        if code not in (0, DISTURBED):
            raise SystemExit(code)
        if code == 0:
            break
    done.touch()


def _measured(outputs: Path, seed: int) -> dict[str, Any]:
    """Error and latency in int8 of the networks of both fronts."""
    torch.set_num_threads(1)
    folder = outputs / f"int8-{seed}"
    cfg = recorded_config(folder)
    context = Context(
        cfg, Run(folder.resolve(), str(cfg.task.name), inputs=outputs.resolve() / f"base-{seed}")
    )
    evaluator = build(evaluator_config(context))
    evaluator.setup()
    fronts = {}
    for side in SIDES:
        found = read(outputs / f"{side}-{seed}/search/archive.sqlite")
        fronts[side] = [found.genotypes[row] for row in front(found.values)]
    every = sorted({text for texts in fronts.values() for text in texts})
    known: dict[str, dict[str, float]] = {text: {} for text in every}
    for part in ("shared", "exclusive"):
        for text in every:
            point = context.setup.space.parse(text)
            known[text] |= _patient(partial(evaluator.measure, point, part))
    sides = {side: [{"network": text, **known[text]} for text in texts] for side, texts in fronts.items()}
    runtime = ["onnxruntime", onnxruntime.__version__, "int8", "1 thread"]
    return {"runtime": runtime, "device": machine(torch.device("cpu"))["name"], "fronts": sides}


def _patient(take: Callable[[], Measurement]) -> Mapping[str, float]:
    """The objectives, also where other programs disturb the first measurements."""
    for _ in range(TRIES):
        try:
            return take().objectives
        except DisturbedError as error:
            print(error, flush=True)
    return take().objectives


def table(answers: Sequence[dict[str, Any]]) -> None:
    """Print the least int8 error of both fronts at four int8 latencies that both reach."""
    print("| seed | ms | quantised afterwards | searched in int8 | difference |")
    print("|---|---|---|---|---|")
    gains = []
    for each in answers:
        points = {
            side: np.array([[net["latency"], net["error_int8"]] for net in nets])
            for side, nets in each["fronts"].items()
        }
        low = max(found[:, 0].min() for found in points.values())
        high = min(found[:, 0].max() for found in points.values())
        for at in np.geomspace(low, max(low, high), 4):
            best = {side: found[found[:, 0] <= at * (1 + 1e-9), 1].min() for side, found in points.items()}
            gains.append(best["fp32"] - best["int8"])
            print(
                f"| {each['seed']} | {at:.3g} | {best['fp32']:.4f} | {best['int8']:.4f} | {gains[-1]:+.4f} |"
            )
    print(
        f"\nMean difference {np.mean(gains):+.4f}, deviation {np.std(gains):.4f}; positive: int8 is better."
    )


if __name__ == "__main__":
    main()
