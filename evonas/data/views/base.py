"""Items of novel view synthesis: context views of a scene, and target views to be predicted.

Legend: V context views, T target views, H W space.

An item contains
- `image` (3 H VW): the context views side by side, normalised, so that networks see one image;
- `context_view` (V 4 4) and `context_lens` (V 3 3), `target_view` (T 4 4) and `target_lens` (T 3 3): world to
  camera in the axes of `data/views/cameras.py`, and intrinsics in pixels of one view; the world is that of the first
  context camera;
- `target` (T 3 H W): the target views in [0, 1];
- `range` (2): minimum and maximum depth, in the units of the views;
- if it is known, `context_depth` (V H W), 0 where it is unknown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evonas.data.augment import flips, jitter_colour, normalise
from evonas.data.base import Item
from evonas.data.views.cameras import Colours, Matrix, inverse, position
from evonas.errors import DataError

# mirrors the world and its cameras
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
# minimum distance of distinct cameras, in the units of the data
NO_BASELINE = 1e-6


@dataclass(frozen=True, slots=True)
class Shot:
    """An image H W 3 in [0, 1], its view 4x4, intrinsics 3x3 in pixels and, if known, depth H W."""

    colours: Colours
    view: Matrix
    lens: Matrix
    depth: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class Shots:
    """Two or more context shots, target shots, and the range of depth."""

    context: tuple[Shot, ...]
    target: tuple[Shot, ...]
    near: float
    far: float

    def map(self, change: Callable[[Shot], Shot]) -> "Shots":
        """Applies a function to every shot."""
        return replace(self, context=tuple(map(change, self.context)), target=tuple(map(change, self.target)))


def augmented(shots: Shots, random: np.random.Generator) -> Shots:
    """Flips and jitters the colours of all shots in the same way, so that they still show one scene."""
    if flips(random):
        shots = shots.map(mirrored)
    count = len(shots.context) + len(shots.target)
    wide = np.concatenate([shot.colours for shot in (*shots.context, *shots.target)], 1)
    parts = iter(np.split(jitter_colour(wide, random), count, axis=1))
    return shots.map(lambda shot: replace(shot, colours=next(parts)))


def mirrored(shot: Shot) -> Shot:
    """The shot of the horizontally mirrored world."""
    lens = shot.lens.copy()
    lens[0, 2] = shot.colours.shape[1] - lens[0, 2]
    depth = None if shot.depth is None else shot.depth[:, ::-1]
    return Shot(shot.colours[:, ::-1], MIRROR @ shot.view @ MIRROR, lens, depth)


def unit_baseline(shots: Shots, where: str) -> Shots:
    """Rescales lengths to the distance between the first and the last context camera; near and far are unchanged.

    Structure from motion has an arbitrary scale; the baseline makes videos comparable.

    Raises:
        DataError: the cameras have equal positions.
    """
    first, last = (position(shots.context[place].view) for place in (0, -1))
    length = float(np.linalg.norm(last - first))
    if length < NO_BASELINE:
        raise DataError(
            f"{where}: the cameras do not move.", "Use a larger data.gap, or remove the sequence."
        )

    def scaled(shot: Shot) -> Shot:
        view = shot.view.copy()
        view[:3, 3] /= length
        return replace(shot, view=view, depth=None if shot.depth is None else shot.depth / length)

    return shots.map(scaled)


def item(shots: Shots) -> Item:
    """The tensors of an item; see the module's list."""
    home = inverse(shots.context[0].view)
    wide = np.concatenate([shot.colours for shot in shots.context], 1)
    target = np.stack([shot.colours for shot in shots.target]).transpose(0, 3, 1, 2)
    depths = [shot.depth for shot in shots.context if shot.depth is not None]
    known = {"context_depth": _tensor(depths)} if len(depths) == len(shots.context) else {}
    return {
        "image": normalise(wide),
        "context_view": _tensor([shot.view @ home for shot in shots.context]),
        "context_lens": _tensor([shot.lens for shot in shots.context]),
        "target": torch.from_numpy(np.ascontiguousarray(target)),
        "target_view": _tensor([shot.view @ home for shot in shots.target]),
        "target_lens": _tensor([shot.lens for shot in shots.target]),
        "range": torch.tensor([shots.near, shots.far]),
        **known,
    }


def _tensor(arrays: Sequence[NDArray[np.floating]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
