"""The stage that checks whether inherited weights rank subnets as retraining would."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files, weights
from evonas.errors import UserError
from evonas.identifiers import identified
from evonas.metric import converted
from evonas.randomness import generator
from evonas.report.analysis.rank_correlation import FEW, agreement, statistics
from evonas.run import find_run
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.training import subnet_trainer
from evonas.stages.training.bn_calibration import origin, renewal
from evonas.stages.training.logging import Listening, listening
from evonas.supernets.base import cost
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import Task, best_of
from evonas.train.loop.checkpoint_io import remove

DRAWS_PER_SUBNET = 20
RESULT = "rank/rank.json"


class Rank:
    """Subnets spread over MACs, the same short retraining for each, and how well the ranks agree."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write rank/rank.json: the pairs, and the statistics of `report/analysis/rank_correlation.py` on them."""
        rank = context.cfg.rank
        task, other = context.setup.task, _against(context)
        inherited = factory.load_supernet(context)
        chosen = _chosen(context, inherited, task.input_size, other)
        path = context.run.path(RESULT)
        steps = subnet_trainer.total_steps(task, factory.recipe(context.cfg, "rank"))
        with listening(context, "rank", "Rank", steps * len(chosen), path.parent) as listener:
            ranking = _Ranking(context, task, inherited, listener)
            pairs = [ranking.pair(genotype, macs) for genotype, macs in chosen]
        result: dict[str, Any] = {"error_name": task.error_name, "steps": steps, "pairs": pairs}
        rng = generator(context.cfg.seed, "rank/bootstrap")
        result |= statistics(pairs, rng, rank.get("bins", 3), rank.get("top", 3))
        if "mixed" in pairs[0]:
            result["mixed"] = _with_mixed(context, pairs)
        if other is not None:
            result["agreement"] = {"run": other["run"], **agreement(pairs, other["pairs"])}
        files.write_json(path, result)
        if len(pairs) < FEW:
            print(f"{len(pairs)} subnets say little: from {FEW} on the interval is of use.", flush=True)
        return f"{sentence(result)}: {path}"


class _Ranking:
    """Measures one subnet after another; finished pairs survive in rank/pairs.json."""

    def __init__(self, context: Context, task: Task, inherited: Supernet, listener: Listening) -> None:
        self.context, self.task, self.inherited, self.listener = context, task, inherited, listener
        self.recipe = factory.recipe(context.cfg, "rank")
        self.teaching = factory.Teaching(context)
        self.path = context.run.path("rank/pairs.json")
        self.known: dict[str, Any] = {}
        # pairs hold errors alone; the keys of all metrics are known after the first validation
        self.metric = converted(task.error_name, ())
        start = context.run.need(factory.SUPERNET, made_by="supernet")
        self.renewal = renewal(context, task)
        self.origin = {"supernet": weights.digest(start), **origin(self.renewal), **factory.origin(context)}
        if context.run.resume and self.path.exists():
            left = files.read_json(self.path)
            self.known = left["pairs"] if identified(left["identity"]) == self._identity("rank") else {}

    def pair(self, genotype: Genotype, macs: int) -> dict[str, Any]:
        """The error of a subnet before and after its retraining."""
        text = self.inherited.space.format(genotype)
        if text in self.known:
            self.listener.next_training(subnet_trainer.total_steps(self.task, self.recipe))
        else:
            params = cost(self.inherited.family, genotype, self.task.input_size).params
            costs = {"macs": macs, "params": params}
            self.known[text] = {**self._retrained(genotype, text), "genotype": text, **costs}
            files.write_json(self.path, {"identity": self._identity("rank"), "pairs": self.known})
        remove(self._state(text))
        pair: dict[str, Any] = self.known[text]
        values = [self.metric.from_error(pair[kind]) for kind in ("inherited", "retrained")]
        shown = f"validation {self.metric.name} inherited {values[0]:.4f}, retrained {values[1]:.4f}"
        self.listener.progress.note(f"{text}: {shown}")
        return pair

    def _identity(self, purpose: str) -> dict[str, Any]:
        return subnet_trainer.identity(self.recipe, purpose, **self.origin)

    def _state(self, text: str) -> Path:
        """Where a subnet's training is kept until its pair is durable; none finds that of another."""
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.path.with_name(f"{name}.state.safetensors")

    def _retrained(self, genotype: Genotype, text: str) -> dict[str, float]:
        net = extract(self.inherited, genotype)
        before = self._inherited(net, text)
        levels = self.inherited.levels
        taught = self.teaching.options(levels, "rank")
        identity, state = self._identity(f"rank/{text}"), self._state(text)
        subnet_trainer.fit_net(
            self.context, net, self.task, self.recipe, identity, state, self.listener, taught
        )
        after = self._validated(net)
        return {**before, "retrained": after}

    def _inherited(self, net: StaticNet, text: str) -> dict[str, float]:
        """The error as a search measures it; where it renews statistics, also with those of the supernet."""
        before = self._validated(net)
        if self.renewal is None:
            return {"inherited": before}
        self.renewal(net, text)
        return {"inherited": self._validated(net), "mixed": before}

    def _validated(self, net: StaticNet) -> float:
        metrics = subnet_trainer.holdout(self.context, net, self.task)
        self.metric = converted(self.task.error_name, metrics)
        return best_of(metrics, self.task)


