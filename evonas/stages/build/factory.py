"""How the config becomes the parts of a training: the only reader of `cfg` that stages share."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import nn

from evonas import weights
from evonas.config import build, to_plain
from evonas.errors import DataError, UserError
from evonas.nn.detection.base import RegionHead
from evonas.nn.initialise import initialise
from evonas.randomness import derive
from evonas.schema import Recipe
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build import teacher_checkpoint
from evonas.stages.build.setup import Setup
from evonas.supernets.cost_table import CostTable
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import SettableHead, Task
from evonas.train.curriculum import Curriculum
from evonas.train.distillation.cross_architecture import Distiller, distilled_level
from evonas.train.fit import Devices
from evonas.train.loop.data import TrainingData, seeded
from evonas.train.module import DistillationOptions, OptimizerOptions
from evonas.train.optim.lr_schedule import Duration, Schedule
from evonas.train.teachers.base import Teacher, TeacherModel
from evonas.train.teachers.feature_cache import CachedTeacher, IndexedImages

SUPERNET = "supernet/supernet.safetensors"
TEACHER = teacher_checkpoint.TEACHER


def supernet(setup: Setup, purpose: str = "init") -> Supernet:
    """A supernet with weights drawn from (seed, purpose)."""
    seed = setup.cfg.seed
    with seeded(seed, purpose):
        return Supernet(setup.family, _head(setup, setup.family, purpose), derive(seed, purpose))


def largest_on_meta(setup: Setup) -> StaticNet | None:
    """The largest network in eval mode on torch's meta device, where tensors have sizes and no numbers.

    None for detectors: there they take another way, whose tensors are of other sizes.
    """
    with seeded(setup.cfg.seed, "init"):
        head = setup.task.head(setup.family.levels)
    if isinstance(head, RegionHead):
        return None
    return StaticNet(setup.family.build(setup.space.largest(), None), head, training=False).eval().to("meta")


def costs(setup: Setup) -> CostTable:
    """What every subnet costs on the task's images; no network is made."""
    return CostTable(setup.family, setup.task.input_size)


def teacher(setup: Setup) -> Any:
    """The teacher network; what is ours of its weights is drawn from the seed.

    See the contract of `evonas/train/teachers/base.py`.
    """
    with seeded(setup.cfg.seed, "init/teacher"):
        made = build(setup.cfg.teacher)
        if isinstance(made, TeacherModel):
            return made
        return Teacher(made, _head(setup, made, "init/teacher") if made.has_output else None)


def _head(setup: Setup, body: Any, purpose: str) -> nn.Module:
    # heads come with a seed of their own; draw anew, so that the run's seed reaches them
    settings = getattr(body, "head_settings", None)
    of = setup.task
    head = _settable(of).head_with(body.levels, settings) if settings else of.head(body.levels)
    initialise(head, derive(setup.cfg.seed, f"{purpose}/head"))
    return head


def _settable(of: Task) -> SettableHead:
    if not isinstance(of, SettableHead):
        raise UserError(
            f"Task {of.name} has one head for every body; teacher.head_settings would change it.",
            "Use another teacher, or teacher.head_settings=null.",
        )
    return of


def distiller(cfg: DictConfig, student: Any, teacher: Any, purpose: str) -> Distiller:
    """Fresh projectors between two lists of levels; call it only when `cfg.distill` is set."""
    level = int(cfg.distill.get("level", -1))
    channels = {
        "student_channels": distilled_level(student, level).channels,
        "teacher_channels": distilled_level(teacher, level).channels,
    }
    with seeded(cfg.seed, f"init/distiller/{purpose}"):
        built: Distiller = build(cfg.distill, **channels)
        return built


