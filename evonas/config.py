"""The schema of closed records, and the one door through which config becomes objects."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Recipe:
    """How one network is fitted; learning rates follow warm-up and cosine, per step."""

    epochs: int = 10
    warmup_epochs: float = 1.0
    batch_size: int = 16
    lr: float = 1e-3
    lr_min: float = 1e-5
    lr_start: float = 1e-6
    weight_decay: float = 0.05
    grad_clip: float = 0.0


@dataclass
class Train:
    """The recipes of the stages that train; the supernet's epochs come from its curriculum."""

    teacher: Recipe = field(default_factory=Recipe)
    supernet: Recipe = field(default_factory=Recipe)
    retrain: Recipe = field(default_factory=Recipe)
    rank: Recipe = field(default_factory=Recipe)
    panel_random: int = 4
    scratch: bool = False


@dataclass
class Budget:
    """How much a search may spend."""

    population: int = 16
    evaluations: int = 160


@dataclass
class Hardware:
    """Devices for training and worker processes for evaluation."""

    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    strategy: str = "auto"
    loader_workers: int = 0
    workers: int = 2
    threads_per_worker: int = 1
    deadline_s: float = 600.0
    tries: int = 3
    memory_gb: float | None = None
    eval_batch_size: int = 8


@dataclass
class Select:
    """Which points of the front are kept: knee, spread:<n>, best:<objective>, '<objective><=<number>'."""

    rules: list[str] = field(default_factory=lambda: ["knee", "spread:2"])
    include_max: bool = True


@dataclass
class Rank:
    """How many subnets the ranking check trains."""

    subnets: int = 12


@dataclass
class Config:
    """Everything a user may set. Groups typed Any are open: their `_target_` decides their keys."""

    seed: int = 0
    run: str | None = None
    inputs: str | None = None
    resume: bool = False
    outputs: str = "outputs"
    fail_fast: bool = False
    budget: Budget = field(default_factory=Budget)
    hardware: Hardware = field(default_factory=Hardware)
    train: Train = field(default_factory=Train)
    select: Select = field(default_factory=Select)
    rank: Rank = field(default_factory=Rank)
    stage: Any = MISSING
    task: Any = None
    data: Any = None
    space: Any = MISSING
    network: Any = MISSING
    head: Any = None
    teacher: Any = None
    sampler: Any = None
    distill: Any = None
    search: Any = MISSING
    objective: Any = None
    tracker: Any = None


def register() -> None:
    """Make the schema known to Hydra under the name that `conf/config.yaml` lists first."""
    ConfigStore.instance().store(name="schema", node=Config)
