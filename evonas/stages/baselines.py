"""stage=baselines: train and measure the networks beside the front; see `stages/networks/baselines.py`."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from evonas import files, weights
from evonas.config import to_plain
from evonas.errors import UserError
from evonas.identifiers import identifier
from evonas.metric import reading
from evonas.nn.count import count_costs
from evonas.objectives.evaluator import Evaluator
from evonas.report.analysis.baseline_gain import BASELINES, Gain, gain_in
from evonas.schema import Recipe
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.build.evaluator import torch_device
from evonas.stages.build.setup import RunMode
from evonas.stages.networks.baselines import Baseline, Built, baselines
from evonas.stages.networks.initial_weights import initial_weights_file
from evonas.stages.training.logging import TrainingLogger, training_logger
from evonas.stages.training.setup import TrainingSetup
from evonas.train.loop.checkpoint_io import remove
from evonas.train.recipe import is_trained, training_identity

log = logging.getLogger(__name__)
BUDGETS = ("total", "retrain")


class Baselines:
    """Trains each network of `baselines=` by the recipe of the retraining and measures it by the search's objectives.

    Each is trained as long as a selected network was in all, supernet and retraining together, and once as long as the
    retraining alone (`train.baseline_budgets`). They learn from no teacher: this is what one gets without a search.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Write baselines/<name>/model.safetensors and result.json for each, and baselines/baselines.json."""
        found = list(baselines(context))
        path = context.run.path(BASELINES)
        if not found:
            files.write_json(path, {})
            return "baselines=[] names no network."
        training = _BaselineTraining(context)
        steps = sum(each.total_steps for each in training.budgets.values()) * len(found)
        with training_logger(context, "baselines", "Baselines", steps, path.parent) as logger:
            results = [training.run(each, logger) for each in found]
        files.write_json(path, {**training.header(), "networks": results})
        gain = gain_in(context.run.directory, context.run.inputs)
        files.write_text(path.with_name("baselines.csv"), _csv(results, gain))
        said = "" if gain is None else f"{gain.sentence()}\n"
        return f"{said}Baselines: {path}\nNext: {context.run.command('evaluate')}"


class _BaselineTraining:
    """What all baselines share: the budgets, the task and the evaluator."""

    def __init__(self, context: Context) -> None:
        self.context, self.task = context, context.setup.task
        self.device = factory.devices(context.cfg).torch_device
        self.evaluator = network_evaluator(context)
        self.retrain_steps = TrainingSetup(context, "retrain").total_steps
        self.supernet_steps = _supernet_steps(context)
        self.budgets = self._budgets(to_plain(context.cfg.train.baseline_budgets))

    def _budgets(self, names: Any) -> dict[str, TrainingSetup]:
        """The training of each budget, the longest first; equal lengths are trained once."""
        if not names or any(each not in BUDGETS for each in names):
            raise UserError(
                f"train.baseline_budgets={names} is not a list of {' and '.join(BUDGETS)}.",
                "train.baseline_budgets=[total,retrain]",
            )
        steps = {"total": self.supernet_steps + self.retrain_steps, "retrain": self.retrain_steps}
        made: dict[str, TrainingSetup] = {}
        for name in (each for each in BUDGETS if each in names):
            if all(known.recipe.iterations != steps[name] for known in made.values()):
                training = TrainingSetup(self.context, "retrain")
                training.recipe = stretched(training.recipe, steps[name], self.retrain_steps)
                made[name] = training
        return made

    def header(self) -> dict[str, Any]:
        """What the results of all baselines mean."""
        return {
            "error_name": self.task.error_name,
            "budget": next(iter(self.budgets)),
            "steps": {name: training.total_steps for name, training in self.budgets.items()},
            "supernet_steps": self.supernet_steps,
            "retrain_steps": self.retrain_steps,
        }

    def run(self, baseline: Baseline, logger: TrainingLogger) -> dict[str, Any]:
        """Train for every budget what an earlier attempt has not, and measure once."""
        folder = self.context.run.path(f"baselines/{baseline.name}/result.json").parent
        path, error = folder / "result.json", self.task.error_name
        before = files.read_json(path) if self.context.run.resume and path.exists() else {}
        main = next(iter(self.budgets))
        result: dict[str, Any] = {
            "name": baseline.name,
            "kind": baseline.kind,
            **baseline.about,
            "trained": {},
        }
        for budget, training in self.budgets.items():
            purpose = f"baselines/{baseline.name}/{budget}"
            built = baseline.build(purpose)
            identity = self._identity(baseline, built, training.recipe, purpose)
            weight = folder / ("model.safetensors" if budget == main else f"{budget}.safetensors")
            known = before.get("trained", {}).get(budget)
            if known and is_trained(weight, identity):
                logger.finish_training(known["steps"])
                result["trained"][budget] = known
                if budget == main:
                    result |= {key: value for key, value in before.items() if key not in result}
            else:
                result["trained"][budget] = self._fit(built.net, training, identity, weight, logger)
                if budget == main:
                    origin = (
                        {}
                        if built.origin is None
                        else {"origin": built.origin.facts(), "matched": built.matched}
                    )
                    result |= {**origin, **self._measured(built.net, result["trained"][budget]["metrics"])}
                files.write_json(path, result)
            remove(_state(weight))
        files.write_json(path, result)
        read = {budget: reading(error, each["metrics"]) for budget, each in result["trained"].items()}
        steps = {budget: each["steps"] for budget, each in result["trained"].items()}
        scores = [f"{value:.4f} after {steps[budget]} steps" for budget, (_, value) in read.items()]
        logger.log_metrics({f"{baseline.name}/{error}": result["trained"][main]["metrics"][error]})
        loaded = f" ({result['matched']})" if result.get("matched") else ""
        logger.progress.note(f"{baseline.name}: validation {read[main][0].name} {', '.join(scores)}{loaded}")
        return result

    def _identity(self, baseline: Baseline, built: Built, recipe: Recipe, purpose: str) -> dict[str, Any]:
        origin = {} if built.origin is None else {"weights": built.origin.sha256}
        about = {"network": dict(baseline.about), "init_seed": self.context.cfg.seed}
        return training_identity(recipe, purpose, **about, **origin)

    def _fit(
        self,
        net: nn.Module,
        training: TrainingSetup,
        identity: Mapping[str, Any],
        weight: Path,
        logger: TrainingLogger,
    ) -> dict[str, Any]:
        fitted = training.fit(net, identity, _state(weight), logger, {})
        weights.save(weight, net.state_dict(), {"identity": dict(identity)})
        metrics = training.score(net)
        return {"steps": fitted.steps, "seconds": fitted.seconds, "metrics": metrics, "file": weight.name}

    def _measured(self, net: nn.Module, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Costs, and the search's objectives in their units."""
        found = network_costs(self.evaluator, net.eval().to(self.device), self.task.input_size)
        return {**found, "objectives": {"error": metrics[self.task.error_name], **found["objectives"]}}


