"""CA-DDKD: cross-architecture dual-domain knowledge distillation of one feature level.

Legend: B batch, C teacher channels, S student channels, H W teacher resolution, h w student resolution.
The total loss of a student is (1 - ratio) task + ratio task(teacher) + spatial + frequency.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from evonas.errors import UserError
from evonas.ops import dct
from evonas.tasks.base import Batch
from evonas.train.distillation.base import ComparesOutputs, Distillation, Outputs
from evonas.train.distillation.projector import Projector

Frequency = Literal["highpass", "dc_removed", "coefficients"]
Reduction = Literal["sum", "mean", "position"]
EPSILON = 1e-5
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Terms:
    """The two weighted feature losses."""

    spatial: Tensor
    frequency: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.spatial + self.frequency


class Distiller(Distillation):
    """Projectors and losses of CA-DDKD on one feature level.

    Args:
        student_channels: channels of the student's level.
        teacher_channels: channels of the teacher's level.
        ratio: share of the task loss that is computed against the teacher's output.
        spatial_weight: weight of the spatial term (alpha 1 of the paper).
        frequency_weight: weight of the frequency term (alpha 2 of the paper).
        frequency: `highpass` compares high-pass filtered maps, `coefficients` the remaining DCT coefficients,
            `dc_removed` maps without their mean, as the published code does.
        cutoff: lowest kept radius, as a fraction of the spectrum's diagonal.
        reduction: of squared differences: `sum` over all / B, `mean` over all / B, or
            `position`: sum over channels, mean over positions and batch.
        level: index of the distilled level; see `distilled_level`.
        cache: whether teacher outputs are cached on disk, one record per training image.
        heads, head_dim, expansion, query_grid, position_grid, sharpness: see `Projector`.

    Raises:
        UserError: frequency or reduction is unknown.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        ratio: float = 0.1,
        spatial_weight: float = 0.08,
        frequency_weight: float = 0.06,
        frequency: str = "highpass",
        cutoff: float = 0.2,
        reduction: str = "sum",
        level: int = -1,
        cache: bool = False,
        heads: int = 16,
        head_dim: int = 64,
        expansion: float = 4.0,
        query_grid: Sequence[int] = (14, 19),
        position_grid: Sequence[int] = (11, 38),
        sharpness: float = 5.0,
    ) -> None:
        super().__init__()
        # typed as str, so that an unknown value of the config raises a UserError
        _check("frequency", frequency, get_args(Frequency))
        _check("reduction", reduction, get_args(Reduction))
        self.ratio, self.level, self.cutoff, self.cache = ratio, level, cutoff, cache
        self.spatial_weight, self.frequency_weight = spatial_weight, frequency_weight
        self.frequency = cast(Frequency, frequency)
        self.reduction = cast(Reduction, reduction)
        grids = (_pair(query_grid), _pair(position_grid))
        sizes = (student_channels, teacher_channels, heads, head_dim, expansion, *grids, sharpness)
        self.spatial_projector = Projector(*sizes)
        self.frequency_projector = Projector(*sizes)

    def forward(self, student: Float[Tensor, "B S h w"], teacher: Float[Tensor, "B C H W"]) -> Terms:
        """Both loss terms; the teacher's map has no gradient."""
        target, size = teacher.detach(), _pair(teacher.shape[-2:])
        spatial = spatial_term(self.spatial_projector(student, size), target, self.reduction)
        projected = self.frequency_projector(student, size)
        filtered = frequency_term(projected, target, self.frequency, self.cutoff, self.reduction)
        return Terms(self.spatial_weight * spatial, self.frequency_weight * filtered)

    @override
    def needs_output(self) -> str | None:
        return f"distill.ratio={self.ratio}" if self.ratio > 0 else None

    @override
    def loss(
        self, labels: Tensor, student: Outputs, teacher: Outputs, batch: Batch, task: ComparesOutputs
    ) -> Tensor:
        """The loss (1 - ratio) labels + ratio task(teacher) + spatial + frequency."""
        loss = (1.0 - self.ratio) * labels
        if self.ratio > 0:
            loss = loss + self.ratio * task.distillation_loss(student[0], teacher[0], batch)
        mine, target = (distilled_level(maps, self.level) for maps in (student[1], teacher[1]))
        return loss + self(mine, target).total


