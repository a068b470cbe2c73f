"""Videos and photo collections with known cameras: windows of context views, and target views between them.

Legend: V context views, T target views, H W space.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from evonas.data.base import Images, Item, Split, check_size, manifest_of
from evonas.data.io.folders import listed, warn_of_skipped
from evonas.data.io.safe import MAX_PIXELS
from evonas.data.io.split_lists import refuse_shared
from evonas.data.synthetic.views import check_views
from evonas.data.views.base import Shot, Shots, augmented, item, unit_baseline
from evonas.data.views.cameras import Missing, PosedImage, digest_of, opened
from evonas.data.views.colmap import read_colmap
from evonas.data.views.nerf import NAME, read_transforms
from evonas.data.views.realestate import read_video
from evonas.errors import DataError, UserError
from evonas.randomness import generator

Layout = Literal["realestate", "transforms", "colmap"]
# the files of each layout, for messages
EXPECTED = {
    "realestate": "<root>/train/<video>.txt and <root>/frames/train/<video>/<time>.jpg, likewise test",
    "transforms": "<root>/train/<scene>/transforms.json, likewise test",
    "colmap": "<root>/train/<scene>/sparse/0/ and images/, likewise test",
}


class Sequences:
    """A source of windows in sequences of posed images.

    A window spans `gap` images; its context views are evenly spaced, including the first and the last image, and its
    targets lie between them. Folders are listed on first use; camera files and images are read when an item is read.

    Args:
        root: folder of the data set.
        layout: layout of the files: realestate, transforms (NeRF) or colmap.
        height, width: size of a view in pixels, multiples of 32. Images are cropped around their centre.
        context: number of context views.
        targets: number of target views on `holdout` and `test`; `train` has one.
        gap: minimum and maximum number of images from the first context view to the last; random on `train`,
            otherwise the maximum that fits.
        validation: share of the training sequences in the validation split, in (0, 1).
        validation_sequences: maximum number of sequences in the validation split.
        validation_seed: seed of that split; keep it fixed to compare runs on the same data.
        near, far: range of depth.
        unit_baseline: whether lengths are in units of the distance between the outer context cameras.
        missing: `skip` omits listed images without a file, `error` refuses them.
        augment_seed: seed of windows and augmentation of `train`.
        max_pixels: larger images are refused.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        layout: Layout,
        height: int = 256,
        width: int = 256,
        context: int = 2,
        targets: int = 3,
        gap: Sequence[int] = (30, 60),
        validation: float = 0.02,
        validation_sequences: int = 200,
        validation_seed: int = 0,
        near: float = 1.0,
        far: float = 100.0,
        unit_baseline: bool = True,
        missing: Missing = "error",
        augment_seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.view_size = check_size(height, width)
        check_views(context, targets, near, far)
        self.size = height, context * width
        self.root, self.layout, self.missing = Path(root), _known(layout, get_args(Layout), "layout"), missing
        _known(missing, get_args(Missing), "missing")
        self.context, self.targets, self.near, self.far = context, targets, near, far
        if len(gap) != 2 or not context <= gap[0] <= gap[1]:
            raise UserError(
                f"data.gap must be [least, most] with {context} <= least <= most, got {list(gap)}.",
                f"Try data.gap=[{context},{10 * context}].",
            )
        self.gap = int(gap[0]), int(gap[1])
        if not 0 < validation < 1:
            raise UserError(
                f"data.validation must be in (0, 1), got {validation}.", "Try data.validation=0.02."
            )
        if validation_sequences < 1:
            raise UserError(f"data.validation_sequences must be at least 1, got {validation_sequences}.")
        self.validation = validation, validation_seed, validation_sequences
        self.unit_baseline, self.augment_seed, self.max_pixels = unit_baseline, augment_seed, max_pixels
        self._names: dict[Split, list[str]] = {}
        self._sequences: dict[str, list[Path]] = {}

    def dataset(self, split: Split) -> "SequenceImages":
        """One split; files are read on first use of its length or items."""
        return SequenceImages(split, self)

    def names(self, split: Split) -> list[str]:
        """The names of a split's sequences, sorted; only folders are listed."""
        if split not in self._names:
            self._names |= {"test": self._listed("test")} if split == "test" else self._cut()
        return self._names[split]

    def images(self, split: Split, name: str) -> list[PosedImage]:
        """The posed images of a sequence; a DataError if it is shorter than a window."""
        part = "test" if split == "test" else "train"
        folder = self.root / part
        if self.layout == "realestate":
            frames = self.root / "frames" / part / name
            images = read_video(folder / f"{name}.txt", frames, self.missing)
        else:
            read = read_transforms if self.layout == "transforms" else read_colmap
            images = read(folder / name, self.missing)
        if len(images) <= self.context:
            raise DataError(
                f"{folder / name} has {len(images)} images, too few for {self.context} views and a target.",
                "Remove this sequence.",
            )
        return images

    def _cut(self) -> dict[Split, list[str]]:
        """The names of the training and validation sequences."""
        share, seed, most = self.validation
        names = self._listed("train")
        if len(names) < 2:
            raise DataError(
                f"{self.root / 'train'} contains one sequence; at least two are needed, one for validation."
            )
        count = min(max(1, round(share * len(names))), most, len(names) - 1)
        held = set(generator(seed, "holdout").permutation(len(names))[:count].tolist())
        parts: dict[Split, list[str]] = {"train": [], "holdout": []}
        for place, name in enumerate(names):
            parts["holdout" if place in held else "train"].append(name)
        return parts

    def _listed(self, part: str) -> list[str]:
        folder, is_video = self.root / part, self.layout == "realestate"
        if not folder.is_dir():
            raise DataError(f"Folder {folder} does not exist.", f"Expected: {EXPECTED[self.layout]}.")
        if is_video:
            found = [path.stem for path in folder.glob("*.txt")]
        else:
            mark = NAME if self.layout == "transforms" else "images"
            found = [path.parent.name for path in folder.glob(f"*/{mark}")]
        if not found and any(folder.glob("*.torch")):
            raise DataError(
                f"{folder} contains .torch chunks, which are pickles and are not opened.",
                "Write a video's cameras as <video>.txt, its images as frames/<part>/<video>/<time>.jpg.",
            )
        if not found:
            raise DataError(f"{folder} contains no sequence.", f"Expected: {EXPECTED[self.layout]}.")
        used = {f"{name}.txt" if is_video else name for name in found}
        skipped = sorted(Path(entry.path) for entry in listed(folder) if entry.name not in used)
        warn_of_skipped(skipped, folder, f"expected are {EXPECTED[self.layout]}")
        # the name of a video is unique, that of a scene is so within its folder alone
        self._sequences[part] = [Path(name) if is_video else folder / name for name in found]
        if len(self._sequences) == 2:
            refuse_shared(self._sequences["train"], self._sequences["test"], ("train", "test"), "sequences")
        return sorted(found)


