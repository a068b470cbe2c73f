"""Validation panel: a fixed set of subnets that measures the progress of supernet training."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evonas.errors import EngineError
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import Split, Task, best_of, predict
from evonas.train.sampling.step import StepSampler


@dataclass(frozen=True, slots=True)
class Member:
    """One subnet of the panel."""

    name: str
    genotype: Genotype


def members(space: Space, seed: int, num_random: int) -> tuple[Member, ...]:
    """The largest, the smallest and `num_random` seeded random subnets; `random1` does not depend on their number."""
    drawn = [space.sample(generator(seed, "panel", index)) for index in range(num_random)]
    randoms = [Member(f"random{index + 1}", genotype) for index, genotype in enumerate(drawn)]
    return (Member("max", space.largest()), Member("min", space.smallest()), *randoms)


def members_within(sampler: StepSampler, num_random: int) -> tuple[Member, ...]:
    """The distinct largest, smallest and seeded random subnets of the opening of a curriculum step.

    Subnets outside the opening are not trained yet, and their errors would hide differences between trained ones.
    """
    named = {"max": sampler.corner("largest"), "min": sampler.corner("smallest")}
    named |= {f"random{index + 1}": sampler.example(index) for index in range(num_random)}
    first = {genotype: name for name, genotype in reversed(named.items())}
    return tuple(Member(name, genotype) for name, genotype in named.items() if first[genotype] == name)


def measure(
    supernet: Supernet,
    panel: Sequence[Member],
    task: Task,
    batch_size: int,
    device: torch.device,
    images: Sequence[Tensor] = (),
) -> list[dict[str, Any]]:
    """Validation metrics of every member with inherited weights, as `panel.json` stores them.

    Args:
        supernet: moved to `device` and put into eval mode.
        panel: the subnets.
        task: defines validation split and metrics.
        batch_size: images per batch.
        device: where the subnets run.
        images: batches for BN calibration of a copy of each member; empty for the shared statistics.

    Raises:
        EngineError: an error is not finite.
    """
    supernet.eval().to(device)
    placed = [image.to(device) for image in images]
    rows = []
    for member in panel:
        predict = _predictor(supernet, member.genotype, placed)
        text = supernet.space.format(member.genotype)
        metrics = finite(score(predict, task, "holdout", batch_size, device), task, text)
        rows.append({"name": member.name, "genotype": text, "metrics": metrics})
    return rows


def finite(metrics: Mapping[str, float], task: Task, network: str) -> dict[str, float]:
    """Validation metrics that have a finite value; those of a class that never occurs are dropped.

    Args:
        metrics: of a network on the validation split.
        task: names the error.
        network: what the network is, for messages.

    Raises:
        EngineError: the error is not finite.
    """
    if not math.isfinite(best_of(metrics, task)):
        raise EngineError(
            f"The {task.error_name} of {network} is {best_of(metrics, task)} on the validation split.",
            "Lower the learning rate (train.*.lr).",
        )
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def mean_error(rows: Sequence[Mapping[str, Any]], task: Task) -> float:
    """The mean error of the panel's members."""
    return sum(best_of(row["metrics"], task) for row in rows) / len(rows)


@torch.inference_mode()
def score(
    net: Callable[[Tensor], Tensor], task: Task, split: Split, batch_size: int, device: torch.device
) -> dict[str, float]:
    """The task's metrics of a network on one split; the network must be in eval mode."""
    meter = task.meter()
    for batch in batches(task.dataset(split), batch_size):
        placed = {name: value.to(device) for name, value in batch.items()}
        meter.update(predict(task, net, placed["image"]), placed)
    return meter.compute()


def batches(dataset: Dataset[Any], batch_size: int) -> DataLoader[dict[str, Tensor]]:
    """Loads a data set in order, including an incomplete last batch."""
    return DataLoader(cast(Dataset[dict[str, Tensor]], dataset), batch_size=batch_size, shuffle=False)


def _predictor(
    supernet: Supernet, genotype: Genotype, images: Sequence[Tensor]
) -> Callable[[Tensor], Tensor]:
    if not images:
        return lambda image: supernet(image, genotype)
    net = extract(supernet, genotype)
    calibrate_batch_norm(net, images)
    return net