def distilled_level(levels: Sequence[Kind], level: int) -> Kind:
    """The level of a network that is distilled; of a network with one level, this one.

    Raises:
        UserError: level is out of range.
    """
    if len(levels) == 1:
        return levels[0]
    if not -len(levels) <= level < len(levels):
        raise UserError(
            f"distill.level={level} is not one of the network's {len(levels)} levels.",
            "Count from 0, or from the last with -1.",
        )
    return levels[level]


def spatial_term(
    student: Float[Tensor, "B C H W"], teacher: Float[Tensor, "B C H W"], reduction: Reduction = "sum"
) -> Float[Tensor, ""]:
    """Squared distance of channel vectors normalised to unit length (L_spat); computed in fp32.

    With `sum`, the loss of an image is at most 4 H W (opposite vectors), and 2 H W for orthogonal ones.
    """
    with torch.autocast(student.device.type, enabled=False):
        return _distance(student.float(), teacher.float(), reduction)


def frequency_term(
    student: Float[Tensor, "B C H W"],
    teacher: Float[Tensor, "B C H W"],
    mode: Frequency = "highpass",
    cutoff: float = 0.2,
    reduction: Reduction = "sum",
) -> Float[Tensor, ""]:
    """The distance of `spatial_term` after high-pass filtering (L_freq); computed in fp32.

    `dc_removed` subtracts the mean, which equals setting the constant DCT coefficient to zero.
    """
    with torch.autocast(student.device.type, enabled=False):
        mine, theirs = (_filtered(x.float(), mode, cutoff) for x in (student, teacher))
        return _distance(mine, theirs, reduction)


def _filtered(x: Float[Tensor, "B C H W"], mode: Frequency, cutoff: float) -> Float[Tensor, "B C H W"]:
    if mode == "dc_removed":
        return x - x.mean((-2, -1), keepdim=True)
    coefficients = high_coefficients(x, cutoff)
    return coefficients if mode == "coefficients" else dct.idct2(coefficients)


def high_coefficients(x: Float[Tensor, "B C H W"], cutoff: float) -> Float[Tensor, "B C H W"]:
    """Orthonormal DCT-II coefficients, set to zero below the cut-off."""
    kept = high_frequencies(x.shape[-2], x.shape[-1], cutoff, x.device)
    return dct.dct2(x) * kept


def high_frequencies(
    height: int, width: int, cutoff: float, device: torch.device | None = None
) -> Bool[Tensor, "H W"]:
    """The mask of DCT coefficients that the high-pass filter keeps.

    The radius of coefficient (u, v) is sqrt(((u / H)^2 + (v / W)^2) / 2), in [0, 1). Coefficients with a radius of
    at least `cutoff` are kept, except the constant one (0, 0).
    """
    rows = torch.arange(height, device=device) / height
    columns = torch.arange(width, device=device) / width
    radius = ((rows[:, None] ** 2 + columns[None, :] ** 2) / 2).sqrt()
    kept = radius >= cutoff
    kept[0, 0] = False
    return kept


def _distance(
    student: Float[Tensor, "B C H W"], teacher: Float[Tensor, "B C H W"], reduction: Reduction
) -> Float[Tensor, ""]:
    # vectors shorter than EPSILON are rounding errors and are not scaled to unit length
    units = [F.normalize(x, dim=1, eps=EPSILON) for x in (student, teacher)]
    squares = (units[0] - units[1]).square()
    if reduction == "sum":
        return squares.sum() / len(squares)
    if reduction == "mean":
        return squares.mean() / len(squares)
    return squares.sum(dim=1).mean()


def _pair(values: Sequence[int]) -> tuple[int, int]:
    height, width = values
    return int(height), int(width)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"distill.{name}={value} is unknown.", f"Known: {', '.join(known)}")