class SequenceImages(Images):
    """Items of `data/views/base.py`, one window of each sequence; every access decodes."""

    def __init__(self, split: Split, source: Sequences) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return len(self._source.names(self.split))

    def __getitem__(self, index: int) -> Item:
        index, source = self.position(index), self._source
        name = source.names(self.split)[index]
        images = source.images(self.split, name)
        moves = self.augment and self.split == "train"
        seed, purpose = (
            (source.augment_seed, f"augment/{self.epoch}") if moves else (0, f"views/{self.split}")
        )
        random = generator(seed, purpose, index)
        context, target = self._window(len(images), random, moves)
        taken = [tuple(self._shot(images[place]) for place in places) for places in (context, target)]
        shots = Shots(taken[0], taken[1], source.near, source.far)
        if source.unit_baseline:
            shots = unit_baseline(shots, f"{source.root}: {name}")
        return item(augmented(shots, random) if moves else shots)

    def _window(self, count: int, random: np.random.Generator, moves: bool) -> tuple[list[int], list[int]]:
        """Indices of context and target images in a sequence of `count`."""
        source = self._source
        least, most = (min(gap, count - 1) for gap in source.gap)
        span = int(random.integers(least, most + 1)) if moves else most
        first = int(random.integers(0, count - span))
        context = np.linspace(first, first + span, source.context).round().astype(int).tolist()
        between = [place for place in range(first, first + span) if place not in context]
        number = 1 if self.split == "train" else source.targets
        # with fewer images than targets some images are repeated, so that items have equal shapes
        drawn = random.permutation(np.resize(random.permutation(between), max(number, len(between))))
        return context, sorted(drawn[:number].tolist())

    def _shot(self, image: PosedImage) -> Shot:
        colours, lens = opened(image, self._source.view_size, self._source.max_pixels)
        return Shot(colours, image.view, lens)

    def manifest(self) -> str:
        """The sha256 of cameras, file names, file sizes and the settings of the windows; pixels are not read."""
        source = self._source
        names = source.names(self.split)
        return manifest_of(
            source=source.layout,
            split=self.split,
            names=names,
            sequences=[digest_of(source.images(self.split, name)) for name in names],
            size=source.view_size,
            views=(source.context, source.targets, source.gap),
            range=(source.near, source.far, source.unit_baseline),
            missing=source.missing,
        )


def _known(value: str, choices: tuple[str, ...], key: str) -> str:
    if value not in choices:
        raise UserError(f"data.{key}={value} is unknown.", f"Choose one of: {', '.join(choices)}.")
    return value
