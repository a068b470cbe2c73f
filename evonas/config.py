"""The schema of closed records, and the one door through which config becomes objects."""

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import MISSING, Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evonas.errors import EvoNASError, UserError

_PARTS = ("data", "evaluate", "nn", "objectives", "search", "space", "stages", "tasks", "track", "train")
_OURS = tuple(f"evonas.{part}" for part in _PARTS)
_THEIRS = ("torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "torchmetrics")
_CLOSED = ("evonas.data.safe",)
_HIDDEN = "***"
_SECRET_NAMES = {"key", "apikey", "token", "password", "passwd", "secret", "credentials"}
_SECRET_TEXT = (
    (re.compile(r"(?i)(://)[^/\s:@]+:[^/\s@]+@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"\b[0-9a-fA-F]{40}\b"), _HIDDEN),
    (re.compile(r"\b(hf_|gh[opusr]_|sk-|AKIA)[A-Za-z0-9_-]{6,}"), _HIDDEN),
    (
        re.compile(r"(?i)((?:api_?key|access_key|token|password|passwd|secret)['\"]?\s*[=:]\s*)\S+"),
        rf"\1{_HIDDEN}",
    ),
)


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
    # which parameters decay: matrices (all but vectors), all, or no_norm (all but norms)
    decay: str = "matrices"
    grad_clip: float = 0.0
    # of the distillation's projectors; None for those of the network
    projector_lr: float | None = None
    projector_weight_decay: float | None = None
    # at most so many optimizer steps an epoch; None for all of them
    max_batches: int | None = None
    # a durable checkpoint every so many optimizer steps as well as after every epoch; 0 for epochs alone
    checkpoint_steps: int = 0
    # false shows every image as it is, which distill.cache needs
    augment: bool = True


@dataclass
class Trainer:
    """Ceilings on every training, whatever its recipe says; None for no ceiling."""

    max_epochs: int | None = None
    max_batches: int | None = None
    # of teachers that come in sizes: small, base, large, or tiny (random weights, for trials)
    teacher_size: str = "large"


@dataclass
class Train:
    """The recipes of the stages that train; the supernet's epochs come from its curriculum."""

    pretrain: Recipe = field(default_factory=Recipe)
    teacher: Recipe = field(default_factory=Recipe)
    supernet: Recipe = field(default_factory=Recipe)
    retrain: Recipe = field(default_factory=Recipe)
    rank: Recipe = field(default_factory=Recipe)
    panel_random: int = 4
    # how often a curriculum step is measured while it trains, in epochs; 0 for its end alone
    panel_every: int = 0
    # training images that renew a subnet's batch-norm statistics before it is measured; 0 for none
    recalibrate: int = 0
    scratch: bool = False


@dataclass
class Budget:
    """How much a search may spend."""

    population: int = 16
    evaluations: int = 160
    # asynchronous: so many points are measured at a time and no worker waits; null goes batch by batch
    in_flight: int | None = None


@dataclass
class Hardware:
    """Devices for training, and workers for evaluation, which share the devices among them."""

    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    strategy: str = "auto"
    loader_workers: int = 0
    sync_batchnorm: bool = False
    # who runs the workers: local (processes), ray (actors), or inline (this process alone)
    engine: str = "local"
    # of a Ray cluster; None for a Ray of our own on the loopback interface
    address: str | None = None
    workers: int = 2
    # on GPUs: workers on each of `devices`, in place of `workers`
    workers_per_device: int | None = None
    threads_per_worker: int = 1
    # at most so many networks share one pass over the images; 1 measures them one by one
    subnets_per_pass: int = 8
    deadline_s: float = 600.0
    tries: int = 3
    memory_gb: float | None = None
    eval_batch_size: int = 8


@dataclass
class Select:
    """Which points of the front are kept; the rules are those of report/choice.py.

    `genotypes` are kept whatever the search says, by name; without rules no search is needed.
    """

    rules: list[str] = field(default_factory=lambda: ["knee", "spread:2"])
    include_max: bool = True
    genotypes: dict[str, str] = field(default_factory=dict)


@dataclass
class Rank:
    """How many subnets the ranking check trains, and how its statistics are taken."""

    subnets: int = 12
    # parts of equal cost inside which the ranks are compared as well
    bins: int = 3
    # how many best-scored subnets the regret looks at
    top: int = 3
    # a run whose ranking check used other seeds: its subnets are taken, and the agreement is reported
    against: str | None = None


@dataclass
class Discover:
    """On which networks a proxy is discovered, and how long it evolves."""

    networks: int = 50
    # further networks that tell how well the formula ranks what it has not seen
    held_out: int = 20
    # distinct formulas that are judged
    formulas: int = 1000
    population: int = 40
    parents: int = 8
    patience: int = 5
    # random images that each network sees, and their sides in pixels
    images: int = 4
    size: int = 64
    # elements kept of each tensor
    sample: int = 512


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
    # runs or archives: what they measured of the same supernet is not measured again by stage=search
    reuse: Any = None
    # stage=search: say what it would cost, and do not begin
    dry_run: bool = False
    paths: Paths = field(default_factory=Paths)
    budget: Budget = field(default_factory=Budget)
    hardware: Hardware = field(default_factory=Hardware)
    train: Train = field(default_factory=Train)
    trainer: Trainer = field(default_factory=Trainer)
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
    # how exactly a search measures its points
    evaluate: Any = None
    # measures genotypes without a supernet, such as a table; None for the supernet's own
    evaluator: Any = None
    # builds the networks of a table, for scores that need no training
    cells: Any = None
    tracker: Any = None


def register() -> None:
    """Make the schema known to Hydra under the name that `conf/config.yaml` lists first."""
    ConfigStore.instance().store(name="schema", node=Config)


def build(node: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the object a config node describes; the closed list decides what may be made.

    A string prefix is no protection (`evonas.search.loop.os.system` starts well), so every
    `_target_` at any depth is resolved first, and must be a public class or function that was
    defined in an allowed module. `args` and `kwargs` go to the root object as they are.

    Args:
        node: a DictConfig or a plain dict with `_target_` at its root.

    Raises:
        UserError: the target is not allowed or not there, or its arguments do not fit.
    """
    plain = to_plain(node)
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise UserError(f"Cannot build {plain!r}: it has no `_target_`.")
    for target in _targets(plain):
        allowed(target)
    partial = plain.pop("_partial_", False)
    maker = _maker(plain)
    if partial:
        return functools.partial(maker, *args, **kwargs)
    _check_arguments(plain["_target_"], maker, args, kwargs)
    return maker(*args, **kwargs)


def _maker(plain: dict[str, Any]) -> functools.partial[Any]:
    try:
        return instantiate({**plain, "_partial_": True, "_convert_": "all"})
    except Exception as error:
        known = _first_of_ours(error)
        if known is not None:
            raise known from error
        raise


def _first_of_ours(error: BaseException | None) -> EvoNASError | None:
    while error is not None and not isinstance(error, EvoNASError):
        error = error.__cause__
    return error


def _check_arguments(target: str, maker: functools.partial[Any], args: tuple[Any, ...], kwargs: Any) -> None:
    signature = inspect.signature(maker.func)
    try:
        signature.bind(*maker.args, *args, **{**maker.keywords, **kwargs})
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise UserError(f"{target}: {error}.", f"It takes: {known}.") from error


def allowed(target: Any) -> Callable[..., Any]:
    """The class or function a `_target_` names, or a UserError when it is not one we may call."""
    if not isinstance(target, str) or not _within(target, _OURS + _THEIRS):
        raise _refusal(target)
    found = _locate(target)
    home, name = getattr(found, "__module__", ""), getattr(found, "__qualname__", "")
    public = "_" not in {part[:1] for part in name.split(".")}
    is_ours = _within(home, _OURS) and (inspect.isclass(found) or inspect.isfunction(found))
    is_theirs = _within(home, _THEIRS) and inspect.isclass(found)
    if not (public and (is_ours or is_theirs)) or _within(home, _CLOSED):
        raise _refusal(target)
    if getattr(sys.modules[home], name, None) is not found:
        raise _refusal(target)
    return cast(Callable[..., Any], found)


def _within(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _refusal(target: Any) -> UserError:
    return UserError(
        f"`_target_: {redact(target)}` is not allowed.",
        "A target is a public class or function defined in evonas, torch.optim, torchmetrics, "
        "or Lightning's callbacks and loggers.",
    )


def _locate(target: str) -> Any:
    """Import the longest module prefix, then walk attributes; modules reached that way are not followed."""
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        raise _refusal(target)
    for cut in range(len(parts) - 1, 0, -1):
        module = _import(".".join(parts[:cut]))
        if module is not None:
            break
    else:
        raise _refusal(target)
    found: Any = module
    for part in parts[cut:]:
        found = getattr(found, part, None)
        if found is None or isinstance(found, ModuleType):
            raise UserError(f"`_target_: {target}` does not exist.", f"Look in {module.__name__}.")
    return found


def _import(name: str) -> ModuleType | None:
    if not _within(name, _OURS + _THEIRS) and name not in ("torch", "evonas", "lightning.pytorch"):
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        if _within(error.name or "evonas", ["evonas"]):
            raise
        raise UserError(
            f"{name} needs the package '{error.name}', which is not installed.",
            "See what is missing with: python -m evonas doctor",
        ) from error


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield value["_target_"]
        # what stays config is not made here; who makes it later comes through `build` again
        for child in value.values() if value.get("_recursive_", True) else ():
            yield from _targets(child)
    elif isinstance(value, list):
        for child in value:
            yield from _targets(child)


def to_plain(node: Any) -> Any:
    """Config as plain dicts, lists and scalars, interpolations resolved; what workers are sent.

    Raises:
        UserError: the node reads the environment outside `paths`, or does not resolve.
    """
    plain = node
    if isinstance(node, Container):
        refuse_environment(node)
        try:
            plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise UserError(f"The config does not resolve: {error}") from error
    for text in _strings(plain):
        if "${" in text:
            raise UserError(f"Cannot use {redact(text)!r}: interpolation is not possible here.")
    return plain


def refuse_environment(node: Container) -> None:
    """Raise a UserError if anything but `paths` reads environment variables, which may be secrets."""
    raw = OmegaConf.to_container(node, resolve=False)
    if isinstance(raw, dict) and isinstance(raw.get("paths"), dict):
        raw = {key: value for key, value in raw.items() if key != "paths"}
    for text in _strings(raw):
        if re.search(r"\$\{.*oc\.env", text, re.DOTALL):
            raise UserError(
                f"{text!r} reads the environment, which only `paths` may do.",
                "Put it under `paths` and refer to it as ${paths.<name>}.",
            )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _strings(key)
            yield from _strings(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _strings(child)


def redact(value: Any, name: str = "") -> Any:
    """A copy without secrets, recognised by the name of their key or by their shape.

    Args:
        value: plain dicts, lists and scalars.
        name: the key that `value` stands under.
    """
    if isinstance(value, Mapping):
        return {key: redact(child, str(key)) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [redact(child, name) for child in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_NAMES & set(re.split(r"[^a-z]+", name.lower())):
        return _HIDDEN
    for pattern, replacement in _SECRET_TEXT:
        value = pattern.sub(replacement, str(value))
    return value
