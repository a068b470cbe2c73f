"""The stage that trains the selected subnets on their own."""

from pathlib import Path
from typing import Any

from torch import nn

from evonas import files, weights
from evonas.metric import reading
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.networks.initial_weights import load_start, start_file, started
from evonas.stages.networks.selected import WEIGHTS, Net, chosen
from evonas.stages.searching.artifacts import keep
from evonas.stages.training import subnet_trainer
from evonas.stages.training.bn_calibration import origin, renewal
from evonas.stages.training.logging import Listening, listening
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import Task
from evonas.train.loop.checkpoint_io import remove


class Retrain:
    """Every net of selected.json, from inherited weights; with train.scratch=true also from scratch."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write retrain/<net>/model.safetensors and result.json for every selected net."""
        nets = chosen(context.run)
        task, recipe = context.setup.task, factory.recipe(context.cfg, "retrain")
        inherited = load_start(context)
        folder = context.run.path("retrain/metrics.csv").parent
        tries = 2 if context.cfg.train.scratch else 1
        steps = subnet_trainer.total_steps(task, recipe) * len(nets) * tries
        with listening(context, "retrain", "Retrain", steps, folder) as listener:
            retraining = _Retraining(context, task, inherited, listener)
            for net in nets:
                retraining.run(net)
        made = [folder / net.name / WEIGHTS["retrained"] for net in nets]
        keep(context, "retrain", "checkpoint", made)
        return f"Retrained networks: {folder}"


class _Retraining:
    """One selected net after another."""

    def __init__(self, context: Context, task: Task, inherited: Supernet, listener: Listening) -> None:
        self.context, self.task, self.inherited, self.listener = context, task, inherited, listener
        self.recipe = factory.recipe(context.cfg, "retrain")
        self.teaching = factory.Teaching(context)
        self.renewal = renewal(context, task)
        supernet = weights.digest(start_file(context))
        self.origin = {"supernet": supernet, **origin(self.renewal), **factory.origin(context)}

    def run(self, net: Net) -> None:
        """Retrain one net, or report the result of an earlier attempt."""
        path = self.context.run.path(f"retrain/{net.name}/result.json")
        if self.context.run.resume and self._is_done(net):
            result = files.read_json(path)
            self.listener.next_training(len(self._kinds()) * result["steps"])
        else:
            result = self._retrain(net)
            files.write_json(path, result)
        for kind in self._kinds():
            remove(_state(path.parent, kind))
        self.listener.progress.note(self._line(result))

    def _kinds(self) -> tuple[str, ...]:
        return ("model", "scratch") if self.context.cfg.train.scratch else ("model",)

    def _is_done(self, net: Net) -> bool:
        """Whether the result is there, and was made from the same weights by the same recipe."""
        folder = self.context.run.path(f"retrain/{net.name}/result.json").parent
        made = [
            subnet_trainer.is_made(folder / f"{kind}.safetensors", self._identity(net))
            for kind in self._kinds()
        ]
        return (folder / "result.json").exists() and all(made)

    def _identity(self, net: Net) -> dict[str, Any]:
        text = self._text(net)
        origin = {**self.origin, "transferred": net.transferred["sha256"]} if net.transferred else self.origin
        return subnet_trainer.identity(self.recipe, f"retrain/{net.name}", genotype=text, **origin)

    def _text(self, net: Net) -> str:
        return self.inherited.space.format(self.inherited.space.parse(net.genotype))

    def _retrain(self, selected: Net) -> dict[str, Any]:
        net = started(self.context.run, self.inherited, selected, self.renewal)
        before = subnet_trainer.holdout(self.context, net, self.task)
        cost = self._fit(net, selected, "model")
        after = subnet_trainer.holdout(self.context, net, self.task)
        metric, value = reading(self.task.error_name, after)
        self.listener.measured(
            {
                f"{selected.name}/{self.task.error_name}": after[self.task.error_name],
                f"{selected.name}/{metric.name}": value,
            }
        )
        return {
            "name": selected.name,
            "genotype": self._text(selected),
            "steps": cost.steps,
            "seconds": cost.seconds,
            "inherited": before,
            "retrained": after,
            "scratch": self._from_scratch(selected) if self.context.cfg.train.scratch else None,
        }

    def _from_scratch(self, selected: Net) -> dict[str, float]:
        """The same architecture, recipe, teacher and order of data; only the start differs."""
        fresh = factory.supernet(self.context.setup, "init/scratch")
        net = extract(fresh, fresh.space.parse(selected.genotype))
        self._fit(net, selected, "scratch")
        return subnet_trainer.holdout(self.context, net, self.task)

    def _fit(self, net: nn.Module, selected: Net, kind: str) -> subnet_trainer.Fitted:
        folder = self.context.run.path(f"retrain/{selected.name}/{kind}.safetensors").parent
        levels = self.inherited.levels
        taught = self.teaching.options(levels, f"retrain/{selected.name}")
        state, identity = _state(folder, kind), self._identity(selected)
        cost = subnet_trainer.fit_net(
            self.context, net, self.task, self.recipe, identity, state, self.listener, taught
        )
        weights.save(folder / f"{kind}.safetensors", net.state_dict(), {"identity": identity})
        return cost

    def _line(self, result: dict[str, Any]) -> str:
        kinds = [kind for kind in ("inherited", "retrained", "scratch") if result[kind]]
        read = [reading(self.task.error_name, result[kind]) for kind in kinds]
        parts = ", ".join(f"{kind} {value:.4f}" for kind, (_, value) in zip(kinds, read, strict=True))
        return f"{result['name']}: validation {read[0][0].name} {parts}"


def _state(folder: Path, kind: str) -> Path:
    """Where a training is kept until the result of all kinds is durable."""
    return folder / f"{kind}.state.safetensors"
