"""What a search gained over the networks that people would pick, over seeds, as Markdown tables.

    python -m evonas -m +task=synthetic seed=0,1,2 \\
        "baselines=[timm:resnet10t, timm:mobilenetv3_small_050, 'uniform:4', 'resolution:4']"
    python benchmarks/fronts.py keep outputs/<run of seed 0> [--baselines outputs/<another run>]
    python benchmarks/fronts.py table benchmarks/answers/fronts/synthetic-*.json

`keep` builds every trained network of a run again, times all of them in ONNX Runtime with one thread, in turns and in
random order, and writes what is known of each beside the run's errors. The time is the least of all repeats, because
other work on a machine can only add to it.

Both sides of a table are trained networks: the selected ones after retraining, the baselines after as many optimizer
steps as a selected network had in all. Trainings of the same network (the largest one is also that of `uniform` and
`resolution`) are averaged, since the best of several seeds is no fair rival. A side's error at a cost is that of its
best network that costs no more. The hypervolume is over (error, log cost), with the worst of both sides, beyond the
cheapest cost that both reach, as the reference; above 1 the search covers more.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from evonas import files
from evonas.nn.count import count_costs
from evonas.objectives.latency.machine import machine
from evonas.report.metrics.hypervolume import hypervolume
from evonas.run import Run, recorded_config
from evonas.runtimes.onnx_model import onnx_model
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.networks.baselines import baselines
from evonas.supernets.supernet import extract

ANSWERS = Path(__file__).parent / "answers/fronts"
COSTS = ("ms", "macs")


@dataclass(frozen=True)
class Net:
    """A trained network of one run.

    Args:
        side: `search` or `baseline`.
        network: genotype, or name of the baseline.
        validation, test: errors on the two splits.
        ms: in ONNX Runtime with one thread.
    """

    side: str
    name: str
    network: str
    validation: float
    test: float | None
    params: int = 0
    macs: int = 0
    ms: float = math.nan


def main() -> None:
    """Keep the answers of a run, or print the tables of kept answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    kept = verbs.add_parser("keep")
    kept.add_argument("run", type=Path)
    kept.add_argument("--baselines", type=Path)
    kept.add_argument("--rounds", type=int, default=40)
    kept.add_argument("--name")
    kept.set_defaults(
        do=lambda given: keep(given.run, given.baselines or given.run, given.rounds, given.name)
    )
    shown = verbs.add_parser("table")
    shown.add_argument("answers", nargs="+", type=Path)
    shown.set_defaults(do=lambda given: table([json.loads(each.read_text()) for each in given.answers]))
    given = parser.parse_args()
    given.do(given)


def keep(run: Path, rivals: Path, rounds: int, name: str | None) -> None:
    """Time the networks of a run and of its baselines, and write all answers to one file."""
    found, context = [], _context(run)
    size = context.setup.task.input_size
    built = [*_selected(context), *_baselines(_context(rivals))]
    for net, module in built:
        costs = count_costs(module, size)
        found.append(replace(net, params=costs["params"], macs=costs["macs"]))
    times = _times([module for _, module in built], size, rounds)
    about = {
        "task": context.setup.task.name,
        "network": context.setup.family.name,
        "seed": context.cfg.seed,
        "error": context.setup.task.error_name,
        "size": list(size),
        "runtime": ["onnxruntime", onnxruntime.__version__, "1 thread"],
        "device": machine(torch.device("cpu"))["name"],
    }
    nets = [asdict(replace(net, ms=round(ms, 4))) for net, ms in zip(found, times, strict=True)]
    path = ANSWERS / f"{name or about['task']}-{about['seed']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "networks": nets}, indent=1) + "\n")
    print(path)


def _context(folder: Path) -> Context:
    cfg = recorded_config(folder)
    # a run that began from another one
    inputs = folder.parent / str(cfg.inputs) if cfg.get("inputs") else None
    return Context(cfg, Run(folder.resolve(), str(cfg.task.name), inputs=inputs))


def _selected(context: Context) -> Iterator[tuple[Net, torch.nn.Module]]:
    """The selected networks of a run after retraining."""
    folder, net = context.run.directory, factory.supernet(context.setup)
    chosen = files.read_json(folder / "selected.json")
    error = context.setup.task.error_name
    test = _tested(folder, "nets", ["retrained"], error)
    for each in chosen["nets"]:
        path = folder / f"retrain/{each['name']}/result.json"
        if path.exists():
            trained = files.read_json(path)["retrained"][error]
            row = Net("search", each["name"], each["genotype"], trained, test.get(each["name"]))
            yield row, extract(net, context.setup.space.parse(each["genotype"])).eval()


def _baselines(context: Context) -> Iterator[tuple[Net, torch.nn.Module]]:
    """The baselines of a run after as many steps as a selected network in all."""
    folder, error = context.run.directory, context.setup.task.error_name
    path = folder / "baselines/baselines.json"
    budget = files.read_json(path)["budget"] if path.exists() else "total"
    test = _tested(folder, "baselines", ["trained", budget], error)
    for each in baselines(context):
        # also those of a stage that is not finished
        path = folder / f"baselines/{each.name}/result.json"
        if path.exists():
            trained = files.read_json(path)["trained"][budget]["metrics"][error]
            yield (
                Net("baseline", each.name, each.name, trained, test.get(each.name)),
                each.build("again").net.eval(),
            )


