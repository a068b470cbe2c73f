"""Teachers: what a student may be compared with.

Legend: B batch, H W space.

The contract. A teacher is a module with

- `levels`: a `Level` for each of its maps, finest first; one is enough (see `distill.compared`);
- `forward_with_features(x) -> (output, maps)`: for normalised images `x` (B 3 H W), what the
  task's head would answer at the size of `x`, or None from a teacher of features alone, and one
  map per level. It may look at the images in another size, so its maps need not fit `x`;
- `forward(x)`: the output alone;
- `has_output`: whether there is one;
- `origin`: None where all its weights were trained here, else an `Origin`: weights that somebody
  else trained, which are loaded again by everyone who needs them. They are frozen, always in
  eval mode, move with `.to(...)`, and neither `parameters()` nor `state_dict()` show them, so
  that nothing trains them and no file of ours repeats them.
- `num_params`: of all weights, whoever trained them.

A teacher is made of a body and the task's head (`Teacher`), or is a whole network of its own,
such as `depth_anything.DepthAnything`. A body has `levels`, `origin`, `num_params`, gives maps
from images, knows whether it scales them first (`scales`), and how to fit a dense head's answer to
their size (`restored`). Where a detector's head wants other settings on such a body than on a student's,
`head_settings` has them, by keyword.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import timm
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.detection.base import RegionHead, within
from evonas.nn.level import Level

Maps = list[Tensor]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights came from.

    Args:
        weights: the file, or None for random weights.
        sha256: of the file, or of the random weights themselves.
    """

    weights: str | None
    sha256: str

    @property
    def is_random(self) -> bool:
        """Whether nobody trained these weights."""
        return self.weights is None

    def facts(self) -> dict[str, Any]:
        """Plain data, as teacher/result.json keeps it."""
        return {**asdict(self), "random": self.is_random}


@runtime_checkable
class Answering(Protocol):
    """A whole teacher; see the module's contract."""

    levels: tuple[Level, ...]
    has_output: bool
    origin: Origin | None
    num_params: int

    def forward_with_features(self, x: Tensor) -> tuple[Tensor | None, Maps]: ...


@runtime_checkable
class Body(Protocol):
    """A teacher's body; see the module's contract."""

    levels: tuple[Level, ...]
    has_output: bool
    scales: bool
    head_settings: Mapping[str, Any] | None
    origin: Origin | None
    num_params: int

    def __call__(self, x: Tensor) -> Maps: ...

    def restored(self, output: Tensor, size: tuple[int, int]) -> Tensor: ...


class TimmBody(nn.Module):
    """A timm network as a backbone: one map per level, whatever its architecture.

    Args:
        name: a timm model that supports `features_only`.
        indices: which of its feature levels are used, or None for all.
        drop_path: stochastic depth while it is trained.
    """

    has_output = True
    scales = False
    head_settings: Mapping[str, Any] | None = None
    origin: Origin | None = None

    def __init__(self, name: str, indices: Sequence[int] | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        options: dict[str, Any] = {} if indices is None else {"out_indices": tuple(indices)}
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            self.network = timm.create_model(name, pretrained=False, features_only=True, **options)
        except (RuntimeError, AttributeError, ValueError) as error:
            raise UserError(f"teacher.name={name} is not a timm network with features: {error}") from error
        info: Any = self.network.feature_info
        pairs = zip(info.channels(), info.reduction(), strict=True)
        self.levels = tuple(Level(channels, stride) for channels, stride in pairs)

    @property
    def num_params(self) -> int:
        """Of the network."""
        return count_params(self)

    def forward(self, x: Tensor) -> Maps:
        """One map per level, from fine to coarse."""
        return list(self.network(x))

    def restored(self, output: Tensor, size: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """The head's answer as it is: the network saw the image in its own size."""
        return output


class Teacher(nn.Module):
    """A body and the task's head; speaks the same language as a student.

    Args:
        body: see the module's contract.
        head: trained here; None makes a teacher of features alone.
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
        """Of body and head."""
        body: Any = self.body
        return int(body.num_params) + (0 if self.head is None else count_params(self.head))

    def forward(self, x: Tensor) -> Tensor:
        """The raw output of the task's head.

        Raises:
            UserError: this is a teacher of features alone.
        """
        output = self.forward_with_features(x)[0]
        if output is None:
            raise UserError("This teacher shows features alone.", "teacher.head=true gives it a head.")
        return output

    def forward_with_features(self, x: Tensor) -> tuple[Tensor | None, Maps]:
        """The raw output, or None without a head, and the levels it was made of."""
        body: Any = self.body
        maps = body(x)
        if self.head is None:
            return None, maps
        size = (x.shape[-2], x.shape[-1])
        if not isinstance(self.head, RegionHead):
            return body.restored(self.head(maps), size), maps
        if body.scales:
            raise UserError(
                "A detector's teacher must see images in their own size; this one scales them.",
                "Use teacher.input_size=null or teacher=resnet, or teacher.head=false with distill.ratio=0.",
            )
        return within(self.head(maps), size), maps


def count_params(network: nn.Module) -> int:
    """The number of a module's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
