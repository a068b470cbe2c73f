"""The closed records of the config: their typos and wrong types fail while composing, before torch loads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


def _least(least: float, default: Any) -> Any:
    """A number that may not be smaller than `least`."""
    return field(default=default, metadata={"least": least})


@dataclass
class Recipe:
    """How one network is fitted; learning rates follow a linear warm-up and then `schedule`, per step."""

    # passes over the training split, or `iterations` in optimizer steps (epochs: null); of both, the shorter
    epochs: int | None = _least(0, 10)
    iterations: int | None = _least(0, None)
    # in epochs, or where given in optimizer steps; a curriculum has lengths and warm-ups of its own
    warmup_epochs: float = _least(0, 1.0)
    warmup_iterations: int = _least(0, 0)
    # after the warm-up: cosine (over the whole length), cosine_after_warmup (over what is left), poly (with
    # `power`), multistep: times `gamma` at `milestones`, in epochs, which are 8/12 and 11/12 of the length where none
    # are given, or step and exponential: times `gamma` every `decay_epochs`, at once or evenly over their steps
    schedule: str = "cosine"
    power: float = _least(0, 1.0)
    milestones: list[float] = field(default_factory=list)
    gamma: float = 0.1
    decay_epochs: float = 1.0
    # an optimizer of timm, such as adamw, sgd (with Nesterov's momentum), momentum, rmsproptf or lamb, and its keywords
    optimizer: str = "adamw"
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    batch_size: int = _least(1, 16)
    lr: float = _least(0, 1e-3)
    lr_min: float = _least(0, 1e-5)
    lr_start: float = _least(0, 1e-6)
    weight_decay: float = _least(0, 0.05)
    # which parameters decay: matrices (all but vectors), all, or no_norm (all but norms)
    decay: str = "matrices"
    # patterns of names of parameters that do not decay either, such as *.first_conv.*; each must match one
    undecayed: list[str] = field(default_factory=list)
    # beta distributions of mixup and cutmix within a batch of labelled images, 0 for none; each network of a batch
    # (mix_each: subnet) has a mix of its own, or all have one (batch)
    mixup: float = _least(0, 0.0)
    cutmix: float = _least(0, 0.0)
    mix_each: str = "subnet"
    # 0 for none; limits the norm of all gradients, each value, or (agc) norms relative to those of the weights
    grad_clip: float = _least(0, 0.0)
    grad_clip_mode: str = "norm"
    # of the exponential moving average (EMA) of the weights, which then is the result; 0 for the last weights.
    # With `ema_warmup` the average starts short, as short trainings need
    ema_decay: float = _least(0, 0.0)
    ema_warmup: bool = True
    # of the distillation's projectors; None for those of the network
    projector_lr: float | None = _least(0, None)
    projector_weight_decay: float | None = _least(0, None)
    # at most so many optimizer steps an epoch; None for all of them
    max_batches: int | None = _least(1, None)
    # a durable checkpoint every so many optimizer steps as well as after every epoch; 0 for epochs alone
    checkpoint_steps: int = _least(0, 0)
    # false shows every image as it is, which distill.cache needs
    augment: bool = True


# settings that came after the first release: identities name them only where they differ from these, so that
# earlier trainings keep theirs
LATER_RECIPE_SETTINGS: Mapping[str, Any] = {
    "decay_epochs": 1.0,
    "optimizer": "adamw",
    "optimizer_options": {},
    "grad_clip_mode": "norm",
    "ema_decay": 0.0,
    "ema_warmup": True,
    "undecayed": [],
    "mixup": 0.0,
    "cutmix": 0.0,
    "mix_each": "subnet",
}


@dataclass
class Limits:
    """Upper limits of every training, whatever its recipe says; None for no limit."""

    max_epochs: int | None = _least(0, None)
    max_batches: int | None = _least(1, None)
    # of teachers that come in sizes: small, base, large, or tiny (random weights, for trials)
    teacher_size: str = "large"


@dataclass
class Train:
    """The recipes of the stages that train; a supernet's epochs are its curriculum's, perhaps these."""

    pretrain: Recipe = field(default_factory=Recipe)
    teacher: Recipe = field(default_factory=Recipe)
    supernet: Recipe = field(default_factory=Recipe)
    retrain: Recipe = field(default_factory=Recipe)
    rank: Recipe = field(default_factory=Recipe)
    # of every point of a search with fidelity=finetune
    finetune: Recipe = field(default_factory=lambda: Recipe(epochs=5, warmup_epochs=0.0))
    panel_random: int = _least(0, 4)
    # how often a curriculum step is measured while it trains, in epochs; 0 for its end alone
    panel_every: int = _least(0, 0)
    # training images for BN calibration of a subnet before it is measured; 0 for none
    bn_calibration_images: int = _least(0, 32)
    scratch: bool = False
    # how long the networks of `baselines` are trained: total (optimizer steps of supernet and retraining
    # together), retrain, or both
    baseline_budgets: list[str] = field(default_factory=lambda: ["total", "retrain"])


@dataclass
class Budget:
    """How much a search may spend."""

    population: int = _least(1, 16)
    evaluations: int = _least(1, 160)
    # asynchronous: so many points are measured at a time and no worker waits; null goes batch by batch
    in_flight: int | None = _least(1, None)


@dataclass
class Hardware:
    """Devices for training, and workers for evaluation, which share the devices among them."""

    accelerator: str = "cpu"
    devices: int = _least(1, 1)
    precision: str = "32-true"
    strategy: str = "auto"
    loader_workers: int = _least(0, 0)
    sync_batchnorm: bool = False
    # stop at the operation that first makes a NaN in a gradient, and name it; training is much slower
    detect_anomaly: bool = False
    # compute the inner activations of blocks again for the gradients instead of keeping them: less memory,
    # about a third more time, the same bits
    activation_checkpointing: bool = False
    # write where the time of each training goes into its folder
    profile: bool = False
    # who runs the workers: local (processes), ray (actors), or inline (this process alone)
    engine: str = "local"
    # of a Ray cluster; None for a Ray of our own on the loopback interface
    address: str | None = None
    workers: int = _least(0, 2)
    # on GPUs: workers on each of `devices`, in place of `workers`
    workers_per_device: int | None = _least(1, None)
    threads_per_worker: int = _least(1, 1)
    # at most so many networks share one pass over the images; 1 measures them one by one
    subnets_per_pass: int = _least(1, 8)
    # of one measurement; a worker that exceeds it is replaced, and the measurement tried again
    timeout_s: float = 600.0
    max_attempts: int = _least(1, 3)
    memory_gb: float | None = None
    # images at a time on the validation split; null for as many as memory takes (stages/build/batch_size.py)
    eval_batch_size: int | None = _least(1, 8)


@dataclass
class Select:
    """Which points of the front are kept; the rules are those of report/selection/rules.py.

    `genotypes` are kept whatever the search says, by name; without rules no search is needed.
    """

    rules: list[str] = field(default_factory=lambda: ["knee", "spread:2"])
    include_max: bool = True
    # choose among all points that none beats beyond the intervals of measured latencies
    noise_aware: bool = False
    genotypes: dict[str, str] = field(default_factory=dict)


@dataclass
class Rank:
    """How many subnets the ranking check trains, and how its statistics are taken."""

    subnets: int = _least(3, 12)
    # parts of equal cost inside which the ranks are compared as well
    bins: int = _least(1, 3)
    # how many best-scored subnets the regret looks at
    top: int = _least(1, 3)
    # a run whose ranking check used other seeds: its subnets are taken, and the agreement is reported
    against: str | None = None


@dataclass
class Discover:
    """On which networks a proxy is discovered, and how long it evolves."""

    networks: int = _least(6, 50)
    # further networks that tell how well the formula ranks what it has not seen
    held_out: int = _least(2, 20)
    # distinct formulas that are judged
    formulas: int = _least(1, 1000)
    population: int = _least(2, 40)
    parents: int = _least(1, 8)
    patience: int = _least(1, 5)
    # random images that each network sees, and their sides in pixels
    images: int = _least(2, 4)
    size: int = _least(8, 64)
    # proxies measured beside; each is tried in a sum with the formula, both as shares of their ranges
    beside: list[str] = field(default_factory=lambda: ["nwot"])


@dataclass
class Paths:
    """Where things outside a run live; the only place that may read the environment."""

    data: str = "${oc.env:EVONAS_DATA,data}"


@dataclass
class Config:
    """Everything a user may set. Groups typed Any are open: their `_target_` decides their keys."""

    seed: int = 0
    run: str | None = None
    inputs: str | None = None
    resume: bool = False
    outputs: str = "outputs"
    fail_fast: bool = False
    # packages of yours whose classes `_target_` may name; counts on the command line alone
    packages: list[str] = field(default_factory=list)
    # stage=search: measure the failed evaluations of a search that is resumed again, before it goes on
    retry_failed: bool = False
    # runs or archives: what they measured of the same supernet is not measured again by stage=search
    reuse: Any = None
    # networks to take instead of searching: run:<run>#<name>, <folder or selected.json>#<name>,
    # <archive>#<rule>, the text of a genotype, a file of another project, or a list of these
    networks: Any = None
    # whether they start from the backbone that their run retrained; null: unless this run has trained weights
    transfer: bool | None = None
    # networks that stage=search measures first: as networks=, where all of a run, archive or file are meant without
    # a name or rule
    start: Any = None
    # of +task=multi_task: the runs whose supernets are searched together
    multi_task_runs: Any = None
    # stage=search: say what it would cost, and do not begin
    dry_run: bool = False
    # hours: a longer search says once, at a terminal, how to stop it and go on; it never asks or waits
    notice_after_hours: float = 12.0
    # networks trained and measured beside the front: timm:<name>, timm:<name>@<weights>, uniform:<count>,
    # resolution:<count>
    baselines: list[Any] = field(default_factory=list)
    paths: Paths = field(default_factory=Paths)
    budget: Budget = field(default_factory=Budget)
    hardware: Hardware = field(default_factory=Hardware)
    train: Train = field(default_factory=Train)
    limits: Limits = field(default_factory=Limits)
    select: Select = field(default_factory=Select)
    rank: Rank = field(default_factory=Rank)
    discover: Discover = field(default_factory=Discover)
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
    # what runs networks whose latency is measured
    runtime: Any = None
    # devices elsewhere by name, for objective=latency_devices: http://host:port, ssh://user@host, or such an
    # address as `device` beside settings of the group `runtime`
    devices: dict[str, Any] = field(default_factory=dict)
    # how exactly a search measures its points: all validation images, or a race on parts of them
    fidelity: Any = None
    # measures genotypes without a supernet, such as a table; None for the supernet's own
    evaluator: Any = None
    # builds the networks of a table, for scores that need no training
    cells: Any = None
    tracker: Any = None
    # trackers beside that one, by name: tracker=[wandb,tensorboard] puts the second and further ones here
    more_trackers: dict[str, Any] = field(default_factory=dict)
    # seconds without one number processed after which a stage that ends no longer waits for a tracker
    tracker_patience_s: float = 60.0


@cache
def register() -> None:
    """Make the schema known to Hydra under the name that `conf/config.yaml` lists first."""
    ConfigStore.instance().store(name="schema", node=Config)


def minima(record: type = Config, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Keys of the numbers that have a least, and the least."""
    for each in fields(record):
        if is_dataclass(each.default_factory):
            yield from minima(each.default_factory, f"{prefix}{each.name}.")
        elif "least" in each.metadata:
            yield f"{prefix}{each.name}", each.metadata["least"]


def is_open(key: str) -> bool:
    """Whether a dotted key names, or lies in, a mapping whose keys the schema leaves to the user."""
    kind: Any = Config
    for part in key.split("."):
        if not is_dataclass(kind):
            return False
        kind = get_type_hints(kind).get(part)
        if get_origin(kind) is dict:
            return True
    return False
