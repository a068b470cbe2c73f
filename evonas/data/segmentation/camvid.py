"""CamVid: street scenes in eleven classes, in the folder layout of the SegNet tutorial.

Legend: C channels, H W space.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from evonas.data.augment import flips, jitter_colour
from evonas.data.base import Item, Split
from evonas.data.io.pairs import dimensions, matched
from evonas.data.io.pictures import orientation_note, picture_size
from evonas.data.io.split_lists import Frame
from evonas.data.segmentation.base import IGNORE, MaskSource, Pixels, Stored, item, looked_up, table, unit
from evonas.errors import DataError

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 11
FOLDERS: dict[Split, str] = {"train": "train", "holdout": "val", "test": "test"}
# a training crop has between 1 / LARGEST_ZOOM of each side and the whole image
LARGEST_ZOOM = 1.6
TREE = """\
<root>/train/<name>.png|jpg   <root>/trainannot/<name>.png
<root>/val/<name>.png|jpg     <root>/valannot/<name>.png
<root>/test/<name>.png|jpg    <root>/testannot/<name>.png
Masks contain class ids 0-10, and 11 for ignored pixels."""
NUMBERS = table({**{number: number for number in range(VOID)}, VOID: IGNORE})


class CamVid(MaskSource):
    """A source of CamVid's official splits; `holdout` is the official `val`.

    For evaluation images are resized to the network's size, while masks keep their resolution, so that metrics do not
    depend on that size; training crops are resized together with their masks. Decoded pairs, all of one size, are kept
    in memory.

    Args:
        root: folder of train, trainannot, val, valannot, test and testannot.
        augment_seed: seed of the augmentation of `train`.
        height, width: size of the network's images in pixels, multiples of 32.
        max_pixels: larger images are refused.
    """

    name, classes = "camvid", CLASSES

    def __init__(
        self,
        root: str,
        augment_seed: int = 0,
        height: int = 160,
        width: int = 224,
        max_pixels: int = 4_000_000,
    ) -> None:
        super().__init__(root, height=height, width=width, augment_seed=augment_seed, max_pixels=max_pixels)
        self._read: dict[Path, tuple[Pixels, Pixels]] = {}

    def training_frames(self) -> list[Frame]:
        """The official training split."""
        return self._official("train")

    def holdout_frames(self) -> list[Frame]:
        """The official validation split."""
        return self._official("holdout")

    def test_frames(self) -> list[Frame]:
        """The official test split."""
        return self._official("test")

    def _official(self, split: Split) -> list[Frame]:
        check_tree(self.folder)
        return matched(self.folder / FOLDERS[split], self.folder / f"{FOLDERS[split]}annot", TREE)

    def read(self, frame: Frame) -> tuple[Pixels, Pixels]:
        """A decoded pair; raises a DataError unless it has the size of the others."""
        if frame.image not in self._read:
            first = next(frames[0] for frames in self._frames.values() if frame in frames)
            shape = picture_size(first.image, self.max_pixels)
            pair = self.decoded(frame)
            for path, array in zip((frame.image, frame.truth), pair, strict=True):
                if array.shape[:2] != shape:
                    found, wanted = dimensions(array.shape), dimensions(shape)
                    note = orientation_note(path, self.max_pixels)
                    raise DataError(
                        f"{path} is {found}{note}, others are {wanted}.", "Use images of one size."
                    )
            self._read[frame.image] = pair
        return self._read[frame.image]

    def class_ids(self, stored: Stored, path: Path) -> Pixels:
        """Class ids with void as 255."""
        return looked_up(stored, path, NUMBERS, "Use the masks of the SegNet tutorial: one channel, 0-11.")

    def training(self, image: Pixels, mask: Pixels, random: np.random.Generator) -> Item:
        """A random crop of the image's aspect ratio, resized to the network's size, flipped and colour-jittered."""
        height, width = mask.shape
        zoom = random.uniform(1.0, LARGEST_ZOOM)
        h, w = height / zoom, width / zoom
        top, left = random.uniform(0, height - h), random.uniform(0, width - w)
        box, size = (left, top, left + w, top + h), self.size[::-1]
        crop = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box))
        labels = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST, box=box))
        if flips(random):
            crop, labels = crop[:, ::-1], labels[:, ::-1]
        return item(jitter_colour(unit(crop), random), labels)

    def whole(self, image: Pixels, mask: Pixels) -> Item:
        """The resized image, and the mask at its own resolution."""
        height, width = self.size
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return item(unit(np.asarray(resized)), mask)


def check_tree(root: Path) -> None:
    """Raises a DataError that names missing folders."""
    expected = [root / name for split in FOLDERS.values() for name in (split, f"{split}annot")]
    missing = [str(folder) for folder in expected if not folder.is_dir()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"CamVid is not in {root}; missing: {', '.join(missing[:3])}{more}.",
            f"Set data.root=<root>, where:\n{TREE}",
        )
