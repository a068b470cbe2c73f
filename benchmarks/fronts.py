"""What a search gained over the networks that people would pick, over seeds, as Markdown tables.

    python -m evonas -m +task=synthetic seed=0,1,2 objective.latency.runtime=onnxruntime \\
        "baselines=[timm:resnet10t, timm:mobilenetv3_small_050, 'uniform:4', 'resolution:4']"
    python benchmarks/fronts.py outputs/<run of seed 0> outputs/<run of seed 1> outputs/<run of seed 2>

Both sides are trained networks: the selected ones after retraining, the baselines after as many optimizer steps as a
selected network had in all. A side's error at a cost is that of its best network that costs no more. The hypervolume is
over (error, log cost), with the worst of both sides as the reference; above 1 the search covers more.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.report.metrics.hypervolume import hypervolume

COSTS = ("latency", "macs")


@dataclass(frozen=True)
class Net:
    """A trained network of one run: errors on the validation and the test split, and its costs."""

    name: str
    validation: float
    test: float | None
    costs: dict[str, float]


def main(*folders: str) -> None:
    """Print a table of all networks, and for each cost what the search gained at four of its values."""
    runs = [(ours(Path(each)), baselines(Path(each))) for each in folders]
    print("| side | network | runs | " + " | ".join(COSTS) + " | validation error | test error |")
    print("|---|---|---|---|---|---|---|")
    for side, index in (("search", 0), ("baseline", 1)):
        for name in dict.fromkeys(net.name for run in runs for net in run[index]):
            nets = [net for run in runs for net in run[index] if net.name == name]
            costs = [_spread([net.costs[cost] for net in nets if cost in net.costs], 3) for cost in COSTS]
            errors = [_spread([net.validation for net in nets])]
            errors.append(_spread([net.test for net in nets if net.test is not None]))
            print("| " + " | ".join([side, name, str(len(nets)), *costs, *errors]) + " |")
    for cost in COSTS:
        if all(cost in net.costs for run in runs for side in run for net in side):
            _print_gain(cost, runs)


def ours(folder: Path) -> list[Net]:
    """The selected networks of a run after retraining."""
    chosen, found = files.read_json(folder / "selected.json"), list[Net]()
    error = chosen["error_name"]
    test = _tested(folder, "nets", ["retrained"], error)
    for net in chosen["nets"]:
        trained = files.read_json(folder / f"retrain/{net['name']}/result.json")["retrained"]
        costs = {cost: net["objectives"][cost] for cost in COSTS if cost in net["objectives"]}
        found.append(Net(net["name"], trained[error], test.get(net["name"]), costs))
    return found


def baselines(folder: Path) -> list[Net]:
    """The baselines of a run after as many steps as a selected network in all."""
    read = files.read_json(folder / "baselines/baselines.json")
    error, found = read["error_name"], list[Net]()
    test = _tested(folder, "baselines", ["trained", read["budget"]], error)
    for each in read["networks"]:
        trained = each["trained"][read["budget"]]["metrics"][error]
        costs = {**each["objectives"], **each["costs"]}
        kept = {cost: costs[cost] for cost in COSTS if cost in costs}
        found.append(Net(each["name"], trained, test.get(each["name"]), kept))
    return found


def best_within(nets: Sequence[Net], cost: str, limit: float) -> float:
    """The validation error of the best network that costs no more than the limit; infinite if there is none."""
    return min((net.validation for net in nets if net.costs[cost] <= limit * (1 + 1e-9)), default=math.inf)


def _print_gain(cost: str, runs: Sequence[tuple[list[Net], list[Net]]]) -> None:
    # four costs that both sides reach in every run
    low = max(min(net.costs[cost] for net in side) for run in runs for side in run)
    high = min(max(net.costs[cost] for net in run[0]) for run in runs)
    print(f"\n| at most, {cost} | search | best baseline | gain | runs that gain |\n|---|---|---|---|---|")
    for limit in np.geomspace(low, max(low, high), 4):
        pairs = [tuple(best_within(side, cost, float(limit)) for side in run) for run in runs]
        gains = [theirs - own for own, theirs in pairs]
        cells = [
            f"{limit:.3g}",
            *(_spread([pair[k] for pair in pairs]) for k in (0, 1)),
            _spread(gains),
            f"{sum(each > 0 for each in gains)} of {len(gains)}",
        ]
        print("| " + " | ".join(cells) + " |")
    print(f"\nHypervolume, search / baselines: {_spread([_ratio(cost, *run) for run in runs])}")


def _ratio(cost: str, own: Sequence[Net], theirs: Sequence[Net]) -> float:
    sides = [
        np.array([(net.validation, math.log(net.costs[cost])) for net in side]) for side in (own, theirs)
    ]
    both = np.concatenate(sides)
    worst, best = both.max(0), both.min(0)
    reference = worst + 0.05 * (worst - best)
    first, second = (hypervolume(side, reference, best) for side in sides)
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
    main(*sys.argv[1:])
