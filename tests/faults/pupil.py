"""A supernet's training in a process of its own, distilled from a teacher, that kills itself at a step.

python pupil.py FOLDER STEPS OVERRIDE...    SIGKILL after STEPS optimizer steps; 0 for never
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from evonas import config
from evonas.cli import conf_dir
from evonas.run import Run
from evonas.stages import listening
from evonas.stages.base import Context
from evonas.stages.pretrain import Pretrain
from evonas.stages.supernet import Supernet
from evonas.stages.teacher import Teacher

SMALL = (
    "+task=synthetic",
    "data.train=12",
    "data.holdout=2",
    "data.test=1",
    "data.height=32",
    "data.width=32",
    "network.dims=[8,16,16,16]",
    "network.heads=[2,2,2,2]",
    "network.stem_dim=8",
    "head.width=8",
    "tracker=none",
    "train.panel_random=1",
    "train.panel_every=1",
    "train.teacher.epochs=1",
    "train.supernet.batch_size=4",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 2}, {name: depth, num_subnets: 2, iterations: 4}]",
)


def context(folder: Path, *overrides: str) -> Context:
    """The run in a folder, which continues whatever is there."""
    config.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", overrides=[*SMALL, *overrides])
    return Context(cfg, Run(folder, "synthetic", resume=True))


def prepare(folder: Path) -> None:
    """Starting weights and a teacher."""
    for stage in (Pretrain(), Teacher()):
        stage.run(context(folder))


class Mortal(listening.Listening):
    """Dies when it has heard a number of steps."""

    left = 0

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Count a step of this process, not one that it was told of."""
        super().__call__(step, values)
        if values:
            Mortal.left -= 1
            if Mortal.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, steps: str, *overrides: str) -> None:
    """Train the supernet."""
    torch.set_num_threads(1)
    Mortal.left = int(steps)
    # the listener is made deep inside the stage, which has no seam for one that kills
    listening.Listening = Mortal  # type: ignore[misc]
    print(Supernet().run(context(Path(folder), *overrides)))


if __name__ == "__main__":
    main(*sys.argv[1:])
