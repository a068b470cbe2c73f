"""What a config is about: its space, its task and its family of networks."""

from functools import cached_property
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from evonas.config import build, to_plain
from evonas.space.space import Space
from evonas.stages.build.run_mode import RunMode, mode_of
from evonas.supernets.base import SupernetFamily
from evonas.supernets.families import without_space

if TYPE_CHECKING:
    from evonas.tasks.base import Task


class Setup:
    """Builds each part of a config when it is first asked for, and once.

    Args:
        cfg: must not change afterwards.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg

    @property
    def mode(self) -> RunMode:
        return mode_of(self.cfg)

    @cached_property
    def space(self) -> Space:
        built: Space = build(self.cfg.space)
        return built

    @cached_property
    def task(self) -> "Task":
        """The task; its data is read at the first `dataset(...)`."""
        built: Task = build(self.cfg.task)
        return built

    @cached_property
    def family(self) -> SupernetFamily:
        """The family of the searched supernet, over the searched space."""
        built: SupernetFamily = build(without_space(to_plain(self.cfg.network)), space=self.space)
        return built
