"""A fixed panel of subnets, so that progress is measured on the same points every time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from evonas.nn.supernet import Supernet
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.tasks.base import Split, Task, best_of


@dataclass(frozen=True, slots=True)
class Member:
    """One subnet of the panel."""

    name: str
    genotype: Genotype


def members(space: Space, seed: int, num_random: int) -> tuple[Member, ...]:
    """Largest, smallest and seeded random subnets; `random1` is the same whatever num_random is."""
    drawn = [space.sample(generator(seed, "panel", index)) for index in range(num_random)]
    randoms = [Member(f"random{index + 1}", genotype) for index, genotype in enumerate(drawn)]
    return (Member("max", space.largest()), Member("min", space.smallest()), *randoms)


def measure(
    supernet: Supernet, panel: Sequence[Member], task: Task, batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """The holdout metrics of every member with inherited weights, as `panel.json` stores them."""
    supernet.eval().to(device)
    rows = []
    for member in panel:
        metrics = score(_bound(supernet, member.genotype), task, "holdout", batch_size, device)
        rows.append({"name": member.name, "genotype": member.genotype, "metrics": metrics})
    return rows


def mean_error(rows: Sequence[Mapping[str, Any]], task: Task) -> float:
    """The panel's score: the mean of its members' errors."""
    return sum(best_of(row["metrics"], task) for row in rows) / len(rows)


@torch.inference_mode()
def score(
    predict: Callable[[Tensor], Tensor], task: Task, split: Split, batch_size: int, device: torch.device
) -> dict[str, float]:
    """The task's metrics of a predictor on one split; networks must be in eval mode already."""
    meter = task.meter()
    for batch in batches(task.dataset(split), batch_size):
        placed = {name: value.to(device) for name, value in batch.items()}
        meter.update(predict(placed["image"]), placed)
    return meter.compute()


def batches(dataset: Dataset[Any], batch_size: int) -> DataLoader[dict[str, Tensor]]:
    """A data set in its own order, the last batch included."""
    return DataLoader(cast(Dataset[dict[str, Tensor]], dataset), batch_size=batch_size, shuffle=False)


@torch.no_grad()
def recalibrate(net: nn.Module, images: Sequence[Tensor]) -> None:
    """Replace running BatchNorm statistics by plain averages over `images`, in place.

    Subnets share statistics, so those of one subnet are a mixture; use it on an extracted
    network. Leaves the network in eval mode.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for image in images:
        net(image)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def _bound(supernet: Supernet, genotype: Genotype) -> Callable[[Tensor], Tensor]:
    return lambda image: supernet(image, genotype)
