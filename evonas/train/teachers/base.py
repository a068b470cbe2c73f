"""Contract of distillation teachers, and teachers built from a backbone and the task's head.

Legend: B batch, H W space.

A teacher is a module with

- `levels`: a `Level` per feature map, finest first; at least one (see `distilled_level`);
- `forward_with_features(x) -> (output, maps)`: for normalised images `x` (B 3 H W), the output of the task's head at
  the size of `x`, or None for a teacher without head, and one map per level. It may resize the images, so its maps
  need not match the size of `x`;
- `forward(x)`: the output;
- `has_output`: whether there is an output;
- `origin`: None if all weights are trained in this project, else the `Origin` of the pretrained weights. Pretrained
  weights are frozen, always in eval mode and move with `.to(...)`. `parameters()` and `state_dict()` exclude them:
  they are never trained and no checkpoint contains them; they are loaded from their file instead;
- `num_params`: number of all weights, pretrained ones included.

A teacher is either a backbone with the task's head (`Teacher`), or a complete network such as
`depth_anything.DepthAnything`. A teacher backbone has `levels`, `origin` and `num_params` and maps images to feature
maps. `scales` tells whether it resizes images, and `restored` resizes the output of a dense head back.
`head_settings` overrides keywords of the task's head for this backbone.

A teacher or backbone that is trained here unless the user has trained weights of all of it has `file`, the file of
these weights or None, and `renames` (see `frozen.py`); with a file it is wrapped by `frozen.FrozenTeacher`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import timm
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.detection.base import RegionHead, within
from evonas.nn.level import Level
from evonas.nn.timm_weights import Matched, load_timm_weights

Maps = list[Tensor]


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of pretrained weights.

    Args:
        weights: weights file, or None for random weights.
        sha256: digest of the file, or of the random weights.
    """

    weights: str | None
    sha256: str

    @property
    def is_random(self) -> bool:
        """Whether the weights are random."""
        return self.weights is None

    def facts(self) -> dict[str, Any]:
        """JSON data of teacher/result.json."""
        return {**asdict(self), "random": self.is_random}


@runtime_checkable
class TeacherModel(Protocol):
    """A complete teacher; see the module's contract."""

    levels: tuple[Level, ...]
    has_output: bool
    origin: Origin | None
    num_params: int

    def forward_with_features(self, x: Tensor) -> tuple[Tensor | None, Maps]: ...


@runtime_checkable
class TeacherBackbone(Protocol):
    """The backbone of a teacher; see the module's contract."""

    levels: tuple[Level, ...]
    has_output: bool
    scales: bool
    head_settings: Mapping[str, Any] | None
    origin: Origin | None
    num_params: int

    def __call__(self, x: Tensor) -> Maps: ...

    def restored(self, output: Tensor, size: tuple[int, int]) -> Tensor: ...


@runtime_checkable
class StartsFromFile(Protocol):
    """A teacher, or the backbone of one, whose training may start from pretrained weights."""

    def load_start(self) -> Matched | None:
        """Loads them in place and says what matched; None where no file was given."""
        ...


class TimmBackbone(nn.Module):
    """A timm network as a trainable backbone.

    Args:
        name: a timm model that supports `features_only`.
        indices: indices of the feature levels, or None for all.
        drop_path: stochastic-depth rate in training.
        weights: file of pretrained weights that training starts from (see `load_start`); None for random ones. Its
            network is trained here, so it has no `origin`.

    Raises:
        UserError: timm has no such model with features.
    """

    has_output = True
    scales = False
    head_settings: Mapping[str, Any] | None = None
    origin: Origin | None = None

    def __init__(
        self,
        name: str,
        indices: Sequence[int] | None = None,
        drop_path: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.name, self.weights = name, weights
        options: dict[str, Any] = {} if indices is None else {"out_indices": tuple(indices)}
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            self.network = timm.create_model(name, pretrained=False, features_only=True, **options)
        except (RuntimeError, AttributeError, ValueError) as error:
            raise UserError(f"teacher.name={name} is not a timm model with features: {error}") from error
        info: Any = self.network.feature_info
        pairs = zip(info.channels(), info.reduction(), strict=True)
        self.levels = tuple(Level(channels, stride) for channels, stride in pairs)

    @property
    def num_params(self) -> int:
        """The number of parameters."""
        return count_params(self)

    def load_start(self, key: str = "teacher.weights") -> Matched | None:
        """Loads `weights` in place and says what matched; None where there is no file.

        Raises:
            UserError, DataError: the file is missing or belongs to another network; see `load_timm_weights`.
        """
        if self.weights is None:
            return None
        return load_timm_weights(self.network, Path(self.weights), f"timm:{self.name}", key)

    def forward(self, x: Tensor) -> Maps:
        """One map per level, finest first."""
        return list(self.network(x))

    def restored(self, output: Tensor, size: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """Returns `output` unchanged, since the network does not resize images."""
        return output


class Teacher(nn.Module):
    """A teacher made of a backbone and the task's head.

    Args:
        body: a `TeacherBackbone`.
        head: the task's trainable head; None for a teacher without output.
    """

    def __init__(self, body: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.body, self.head = body, head
        described: Any = body
        self.levels: tuple[Level, ...] = described.levels
        self.origin: Origin | None = described.origin

    @property
    def has_output(self) -> bool:
        """Whether there is a head."""
        return self.head is not None

    @property
    def num_params(self) -> int:
        """The number of parameters of backbone and head."""
        body: Any = self.body
        return int(body.num_params) + (0 if self.head is None else count_params(self.head))

    def forward(self, x: Tensor) -> Tensor:
        """The output of the task's head.

        Raises:
            UserError: the teacher has no head.
        """
        output = self.forward_with_features(x)[0]
        if output is None:
            raise UserError("This teacher has no head and so no output.", "Use teacher.head=true.")
        return output

    def forward_with_features(self, x: Tensor) -> tuple[Tensor | None, Maps]:
        """The output of the head, or None without one, and the feature maps."""
        body: Any = self.body
        maps = body(x)
        if self.head is None:
            return None, maps
        size = (x.shape[-2], x.shape[-1])
        if not isinstance(self.head, RegionHead):
            return body.restored(self.head(maps), size), maps
        if body.scales:
            raise UserError(
                "The teacher of a detector must not resize images.",
                "Use teacher.input_size=null or teacher=resnet, or teacher.head=false with distill.ratio=0.",
            )
        return within(self.head(maps), size), maps


def count_params(network: nn.Module) -> int:
    """The number of a module's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
