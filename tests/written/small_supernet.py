"""A supernet that trains in milliseconds a step, on rendered scenes, by any strategy of conf/sampler."""

import functools
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from evonas.config import build, to_plain
from evonas.space.space import Space
from evonas.supernets.cost_table import CostTable
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.depth import Depth
from evonas.train.curriculum import Curriculum
from evonas.train.loop.data import seeded
from evonas.train.module import SupernetModule
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.sampling.step import CurriculumStep

CONF = Path(__file__).resolve().parents[2] / "conf" / "sampler"
# every file that is more than a list of openings
NAMES = ("sandwich", "alphanet", "nasvit", "best_up", "worst_up", "complexity_aware", "performance_aware")
NAMES += ("small_to_large", "nsas", "ofa", "ofa_nano")
ITEMS, SIZE = 8, (32, 32)
TASK = {
    "_target_": "evonas.tasks.depth.Depth",
    "name": "synthetic",
    "max_depth": 20.0,
    "head": {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True, "width": 4},
    "data": {
        "_target_": "evonas.data.synthetic.scenes.SyntheticScenes",
        "train": ITEMS,
        "validation": 2,
        "test": 1,
        "height": SIZE[0],
        "width": SIZE[1],
    },
}


def space() -> Space:
    """Four stages, 28 genes less most of their choices."""
    return evonet_space("tiny", [1, 2], [4, 8], [1, 2], [1, 2, 2, 1])


@functools.cache
def task() -> Depth:
    """Depth of eight scenes."""
    built: Depth = build(TASK)
    return built


def supernet() -> Supernet:
    """Always the same weights."""
    with seeded(0, "init"):
        family = EvoNet(space(), [8, 8, 8, 16], [2, 2, 2, 2], stem_dim=4, stem_ratio=1.0, drop_path=0.1)
        return Supernet(family, task().head(family.levels))


def costs(net: Supernet) -> CostTable:
    """Of its subnets."""
    return CostTable(net.family, SIZE)


def curriculum(name: str, of: Space, **changes: Any) -> Curriculum:
    """A file of conf/sampler with the distillation and merging that it names, and changed keys of its strategy."""
    node = to_plain(OmegaConf.load(CONF / f"{name}.yaml"))
    for choice in node.pop("defaults", []):
        if isinstance(choice, dict):
            ((group, option),) = choice.items()
            node[group] = to_plain(OmegaConf.load(CONF / group / f"{option}.yaml"))
    if changes:
        node["strategy"] |= changes
    built: Curriculum = build(node, space=of, seed=0)
    return built


def module(name: str, steps: int, merge: Any = None, **changes: Any) -> SupernetModule:
    """The training of a strategy's last curriculum step, of so many optimizer steps."""
    net = supernet()
    strategy = curriculum(name, net.space, **changes)
    step: CurriculumStep = strategy.steps[-1]
    lesson = strategy.inplace_distillation
    start = extract(net, net.space.largest()) if lesson is not None and lesson.needs_initial_network else None
    return SupernetModule(
        net,
        strategy.training_sampler(step, lambda: costs(net), steps),
        task(),
        Schedule(steps, 1, 1e-3, 1e-5, 1e-5),
        0,
        lesson,
        merge or strategy.merge,
        start,
        costs(net),
    )


def state(of: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what a module holds."""
    return {name: tensor.clone() for name, tensor in of.state_dict().items()}
