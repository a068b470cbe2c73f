"""NYU Depth v2: rooms with depth of a structured-light camera, as 16-bit millimetres.

Training frames are the synchronised ones of the raw recordings, test frames the 654 of the
official split (Silberman et al. 2012), in the folders that depth estimators share.
"""

import re
from pathlib import Path

from evonas.data.base import Split
from evonas.data.depth.augment import DepthAugment, Metres, Pixels
from evonas.data.depth.base import FrameSource
from evonas.data.io.pairs import spelt
from evonas.data.io.split_lists import Folders, Frame, check_present, list_of, listed
from evonas.errors import DataError, UserError

TRAIN_LISTS = ("nyudepthv2_train_files_with_gt_dense.txt", "nyudepthv2_train_files_with_gt.txt")
TEST_LISTS = ("nyudepthv2_test_files_with_gt.txt",)
TRAIN_FOLDERS = ("sync",)
TEST_FOLDERS = ("official_splits/test", "test")
# rows and columns where image and depth overlap after registration: first included, last excluded
BORDER = (45, 472, 43, 608)

_SCENE, _NUMBER = r"(?P<scene>[A-Za-z0-9_]+)", r"(?P<number>[0-9]{5})"
IMAGE = re.compile(rf"(?:sync/)?{_SCENE}/rgb_{_NUMBER}\.(?:jpg|png)")
TRUTH = re.compile(rf"(?:sync/)?{_SCENE}/sync_depth_{_NUMBER}\.png")

TREE = """\
<root>/sync/bedroom_0130/rgb_00000.jpg          sync_depth_00000.png
<root>/official_splits/test/bathroom/rgb_00045.jpg   sync_depth_00045.png
    or <root>/test/bathroom/..."""


class Nyu(FrameSource):
    """A source of NYU's frames, whole as published.

    Args:
        root: holds `sync` and the test frames, see `TREE`.
        lists: a folder with the published lists; without them every pair in the folders is used.
        height: 480 and `width` 640 as published. Larger frames are cut: at random where
            training is augmented, otherwise in the middle.
        border: rows first, last, columns first, last outside which training depth is unknown; None for all.
        holdout, holdout_seed, holdout_images, augment, augment_seed, max_pixels: see `FrameSource`.
    """

    name = "nyu"
    units_per_metre = 1000.0

    def __init__(
        self,
        root: str,
        lists: str | None = None,
        height: int = 480,
        width: int = 640,
        border: tuple[int, int, int, int] | None = BORDER,
        holdout: float = 0.05,
        holdout_seed: int = 0,
        holdout_images: int = 650,
        augment: DepthAugment | None = None,
        augment_seed: int = 0,
        max_pixels: int = 4_000_000,
    ) -> None:
        how = augment or DepthAugment(rotation=2.5, brightness=0.25)
        super().__init__(
            root, height, width, holdout, holdout_seed, holdout_images, how, augment_seed, max_pixels
        )
        self.lists = lists
        self.border = None if border is None else checked_border(border)

    def training_frames(self) -> list[Frame]:
        """The published list where it is given, otherwise every pair below `sync`."""
        return self._frames_of(TRAIN_FOLDERS, TRAIN_LISTS)

    def test_frames(self) -> list[Frame]:
        """The published list where it is given, otherwise every pair of the test folder."""
        return self._frames_of(TEST_FOLDERS, TEST_LISTS)

    def fitted(self, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:
        """Whole frames; training depth is forgotten outside the border."""
        if split != "train" or self.border is None:
            return image, depth
        top, bottom, left, right = self.border
        if bottom > depth.shape[0] or right > depth.shape[1]:
            raise DataError(
                f"Frames of {spelt(depth.shape)} have no border at {list(self.border)}.",
                "It is that of 480x640; use data.border=null.",
            )
        known = depth * 0
        known[top:bottom, left:right] = depth[top:bottom, left:right]
        return image, known

    def details(self) -> dict[str, object]:
        """The border."""
        return {"border": self.border}

    def _frames_of(self, folders: tuple[str, ...], lists: tuple[str, ...]) -> list[Frame]:
        tree = NyuTree(self.root, folders)
        path = list_of(self.lists, lists)
        return tree.generated() if path is None else tree.listed(path)


class NyuTree:
    """One folder of scenes.

    Args:
        root: of the data set.
        places: where the scenes may be below it; the first that is there is used.
    """

    def __init__(self, root: Path, places: tuple[str, ...]) -> None:
        self.folders = Folders()
        found = next((root / place for place in places if self.folders.names(root / place)), None)
        if found is None:
            looked = " or ".join(str(root / place) for place in places)
            raise DataError(
                f"NYU Depth v2 is not in {root}; missing: {looked}.",
                f"Set data.root=<root>; docs/data.md says what to download. Expected:\n{TREE}\n"
                "Meanwhile: +task=synthetic",
            )
        self.place = found

    def listed(self, path: Path) -> list[Frame]:
        """The frames of a list."""
        frames = listed(path, IMAGE, TRUTH, lambda groups: self._frame(groups["scene"], groups["number"]))
        check_present(frames, self.folders, path.name)
        return frames

    def generated(self) -> list[Frame]:
        """Every frame with a depth map; images without one are not used, maps without image are refused."""
        frames = []
        for scene in sorted(self.folders.names(self.place)):
            for name in sorted(self.folders.names(self.place / scene)):
                match = re.fullmatch(r"sync_depth_([0-9]{5})\.png", name)
                if match:
                    frames.append(self._frame(scene, match[1]))
        if not frames:
            raise DataError(f"{self.place} contains no frames.", f"Expected:\n{TREE}")
        check_present(frames, self.folders, str(self.place))
        return frames

    def _frame(self, scene: str, number: str) -> Frame:
        folder = self.place / scene
        image = folder / f"rgb_{number}.jpg"
        if not self.folders.has(image) and self.folders.has(folder / f"rgb_{number}.png"):
            image = folder / f"rgb_{number}.png"
        return Frame(room(scene), image, folder / f"sync_depth_{number}.png")


def room(scene: str) -> str:
    """The scene without the letter of its recording: kitchen_0029a and kitchen_0029b show one room."""
    return re.sub(r"(?<=[0-9])[a-z]$", "", scene)


def checked_border(border: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The border, refused unless it encloses something."""
    if len(border) == 4:
        top, bottom, left, right = border
        if 0 <= top < bottom and 0 <= left < right:
            return top, bottom, left, right
    raise UserError(
        f"data.border={list(border)} encloses nothing.", f"Use data.border={list(BORDER)} or null."
    )
