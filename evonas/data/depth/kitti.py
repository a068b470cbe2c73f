"""KITTI depth prediction: street scenes with lidar depth, in the Eigen split or the official split.

The drives are those of Eigen et al. 2014 (arXiv 1406.2283): 697 test images of 28 drives of the categories city,
residential and road; the other 33 drives are for training. By the file lists of Godard et al. 2017
(mrharicot/monodepth) these 33 drives have 23 488 left images, 23 158 of them with ground truth, which omits the first
and the last five images of each drive. The 13 validation drives of the official split are those in the folder `val` of
KITTI's data_depth_annotated.zip.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from evonas.data.base import Split
from evonas.data.depth.augment import Metres, Pixels
from evonas.data.depth.base import FrameSource, bottom_centred
from evonas.data.io.split_lists import Folders, Frame, check_present, list_of, listed
from evonas.errors import DataError, UserError

log = logging.getLogger(__name__)

Version = Literal["eigen", "official"]
VERSIONS: tuple[Version, ...] = ("eigen", "official")

_EIGEN_TRAIN = {
    "2011_09_26": "1 5 11 14 15 17 18 19 22 28 32 35 39 51 57 60 61 70 79 87 91 95 104 113",
    "2011_09_28": "1",
    "2011_09_29": "4 26",
    "2011_09_30": "20 28 33 34",
    "2011_10_03": "34 42",
}
_OFFICIAL_VAL = {
    "2011_09_26": "2 5 13 20 23 36 79 95 113",
    "2011_09_28": "37",
    "2011_09_29": "26",
    "2011_09_30": "16",
    "2011_10_03": "47",
}
TRAIN_LISTS = {"eigen": "eigen_train_files_with_gt.txt", "official": "kitti_depth_prediction_train.txt"}
EIGEN_TEST_LISTS = ("eigen_test_files_with_gt.txt", "eigen_test_files_with_gt_safe.txt")
OFFICIAL_TEST_LIST = "kitti_official_valid.txt"
LISTS = (*TRAIN_LISTS.values(), *EIGEN_TEST_LISTS, OFFICIAL_TEST_LIST)

_DRIVE = r"(?P<date>[0-9]{4}_[0-9]{2}_[0-9]{2})_drive_(?P<drive>[0-9]{4})_sync"
_CAMERA, _NUMBER = r"image_(?P<camera>0[23])", r"(?P<number>[0-9]{10})"
IMAGE = re.compile(rf"(?:raw/)?[0-9_]{{10}}/{_DRIVE}/{_CAMERA}/data/{_NUMBER}\.(?:png|jpg)")
TRUTH = re.compile(rf"(?:train/|val/)?{_DRIVE}/proj_depth/groundtruth/{_CAMERA}/{_NUMBER}\.png")
SELECTED = re.compile(rf"(?:.*/)?(?P<name>{_DRIVE}_image_{_NUMBER}_{_CAMERA}\.png)")

TREE = """\
<root>[/raw]/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png
<root>/data_depth_annotated/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png
    or <root>/depth/train|val/2011_09_26_drive_0001_sync/proj_depth/...
<root>/depth_selection/val_selection_cropped/{image,groundtruth_depth}/   (data.split=official)"""


def drives(numbers: dict[str, str]) -> tuple[str, ...]:
    """Names of the drives' folders."""
    return tuple(f"{date}_drive_{int(n):04}_sync" for date, ns in numbers.items() for n in ns.split())


EIGEN_TRAIN_DRIVES, OFFICIAL_VAL_DRIVES = drives(_EIGEN_TRAIN), drives(_OFFICIAL_VAL)


