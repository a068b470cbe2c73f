"""stage=rank: whether inherited weights rank subnets as retraining does."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.errors import UserError
from evonas.identifiers import identified
from evonas.metric import converted
from evonas.randomness import generator
from evonas.report.analysis.rank_correlation import FEW, agreement, statistics
from evonas.run import Run, find_run
from evonas.space.genotype import Genotype
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.training.logging import TrainingLogger, training_logger
from evonas.stages.training.setup import TrainingSetup
from evonas.supernets.base import cost
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import best_of
from evonas.train.loop.checkpoint_io import remove
from evonas.train.recipe import training_identity

DRAWS_PER_SUBNET = 20
RESULT = "rank/rank.json"


class Rank:
    """Retrains subnets spread over MACs by one short recipe, and correlates inherited with retrained errors."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write rank/rank.json: the pairs of errors, and the statistics of `report/analysis/rank_correlation.py`."""
        settings, task = context.cfg.rank, context.setup.task
        other = _other_check(context)
        inherited = factory.load_supernet(context)
        if other is None:
            subnets = spread(inherited, task.input_size, settings.subnets, context.cfg.seed)
        else:
            points = {inherited.space.parse(pair["genotype"]) for pair in other["pairs"]}
            subnets = with_macs(inherited, task.input_size, points)
        training, path = TrainingSetup(context, "rank"), context.run.path(RESULT)
        steps = training.total_steps
        with training_logger(context, "rank", "Rank", steps * len(subnets), path.parent) as logger:
            ranking = _Ranking(training, inherited, logger)
            pairs = [ranking.pair(genotype, macs) for genotype, macs in subnets]
        result: dict[str, Any] = {"error_name": task.error_name, "steps": steps, "pairs": pairs}
        rng = generator(context.cfg.seed, "rank/bootstrap")
        result |= statistics(pairs, rng, settings.get("bins", 3), settings.get("top", 3))
        if "mixed" in pairs[0]:
            mixed = [{**pair, "inherited": pair["mixed"]} for pair in pairs]
            rng = generator(context.cfg.seed, "rank/bootstrap")
            found = statistics(mixed, rng, settings.get("bins", 3))
            result["mixed"] = {key: found[key] for key in ("tau", "low", "high")}
        if other is not None:
            result["agreement"] = {"run": other["run"], **agreement(pairs, other["pairs"])}
        files.write_json(path, result)
        if len(pairs) < FEW:
            print(f"{len(pairs)} subnets say little: from {FEW} on the interval is of use.", flush=True)
        return f"{sentence(result)}: {path}"


class _Ranking:
    """Measures one subnet after another; finished pairs are stored in rank/pairs.json."""

    def __init__(self, training: TrainingSetup, inherited: Supernet, logger: TrainingLogger) -> None:
        self.training, self.inherited, self.logger = training, inherited, logger
        run = training.run
        self.path = run.path("rank/pairs.json")
        self.origin = training.origin(run.need(factory.SUPERNET, made_by="supernet"))
        self.known: dict[str, Any] = {}
        # pairs hold errors only; the keys of all metrics are known after the first validation
        self.metric = converted(training.task.error_name, ())
        if run.resume and self.path.exists():
            stored = files.read_json(self.path)
            self.known = stored["pairs"] if identified(stored["identity"]) == self._identity("rank") else {}

    def pair(self, genotype: Genotype, macs: int) -> dict[str, Any]:
        """The errors of a subnet before and after its retraining, with its costs."""
        text = self.inherited.space.format(genotype)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        # kept until the pair is durable; each subnet has its own
        state = self.path.with_name(f"{name}.state.safetensors")
        if text in self.known:
            self.logger.finish_training(self.training.total_steps)
        else:
            params = cost(self.inherited.family, genotype, self.training.task.input_size).params
            errors = self._errors(genotype, text, state)
            self.known[text] = {**errors, "genotype": text, "macs": macs, "params": params}
            files.write_json(self.path, {"identity": self._identity("rank"), "pairs": self.known})
        remove(state)
        pair: dict[str, Any] = self.known[text]
        values = [self.metric.from_error(pair[kind]) for kind in ("inherited", "retrained")]
        shown = f"validation {self.metric.name} inherited {values[0]:.4f}, retrained {values[1]:.4f}"
        self.logger.progress.note(f"{text}: {shown}")
        return pair

    def _identity(self, purpose: str) -> dict[str, Any]:
        return training_identity(self.training.recipe, purpose, **self.origin)

    def _errors(self, genotype: Genotype, text: str, state: Path) -> dict[str, float]:
        """The inherited error as a search measures it, and the retrained one.

        With BN calibration, `mixed` is the inherited error with the statistics that all subnets share.
        """
        training = self.training
        net = extract(self.inherited, genotype)
        inherited = self._validated(net)
        errors = {"inherited": inherited}
        if training.bn_calibration is not None:
            training.bn_calibration(net, text)
            errors = {"inherited": self._validated(net), "mixed": inherited}
        distillation = training.distillation(net.levels, "rank")
        training.fit(net, self._identity(f"rank/{text}"), state, self.logger, distillation)
        return {**errors, "retrained": self._validated(net)}

    def _validated(self, net: StaticNet) -> float:
        metrics = self.training.score(net)
        self.metric = converted(self.training.task.error_name, metrics)
        return best_of(metrics, self.training.task)


def spread(supernet: Supernet, size: tuple[int, int], count: int, seed: int) -> list[tuple[Genotype, int]]:
    """The smallest and the largest genotype, and samples spread as evenly as possible between them in MACs."""
    space = supernet.space
    rng = generator(seed, "rank")
    drawn = set()
    for _ in range(DRAWS_PER_SUBNET * count):
        # plain samples crowd the middle, so a random share of the genes is moved to a random end
        end = space.largest() if rng.integers(2) else space.smallest()
        plain = space.to_vector(space.sample(rng))
        is_moved = rng.random(len(plain)) < rng.random()
        drawn.add(space.repair(np.where(is_moved, space.to_vector(end), plain), rng))
    ends = {space.smallest(), space.largest()}
    costs = dict(with_macs(supernet, size, drawn | ends))
    chosen = {genotype: costs.pop(genotype) for genotype in sorted(ends)}
    targets = np.linspace(min(chosen.values()), max(chosen.values()), count)[1:-1]
    for target in targets[: len(costs)]:
        nearest = min(costs, key=lambda g: (abs(costs[g] - target), g))
        chosen[nearest] = costs.pop(nearest)
    return sorted(chosen.items(), key=lambda item: (item[1], item[0]))


def with_macs(supernet: Supernet, size: tuple[int, int], points: set[Genotype]) -> list[tuple[Genotype, int]]:
    """Genotypes with their MACs, cheapest first."""
    costs = [(point, cost(supernet.family, point, size).macs) for point in points]
    return sorted(costs, key=lambda item: (item[1], item[0]))


def _other_check(context: Context) -> dict[str, Any] | None:
    """The result of `rank.against`, or None where no run is named."""
    name = context.cfg.rank.get("against")
    if not name:
        return None
    directory = find_run(Path(context.cfg.outputs), name)
    path = directory / RESULT
    if not path.exists():
        raise UserError(
            f"Run '{name}' has no ranking check.",
            f"Make it with: {Run(directory, '').command('rank')}",
        )
    found: dict[str, Any] = files.read_json(path)
    return {"run": name, **found}


def sentence(result: dict[str, Any]) -> str:
    """A ranking check in one sentence."""
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