class Teaching:
    """What teaches the students of one stage: a teacher that is loaded once, a distiller for each training.

    Args:
        context: config and run.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def options(self, student: Any, purpose: str) -> DistillationOptions:
        """The keywords `teacher` and `distiller` of a Lightning module; empty without distillation.

        Raises:
            UserError: the students shall learn the answers of a teacher of features alone.
        """
        if not self._context.cfg.distill:
            return {}
        made = distiller(self._context.cfg, student, self._loaded.levels, purpose)
        if made.ratio > 0 and not self._loaded.has_output:
            raise UserError(
                f"distill.ratio={made.ratio} needs a teacher's answers, but this one shows features alone.",
                "Use distill.ratio=0, or teacher.head=true.",
            )
        return {"teacher": self._remembered if made.cache else self._loaded, "distiller": made}

    @cached_property
    def _loaded(self) -> Any:
        return load_teacher(self._context)

    @cached_property
    def _remembered(self) -> CachedTeacher:
        level = int(self._context.cfg.distill.get("level", -1))
        return teacher_checkpoint.cached(self._context, self._loaded, level)


def origin(context: Context) -> dict[str, Any]:
    """What a distilled training depends on besides its recipe, as plain data."""
    if not context.cfg.distill:
        return {"distill": None, "teacher": None}
    return {"distill": to_plain(context.cfg.distill), "teacher": teacher_checkpoint.digest(context.run)}


def load_supernet(context: Context) -> Supernet:
    """The trained supernet of the run (or of `inputs=`), in eval mode."""
    path = context.run.need(SUPERNET, made_by="supernet")
    net = supernet(context.setup)
    load_into(net, path)
    return net.eval()


def load_teacher(context: Context) -> Any:
    """The teacher that the run (or that of `inputs=`) trained or checked, in eval mode.

    Raises:
        UserError, DataError: there is none, or its weights are others; see `teacher_checkpoint.verify`.
    """
    net = teacher(context.setup)
    if net.state_dict():
        load_into(net, context.run.need(TEACHER, made_by="teacher"))
    teacher_checkpoint.verify(context.run, context.cfg, net.origin)
    return net.eval()


def load_into(net: Any, path: Path) -> None:
    """Load verified weights into a network of the same config.

    Raises:
        DataError: the weights belong to another network.
    """
    try:
        net.load_state_dict(weights.load(path))
    except RuntimeError as error:
        raise DataError(
            f"{path} belongs to another network: {str(error).splitlines()[-1].strip()}",
            "Use the network and task it was made with.",
        ) from error


def devices(cfg: DictConfig) -> Devices:
    """The trainer's side of `cfg.hardware`."""
    hardware = cfg.hardware
    return Devices(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision,
        strategy=hardware.strategy,
        loader_workers=hardware.loader_workers,
        sync_batchnorm=hardware.sync_batchnorm,
        detect_anomaly=hardware.detect_anomaly,
        recompute=hardware.recompute,
        profile=hardware.profile,
    )


def recipe(cfg: DictConfig, name: str) -> Recipe:
    """One of the recipes of `cfg.train`, as a plain record, within the trainer's ceilings."""
    whole = Recipe(**cast(dict[str, Any], OmegaConf.to_container(cfg.train[name], resolve=True)))
    ceiling = cfg.trainer.max_epochs
    batches = [each for each in (whole.max_batches, cfg.trainer.max_batches) if each is not None]
    whole = replace(whole, max_batches=min(batches, default=None))
    if whole.epochs is None and whole.iterations is None:
        raise UserError(f"train.{name} has no length.", f"Try train.{name}.epochs=10.")
    if ceiling is None or (whole.epochs is not None and whole.epochs <= ceiling):
        return whole
    return replace(whole, epochs=ceiling, warmup_epochs=min(whole.warmup_epochs, float(ceiling)))


def curriculum(cfg: DictConfig, of: Space) -> Curriculum:
    """The curriculum of `cfg.sampler`, within the trainer's ceiling."""
    built: Curriculum = build(cfg.sampler, space=of, seed=cfg.seed)
    return built.within(cfg.trainer.max_epochs)


def training_data(
    cfg: DictConfig, of: Task, by: Recipe, seed: int, total_steps: int | None = None
) -> TrainingData:
    """The training split in batches, in the order of the seed."""
    dataset, workers = of.dataset("train"), cfg.hardware.loader_workers
    if not by.augment:
        dataset = IndexedImages(dataset)
    return TrainingData(dataset, by.batch_size, seed, workers, by.max_batches, total_steps)


def length(by: Recipe) -> Duration:
    return Duration(by.epochs, by.iterations, by.warmup_epochs, by.warmup_iterations)


def rates(
    by: Recipe, of: Duration, steps_per_epoch: int, milestones: Sequence[float] | None = None
) -> Schedule:
    """The learning rates of a recipe over a length.

    Args:
        milestones: in epochs; None for the recipe's own. Where neither has any, they are at the eighth and
            the eleventh of twelve parts, as in detection's usual twelve epochs (MMDetection's schedule 1x).
    """
    reached = by.milestones if milestones is None else milestones
    total = of.optimizer_steps(steps_per_epoch)
    usual = tuple(round(total * part / 12) for part in (8, 11))
    return Schedule(
        total,
        of.warmup_steps(steps_per_epoch),
        peak=by.lr,
        start=by.lr_start,
        minimum=by.lr_min,
        shape=by.schedule,
        power=by.power,
        milestones=tuple(round(epoch * steps_per_epoch) for epoch in reached) or usual,
        gamma=by.gamma,
    )


def optimisation(by: Recipe) -> OptimizerOptions:
    """The optimizer's keywords of a Lightning module."""
    return {
        "weight_decay": by.weight_decay,
        "grad_clip": by.grad_clip,
        "decay": by.decay,
        "projector_lr": by.projector_lr,
        "projector_weight_decay": by.projector_weight_decay,
    }