def _times(modules: Sequence[torch.nn.Module], size: tuple[int, int], rounds: int) -> list[float]:
    """Least CPU time of one image in ms of each network; they take turns in random order."""
    torch.set_num_threads(1)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(onnx_model(module, image), options, providers=["CPUExecutionProvider"])
        for module in modules
    ]
    least, order, draw = [math.inf] * len(sessions), list(range(len(sessions))), random.Random(0)
    for _ in range(rounds):
        draw.shuffle(order)
        for at in order:
            inputs = {sessions[at].get_inputs()[0].name: image.numpy()}
            for _ in range(5):
                begin = time.thread_time()
                sessions[at].run(None, inputs)
                least[at] = min(least[at], 1e3 * (time.thread_time() - begin))
    return least


def table(answers: Sequence[dict[str, Any]]) -> None:
    """Print a table of all networks, and for each cost what the search gained at four of its values."""
    runs = [[Net(**net) for net in each["networks"]] for each in answers]
    print("| side | network | trainings | ms | MMAC | validation error | test error |")
    print("|---|---|---|---|---|---|---|")
    same = {_key(net): "" for run in runs for net in run}
    for key in sorted(same, key=lambda key: (key[0] != "search", key[2])):
        nets = [net for run in runs for net in run if _key(net) == key]
        names = ", ".join(dict.fromkeys(net.name for net in nets))
        errors = [_spread([net.validation for net in nets])]
        errors.append(_spread([net.test for net in nets if net.test is not None]))
        ms = _spread([net.ms for net in nets], 2)
        print(f"| {key[0]} | {names} | {len(nets)} | {ms} | {key[2] / 1e6:.1f} | {' | '.join(errors)} |")
    merged = [_averaged(run) for run in runs]
    for cost in COSTS:
        _print_gain(cost, merged)


def _key(net: Net) -> tuple[str, int, int]:
    return net.side, net.params, net.macs


def _averaged(run: Sequence[Net]) -> tuple[list[Net], list[Net]]:
    """Both sides of a run; trainings of the same network are one with their mean error and least time."""
    sides: tuple[list[Net], list[Net]] = [], []
    for key in dict.fromkeys(map(_key, run)):
        nets = [net for net in run if _key(net) == key]
        mean = float(np.mean([net.validation for net in nets]))
        sides[key[0] != "search"].append(replace(nets[0], validation=mean, ms=min(net.ms for net in nets)))
    return sides


def best_within(nets: Sequence[Net], cost: str, limit: float) -> float:
    """The validation error of the best network that costs no more than the limit; infinite if there is none."""
    return min((net.validation for net in nets if getattr(net, cost) <= limit * 1.001), default=math.inf)


def _print_gain(cost: str, runs: Sequence[tuple[list[Net], list[Net]]]) -> None:
    # four limits: both sides have a network within the least one in every run, and in some run one near the greatest
    costs = [[[getattr(net, cost) for net in run[side]] for run in runs] for side in (0, 1)]
    low = max(min(each) for side in costs for each in side)
    high = min(max(map(max, side)) for side in costs)
    unit = "ms" if cost == "ms" else "MMAC"
    print(f"\n| at most, {unit} | search | best baseline | gain | runs that gain |\n|---|---|---|---|---|")
    for limit in np.geomspace(low, max(low, high), 4):
        pairs = [tuple(best_within(side, cost, float(limit)) for side in run) for run in runs]
        gains = [theirs - own for own, theirs in pairs]
        cells = [
            f"{limit / (1 if cost == 'ms' else 1e6):.3g}",
            *(_spread([pair[k] for pair in pairs]) for k in (0, 1)),
            _spread(gains),
            f"{sum(each > 0 for each in gains)} of {len(gains)}",
        ]
        print("| " + " | ".join(cells) + " |")
    print(f"\nHypervolume, search / baselines: {_spread([_ratio(cost, *run) for run in runs], 3)}")


def _ratio(cost: str, own: Sequence[Net], theirs: Sequence[Net]) -> float:
    sides = [
        np.array([(net.validation, math.log(getattr(net, cost))) for net in side]) for side in (own, theirs)
    ]
    both = np.concatenate(sides)
    # the worst point that is on a side's front, so that a diverged training does not set the scale
    worst = np.array([max(side[side[:, 1].argmin(), 0] for side in sides), both[:, 1].max()])
    best = both.min(0)
    reference = worst + 0.05 * (worst - best)
    first, second = (hypervolume(side[(side < reference).all(1)], reference, best) for side in sides)
    return first / second


def _tested(folder: Path, part: str, key: Sequence[str], error: str) -> dict[str, float]:
    """Errors on the test split by name; empty before stage=evaluate."""
    path, found = folder / "evaluate/test.json", dict[str, float]()
    for each in files.read_json(path).get(part, []) if path.exists() else []:
        metrics: Any = each
        for name in key:
            metrics = (metrics or {}).get(name)
        if metrics:
            found[each["name"]] = metrics[error]
    return found


def _spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean and standard deviation over runs."""
    if not values or not all(map(math.isfinite, values)):
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


if __name__ == "__main__":
    main()
