"""NYU Depth v2: indoor scenes with depth of a structured-light camera, as 16-bit PNG in millimetres.

Training frames are the synchronised frames of the raw recordings, test frames the 654 of the official split
(Silberman et al. 2012), in the folder layout that depth estimation code uses.
"""

import logging
import re
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from evonas.data.base import Split
from evonas.data.depth.augment import DepthAugment, Metres, Pixels
from evonas.data.depth.base import FrameSource
from evonas.data.io.pairs import dimensions
from evonas.data.io.split_lists import Folders, Frame, check_present, list_of, listed
from evonas.errors import DataError, UserError

log = logging.getLogger(__name__)

TRAIN_LISTS = ("nyudepthv2_train_files_with_gt_dense.txt", "nyudepthv2_train_files_with_gt.txt")
TEST_LISTS = ("nyudepthv2_test_files_with_gt.txt",)
TRAIN_FOLDERS = ("sync",)
TEST_FOLDERS = ("official_splits/test", "test")
# rows first:last and columns first:last where image and depth overlap after registration
BORDER = (45, 472, 43, 608)

_SCENE, _NUMBER = r"(?P<scene>[A-Za-z0-9_]+)", r"(?P<number>[0-9]{5})"
IMAGE = re.compile(rf"(?:sync/)?{_SCENE}/rgb_{_NUMBER}\.(?:jpg|png)")
TRUTH = re.compile(rf"(?:sync/)?{_SCENE}/sync_depth_{_NUMBER}\.png")

TREE = """\
<root>/sync/bedroom_0130/rgb_00000.jpg          sync_depth_00000.png
<root>/official_splits/test/bathroom/rgb_00045.jpg   sync_depth_00045.png
    or <root>/test/bathroom/..."""


@dataclass(eq=False)
class Nyu(FrameSource):
    """A source of NYU's frames.

    Args:
        root: folder of `sync` and the test frames, see `TREE`.
        lists: folder of the published lists; without them all pairs in the folders are used.
        height, width: 480 and 640 as published. Larger frames are cropped, at random if training is augmented,
            otherwise in the centre.
        border: rows first, last, columns first, last outside which training depth is unknown; None for no border.
        others: see `FrameSource`.

    Raises:
        UserError: border is empty.
    """

    lists: str | None = None
    _: KW_ONLY
    height: int = 480
    width: int = 640
    border: tuple[int, int, int, int] | None = BORDER

    name = "nyu"
    units_per_metre = 1000.0
    published_augment = DepthAugment(rotation=2.5, brightness=0.25)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.border = None if self.border is None else checked_border(self.border)

    def training_frames(self) -> list[Frame]:
        """The published list if given, otherwise all pairs below `sync`."""
        return self._frames_of(TRAIN_FOLDERS, TRAIN_LISTS)

    def test_frames(self) -> list[Frame]:
        """The published list if given, otherwise all pairs of the test folder."""
        return self._frames_of(TEST_FOLDERS, TEST_LISTS)

    def fitted(self, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:
        """Whole frames; training depth outside the border is set to unknown."""
        if split != "train" or self.border is None:
            return image, depth
        top, bottom, left, right = self.border
        if bottom > depth.shape[0] or right > depth.shape[1]:
            raise DataError(
                f"data.border={list(self.border)} exceeds frames of {dimensions(depth.shape)}.",
                "The default is for 480x640; use data.border=null.",
            )
        known = depth * 0
        known[top:bottom, left:right] = depth[top:bottom, left:right]
        return image, known

    def details(self) -> dict[str, object]:
        """Includes the border."""
        return {"border": self.border}

    def _frames_of(self, folders: tuple[str, ...], lists: tuple[str, ...]) -> list[Frame]:
        tree = NyuTree(self.folder, folders)
        path = list_of(self.lists, lists, (*TRAIN_LISTS, *TEST_LISTS))
        return tree.generated() if path is None else tree.listed(path)


class NyuTree:
    """One folder of scenes.

    Args:
        root: folder of the data set.
        places: possible folders of the scenes below it; the first that exists is used.

    Raises:
        DataError: none of them exists.
    """

    def __init__(self, root: Path, places: tuple[str, ...]) -> None:
        self.folders = Folders()
        found = next((root / place for place in places if self.folders.names(root / place)), None)
        if found is None:
            looked = " or ".join(str(root / place) for place in places)
            raise DataError(
                f"NYU Depth v2 is not in {root}; missing: {looked}.",
                f"Set data.root=<root>; docs/data.md lists the downloads. Expected:\n{TREE}\n"
                "To try evonas without NYU: +task=synthetic",
            )
        self.place = found

    def listed(self, path: Path) -> list[Frame]:
        """The frames of a list."""
        frames = listed(path, IMAGE, TRUTH, lambda groups: self._frame(groups["scene"], groups["number"]))
        check_present(frames, self.folders, path.name)
        return frames

    def generated(self) -> list[Frame]:
        """All frames with a depth map; images without one are counted, depth maps without image are refused."""
        frames, images = [], 0
        for scene in sorted(self.folders.names(self.place)):
            for name in sorted(self.folders.names(self.place / scene)):
                match = re.fullmatch(r"sync_depth_([0-9]{5})\.png", name)
                if match:
                    frames.append(self._frame(scene, match[1]))
                images += bool(re.fullmatch(r"rgb_[0-9]{5}\.(?:jpg|png)", name))
        if not frames:
            raise DataError(f"{self.place} contains no frames.", f"Expected:\n{TREE}")
        check_present(frames, self.folders, str(self.place))
        if images > len(frames):
            skipped = images - len(frames)
            log.warning(
                "Skipped: %d of %d images in %s, which have no depth map.", skipped, images, self.place
            )
        return frames

    def _frame(self, scene: str, number: str) -> Frame:
        folder = self.place / scene
        image = folder / f"rgb_{number}.jpg"
        if not self.folders.has(image) and self.folders.has(folder / f"rgb_{number}.png"):
            image = folder / f"rgb_{number}.png"
        return Frame(room(scene), image, folder / f"sync_depth_{number}.png")


def room(scene: str) -> str:
    """The scene's name without the letter of its recording: kitchen_0029a and kitchen_0029b are one room."""
    return re.sub(r"(?<=[0-9])[a-z]$", "", scene)


def checked_border(border: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The border, unless it is empty (UserError)."""
    if len(border) == 4:
        top, bottom, left, right = border
        if 0 <= top < bottom and 0 <= left < right:
            return top, bottom, left, right
    raise UserError(f"data.border={list(border)} is empty.", f"Use data.border={list(BORDER)} or null.")
