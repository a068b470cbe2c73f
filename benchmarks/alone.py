"""What a network reaches alone on the demo's data, by learning rate and random start, as a Markdown table.

    python benchmarks/alone.py resnet10t nano --rates 1e-3 2e-3 4e-3
    python benchmarks/alone.py resnet10t mobilenetv3_small_050 --rates 4e-3 --starts timm ours

A name is a network option (`nano`: its largest and its smallest subnet) or a timm model with the task's head. `ours`
are the initialisation rules of evonas, `timm` the model's own. Errors are on the validation and the test split.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from trials import composed

from evonas.cli import conf_dir
from evonas.nn.initialise import initialise, initialise_foreign
from evonas.randomness import derive
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.training.recipe import read_recipe
from evonas.supernets.supernet import Supernet, extract
from evonas.train import validation_panel
from evonas.train.fit import fit
from evonas.train.loop.data import TrainingData, seeded
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Duration
from evonas.train.recipe import optimizer_options, schedule
from evonas.train.teachers.base import Teacher, TimmBackbone

LEVELS = {4, 8, 16}


def main() -> None:
    """Train and print row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3, 2e-3, 4e-3])
    parser.add_argument("--starts", nargs="+", choices=("ours", "timm"), default=["ours"])
    parser.add_argument("--steps", type=int, default=312)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | start | learning rate | validation | test |\n|---|---|---|---|---|")
    for name in given.networks:
        for start in given.starts:
            for rate in given.rates:
                for shown, net, cfg in _built(name, start, given.seed):
                    errors = [f"{each:.4f}" for each in _errors(net, cfg, rate, given.steps, given.seed)]
                    print("| " + " | ".join([shown, start, f"{rate:g}", *errors]) + " |", flush=True)


def _built(name: str, start: str, seed: int) -> Iterator[tuple[str, nn.Module, Any]]:
    if (Path(conf_dir()) / "network" / f"{name}.yaml").exists() and name != "resnet10t":
        cfg = composed("+task=synthetic", f"network={name}", f"seed={seed}")
        setup = Setup(cfg)
        for which in ("largest", "smallest"):
            net = Supernet(setup.family, setup.task.head(setup.family.levels), seed)
            yield f"{name}, {which}", extract(net, getattr(setup.space, which)()), cfg
        return
    cfg = composed("+task=synthetic", f"seed={seed}")
    with seeded(seed, "alone"):
        strides = [level.stride for level in TimmBackbone(name).levels]
        body = TimmBackbone(name, [index for index, stride in enumerate(strides) if stride in LEVELS])
        head = Setup(cfg).task.head(body.levels)
    initialise(head, derive(seed, "alone/head"))
    if start == "ours":
        initialise_foreign(body, derive(seed, "alone/body"))
    yield name, Teacher(body, head), cfg


def _errors(net: nn.Module, cfg: Any, rate: float, steps: int, seed: int) -> list[float]:
    """Errors on both splits after training by the recipe of the retraining."""
    task, devices = Setup(cfg).task, factory.devices(cfg)
    recipe = replace(read_recipe(cfg, "retrain"), lr=rate)
    data = TrainingData(task.dataset("train"), recipe.batch_size, seed, 0, None, steps)
    length = Duration(None, steps, recipe.warmup_epochs, 0)
    rates = schedule(recipe, length, data.steps_per_epoch)
    module = SubnetModule(net, task, rates, seed, **optimizer_options(recipe))
    fit(module, data, -(-steps // data.steps_per_epoch), devices)
    size, device = recipe.batch_size, torch.device("cpu")
    found = [
        validation_panel.score(net.eval(), task, "holdout", size, device),
        validation_panel.score(net, task, "test", size, device),
    ]
    return [each[task.error_name] for each in found]


if __name__ == "__main__":
    main()
