"""stage=retrain: train the selected subnets alone."""

from pathlib import Path
from typing import Any

from evonas import files, weights
from evonas.metric import reading
from evonas.report.analysis.verdicts import fine_tuning_harm
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.networks.initial_weights import (
    initial_network,
    initial_weights_file,
    load_initial_supernet,
)
from evonas.stages.networks.selected import WEIGHTS, SelectedNetwork, selected_networks
from evonas.stages.training.logging import TrainingLogger, training_logger
from evonas.stages.training.setup import Fitted, TrainingSetup
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract
from evonas.train.loop.checkpoint_io import remove
from evonas.train.recipe import is_trained, training_identity


class Retrain:
    """Trains every network of selected.json from inherited weights; with train.scratch=true also from scratch."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write retrain/<net>/model.safetensors and result.json for every selected network."""
        networks = selected_networks(context.run)
        training = TrainingSetup(context, "retrain")
        inherited = load_initial_supernet(context)
        folder = context.run.path("retrain/metrics.csv").parent
        trainings = 2 if context.cfg.train.scratch else 1
        steps = training.total_steps * len(networks) * trainings
        with training_logger(context, "retrain", "Retrain", steps, folder) as logger:
            retraining = _Retraining(training, inherited, logger)
            for selected in networks:
                retraining.run(selected)
            made = [folder / each.name / WEIGHTS["retrained"] for each in networks]
            logger.tracker.artifact("checkpoint", made)
        harm = fine_tuning_harm(retraining.error_name, retraining.pairs)
        return f"{harm}\nRetrained networks: {folder}" if harm else f"Retrained networks: {folder}"


class _Retraining:
    """Trains one selected network after another."""

    def __init__(self, training: TrainingSetup, inherited: Supernet, logger: TrainingLogger) -> None:
        self.training, self.inherited, self.logger = training, inherited, logger
        self.error_name = training.task.error_name
        self.origin = training.origin(initial_weights_file(training.context))
        # names of weight files: "scratch" has another start, all else is equal
        # name, metrics with inherited weights and after retraining, of the networks so far
        self.pairs: list[tuple[str, Any, Any]] = []
        self.kinds = ("model", "scratch") if training.cfg.train.scratch else ("model",)

    def run(self, selected: SelectedNetwork) -> None:
        """Retrain one network, or take the result of an earlier attempt."""
        path = self.training.run.path(f"retrain/{selected.name}/result.json")
        identity = self._identity(selected)
        is_done = path.exists() and all(
            is_trained(path.with_name(f"{kind}.safetensors"), identity) for kind in self.kinds
        )
        if self.training.run.resume and is_done:
            result = files.read_json(path)
            self.logger.finish_training(len(self.kinds) * result["steps"])
        else:
            result = self._retrain(selected, path.parent, identity)
            files.write_json(path, result)
        self.pairs.append((selected.name, result["inherited"], result["retrained"]))
        for kind in self.kinds:
            remove(_state(path.parent, kind))
        kinds = [kind for kind in ("inherited", "retrained", "scratch") if result[kind]]
        readings = [reading(self.error_name, result[kind]) for kind in kinds]
        shown = ", ".join(f"{kind} {value:.4f}" for kind, (_, value) in zip(kinds, readings, strict=True))
        self.logger.progress.note(f"{result['name']}: validation {readings[0][0].name} {shown}")

    def _identity(self, selected: SelectedNetwork) -> dict[str, Any]:
        transferred = {"transferred": selected.transferred["sha256"]} if selected.transferred else {}
        text = self._canonical(selected)
        origin = {**self.origin, **transferred}
        return training_identity(self.training.recipe, f"retrain/{selected.name}", genotype=text, **origin)

    def _canonical(self, selected: SelectedNetwork) -> str:
        return self.inherited.space.format(self.inherited.space.parse(selected.genotype))

    def _retrain(self, selected: SelectedNetwork, folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
        training = self.training
        net = initial_network(training.run, self.inherited, selected, training.bn_calibration)
        inherited = training.score(net)
        fitted = self._fit(net, folder, "model", identity)
        retrained, scratch = training.score(net), None
        metric, value = reading(self.error_name, retrained)
        error = {f"{selected.name}/{self.error_name}": retrained[self.error_name]}
        self.logger.log_metrics({**error, f"{selected.name}/{metric.name}": value})
        if "scratch" in self.kinds:
            fresh = factory.supernet(training.context.setup, "init/scratch")
            net = extract(fresh, fresh.space.parse(selected.genotype))
            self._fit(net, folder, "scratch", identity)
            scratch = training.score(net)
        return {
            "name": selected.name,
            "genotype": self._canonical(selected),
            "steps": fitted.steps,
            "seconds": fitted.seconds,
            "inherited": inherited,
            "retrained": retrained,
            "scratch": scratch,
        }

    def _fit(self, net: StaticNet, folder: Path, kind: str, identity: dict[str, Any]) -> Fitted:
        distillation = self.training.distillation(net.levels, identity["purpose"])
        fitted = self.training.fit(net, identity, _state(folder, kind), self.logger, distillation)
        weights.save(folder / f"{kind}.safetensors", net.state_dict(), {"identity": identity})
        return fitted


def _state(folder: Path, kind: str) -> Path:
    """Where a training is kept until the result of all kinds is durable."""
    return folder / f"{kind}.state.safetensors"