# predictions that know the blocks of one space
_TABLES = ("objective/latency_lookup", "objective/latency_published")


def network_evaluator(context: Context) -> Evaluator | None:
    """Measures networks outside the space by the run's objectives, on the device of a search's workers.

    Predictions from a latency table know blocks of the space alone and are left out; None where nothing is left.
    """
    cfg = context.cfg
    objectives = {
        name: each
        for name, each in to_plain(cfg.get("objective") or {}).items()
        if identifier(each.get("_target_")) not in _TABLES
    }
    if not objectives:
        return None
    return Evaluator(
        to_plain(cfg.space),
        to_plain(cfg.network),
        to_plain(cfg.task),
        objectives,
        str(initial_weights_file(context)),
        eval_batch_size(context.setup),
        torch_device(cfg.hardware.accelerator),
        cfg.hardware.precision,
    )


def network_costs(evaluator: Evaluator | None, net: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Parameters and multiply-adds, counted, and what the search's objectives measure of any network.

    Args:
        evaluator: see `network_evaluator`.
        net: in eval mode on the evaluator's device.
        size: height and width of the images in pixels.

    Returns:
        `params` and `macs` as numbers, `costs` in the units of the objectives `params` (M) and `macs` (GMAC),
        `objectives` by name (latency), and in `measured` what they recorded beside.
    """
    counted = count_costs(net, size)
    measured, extra = dict[str, float](), dict[str, Any]()
    try:
        if evaluator is not None:
            answer = evaluator.measure_network(net)
            measured, extra = dict(answer.objectives), dict(answer.extra)
    except Exception as error:
        # such as an operator that ONNX lacks; hours of training must not be lost for it
        log.warning("A network outside the space could not be measured: %s", error)
    costs = {"params": counted["params"] / 1e6, "macs": counted["macs"] / 1e9}
    return {**counted, "costs": costs, "objectives": measured, "measured": extra}


def _csv(results: Sequence[Mapping[str, Any]], gain: Gain | None) -> str:
    """Baselines and selected networks as rows; errors are those of trained networks on the validation split."""
    measured = sorted({name for each in results for name in each["objectives"]} - {"error"})
    text = io.StringIO()
    rows = csv.DictWriter(
        text, ["network", "kind", "error", "params", "macs", *measured, "baselines_error", "gain"]
    )
    rows.writeheader()
    for each in results:
        costs = {"params": each["params"], "macs": each["macs"], **each["objectives"]}
        rows.writerow({"network": each["name"], "kind": each["kind"], **costs})
    for row in () if gain is None else gain.rows:
        known = {gain.cost: row.cost} if gain is not None and gain.cost in measured else {}
        compared = {"error": row.error, "baselines_error": row.baseline, "gain": row.gain}
        rows.writerow({"network": row.name, "kind": "selected", **known, **compared})
    return text.getvalue()


def stretched(recipe: Recipe, steps: int, usual: int) -> Recipe:
    """A recipe over another number of optimizer steps; its milestones move along, its warm-up does not.

    Args:
        usual: optimizer steps of the recipe as it is.
    """
    milestones = [each * steps / max(1, usual) for each in recipe.milestones]
    return replace(recipe, epochs=None, iterations=steps, milestones=milestones)


def _supernet_steps(context: Context) -> int:
    """Optimizer steps of the supernet that the selected networks inherit from; 0 where there is none."""
    cfg = context.cfg
    if context.setup.mode is RunMode.NAMED or "_target_" not in (cfg.sampler or {}):
        return 0
    per_epoch = TrainingSetup(context, "supernet").steps_per_epoch
    return factory.curriculum(cfg, context.setup.space).optimizer_steps(per_epoch)


def _state(weight: Path) -> Path:
    """Where a training is kept until its result is durable."""
    return weight.with_name(f"{weight.stem}.state.safetensors")
