"""The two Lightning modules: one network, and k subnets of a supernet on the same batch."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from typing_extensions import override

from evonas.errors import EngineError
from evonas.nn.supernet import Supernet
from evonas.randomness import derive
from evonas.space.genotype import Genotype
from evonas.tasks.base import Batch, Task
from evonas.train import gradients
from evonas.train.cache import answer
from evonas.train.distill import Distiller, compared
from evonas.train.groups import Decay, parameter_groups
from evonas.train.samplers import Sampler
from evonas.train.schedule import Schedule

Outcome = tuple[Tensor, list[Tensor]]
Pass = Callable[[Tensor], Outcome]


class Fitting(lightning.LightningModule):
    """What both modules share: one batch, the teacher once, every pass backward, one update.

    The learning rate and torch's random numbers (stochastic depth) are functions of the
    step, so a checkpoint needs neither a scheduler nor a generator. The teacher is frozen
    and no part of the state. Distillation is on when both teacher and distiller are given.
    With several ranks, gradients are exchanged once a step, after the last pass.

    Args:
        task: gives the losses.
        schedule: learning rate by step.
        seed: seed of this training.
        weight_decay: of what decays.
        grad_clip: largest gradient norm, 0 for no limit.
        decay: what decays: `matrices`, `all` or `no_norm` (see `evonas.train.groups`).
        projector_lr: peak learning rate of the distiller, on the schedule's own curve; None
            for that of the network.
        projector_weight_decay: of the distiller; None for that of the network.
        teacher: has `forward_with_features`.
        distiller: fresh for every training.
    """

    def __init__(
        self,
        task: Task,
        schedule: Schedule,
        seed: int,
        weight_decay: float = 0.05,
        grad_clip: float = 0.0,
        decay: str = "matrices",
        projector_lr: float | None = None,
        projector_weight_decay: float | None = None,
        teacher: nn.Module | None = None,
        distiller: Distiller | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.schedule, self.seed = task, schedule, seed
        self.grad_clip, self.decay = grad_clip, Decay(weight_decay, decay)
        self.projector_decay = Decay(
            weight_decay if projector_weight_decay is None else projector_weight_decay, decay
        )
        self.projector_scale = 1.0 if projector_lr is None else projector_lr / schedule.peak
        self.distiller = distiller
        # a tuple hides the teacher from parameters() and the state dict
        self._teacher: tuple[Any, ...] = ()
        if teacher is not None:
            self._teacher = (teacher.eval().requires_grad_(False),)

    @abstractmethod
    def passes(self, step: int) -> Sequence[Pass]:
        """The forward passes of one step; their losses are averaged."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; every group follows the schedule times its own `scale`."""
        groups = parameter_groups(self, self.decay, without=self.distiller)
        if self.distiller is not None:
            groups += parameter_groups(self.distiller, self.projector_decay, self.projector_scale)
        # a fused step would take off the loss scale itself
        return torch.optim.AdamW(groups, lr=self.schedule.at(0), fused=self._scaler is None)

    @property
    def _scaler(self) -> Any:
        """The loss scaler of half precision, or None."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def on_train_start(self) -> None:
        """Do what Lightning leaves alone: training mode, and the teacher's device."""
        self.train()
        for teacher in self._teacher:
            teacher.to(self.device)

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Derive this step's random numbers, others on every rank."""
        rank = self.global_rank
        purpose = "step" if rank == 0 else f"step/rank{rank}"
        torch.manual_seed(derive(self.seed, purpose, self.global_step))

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimizer step; returns the mean loss of the passes over this rank's images."""
        optimizer: Any = self.optimizers()
        rate = self.schedule.at(self.global_step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        taught = self._teach(batch)
        optimizer.zero_grad()
        loss = self._backward(self.passes(self.global_step), batch, taught)
        gradients.average(self.parameters())
        gradients.clip(self.parameters(), self.grad_clip, self._scaler.get_scale() if self._scaler else 1.0)
        optimizer.step()
        return loss

    def _backward(self, passes: Sequence[Pass], batch: Batch, taught: Outcome | None) -> Tensor:
        """Accumulate gradients one pass at a time, so that memory does not grow with k."""
        total = torch.zeros((), device=self.device)
        for one in passes:
            loss = self.loss(one(batch["image"]), batch, taught) / len(passes)
            self.manual_backward(loss)
            total += loss.detach()
        if not math.isfinite(total.item()):
            raise EngineError(
                f"The loss is {total.item()} at step {self.global_step}.",
                "Lower the learning rate (train.*.lr).",
            )
        return total

    @torch.no_grad()
    def _teach(self, batch: Batch) -> Outcome | None:
        if not self._teacher or self.distiller is None:
            return None
        (teacher,) = self._teacher
        return answer(teacher, batch)

    def loss(self, outcome: Outcome, batch: Batch, taught: Outcome | None) -> Tensor:
        """(1 - ratio) task + ratio task(teacher) + spatial + frequency; without a teacher, task."""
        output, levels = outcome
        loss = self.task.loss(output, batch)
        if taught is None or self.distiller is None:
            return loss
        distiller = self.distiller
        teacher_output, teacher_levels = taught
        loss = (1.0 - distiller.ratio) * loss
        if distiller.ratio > 0:
            loss = loss + distiller.ratio * self.task.distillation_loss(output, teacher_output, batch)
        student, target = (compared(maps, distiller.level) for maps in (levels, teacher_levels))
        return loss + distiller(student, target).total


class SubnetModule(Fitting):
    """Trains one network that has `forward_with_features`: teacher, retraining, from scratch."""

    def __init__(self, net: nn.Module, task: Task, schedule: Schedule, seed: int, **options: Any) -> None:
        super().__init__(task, schedule, seed, **options)
        self.net = net

    @override
    def passes(self, step: int) -> Sequence[Pass]:
        """One pass through the network."""
        net: Any = self.net
        return [net.forward_with_features]


class SupernetModule(Fitting):
    """Trains the subnets that a sampler names, all on one batch, with one update."""

    def __init__(
        self, supernet: Supernet, sampler: Sampler, task: Task, schedule: Schedule, seed: int, **options: Any
    ) -> None:
        super().__init__(task, schedule, seed, **options)
        self.supernet, self.sampler = supernet, sampler

    @override
    def passes(self, step: int) -> Sequence[Pass]:
        """One pass per sampled subnet."""
        return [self._through(genotype) for genotype in self.sampler.genotypes(step)]

    def _through(self, genotype: Genotype) -> Pass:
        return lambda image: self.supernet.forward_with_features(image, genotype)
