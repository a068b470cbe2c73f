"""The stage that checks whether inherited weights rank subnets as retraining would."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from evonas import files, weights
from evonas.errors import UserError
from evonas.nn.cost import count_macs
from evonas.nn.extract import extract
from evonas.nn.supernet import Supernet
from evonas.randomness import generator
from evonas.space.evonet import architecture
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages import assembly, subnets
from evonas.stages.base import Context
from evonas.stages.listening import Listening, listening
from evonas.tasks.base import Task, best_of

DRAWS_PER_SUBNET = 20
RESAMPLES = 1000


class Rank:
    """Subnets spread over MACs, the same short retraining for each, Kendall's tau between ranks."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write rank/rank.json: pairs, tau with a bootstrap 95 % interval, tau of the MACs."""
        if context.cfg.rank.subnets < 3:
            raise UserError(f"rank.subnets={context.cfg.rank.subnets} is too few.", "Use at least 3.")
        task, recipe = assembly.task(context.cfg), assembly.recipe(context.cfg, "rank")
        inherited = assembly.load_supernet(context, task)
        chosen = spread(inherited, task.input_size, context.cfg.rank.subnets, context.cfg.seed)
        path = context.run.path("rank/rank.json")
        steps = subnets.total_steps(task, recipe)
        with listening(context, "rank", "Rank", steps * len(chosen), path.parent) as listener:
            ranking = _Ranking(context, task, inherited, listener)
            pairs = [ranking.pair(genotype, macs) for genotype, macs in chosen]
        result = {"error_name": task.error_name, "steps": steps, "pairs": pairs}
        files.write_json(path, {**result, **_statistics(pairs, context.cfg.seed)})
        return f"{_sentence(files.read_json(path))}: {path}"


class _Ranking:
    """Measures one subnet after another; finished pairs survive in rank/pairs.json."""

    def __init__(self, context: Context, task: Task, inherited: Supernet, listener: Listening) -> None:
        self.context, self.task, self.inherited, self.listener = context, task, inherited, listener
        self.recipe = assembly.recipe(context.cfg, "rank")
        self.path = context.run.path("rank/pairs.json")
        self.known: dict[str, Any] = {}
        start = context.run.need(assembly.SUPERNET, made_by="supernet")
        self.origin = {"supernet": weights.digest(start), **assembly.origin(context)}
        if context.run.resume and self.path.exists():
            left = files.read_json(self.path)
            self.known = left["pairs"] if left["identity"] == self._identity("rank") else {}

    def pair(self, genotype: Genotype, macs: int) -> dict[str, Any]:
        """The error of a subnet before and after its retraining."""
        text = self.inherited.space.format(genotype)
        if text in self.known:
            self.listener.next_training(subnets.total_steps(self.task, self.recipe))
        else:
            self.known[text] = {**self._retrained(genotype, text), "genotype": text, "macs": macs}
            files.write_json(self.path, {"identity": self._identity("rank"), "pairs": self.known})
        pair: dict[str, Any] = self.known[text]
        errors = f"inherited {pair['inherited']:.4f}, retrained {pair['retrained']:.4f}"
        self.listener.progress.note(f"{text}: {errors}")
        return pair

    def _identity(self, purpose: str) -> dict[str, Any]:
        return subnets.identity(self.recipe, purpose, **self.origin)

    def _retrained(self, genotype: Genotype, text: str) -> dict[str, float]:
        net = extract(self.inherited, genotype)
        before = best_of(subnets.holdout(self.context, net, self.task), self.task)
        levels = self.inherited.backbone.levels
        taught = assembly.teaching(self.context, self.task, levels, "rank")
        state = self.path.with_name("state.safetensors")
        identity = self._identity(f"rank/{text}")
        subnets.fit_net(self.context, net, self.task, self.recipe, identity, state, self.listener, taught)
        after = best_of(subnets.holdout(self.context, net, self.task), self.task)
        return {"inherited": before, "retrained": after}


def spread(supernet: Supernet, size: tuple[int, int], count: int, seed: int) -> list[tuple[Genotype, int]]:
    """The smallest and largest genotype, and others as evenly between them in MACs as draws allow."""
    space, shape = supernet.space, supernet.backbone.shape
    rng = generator(seed, "rank")
    drawn = {_draw(space, rng) for _ in range(DRAWS_PER_SUBNET * count)}
    ends = {space.smallest(), space.largest()}
    costs = {g: int(count_macs(architecture(space, g), shape, *size)) for g in sorted(drawn | ends)}
    chosen = {genotype: costs.pop(genotype) for genotype in sorted(ends)}
    targets = np.linspace(min(chosen.values()), max(chosen.values()), count)[1:-1]
    for target in targets[: len(costs)]:
        nearest = min(costs, key=lambda g: (abs(costs[g] - target), g))
        chosen[nearest] = costs.pop(nearest)
    return sorted(chosen.items(), key=lambda item: (item[1], item[0]))


def _draw(space: Space, rng: np.random.Generator) -> Genotype:
    """A random point pulled towards a random end by a random share, since plain draws crowd the middle."""
    end = space.largest() if rng.integers(2) else space.smallest()
    plain = space.to_vector(space.sample(rng))
    is_pulled = rng.random(len(plain)) < rng.random()
    return space.repair(np.where(is_pulled, space.to_vector(end), plain), rng)


def _statistics(pairs: Sequence[dict[str, Any]], seed: int) -> dict[str, float | None]:
    inherited, retrained, macs = (
        np.array([pair[key] for pair in pairs]) for key in ("inherited", "retrained", "macs")
    )
    low, high = interval(inherited, retrained, seed)
    values = {"tau": tau(inherited, retrained), "low": low, "high": high, "tau_macs": tau(-macs, retrained)}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b; NaN where one side is constant."""
    return float(kendalltau(first, second).statistic)


def interval(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of tau over resampled pairs; NaN when no resample has ranks."""
    rng = generator(seed, "rank/bootstrap")
    picks = rng.integers(len(first), size=(RESAMPLES, len(first)))
    values = np.array([tau(first[pick], second[pick]) for pick in picks])
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _sentence(result: dict[str, Any]) -> str:
    if result["tau"] is None:
        return "Kendall's tau is undefined: all errors are equal"
    return (
        f"Kendall's tau {result['tau']:.2f} (95 % interval {result['low']:.2f} to {result['high']:.2f}), "
        f"by MACs alone {result['tau_macs']:.2f}"
    )
