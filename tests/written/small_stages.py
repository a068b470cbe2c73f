"""Stages for real on a few tiny images: `+task=synthetic` as it is composed, with a network to match."""

import copy
import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from evonas import schema
from evonas.run import Run
from evonas.stages.base import Context

CONF = Path(__file__).resolve().parents[2] / "conf"
SMALL = (
    "+task=synthetic",
    "network=nano",
    "data.height=32",
    "data.width=32",
    "network.dims=[8,16,16,16]",
    "network.heads=[2,2,2,2]",
    "network.stem_dim=8",
    "head.width=8",
)


def composed(*overrides: str) -> DictConfig:
    """The config of such a network with more overrides; the caller's own."""
    return copy.deepcopy(_composed((*SMALL, *overrides)))


def composed_alone(*overrides: str) -> DictConfig:
    """The config of some overrides alone; the caller's own."""
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Composing takes longer than what most tests do with it."""
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def context(folder: Path, *overrides: str, resume: bool = False, inputs: Path | None = None) -> Context:
    """A run in a folder, which is made when needed."""
    folder.mkdir(parents=True, exist_ok=True)
    return Context(composed(*overrides), Run(folder, "synthetic", resume, inputs))