@dataclass(eq=False)
class Kitti(FrameSource):
    """A source of KITTI's frames, cropped to the benchmark's window at the bottom centre.

    Args:
        root: folder of the raw drives and their ground truth, in either layout of `TREE`.
        split: `eigen` (left images) or `official` (both colour cameras; its validation selection is `test`).
        lists: folder of the published lists; lists that can be generated from the folders may be missing.
        height, width: 352 and 1216 as published; smaller multiples of 32 crop a smaller window.
        others: see `FrameSource`.

    Raises:
        UserError: split is unknown.
    """

    split: Version = "eigen"
    lists: str | None = None
    _: KW_ONLY
    height: int = 352
    width: int = 1216

    name = "kitti"
    units_per_metre = 256.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split not in VERSIONS:
            raise UserError(f"data.split={self.split} is unknown.", f"Choose {' or '.join(VERSIONS)}.")

    def training_frames(self) -> list[Frame]:
        """The published list if given, otherwise all frames of the training drives with ground truth."""
        tree = KittiTree(self.folder)
        path = list_of(self.lists, (TRAIN_LISTS[self.split],), LISTS)
        if path is not None:
            return tree.listed(path)
        if self.split == "eigen":
            return tree.generated(EIGEN_TRAIN_DRIVES, cameras=("02",))
        return tree.generated(tree.annotated(but=OFFICIAL_VAL_DRIVES), cameras=("02", "03"))

    def test_frames(self) -> list[Frame]:
        """Eigen's test images, which only the published list defines, or the official validation selection."""
        tree = KittiTree(self.folder)
        if self.split == "official":
            return tree.selected(list_of(self.lists, (OFFICIAL_TEST_LIST,), LISTS))
        path = list_of(self.lists, EIGEN_TEST_LISTS, LISTS)
        if path is None:
            raise DataError(
                f"Eigen's test list does not exist: {EIGEN_TEST_LISTS[0]} (or ..._safe.txt).",
                "Put the published file into a folder and set data.lists=<folder>; see docs/data.md. "
                "Only the training list can be generated.",
            )
        return tree.listed(path)

    def fitted(self, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:  # noqa: ARG002
        """The benchmark's window."""
        return bottom_centred(image, depth, self.size)


class KittiTree:
    """The folders of one copy of KITTI, in either layout.

    Args:
        root: see `TREE`; a DataError names what is missing.
    """

    def __init__(self, root: Path) -> None:
        self.folders = Folders()
        raw, depth = (root / "raw", root), (root / "data_depth_annotated", root / "depth")
        self.raw = next((place for place in raw if self._dates(place)), None)
        self.depth = next((place for place in depth if self.folders.names(place)), None)
        self.selections = root / "depth_selection", root / "depth" / "depth_selection"
        self._root = root

    def listed(self, path: Path) -> list[Frame]:
        """The frames of a list with ground truth; how many have none is said once."""
        self._check()
        frames = listed(path, IMAGE, TRUTH, self._frame)
        check_present(frames, self.folders, path.name)
        return frames

    def generated(self, drives: Sequence[str], cameras: Sequence[str]) -> list[Frame]:
        """All images of the drives with ground truth; missing drives are skipped with a warning."""
        self._check()
        frames = []
        for drive in drives:
            for camera in cameras:
                for name in sorted(self.folders.names(self._truths(drive, camera))):
                    if re.fullmatch(r"[0-9]{10}\.png", name):
                        frames.append(self._named(drive, camera, name[:10]))
        if not frames:
            raise DataError(
                f"{self.depth} contains none of the {len(drives)} training drives.", f"Expected:\n{TREE}"
            )
        check_present(frames, self.folders, f"{len(drives)} training drives")
        here = {frame.group for frame in frames}
        if len(here) < len(drives):
            log.warning(
                "Only %d of %d training drives have ground truth here: %d frames.",
                len(here),
                len(drives),
                len(frames),
            )
        return frames

    def annotated(self, but: Sequence[str]) -> list[str]:
        """Drives with ground truth, except those in `but`."""
        depth = self._check()
        places = (depth, depth / "train", depth / "val")
        found = {name for place in places for name in self.folders.names(place) if re.fullmatch(_DRIVE, name)}
        return sorted(found - set(but))

    def selected(self, path: Path | None) -> list[Frame]:
        """The official validation selection: the whole folder, or the images of a list with one column."""
        places = [place / "val_selection_cropped" for place in self.selections]
        place = next((place for place in places if self.folders.names(place / "image")), None)
        if place is None:
            raise DataError(
                f"KITTI's validation selection does not exist: {places[0]}/image.", f"Expected:\n{TREE}"
            )
        if path is None:
            names = sorted(name for name in self.folders.names(place / "image") if SELECTED.fullmatch(name))
            frames = [_selected(place, name) for name in names]
        else:
            frames = listed(path, SELECTED, None, lambda groups: _selected(place, groups["name"]))
        check_present(frames, self.folders, str(place))
        return frames

    def _frame(self, groups: dict[str, str]) -> Frame:
        drive = f"{groups['date']}_drive_{groups['drive']}_sync"
        return self._named(drive, groups["camera"], groups["number"])

    def _named(self, drive: str, camera: str, number: str) -> Frame:
        """The files of one frame; images may be JPEG copies."""
        assert self.raw is not None
        folder = self.raw / drive[:10] / drive / f"image_{camera}" / "data"
        image = folder / f"{number}.png"
        if not self.folders.has(image) and self.folders.has(folder / f"{number}.jpg"):
            image = folder / f"{number}.jpg"
        return Frame(drive, image, self._truths(drive, camera) / f"{number}.png")

    def _truths(self, drive: str, camera: str) -> Path:
        assert self.depth is not None
        places = (self.depth, self.depth / "train", self.depth / "val")
        place = next((place for place in places if drive in self.folders.names(place)), places[0])
        return place / drive / "proj_depth" / "groundtruth" / f"image_{camera}"

    def _dates(self, place: Path) -> bool:
        names = self.folders.names(place)
        return any(re.fullmatch(r"[0-9]{4}_[0-9]{2}_[0-9]{2}", name) for name in names)

    def _check(self) -> Path:
        """The folder of ground truth; raises a DataError that names what is missing."""
        if self.raw is not None and self.depth is not None:
            return self.depth
        missing = []
        if self.raw is None:
            missing.append(f"raw drives ({self._root}/raw/2011_09_26 or {self._root}/2011_09_26)")
        if self.depth is None:
            missing.append(f"ground truth ({self._root}/data_depth_annotated or {self._root}/depth)")
        raise DataError(
            f"KITTI is not in {self._root}; missing: {', '.join(missing)}.",
            f"Set data.root=<root>; docs/data.md lists the downloads. Either layout works:\n{TREE}\n"
            "To try evonas without KITTI: +task=synthetic",
        )


def _selected(place: Path, name: str) -> Frame:
    """An image of the selection and its ground truth, whose names differ in one word."""
    truth = place / "groundtruth_depth" / name.replace("_sync_image_", "_sync_groundtruth_depth_")
    return Frame(name.partition("_image_")[0], place / "image" / name, truth)
