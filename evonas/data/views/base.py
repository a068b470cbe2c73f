"""Items of several posed views: some to look at, and others of the same scene to be predicted.

Legend: V context views, T target views, H W space.

An item holds
- `image` (3 H VW): the context views side by side, normalised, so that networks see one image;
- `context_view` (V 4 4) and `context_lens` (V 3 3), `target_view` (T 4 4) and `target_lens` (T 3 3): world to
  camera in the axes of `data/views/cameras.py`, and intrinsics in pixels of one view; the world is that of the first
  context camera;
- `target` (T 3 H W): what is to be predicted, in [0, 1];
- `range` (2): the nearest and the farthest depth, in the units of the views;
- where it is known, `context_depth` (V H W), 0 where nothing is.
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

# mirrors the world, and every camera in it
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
# cameras nearer than this, in the data's own units, are one
NO_BASELINE = 1e-6


@dataclass(frozen=True, slots=True)
class Shot:
    """What one camera took: H W 3 in [0, 1], view 4x4, intrinsics 3x3 in pixels, depth H W where known."""

    colours: Colours
    view: Matrix
    lens: Matrix
    depth: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class Shots:
    """Two or more context shots, target shots, and the range of depths."""

    context: tuple[Shot, ...]
    target: tuple[Shot, ...]
    near: float
    far: float

    def map(self, change: Callable[[Shot], Shot]) -> "Shots":
        """With every shot changed."""
        return replace(self, context=tuple(map(change, self.context)), target=tuple(map(change, self.target)))


def augmented(shots: Shots, random: np.random.Generator) -> Shots:
    """Mirrored or not, and with other colours; all shots alike, so that they still show one scene."""
    if flips(random):
        shots = shots.map(mirrored)
    count = len(shots.context) + len(shots.target)
    wide = np.concatenate([shot.colours for shot in (*shots.context, *shots.target)], 1)
    parts = iter(np.split(jitter_colour(wide, random), count, axis=1))
    return shots.map(lambda shot: replace(shot, colours=next(parts)))


def mirrored(shot: Shot) -> Shot:
    """The shot of the mirrored world: left and right change places."""
    lens = shot.lens.copy()
    lens[0, 2] = shot.colours.shape[1] - lens[0, 2]
    depth = None if shot.depth is None else shot.depth[:, ::-1]
    return Shot(shot.colours[:, ::-1], MIRROR @ shot.view @ MIRROR, lens, depth)


def unit_baseline(shots: Shots, where: str) -> Shots:
    """In units of the distance between the first and the last context camera; near and far as they are.

    Structure from motion knows no metres, so this is what makes videos comparable.
    """
    first, last = (position(shots.context[place].view) for place in (0, -1))
    length = float(np.linalg.norm(last - first))
    if length < NO_BASELINE:
        raise DataError(f"{where}: the cameras do not move.", "Use a larger data.gap, or leave it out.")

    def scaled(shot: Shot) -> Shot:
        view = shot.view.copy()
        view[:3, 3] /= length
        return replace(shot, view=view, depth=None if shot.depth is None else shot.depth / length)

    return shots.map(scaled)


def item(shots: Shots) -> Item:
    """The tensors of an item; see the module."""
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
