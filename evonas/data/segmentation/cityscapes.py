"""Cityscapes: street scenes of fifty cities in 19 classes (Cordts et al., CVPR 2016, arXiv 1604.01685)."""

from pathlib import Path

from evonas.data.io.split_lists import Folders, Frame, check_present
from evonas.data.segmentation.base import IGNORE, Pixels, Stored, looked_up, table
from evonas.data.segmentation.variable_size import CanvasSource
from evonas.errors import DataError

# evaluated classes by their id in gtFine's labelIds (cityscapesScripts, helpers/labels.py)
LABEL_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CLASSES = tuple(LABEL_IDS)
_LAST_ID = 33
BY_ID = table(
    {
        **dict.fromkeys(range(_LAST_ID + 1), IGNORE),
        **{raw: number for number, raw in enumerate(LABEL_IDS.values())},
    }
)
BY_TRAIN_ID = table({**{number: number for number in range(len(CLASSES))}, IGNORE: IGNORE})
IMAGE, IDS, TRAIN_IDS = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"
TREE = """\
<root>/leftImg8bit/{train,val}/<city>/<city>_000000_000019_leftImg8bit.png
<root>/gtFine/{train,val}/<city>/<city>_000000_000019_gtFine_labelIds.png   (or ..._labelTrainIds.png)"""


class Cityscapes(CanvasSource):
    """A source of Cityscapes; `test` is the official `val`, `holdout` whole cities of the official `train`.

    Arguments are those of `CanvasSource`. The labels of the official test set are not public.
    """

    name, classes = "cityscapes", CLASSES

    def training_frames(self) -> list[Frame]:
        """The 2 975 images of 18 cities."""
        return self._part("train")

    def test_frames(self) -> list[Frame]:
        """The 500 images of three other cities."""
        return self._part("val")

    def class_ids(self, stored: Stored, path: Path) -> Pixels:
        """Ids of the 19 classes, from either kind of label file; pixels of other classes are ignored."""
        known = BY_TRAIN_ID if path.name.endswith(TRAIN_IDS) else BY_ID
        return looked_up(stored, path, known, "Use gtFine's labelIds (0-33) or labelTrainIds (0-18 and 255).")

    def _part(self, part: str) -> list[Frame]:
        folders, base = Folders(), self.folder / "leftImg8bit" / part
        frames = []
        for city in sorted(folders.names(base)):
            for name in sorted(folders.names(base / city)):
                if name.endswith(IMAGE):
                    stem = name.removesuffix(IMAGE)
                    truth = self.folder / "gtFine" / part / city / f"{stem}{IDS}"
                    other = truth.with_name(f"{stem}{TRAIN_IDS}")
                    uses_other = folders.has(other) and not folders.has(truth)
                    frames.append(Frame(city, base / city / name, other if uses_other else truth))
        if not frames:
            raise DataError(
                f"Cityscapes is not in {self.folder}: {base} contains no cities with images.",
                f"Set data.root=<root>, where:\n{TREE}",
            )
        check_present(frames, folders, f"gtFine/{part}")
        return frames
