"""Rendered scenes with exact depth: data that needs no download.

Legend: C channels, H W space.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.data.augment import Array, flips, jitter_colour, normalise
from evonas.data.base import SPLITS, Images, Item, Split, check_size, seeded
from evonas.data.render.scene import CLASSES, make_scene
from evonas.data.render.trace import render
from evonas.errors import UserError
from evonas.randomness import generator

# to be raised whenever the same seed would draw another image
RENDERER = 1
# a split's scenes start this far from the last split's, so that counts can change and never overlap
STRIDE = 1_000_000


class SyntheticScenes:
    """A source of `train`, `holdout` and `test` scenes, rendered when first used and kept in memory.

    Args:
        seed: decides the scenes; keep it fixed to compare runs on the same data.
        augment_seed: decides the augmentation of `train`.
        train: number of scenes; likewise `holdout` and `test`.
        height: pixels, a multiple of 32; likewise `width`.
        far: metres beyond which depth is not valid.
        normals: whether items hold surface normals as well.
    """

    classes = CLASSES

    def __init__(
        self,
        seed: int = 0,
        augment_seed: int = 0,
        train: int = 448,
        holdout: int = 64,
        test: int = 96,
        height: int = 64,
        width: int = 96,
        far: float = 20.0,
        normals: bool = False,
    ) -> None:
        self.size = check_size(height, width)
        self.seed, self.augment_seed, self.far, self.normals = seed, augment_seed, far, normals
        self.counts = dict(zip(SPLITS, (train, holdout, test), strict=True))
        for split, count in self.counts.items():
            if not 0 < count < STRIDE:
                raise UserError(f"data.{split}={count} is not a number of scenes.", f"Try data.{split}=64.")
        self._films: dict[str, _Film] = {}

    def dataset(self, split: Split) -> "SceneImages":
        """One split; nothing is rendered before its first item is read."""
        if split in self.counts and split not in self._films:
            first = SPLITS.index(split) * STRIDE
            self._films[split] = _Film(self.seed, first, self.counts[split], self.size, self.normals)
        return SceneImages(split, self)

    def film(self, split: Split) -> "_Film":
        """The rendered images of a split, shared by its datasets."""
        return self._films[split]


class SceneImages(Images):
    """Items: image (3 H W), depth in metres and valid (1 H W), classes and instances (H W).

    `valid` is false for the sky and beyond the source's `far`. With the source's `normals` also normals
    (3 H W): unit vectors in camera axes (right, down, ahead), 0 in the sky.
    """

    def __init__(self, split: Split, source: SyntheticScenes) -> None:
        super().__init__(split)
        self._source = source
        self._film = source.film(split)

    def __len__(self) -> int:
        return self._source.counts[self.split]

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        rgb, depth, classes, instances, *normals = self._film.frame(index)
        image: Array = rgb.astype(np.float32) / 255
        if self.augment and self.split == "train":
            random = generator(self._source.augment_seed, f"augment/{self.epoch}", index)
            if flips(random):
                image, depth, classes, instances = (x[:, ::-1] for x in (image, depth, classes, instances))
                normals = [_mirrored(each) for each in normals]
            image = jitter_colour(image, random)
        metres = torch.from_numpy(depth[None].astype(np.float32))
        item = {
            "image": normalise(image),
            "depth": metres,
            "valid": (metres > 1e-3) & (metres < self._source.far),
            "classes": torch.from_numpy(classes.astype(np.int64)),
            "instances": torch.from_numpy(instances.astype(np.int64)),
        }
        for each in normals:
            item["normals"] = torch.from_numpy(each.astype(np.float32).transpose(2, 0, 1).copy())
        return item

    def manifest(self) -> str:
        """The sha256 of seed, range, size and the renderer's version: nothing is rendered for it."""
        source = self._source
        text = seeded(
            source="synthetic",
            renderer=RENDERER,
            seed=source.seed,
            split=self.split,
            count=len(self),
            size=source.size,
            far=source.far,
            **({"normals": True} if source.normals else {}),
        )
        return hashlib.sha256(text.encode()).hexdigest()


def _mirrored(normals: NDArray) -> NDArray:
    """Normals H W 3 as seen in a mirror: what pointed right points left."""
    return normals[:, ::-1] * np.array([-1, 1, 1], dtype=normals.dtype)


def _half(depth: NDArray) -> NDArray:
    """Depth in half precision, where ground near the horizon becomes as deep as the sky: infinite."""
    with np.errstate(over="ignore"):
        return depth.astype(np.float16)


class _Film:
    """The images of one split, each rendered once; half precision keeps depth to 1 part in 2000."""

    def __init__(self, seed: int, first: int, count: int, size: tuple[int, int], normals: bool) -> None:
        self._seed, self._first, self._size, self._normals = seed, first, size, normals
        self._frames: list[tuple[NDArray, ...] | None] = [None] * count

    def frame(self, index: int) -> tuple[NDArray, ...]:
        """rgb uint8, depth float16, classes uint8, instances uint8, and if wanted normals float16."""
        frame = self._frames[index]
        if frame is None:
            scene = make_scene(self._seed, self._first + index)
            view = render(scene, scene.view(0), *self._size)
            frame = (view.rgb, _half(view.depth), view.classes, view.instances)
            frame += (view.normals.astype(np.float16),) if self._normals else ()
            self._frames[index] = frame
        return frame
