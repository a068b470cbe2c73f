"""The two Lightning modules: one network, and k subnets of a supernet on the same batch."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from typing_extensions import override

from evonas.errors import EngineError
from evonas.nn.detection.base import Answer, show_regions
from evonas.randomness import derive
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Batch, Task
from evonas.train.distillation.cross_architecture import Distiller, compared
from evonas.train.distillation.inplace import InPlace
from evonas.train.optim import gradients
from evonas.train.optim.gradient_merge import Merge, Part, cosines
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.optim.parameter_groups import Decay, parameter_groups
from evonas.train.sampling.base import Judging, Sampler, weights_of
from evonas.train.sampling.loss_oracle import LossJudge
from evonas.train.teachers.feature_cache import CachedTeacher, answer

Outcome = tuple[Answer, list[Tensor]]
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
        decay: what decays: `matrices`, `all` or `no_norm` (see `evonas.train.optim.parameter_groups`).
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
        # numbers of the latest step besides its loss, for whoever listens
        self.noted: dict[str, float] = {}
        # a tuple hides the teacher from parameters() and the state dict
        self._teacher: tuple[Any, ...] = ()
        if teacher is not None:
            self._teacher = (teacher.eval().requires_grad_(False),)
            if not isinstance(teacher, CachedTeacher):
                show_regions(teacher)

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
        loss = self._accumulate(batch, taught)
        gradients.clip(self.parameters(), self.grad_clip, self._scaler.get_scale() if self._scaler else 1.0)
        optimizer.step()
        return loss

    def _accumulate(self, batch: Batch, taught: Outcome | None) -> Tensor:
        """Leave the gradients of all ranks in the parameters; the mean loss over this rank's images."""
        loss = self._backward(self.passes(self.global_step), batch, taught)
        gradients.average(self.parameters())
        return loss

    def _backward(self, passes: Sequence[Pass], batch: Batch, taught: Outcome | None) -> Tensor:
        """Accumulate gradients one pass at a time, so that memory does not grow with k."""
        total = torch.zeros((), device=self.device)
        for one in passes:
            loss = self.loss(one(batch["image"]), batch, taught) / len(passes)
            self.manual_backward(loss)
            total += loss.detach()
        return self._finite(total)

    def _finite(self, total: Tensor) -> Tensor:
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
    """Trains the subnets that a sampler names, all on one batch, with one update.

    Args:
        lesson: what they teach one another; None for nothing.
        merge: how their gradients become one; None for the sum, accumulated in place.
        start: the network of a lesson that `keeps_start`; frozen, and no part of the state.
        costs: of subnets; with them a merge notes `cosine_near` and `cosine_far`, between the
            gradients of the two subnets of the smallest and of the largest difference in
            multiply-adds, and these differences in 10^9, `gap_near` and `gap_far`.
    """

    def __init__(
        self,
        supernet: Supernet,
        sampler: Sampler | Judging,
        task: Task,
        schedule: Schedule,
        seed: int,
        lesson: InPlace | None = None,
        merge: Merge | None = None,
        start: nn.Module | None = None,
        costs: CostTable | None = None,
        **options: Any,
    ) -> None:
        super().__init__(task, schedule, seed, **options)
        self.supernet, self.sampler, self.lesson, self.merge = supernet, sampler, lesson, merge
        self._start = () if start is None else (start.eval().requires_grad_(False),)
        for net in self._start:
            show_regions(net)
        self._costs = costs

    @override
    def passes(self, step: int) -> Sequence[Pass]:
        """One pass per sampled subnet, for a sampler that does not judge."""
        assert isinstance(self.sampler, Sampler), "a judging sampler needs a batch"
        return [self._through(genotype) for genotype in self.sampler.genotypes(step)]

    @override
    def on_train_start(self) -> None:
        """Also give the lesson's network its device."""
        super().on_train_start()
        for net in self._start:
            net.to(self.device)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a judging sampler has seen."""
        if isinstance(self.sampler, Judging):
            checkpoint["sampler"] = self.sampler.state()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with what it had seen."""
        if isinstance(self.sampler, Judging):
            self.sampler.restore(checkpoint["sampler"])

    @override
    def _accumulate(self, batch: Batch, taught: Outcome | None) -> Tensor:
        if self.lesson is None and self.merge is None and _is_plain(self.sampler):
            return super()._accumulate(batch, taught)
        genotypes = self._chosen(batch)
        total, parts = torch.zeros((), device=self.device), list[Part]()
        for loss in self._losses(genotypes, batch, taught):
            self.manual_backward(loss)
            total += loss.detach()
            if self.merge is not None:
                # what contradicts what is a question about the gradients of all images
                gradients.average(self.parameters())
                parts.append(gradients.taken(self.parameters()))
        if self.merge is None:
            gradients.average(self.parameters())
        else:
            self._combine(self.merge, parts, genotypes)
        return self._finite(total)

    def _chosen(self, batch: Batch) -> list[Genotype]:
        if isinstance(self.sampler, Judging):
            return self.sampler.chosen(self.global_step, LossJudge(self.supernet, self.task, batch))
        return self.sampler.genotypes(self.global_step)

    def _losses(
        self, genotypes: Sequence[Genotype], batch: Batch, taught: Outcome | None
    ) -> Iterator[Tensor]:
        """The weighted loss of each subnet, each after the one before has been used."""
        start, heard = self._started(batch), list[Answer]()
        for index, weight in enumerate(weights_of(self.sampler, len(genotypes))):
            outcome = self.supernet.forward_with_features(batch["image"], genotypes[index])
            target = None
            if self.lesson is not None:
                target = self.lesson.target(index, len(genotypes), heard, start, self.task)
                heard.append(outcome[0].detach())
            yield weight * self._learnt(outcome, target, batch, taught)

    def _learnt(
        self, outcome: Outcome, target: Answer | None, batch: Batch, taught: Outcome | None
    ) -> Tensor:
        if self.lesson is None or target is None:
            return self.loss(outcome, batch, taught)
        loss = self.lesson.ratio * self.lesson.loss(outcome[0], target, batch, self.task)
        if self.lesson.ratio < 1:
            loss = loss + (1 - self.lesson.ratio) * self.loss(outcome, batch, taught)
        return loss

    @torch.no_grad()
    def _started(self, batch: Batch) -> Answer | None:
        for net in self._start:
            answer: Answer = net(batch["image"])
            return answer
        return None

    def _combine(self, merge: Merge, parts: list[Part], genotypes: Sequence[Genotype]) -> None:
        share = self.global_step / max(1, self.schedule.total_steps)
        seed = derive(self.seed, "merge", self.global_step)
        gradients.put(self.parameters(), merge.combine(parts, share, seed))
        if self._costs is not None and len(parts) > 1:
            self.noted = watched(cosines(parts), [self._costs.of(genotype) for genotype in genotypes])

    def _through(self, genotype: Genotype) -> Pass:
        return lambda image: self.supernet.forward_with_features(image, genotype)


def _is_plain(sampler: Sampler | Judging) -> bool:
    return not isinstance(sampler, Judging) and not hasattr(sampler, "weights")


def watched(found: Mapping[tuple[int, int], float], costs: Sequence[int]) -> dict[str, float]:
    """The cosines of the pairs of the smallest and of the largest gap in cost, with the gaps in 10^9."""
    gaps = {pair: abs(costs[pair[0]] - costs[pair[1]]) / 1e9 for pair in found}
    near, far = min(gaps, key=lambda pair: gaps[pair]), max(gaps, key=lambda pair: gaps[pair])
    return {
        "cosine_near": found[near],
        "gap_near": gaps[near],
        "cosine_far": found[far],
        "gap_far": gaps[far],
    }
