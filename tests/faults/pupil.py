"""A supernet's training in a process of its own, distilled from a teacher, that kills itself at a step.

python pupil.py FOLDER STEPS OVERRIDE...

STEPS are numbers with commas between them. For each number a process is forked, before anything
is trained, that takes so many optimizer steps and is gone; what the curriculum then left on disk
is printed, a line of names for each.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import small_stages
import torch

from evonas.stages.base import Context
from evonas.stages.pretrain import Pretrain
from evonas.stages.supernet import Supernet
from evonas.stages.teacher import Teacher
from evonas.stages.training import logging

OPTIONS = (
    "data.train=12",
    "data.validation=2",
    "data.test=1",
    "tracker=none",
    "train.panel_random=1",
    "train.panel_every=1",
    "train.teacher.epochs=1",
    "train.supernet.batch_size=4",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 2}, {name: depth, num_subnets: 2, iterations: 4}]",
)


def context(folder: Path, *overrides: str) -> Context:
    """The run in a folder, which continues whatever is there."""
    return small_stages.context(folder, *OPTIONS, *overrides, resume=True)


def prepare(folder: Path) -> None:
    """Starting weights and a teacher."""
    for stage in (Pretrain(), Teacher()):
        stage.run(context(folder))


class Mortal(logging.TrainingLogger):
    """Dies when it has heard a number of steps."""

    left = 0

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Count a step of this process, not one that it was told of."""
        super().__call__(step, values)
        if values:
            Mortal.left -= 1
            if Mortal.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, steps: int, *overrides: str) -> None:
    """Train the supernet until the last of these steps."""
    Mortal.left = steps
    # the listener is made deep inside the stage, which has no seam for one that kills
    logging.TrainingLogger = Mortal  # type: ignore[misc]
    Supernet().run(context(folder, *overrides))


def main(folder: str, steps: str, *overrides: str) -> None:
    """One life after another."""
    torch.set_num_threads(1)
    for count in map(int, steps.split(",")):
        life = multiprocessing.get_context("fork").Process(
            target=train, args=(Path(folder), count, *overrides)
        )
        life.start()
        life.join()
        if life.exitcode != -signal.SIGKILL:
            sys.exit(f"A process that was to die after {count} steps ended with {life.exitcode}.")
        print(*sorted(path.name for path in Path(folder, "supernet/curriculum").glob("*.safetensors")))


if __name__ == "__main__":
    main(*sys.argv[1:])