def _with_mixed(context: Context, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """How errors with the statistics that all subnets share rank: tau with its interval."""
    mixed = [{**pair, "inherited": pair["mixed"]} for pair in pairs]
    rng = generator(context.cfg.seed, "rank/bootstrap")
    found = statistics(mixed, rng, context.cfg.rank.get("bins", 3))
    return {key: found[key] for key in ("tau", "low", "high")}


def _chosen(
    context: Context, supernet: Supernet, size: tuple[int, int], other: dict[str, Any] | None
) -> list[tuple[Genotype, int]]:
    """The subnets to train: those of the other check, or fresh ones."""
    if other is None:
        return spread(supernet, size, context.cfg.rank.subnets, context.cfg.seed)
    return costed(supernet, size, {supernet.space.parse(pair["genotype"]) for pair in other["pairs"]})


def spread(supernet: Supernet, size: tuple[int, int], count: int, seed: int) -> list[tuple[Genotype, int]]:
    """The smallest and largest genotype, and others as evenly between them in MACs as draws allow."""
    space = supernet.space
    rng = generator(seed, "rank")
    drawn = {_draw(space, rng) for _ in range(DRAWS_PER_SUBNET * count)}
    ends = {space.smallest(), space.largest()}
    costs = dict(costed(supernet, size, drawn | ends))
    chosen = {genotype: costs.pop(genotype) for genotype in sorted(ends)}
    targets = np.linspace(min(chosen.values()), max(chosen.values()), count)[1:-1]
    for target in targets[: len(costs)]:
        nearest = min(costs, key=lambda g: (abs(costs[g] - target), g))
        chosen[nearest] = costs.pop(nearest)
    return sorted(chosen.items(), key=lambda item: (item[1], item[0]))


def costed(supernet: Supernet, size: tuple[int, int], points: set[Genotype]) -> list[tuple[Genotype, int]]:
    """Genotypes with their MACs, cheapest first."""
    costs = [(point, cost(supernet.family, point, size).macs) for point in points]
    return sorted(costs, key=lambda item: (item[1], item[0]))


def _draw(space: Space, rng: np.random.Generator) -> Genotype:
    """A random point pulled towards a random end by a random share, since plain draws crowd the middle."""
    end = space.largest() if rng.integers(2) else space.smallest()
    plain = space.to_vector(space.sample(rng))
    is_pulled = rng.random(len(plain)) < rng.random()
    return space.repair(np.where(is_pulled, space.to_vector(end), plain), rng)


def _against(context: Context) -> dict[str, Any] | None:
    """The ranking check of `rank.against`, or None where no run is named."""
    name = context.cfg.rank.get("against")
    if not name:
        return None
    path = find_run(Path(context.cfg.outputs), name) / RESULT
    if not path.exists():
        raise UserError(
            f"Run '{name}' has no ranking check.",
            f"Make it with: python -m evonas +task={context.cfg.task.name} stage=rank run={name}",
        )
    found: dict[str, Any] = files.read_json(path)
    return {"run": name, **found}


def sentence(result: dict[str, Any]) -> str:
    """What a ranking check found, for a person."""
    if result["tau"] is None:
        return "Kendall's tau is undefined: all errors are equal"
    by_costs = [
        f"by {name} alone {_number(result['predictors'][name]['tau'])}"
        for name in ("macs", "params")
        if name in result["predictors"]
    ]
    same = result["predictors"]["inherited"]["tau_at_cost"]
    parts = [
        f"Kendall's tau {result['tau']:.2f} (95 % interval {_number(result['low'])} to "
        f"{_number(result['high'])})",
        *by_costs,
        f"at equal cost {_number(same)}",
    ]
    if "mixed" in result:
        parts.append(f"with the batch-norm statistics of all subnets {_number(result['mixed']['tau'])}")
    if "agreement" in result:
        agreement = result["agreement"]
        parts.append(
            f"inherited errors agree with run {agreement['run']} by {_number(agreement['inherited'])}"
        )
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
