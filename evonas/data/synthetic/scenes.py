"""Rendered scenes with exact depth, classes, instances and normals; no download is needed.

Legend: C channels, H W space.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.data.augment import Array, flips, jitter_colour, normalise
from evonas.data.base import SPLITS, Images, Item, Split, check_size, manifest_of, split_sizes
from evonas.data.render.scene import CLASSES, make_scene
from evonas.data.render.trace import render
from evonas.randomness import generator

# version of the renderer; increase it whenever the same seed renders a different image
RENDERER = 1
# distance between the first scenes of two splits, so that splits are disjoint for all sizes
STRIDE = 1_000_000


class SyntheticScenes:
    """A source of rendered scenes, rendered on first use and kept in memory.

    Args:
        seed: seed of the scenes; keep it fixed to compare runs on the same data.
        augment_seed: seed of the augmentation of `train`.
        train, validation, test: number of scenes of each split.
        height, width: size of the images in pixels, multiples of 32.
        far: maximum valid depth in metres.
        normals: whether items contain surface normals.
    """

    classes = CLASSES

    def __init__(
        self,
        seed: int = 0,
        augment_seed: int = 0,
        train: int = 448,
        validation: int = 64,
        test: int = 96,
        height: int = 64,
        width: int = 96,
        far: float = 20.0,
        normals: bool = False,
    ) -> None:
        self.size = check_size(height, width)
        self.seed, self.augment_seed, self.far, self.normals = seed, augment_seed, far, normals
        self.counts = split_sizes(STRIDE - 1, train=train, holdout=validation, test=test)
        self._films: dict[str, _Film] = {}

    def dataset(self, split: Split) -> "SceneImages":
        """One split; scenes are rendered when an item is read."""
        if split in self.counts and split not in self._films:
            first = SPLITS.index(split) * STRIDE
            self._films[split] = _Film(self.seed, first, self.counts[split], self.size, self.normals)
        return SceneImages(split, self)

    def film(self, split: Split) -> "_Film":
        """The rendered scenes of a split, shared by its datasets."""
        return self._films[split]


class SceneImages(Images):
    """Items: image (3 H W), depth in metres and valid (1 H W), classes and instances (H W).

    `valid` is false in the sky and beyond the source's `far`. With the source's `normals` items also contain normals
    (3 H W): unit vectors in camera axes (right, down, forward), 0 in the sky.
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
                # x points to the right, so a flip changes its sign
                normals = [each[:, ::-1] * np.array([-1, 1, 1], dtype=each.dtype) for each in normals]
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
        """The sha256 of seed, range, size and the renderer's version; renders nothing."""
        source = self._source
        return manifest_of(
            source="synthetic",
            renderer=RENDERER,
            seed=source.seed,
            split=self.split,
            count=len(self),
            size=source.size,
            far=source.far,
            **({"normals": True} if source.normals else {}),
        )


class _Film:
    """The scenes of one split, each rendered once; half precision keeps depth to 1 part in 2000."""

    def __init__(self, seed: int, first: int, count: int, size: tuple[int, int], normals: bool) -> None:
        self._seed, self._first, self._size, self._normals = seed, first, size, normals
        self._frames: list[tuple[NDArray, ...] | None] = [None] * count

    def frame(self, index: int) -> tuple[NDArray, ...]:
        """rgb uint8, depth float16, classes uint8, instances uint8 and, if requested, normals float16."""
        frame = self._frames[index]
        if frame is None:
            scene = make_scene(self._seed, self._first + index)
            view = render(scene, scene.view(0), *self._size)
            # ground near the horizon overflows to infinity, which is not valid depth
            with np.errstate(over="ignore"):
                depth = view.depth.astype(np.float16)
            frame = (view.rgb, depth, view.classes, view.instances)
            frame += (view.normals.astype(np.float16),) if self._normals else ()
            self._frames[index] = frame
        return frame
