"""Rendered scenes seen by several cameras: novel views without a download.

Legend: V context views, T target views, H W space.
"""

import hashlib

import numpy as np

from evonas.data.base import SPLITS, Images, Item, Split, check_size, seeded
from evonas.data.render.camera import Camera
from evonas.data.render.scene import Scene, make_scene
from evonas.data.render.trace import render
from evonas.data.synthetic.scenes import RENDERER, STRIDE
from evonas.data.views.base import Shot, Shots, augmented, item
from evonas.data.views.cameras import inverse
from evonas.errors import UserError
from evonas.randomness import generator

# to be raised whenever the same seed would place other cameras
CAMERAS = 1
# how far, in shares of the baseline, a target may leave the line between the outer context cameras
ASIDE = 0.15
# radians by which a camera turns back to the middle, for each metre it stands aside
TURN = 0.1

Frame = tuple[Shot, ...]


class SyntheticViews:
    """A source of scenes with V context views on a line and target views between them.

    A scene's views are rendered when it is first used, and kept in memory. On `train` each epoch draws one
    of the targets; `holdout` and `test` have all.

    Args:
        seed: decides scenes and cameras; keep it fixed to compare runs on the same data.
        augment_seed: decides the augmentation of `train`.
        train: number of scenes; likewise `holdout` and `test`.
        context: number of context views.
        targets: number of target views.
        baseline: metres between the outer context cameras.
        height: of a view in pixels, a multiple of 32; likewise `width`. Networks see V views side by side.
        near: metres of the nearest depth that is looked for; likewise `far`.
    """

    def __init__(
        self,
        seed: int = 0,
        augment_seed: int = 0,
        train: int = 192,
        holdout: int = 24,
        test: int = 48,
        context: int = 2,
        targets: int = 2,
        baseline: float = 0.8,
        height: int = 64,
        width: int = 96,
        near: float = 1.5,
        far: float = 60.0,
    ) -> None:
        self.view_size = check_size(height, width)
        check_views(context, targets, near, far)
        self.size = height, context * width
        self.seed, self.augment_seed, self.baseline = seed, augment_seed, baseline
        self.context, self.targets, self.near, self.far = context, targets, near, far
        self.counts = dict(zip(SPLITS, (train, holdout, test), strict=True))
        for split, count in self.counts.items():
            if not 0 < count < STRIDE:
                raise UserError(f"data.{split}={count} is not a number of scenes.", f"Try data.{split}=64.")
        self._shots: dict[tuple[str, int], Shots] = {}

    def dataset(self, split: Split) -> "SyntheticViewImages":
        """One split; nothing is rendered before its first item is read."""
        return SyntheticViewImages(split, self)

    def shots(self, split: Split, index: int) -> Shots:
        """All views of a scene, rendered once; nobody may write into them."""
        if (split, index) not in self._shots:
            scene = make_scene(self.seed, SPLITS.index(split) * STRIDE + index)
            cameras = self._cameras(scene)
            taken = tuple(_taken(scene, camera, self.view_size) for camera in cameras)
            context, target = taken[: self.context], taken[self.context :]
            self._shots[split, index] = Shots(context, target, self.near, self.far)
        return self._shots[split, index]

    def _cameras(self, scene: Scene) -> list[Camera]:
        random = generator(self.seed, "views", scene.index)
        lines = [np.array([place, 0.0, 0.0]) for place in np.linspace(-0.5, 0.5, self.context)]
        spread = np.array([0.5, ASIDE, ASIDE])
        lines += [spread * random.uniform(-1, 1, 3) for _ in range(self.targets)]
        return [_moved(scene.camera, self.baseline * line) for line in lines]


class SyntheticViewImages(Images):
    """Items as `data/views/base.py` says, with `context_depth`, which is 0 for the sky."""

    def __init__(self, split: Split, source: SyntheticViews) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return self._source.counts[self.split]

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        shots = self._source.shots(self.split, index)
        if self.split != "train":
            return item(shots)
        random = generator(self._source.augment_seed, f"augment/{self.epoch}", index)
        chosen = int(random.integers(len(shots.target))) if self.augment else 0
        shots = Shots(shots.context, (shots.target[chosen],), shots.near, shots.far)
        return item(augmented(shots, random) if self.augment else shots)

    def manifest(self) -> str:
        """The sha256 of seed, range, cameras and the renderer's version: nothing is rendered for it."""
        source = self._source
        text = seeded(
            source="synthetic_views",
            renderer=(RENDERER, CAMERAS),
            seed=source.seed,
            split=self.split,
            count=len(self),
            size=source.view_size,
            views=(source.context, source.targets, source.baseline),
            range=(source.near, source.far),
        )
        return hashlib.sha256(text.encode()).hexdigest()


def check_views(context: int, targets: int, near: float, far: float) -> None:
    """Refuse what no scene can be made of."""
    if context < 2 or targets < 1:
        raise UserError(
            f"data.context={context} data.targets={targets} leaves nothing to predict, or from.",
            "Use two context views and one target at least.",
        )
    if not 0 < near < far:
        raise UserError(f"data.near={near} data.far={far} is no range of depths.", "Try 1 and 100.")


def _moved(camera: Camera, line: np.ndarray) -> Camera:
    """The camera moved to its right, ahead and up, turned a little to where it looked before."""
    right, ahead, up = (float(step) for step in line)
    x, y, z = camera.position
    sine, cosine = np.sin(camera.heading), np.cos(camera.heading)
    place = (x + right * cosine + ahead * sine, y - right * sine + ahead * cosine, z + up)
    return Camera(place, camera.heading - TURN * right, camera.pitch)


def _taken(scene: Scene, camera: Camera, size: tuple[int, int]) -> Shot:
    view = render(scene, camera, *size)
    colours = view.rgb.astype(np.float32) / np.float32(255)
    return Shot(colours, inverse(view.pose), view.intrinsics, view.depth)
