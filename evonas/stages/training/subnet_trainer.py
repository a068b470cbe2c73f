"""How one network is fitted by a recipe: shared by the stages teacher, retrain and rank."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from evonas import weights
from evonas.identifiers import identified
from evonas.randomness import derive
from evonas.schema import Recipe
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.training.logging import Listening
from evonas.tasks.base import Task
from evonas.train import validation_panel
from evonas.train.fit import Resumable, fit
from evonas.train.loop.data import batches_per_epoch
from evonas.train.module import DistillationOptions, SubnetModule

# how often a training is saved changes nothing of what it makes
IRRELEVANT = ("checkpoint_steps",)
# what each schedule does not look at; cosine came first, and its name goes without saying
SHAPES: dict[str, tuple[str, ...]] = {
    "cosine": ("schedule", "power", "milestones", "gamma"),
    "poly": ("milestones", "gamma"),
    "multistep": ("power",),
}


@dataclass(frozen=True, slots=True)
class Fitted:
    steps: int
    seconds: float


def fit_net(
    context: Context,
    net: nn.Module,
    of: Task,
    recipe: Recipe,
    identity: Mapping[str, Any],
    state: Path,
    listening: Listening,
    taught: DistillationOptions,
) -> Fitted:
    """Train a network in place.

    Args:
        identity: see `identity`; its `purpose` names the random streams.
        state: where the training is kept, for the caller to remove once what it made is durable:
            until then a training that ended is continued from its end.
        taught: the keywords `teacher` and `distiller`, or nothing.
    """
    cfg = context.cfg
    seed = derive(cfg.seed, identity["purpose"])
    data = factory.training_data(cfg, of, recipe, seed, total_steps(of, recipe))
    rates = factory.rates(recipe, factory.length(recipe), data.steps_per_epoch)
    module = SubnetModule(net, of, rates, seed, **factory.optimisation(recipe), **taught)
    resumable = Resumable(state, identity, context.run.resume, recipe.checkpoint_steps, keep=True)
    started = time.monotonic()
    epochs = -(-rates.total_steps // data.steps_per_epoch)
    fit(module, data, epochs, factory.devices(cfg), resumable, listening)
    listening.next_training(rates.total_steps)
    return Fitted(rates.total_steps, round(time.monotonic() - started, 2))


def total_steps(of: Task, recipe: Recipe) -> int:
    """Optimizer steps of one network under a recipe."""
    return factory.length(recipe).optimizer_steps(steps_per_epoch(of, recipe))


def steps_per_epoch(of: Task, recipe: Recipe) -> int:
    return batches_per_epoch(len(of.dataset("train")), recipe.batch_size, recipe.max_batches)


def holdout(context: Context, net: nn.Module, of: Task) -> dict[str, float]:
    """A network's metrics on the holdout split."""
    device = factory.devices(context.cfg).torch_device
    net.eval().to(device)
    return validation_panel.score(net, of, "holdout", eval_batch_size(context.setup), device)


def identity(recipe: Recipe, purpose: str, **origin: Any) -> dict[str, Any]:
    """All that a training depends on, as plain data: equal identities mean equal results."""
    return dict(identified({"purpose": purpose, **decisive(recipe), **origin}))


def decisive(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that decide its weights; those that are off or unused are left out."""
    plain = {key: value for key, value in asdict(recipe).items() if key not in IRRELEVANT}
    idle = SHAPES.get(recipe.schedule, ())
    idle += tuple(key for key in ("iterations", "warmup_iterations") if not plain[key])
    return {key: value for key, value in plain.items() if key not in idle}


def is_made(path: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether the weights at `path` are there and come from a training of this identity."""
    return path.exists() and identified(weights.load_meta(path).get("identity")) == dict(wanted)
