"""Lightning modules: training of one network, and of k subnets of a supernet on the same batch."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack, cast, get_args

import lightning
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from typing_extensions import override

from evonas.errors import EngineError, UserError
from evonas.nn.detection.base import HeadOutput, output_regions
from evonas.randomness import derive
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Batch, Task
from evonas.train.distillation.base import Distillation, Outputs
from evonas.train.distillation.inplace import FullNetwork, InPlaceDistillation
from evonas.train.mixing import NO_MIXING, Mixing
from evonas.train.optim import gradients, optimizers
from evonas.train.optim.gradient_merge import Gradients, Merge, cosines
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.optim.parameter_groups import Decay, parameter_groups
from evonas.train.sampling.base import LossAwareSampler, Sampler, weights_of
from evonas.train.sampling.loss_oracle import BatchLossOracle, side_effect_free
from evonas.train.teachers.feature_cache import CachedTeacher, teacher_outputs

Pass = Callable[[Tensor], Outputs]


class OptimizerOptions(TypedDict, total=False):
    """Keywords of `TrainingModule` for the optimizer."""

    optimizer: str
    optimizer_options: Mapping[str, Any]
    weight_decay: float
    grad_clip: float
    grad_clip_mode: str
    ema_decay: float
    ema_warmup: bool
    decay: str
    undecayed: Sequence[str]
    mixing: Mixing
    projector_lr: float | None
    projector_weight_decay: float | None


class DistillationOptions(TypedDict, total=False):
    """Keywords of `TrainingModule` for distillation from a teacher; empty without one."""

    teacher: nn.Module | None
    distiller: Distillation | None


class TrainingOptions(OptimizerOptions, DistillationOptions, total=False):
    """All optional keywords of `TrainingModule`."""


def check_step_options(grad_clip_mode: str, ema_decay: float) -> None:
    """Refuse ways to clip and averages that do not exist.

    Raises:
        UserError: the mode is unknown, or the decay is not in [0, 1).
    """
    if grad_clip_mode not in get_args(gradients.ClipMode):
        known = ", ".join(get_args(gradients.ClipMode))
        raise UserError(f"train.*.grad_clip_mode={grad_clip_mode} is unknown.", f"Known: {known}")
    if not 0 <= ema_decay < 1:
        raise UserError(f"train.*.ema_decay must be in [0, 1), got {ema_decay}.", "Try ema_decay=0.999.")


class TrainingModule(lightning.LightningModule):
    """Base of both modules: an optimizer step runs the teacher once and accumulates gradients of all passes.

    The learning rate and torch's random numbers (stochastic depth) are functions of the step, so a checkpoint
    contains neither scheduler nor generator. The teacher is frozen and not part of the state dict. Distillation is
    active if teacher and distiller are given. With several ranks, gradients are averaged once per step, after the
    last pass. With `ema_decay`, an exponential moving average of weights and batch-norm statistics is kept in
    `average`, a part of the state dict, and becomes the network's weights at the end.

    Args:
        task: defines the losses.
        schedule: learning rate by step.
        seed: seed of this training.
        optimizer: see `evonas.train.optim.optimizers`.
        optimizer_options: its further keywords.
        weight_decay: weight decay of the optimizer.
        grad_clip: see `evonas.train.optim.gradients.clip`; 0 for no limit.
        grad_clip_mode: `norm`, `value` or `agc`.
        ema_decay: decay of the average, in [0, 1); 0 for none.
        ema_warmup: whether the decay of step t is at most 1 - (1 + t)^(-2/3), as timm has it.
        decay: parameters with weight decay: `matrices`, `all` or `no_norm` (see
            `evonas.train.optim.parameter_groups`).
        undecayed: patterns of names of parameters of the network without weight decay.
        mixing: how the images of a batch are mixed; the teacher sees the images that its student sees.
        projector_lr: peak learning rate of the distiller, which follows the same schedule; None for that of the
            network.
        projector_weight_decay: weight decay of the distiller; None for that of the network.
        teacher: a module with `forward_with_features`.
        distiller: the distillation loss, with its trainable projectors if it has any; new for every training.

    Raises:
        UserError: an option is unknown or out of range.
    """

    def __init__(
        self,
        task: Task,
        schedule: Schedule,
        seed: int,
        optimizer: str = "adamw",
        optimizer_options: Mapping[str, Any] = MappingProxyType({}),
        weight_decay: float = 0.05,
        grad_clip: float = 0.0,
        grad_clip_mode: str = "norm",
        ema_decay: float = 0.0,
        ema_warmup: bool = True,
        decay: str = "matrices",
        undecayed: Sequence[str] = (),
        mixing: Mixing = NO_MIXING,
        projector_lr: float | None = None,
        projector_weight_decay: float | None = None,
        teacher: nn.Module | None = None,
        distiller: Distillation | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.schedule, self.seed = task, schedule, seed
        check_step_options(grad_clip_mode, ema_decay)
        self.optimizer, self.optimizer_options = optimizer, dict(optimizer_options)
        optimizers.check(self.optimizer, self.optimizer_options)
        self.grad_clip, self.decay = grad_clip, Decay(weight_decay, decay, tuple(undecayed))
        self.mixing = mixing
        self.grad_clip_mode = cast(gradients.ClipMode, grad_clip_mode)
        self.ema_decay, self.ema_warmup = ema_decay, ema_warmup
        self.average: ModelEmaV3 | None = None
        self.projector_decay = Decay(
            weight_decay if projector_weight_decay is None else projector_weight_decay, decay
        )
        self.projector_scale = 1.0 if projector_lr is None else projector_lr / schedule.peak
        self.distiller = distiller
        # metrics of the latest step besides its loss, for the step listener
        self.noted: dict[str, float] = {}
        # a tuple excludes the teacher from parameters() and the state dict
        self._teacher: tuple[Any, ...] = ()
        if teacher is not None:
            self._teacher = (teacher.eval().requires_grad_(False),)
            if not isinstance(teacher, CachedTeacher):
                output_regions(teacher)

    @abstractmethod
    def passes(self, step: int) -> Sequence[Pass]:
        """The forward passes of one optimizer step; their losses are averaged."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What is trained, without projectors and teachers."""

    def keep_average(self) -> None:
        """Prepare the average of the network's weights; call it once the network is set."""
        if self.ema_decay:
            self.average = ModelEmaV3(self.network, self.ema_decay, use_warmup=self.ema_warmup)
            # it is no parameter that an optimizer may find
            self.average.requires_grad_(False)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Gives the network its average weights for a while; without an average, nothing happens."""
        if self.average is None:
            yield
            return
        kept = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.take_average()
        try:
            yield
        finally:
            self.network.load_state_dict(kept)

    def take_average(self) -> None:
        """Give the network its average weights, if there are any."""
        if self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; the learning rate of a group is the schedule times its `scale`."""
        groups = parameter_groups(self, self.decay, without=self.distiller)
        if self.distiller is not None:
            groups += parameter_groups(self.distiller, self.projector_decay, self.projector_scale)
        rate, fused = self.schedule.at(0), self._scaler is None
        return optimizers.optimizer(groups, self.optimizer, rate, self.optimizer_options, fused)

    @property
    def _scaler(self) -> Any:
        """The loss scaler of fp16 training, or None."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def on_train_start(self) -> None:
        """Enters training mode and moves the teacher to the device."""
        self.train()
        for teacher in self._teacher:
            teacher.to(self.device)

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds torch's generator for this step and rank."""
        rank = self.global_rank
        purpose = "step" if rank == 0 else f"step/rank{rank}"
        torch.manual_seed(derive(self.seed, purpose, self.global_step))

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Runs one optimizer step; returns the mean loss of the passes over this rank's images."""
        optimizer: Any = self.optimizers()
        rate = self.schedule.at(self.global_step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        optimizer.zero_grad()
        loss = self._accumulate(batch)
        scale = self._scaler.get_scale() if self._scaler else 1.0
        gradients.clip(self.parameters(), self.grad_clip, scale, self.grad_clip_mode)
        optimizer.step()
        if self.average is not None:
            # Lightning has counted this step already
            self.average.update(self.network, step=self.global_step)
        return loss

    def _accumulate(self, batch: Batch) -> Tensor:
        """Accumulates gradients averaged over ranks; returns the mean loss over this rank's images.

        One graph exists at a time, so memory does not grow with the number of passes.
        """
        passes, total = self.passes(self.global_step), torch.zeros((), device=self.device)
        for one, (view, teacher_out) in zip(passes, self._views(batch, len(passes)), strict=True):
            loss = self.loss(one(view["image"]), view, teacher_out) / len(passes)
            self.manual_backward(loss)
            total += loss.detach()
        self._check_finite(total)
        gradients.average(self.parameters())
        return total

    def _check_finite(self, total: Tensor) -> None:
        if not math.isfinite(total.item()):
            raise EngineError(
                f"The loss is {total.item()} at step {self.global_step}.",
                "Lower the learning rate (train.*.lr).",
            )

    def _views(self, batch: Batch, count: int) -> Iterator[tuple[Batch, Outputs | None]]:
        """Yields the batch as each pass sees it, with the teacher's outputs on these images."""
        views = self.mixing.views(batch, count, self.seed, self.global_step, self.global_rank)
        seen: Batch | None = None
        outputs: Outputs | None = None
        for view in views:
            if view is not seen:
                seen, outputs = view, self._teacher_outputs(view)
            yield view, outputs

    @torch.no_grad()
    def _teacher_outputs(self, batch: Batch) -> Outputs | None:
        """The teacher's outputs on a batch; None without distillation."""
        if not self._teacher or self.distiller is None:
            return None
        return teacher_outputs(self._teacher[0], batch)

    def loss(self, outputs: Outputs, batch: Batch, teacher_out: Outputs | None) -> Tensor:
        """The distiller's loss, or that of the task without a teacher.

        Args:
            outputs: student's output and features.
            batch: images and labels.
            teacher_out: teacher's output and features, or None.
        """
        labels = self.task.loss(outputs[0], batch)
        if teacher_out is None or self.distiller is None:
            return labels
        return self.distiller.loss(labels, outputs, teacher_out, batch, self.task)


class SubnetModule(TrainingModule):
    """Trains one network with `forward_with_features`: a teacher, or a subnet (retrained or from scratch)."""

    def __init__(
        self, net: nn.Module, task: Task, schedule: Schedule, seed: int, **options: Unpack[TrainingOptions]
    ) -> None:
        super().__init__(task, schedule, seed, **options)
        self.net = net
        self.keep_average()

    @property
    @override
    def network(self) -> nn.Module:
        return self.net

    @override
    def passes(self, step: int) -> Sequence[Pass]:
        """One pass of the network."""
        net: Any = self.net
        return [net.forward_with_features]


class SupernetModule(TrainingModule):
    """Trains sampled subnets of a supernet on the same batch, with one update.

    Args:
        supernet: the supernet to train.
        sampler: chooses the subnets of a step.
        task, schedule, seed, options: see `TrainingModule`.
        lesson: in-place distillation between the subnets; None for no distillation.
        merge: how gradients of the subnets are combined; None for their sum, accumulated in place.
        start: frozen teacher of in-place distillation that `needs_initial_network` or, as a `FullNetwork`,
            `needs_full_network`; not part of the state dict.
        costs: multiply-adds of subnets. If given, a merge logs `cosine_near` and `cosine_far`, the cosines between
            gradients of the two subnets with the smallest and the largest difference in multiply-adds, and
            these differences in 10^9, `gap_near` and `gap_far`.
        reduction: whether the gradients of the subnets add up to their `mean` or their `sum`.
    """

    def __init__(
        self,
        supernet: Supernet,
        sampler: Sampler | LossAwareSampler,
        task: Task,
        schedule: Schedule,
        seed: int,
        lesson: InPlaceDistillation | None = None,
        merge: Merge | None = None,
        start: nn.Module | None = None,
        costs: CostTable | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        **options: Unpack[TrainingOptions],
    ) -> None:
        super().__init__(task, schedule, seed, **options)
        self._is_sum = reduction == "sum"
        self.supernet, self.sampler, self.inplace_distillation, self.merge = supernet, sampler, lesson, merge
        self._start = () if start is None else (start.eval().requires_grad_(False),)
        for net in self._start:
            output_regions(net)
        self._costs = costs
        self.keep_average()

    @property
    @override
    def network(self) -> nn.Module:
        return self.supernet

    @override
    def passes(self, step: int) -> Sequence[Pass]:
        """One pass per sampled subnet; the sampler must not be loss-aware."""
        assert isinstance(self.sampler, Sampler), "a loss-aware sampler needs a batch"
        forward = self.supernet.forward_with_features
        return [partial(forward, genotype=genotype) for genotype in self.sampler.genotypes(step)]

    @override
    def on_train_start(self) -> None:
        """Also moves the initial network to the device."""
        super().on_train_start()
        for net in self._start:
            net.to(self.device)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the state of a loss-aware sampler."""
        if isinstance(self.sampler, LossAwareSampler):
            checkpoint["sampler"] = self.sampler.state()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the state of a loss-aware sampler."""
        if isinstance(self.sampler, LossAwareSampler):
            self.sampler.restore(checkpoint["sampler"])

    @override
    def _accumulate(self, batch: Batch) -> Tensor:
        is_loss_aware = isinstance(self.sampler, LossAwareSampler)
        has_equal_weights = not (is_loss_aware or self._is_sum or hasattr(self.sampler, "weights"))
        if self.inplace_distillation is None and self.merge is None and has_equal_weights:
            return super()._accumulate(batch)
        genotypes = self._chosen(batch)
        total, parts = torch.zeros((), device=self.device), list[Gradients]()
        for loss in self._losses(genotypes, batch):
            self.manual_backward(loss)
            total += loss.detach()
            if self.merge is not None:
                # conflicts are resolved between gradients over the images of all ranks
                gradients.average(self.parameters())
                parts.append(gradients.taken(self.parameters()))
        if self.merge is None:
            gradients.average(self.parameters())
        else:
            self._combine(self.merge, parts, genotypes)
        self._check_finite(total)
        return total / len(genotypes) if self._is_sum else total

    def _chosen(self, batch: Batch) -> list[Genotype]:
        """The subnets of this step; equal on every rank."""
        if isinstance(self.sampler, LossAwareSampler):
            return self.sampler.chosen(self.global_step, BatchLossOracle(self.supernet, self.task, batch))
        return self.sampler.genotypes(self.global_step)

    def _losses(self, genotypes: Sequence[Genotype], batch: Batch) -> Iterator[Tensor]:
        """The weighted loss of each subnet, computed lazily, so that one graph exists at a time."""
        distillation, count = self.inplace_distillation, len(genotypes)
        scale = count if self._is_sum else 1
        # outputs of the passes so far, and the images that they are for
        earlier, seen = list[HeadOutput](), list[Batch]()
        initial: HeadOutput | None = None
        shares = weights_of(self.sampler, count)
        for index, (view, teacher_out) in enumerate(self._views(batch, count)):
            target = None
            if distillation is not None:
                if not seen or view is not seen[-1]:
                    initial = self._initial_output(view, genotypes[0])
                if distillation.teaches_at(index, count):
                    # teachers whose outputs are those for other mixes of the images answer for this one
                    for at in range(len(earlier) if distillation.teacher == "before" else 1):
                        if seen[at] is not view:
                            earlier[at], seen[at] = self._output(view, genotypes[at]), view
                target = distillation.target(index, count, earlier, initial, self.task)
            outputs = self.supernet.forward_with_features(view["image"], genotypes[index])
            if distillation is not None:
                earlier.append(outputs[0].detach())
                seen.append(view)
            yield scale * shares[index] * self._distilled_loss(outputs, target, view, teacher_out)

    @torch.no_grad()
    def _initial_output(self, batch: Batch, like: Genotype) -> HeadOutput | None:
        """The output of the frozen teacher of in-place distillation, if there is one."""
        for net in self._start:
            found: HeadOutput = (
                net(batch["image"], like) if isinstance(net, FullNetwork) else net(batch["image"])
            )
            return found
        return None

    @torch.no_grad()
    def _output(self, batch: Batch, genotype: Genotype) -> HeadOutput:
        """The output of a subnet with statistics of the batch, which leaves no trace."""
        with side_effect_free(self.supernet):
            return self.supernet(batch["image"], genotype)

    def _distilled_loss(
        self, outputs: Outputs, target: HeadOutput | None, batch: Batch, teacher_out: Outputs | None
    ) -> Tensor:
        distillation = self.inplace_distillation
        if distillation is None or target is None:
            return self.loss(outputs, batch, teacher_out)
        loss = distillation.ratio * distillation.loss(outputs[0], target, batch, self.task)
        if distillation.task_weight > 0:
            loss = loss + distillation.task_weight * self.loss(outputs, batch, teacher_out)
        return loss

    def _combine(self, merge: Merge, parts: list[Gradients], genotypes: Sequence[Genotype]) -> None:
        share = self.global_step / max(1, self.schedule.total_steps)
        seed = derive(self.seed, "merge", self.global_step)
        gradients.put(self.parameters(), merge.combine(parts, share, seed))
        if self._costs is not None and len(parts) > 1:
            self.noted = gradient_cosines(
                cosines(parts), [self._costs.of(genotype) for genotype in genotypes]
            )


def gradient_cosines(found: Mapping[tuple[int, int], float], costs: Sequence[int]) -> dict[str, float]:
    """Cosines of the pairs with the smallest and the largest difference in cost, and the differences in 10^9.

    Args:
        found: cosine of each pair of subnets.
        costs: multiply-adds of each subnet.
    """
    gaps = {pair: abs(costs[pair[0]] - costs[pair[1]]) / 1e9 for pair in found}
    near, far = min(gaps, key=lambda pair: gaps[pair]), max(gaps, key=lambda pair: gaps[pair])
    return {
        "cosine_near": found[near],
        "gap_near": gaps[near],
        "cosine_far": found[far],
        "gap_far": gaps[far],
    }
