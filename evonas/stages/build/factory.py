"""Builds networks, teachers and curricula from the config, and loads their weights."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from evonas import weights
from evonas.config import build
from evonas.errors import DataError, UserError
from evonas.nn.detection.base import RegionHead
from evonas.nn.initialise import initialise
from evonas.randomness import derive
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build import teacher_checkpoint
from evonas.stages.build.setup import Setup
from evonas.supernets import elastic_head
from evonas.supernets.base import level_channels
from evonas.supernets.cost_table import CostTable
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import SettableHead
from evonas.tasks.segmentation import Segmentation
from evonas.train.curriculum import Curriculum
from evonas.train.distillation.base import Distillation
from evonas.train.distillation.cross_architecture import distilled_level
from evonas.train.fit import Devices
from evonas.train.loop.data import seeded
from evonas.train.teachers.base import Teacher, TeacherModel
from evonas.train.teachers.frozen import frozen

SUPERNET = "supernet/supernet.safetensors"
TEACHER = teacher_checkpoint.TEACHER


def supernet(setup: Setup, purpose: str = "init") -> Supernet:
    """A supernet with weights drawn from (seed, purpose)."""
    seed = setup.cfg.seed
    with seeded(seed, purpose):
        return Supernet(setup.family, _head(setup, setup.family, purpose), derive(seed, purpose))


def largest_on_meta(setup: Setup) -> StaticNet | None:
    """The largest network in eval mode on torch's meta device, where tensors have shapes and no values.

    None for detectors, whose tensors have other shapes there.
    """
    with seeded(setup.cfg.seed, "init"):
        head = setup.task.head(setup.family.levels)
    if isinstance(head, RegionHead):
        return None
    return StaticNet(setup.family.build(setup.space.largest(), None), head, training=False).eval().to("meta")


def check_head(setup: Setup) -> None:
    """Raises a UserError if levels of smaller subnets lose channels, and the task's head cannot be narrower."""
    family = setup.family
    if hasattr(family, "level_pieces") and level_channels(family, family.space.smallest()).pieces is not None:
        elastic_head.check_head(family, setup.task.head(family.levels))


def costs(setup: Setup) -> CostTable:
    """MACs of every subnet on the task's images, as cost levels count them; builds no network."""
    return CostTable(setup.family, setup.task.input_size, for_levels=True)


def teacher(setup: Setup) -> Any:
    """The teacher network; weights that are trained here are drawn from the seed.

    See the contract of `evonas/train/teachers/base.py`.
    """
    with seeded(setup.cfg.seed, "init/teacher"):
        body = build(setup.cfg.teacher, **_classes(setup))
        made: Any = body
        if not isinstance(body, TeacherModel):
            made = Teacher(body, _head(setup, body, "init/teacher") if body.has_output else None)
        file = getattr(body, "file", None)
        return made if file is None else frozen(made, Path(file), body.renames)


def _classes(setup: Setup) -> dict[str, int]:
    """The number of the task's classes of pixels, for a teacher that leaves `classes` open."""
    node, task = setup.cfg.teacher, setup.task
    is_open = "classes" in node and node.classes is None
    return {"classes": len(task.classes)} if is_open and isinstance(task, Segmentation) else {}


def _head(setup: Setup, body: Any, purpose: str) -> nn.Module:
    """The task's head for a body, with weights drawn from (seed, purpose)."""
    task, settings = setup.task, getattr(body, "head_settings", None)
    if not settings:
        head = task.head(body.levels)
    elif isinstance(task, SettableHead):
        head = task.head_with(body.levels, settings)
    else:
        raise UserError(
            f"Task {task.name} has one head for every body; teacher.head_settings would change it.",
            "Use another teacher, or teacher.head_settings=null.",
        )
    # heads are built with a seed of their own; draw again, so that the run's seed reaches them
    initialise(head, derive(setup.cfg.seed, f"{purpose}/head"))
    return head


def distiller(cfg: DictConfig, student: Any, teacher: Any, purpose: str) -> Distillation:
    """A distiller with projectors, if any, drawn from (seed, purpose); needs `cfg.distill`.

    Args:
        student: levels of the trained network.
        teacher: levels of the teacher.
    """
    level = int(cfg.distill.get("level", -1))
    channels = {
        "student_channels": distilled_level(student, level).channels,
        "teacher_channels": distilled_level(teacher, level).channels,
    }
    with seeded(cfg.seed, f"init/distiller/{purpose}"):
        built: Distillation = build(cfg.distill, **channels)
        return built


def load_supernet(context: Context) -> Supernet:
    """The trained supernet of the run (or of `inputs=`), in eval mode."""
    path = context.run.need(SUPERNET, made_by="supernet")
    net = supernet(context.setup)
    load_into(net, path)
    return net.eval()


def load_teacher(context: Context) -> Any:
    """The teacher that stage=teacher of this run (or of `inputs=`) trained or checked, in eval mode.

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
    """The part of `cfg.hardware` that trainings read."""
    hardware = cfg.hardware
    return Devices(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision,
        strategy=hardware.strategy,
        loader_workers=hardware.loader_workers,
        sync_batchnorm=hardware.sync_batchnorm,
        detect_anomaly=hardware.detect_anomaly,
        recompute=hardware.activation_checkpointing,
        profile=hardware.profile,
    )


def curriculum(cfg: DictConfig, space: Space) -> Curriculum:
    """The curriculum of `cfg.sampler`, within `limits.max_epochs`."""
    built: Curriculum = build(cfg.sampler, space=space, seed=cfg.seed)
    return built.within(cfg.limits.max_epochs)
