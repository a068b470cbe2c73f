"""Rendered scenes seen by several cameras, for novel view synthesis; no download is needed.

Legend: V context views, T target views, H W space.
"""

import numpy as np

from evonas.data.base import SPLITS, Images, Item, Split, check_size, manifest_of, split_sizes
from evonas.data.render.camera import Camera
from evonas.data.render.scene import Scene, make_scene
from evonas.data.render.trace import render
from evonas.data.synthetic.scenes import RENDERER, STRIDE
from evonas.data.views.base import Shot, Shots, augmented, item
from evonas.data.views.cameras import inverse
from evonas.errors import UserError
from evonas.randomness import generator

# version of the placement of cameras; increase it whenever the same seed places other cameras
CAMERAS = 1
# maximum distance of a target camera from the line between the outer context cameras, as a share of the baseline
ASIDE = 0.15
# rotation of a camera towards the centre, in radians per metre of its lateral offset
TURN = 0.1


class SyntheticViews:
    """A source of scenes with V context views on a line and target views between them.

    The views of a scene are rendered on first use and kept in memory. On `train` each epoch has one random target of
    each scene; `holdout` and `test` have all targets.

    Args:
        seed: seed of scenes and cameras; keep it fixed to compare runs on the same data.
        augment_seed: seed of the augmentation of `train`.
        train, validation, test: number of scenes of each split.
        context: number of context views.
        targets: number of target views.
        baseline: distance between the outer context cameras in metres.
        height, width: size of a view in pixels, multiples of 32. Networks see V views side by side.
        near, far: range of depth in metres.

    Raises:
        UserError: a number or a size is out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        augment_seed: int = 0,
        train: int = 192,
        validation: int = 24,
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
        self.counts = split_sizes(STRIDE - 1, train=train, holdout=validation, test=test)
        self._shots: dict[tuple[str, int], Shots] = {}

    def dataset(self, split: Split) -> "SyntheticViewImages":
        """One split; scenes are rendered when an item is read."""
        return SyntheticViewImages(split, self)

    def shots(self, split: Split, index: int) -> Shots:
        """All views of a scene, rendered once; they must not be modified."""
        if (split, index) not in self._shots:
            scene = make_scene(self.seed, SPLITS.index(split) * STRIDE + index)
            taken = []
            for camera in self._cameras(scene):
                view = render(scene, camera, *self.view_size)
                colours = view.rgb.astype(np.float32) / np.float32(255)
                taken.append(Shot(colours, inverse(view.pose), view.intrinsics, view.depth))
            context, target = tuple(taken[: self.context]), tuple(taken[self.context :])
            self._shots[split, index] = Shots(context, target, self.near, self.far)
        return self._shots[split, index]

    def _cameras(self, scene: Scene) -> list[Camera]:
        random = generator(self.seed, "views", scene.index)
        lines = [np.array([place, 0.0, 0.0]) for place in np.linspace(-0.5, 0.5, self.context)]
        spread = np.array([0.5, ASIDE, ASIDE])
        lines += [spread * random.uniform(-1, 1, 3) for _ in range(self.targets)]
        return [_moved(scene.camera, self.baseline * line) for line in lines]


class SyntheticViewImages(Images):
    """Items of `data/views/base.py` with `context_depth`, which is 0 in the sky."""

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
        """The sha256 of seed, range, cameras and the renderer's version; renders nothing."""
        source = self._source
        return manifest_of(
            source="synthetic_views",
            renderer=(RENDERER, CAMERAS),
            seed=source.seed,
            split=self.split,
            count=len(self),
            size=source.view_size,
            views=(source.context, source.targets, source.baseline),
            range=(source.near, source.far),
        )


def check_views(context: int, targets: int, near: float, far: float) -> None:
    """Raises a UserError for too few views or an empty range of depth."""
    if context < 2 or targets < 1:
        raise UserError(
            f"data.context must be at least 2 and data.targets at least 1, got {context} and {targets}."
        )
    if not 0 < near < far:
        raise UserError(
            f"data.near and data.far must satisfy 0 < near < far, got {near} and {far}.",
            "Try data.near=1 data.far=100.",
        )


def _moved(camera: Camera, line: np.ndarray) -> Camera:
    """The camera moved to the right, forward and up, and rotated a little towards its former target."""
    right, ahead, up = (float(step) for step in line)
    x, y, z = camera.position
    sine, cosine = np.sin(camera.heading), np.cos(camera.heading)
    place = (x + right * cosine + ahead * sine, y - right * sine + ahead * cosine, z + up)
    return Camera(place, camera.heading - TURN * right, camera.pitch)
