"""Trainings that take milliseconds: a few tiny images, a small network, and a task of averages."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from evonas.train.distillation.cross_architecture import Distiller
from evonas.train.loop.data import seeded
from evonas.train.loop.ddp_strategy import Listener
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Schedule


class Noise(Dataset[dict[str, Tensor]]):
    """Images whose mean is the target.

    Args:
        items: how many.
        moves: whether they follow the epoch, as augmented ones do.
    """

    def __init__(self, items: int, moves: bool = True) -> None:
        self.items, self.moves, self.epoch = items, moves, 0

    def set_epoch(self, epoch: int) -> None:
        """Other images from now on, if they move."""
        self.epoch = epoch if self.moves else 0

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        image = torch.randn(3, 8, 8, generator=generator) + index / self.items
        return {"image": image, "target": image.mean((1, 2)), "number": torch.tensor(index)}


class Regression:
    """The part of a task that a training uses; it notes the numbers of the images and the answers' dtypes."""

    name, error_name, input_size = "regression", "mse", (8, 8)

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.dtypes: set[torch.dtype] = set()

    def loss(self, output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """A mean over images."""
        if "number" in batch:
            self.seen.append(tuple(batch["number"].tolist()))
        self.dtypes.add(output.dtype)
        return F.mse_loss(output.float(), batch["target"])

    def distillation_loss(self, output: Tensor, teacher: Tensor, _: Mapping[str, Tensor]) -> Tensor:
        """The same, against the teacher."""
        return F.mse_loss(output.float(), teacher.float())


class Net(nn.Module):
    """Convolution, batch norm and dropout: all that makes a training stateful or random."""

    has_output = True

    def __init__(self, channels: int = 4, dropout: float = 0.3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.Dropout(dropout))
        self.head = nn.Linear(channels, 3)

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output, and the one map."""
        level = self.body(x)
        return self.head(level.mean((2, 3))), [level]


def taught(rates: Schedule, seed: int = 0, dropout: float = 0.3, **options: Any) -> SubnetModule:
    """A network that learns from a teacher as well; `options` are those of the module."""
    with seeded(seed, "init"):
        net, teacher = Net(4, dropout), Net(5, dropout)
        distiller = Distiller(4, 5, heads=1, head_dim=4, query_grid=[2, 2], position_grid=[2, 2])
    task: Any = Regression()
    return SubnetModule(net, task, rates, seed, **{"teacher": teacher, "distiller": distiller, **options})


class StopError(Exception):
    """Stands for a crash in the middle of a step."""


def stopping_at(last: int) -> Listener:
    """A listener that crashes when it hears of a step; 0 for never."""

    def listen(step: int, _: Mapping[str, float]) -> None:
        if last and step == last:
            raise StopError

    return listen


def equal(first: nn.Module, second: nn.Module) -> bool:
    """Whether two modules hold the same bits."""
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)
