"""Segmentation data of the user: folders or lists of images and masks."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from evonas.data.io.pairs import NamedSplits, PairFolders
from evonas.data.io.pictures import open_colours, open_numbers
from evonas.data.io.split_lists import Frame
from evonas.data.segmentation.base import Pixels, Stored
from evonas.data.segmentation.palette import Unknown, legend
from evonas.data.segmentation.variable_size import CanvasSource

TREE = """\
<root>/<images>/<name>.png|jpg   <root>/<masks>/<name>.png
where data.images and data.masks are folders that may contain {split}, which is replaced by data.train,
data.validation or data.test. Or set data.lists=<folder> with a list <split>.txt for each split, whose lines
are: image mask, both relative to <root>."""


@dataclass(eq=False)
class MaskFolders(NamedSplits, CanvasSource):
    """A source of images with masks. A file of classes is read immediately.

    Args:
        root: base folder of the paths below.
        classes: names in the order of their ids, or the path of a text file with one class per line (see `legend`).
        palette: red, green and blue of each class in the masks; None for the colours in the file, if any.
        first: value of the first class in masks of class ids; smaller values are ignored.
        unknown: `refuse` or `ignore` unknown values and colours.
        images, masks: folders of the images and of the masks.
        lists: folder of lists that replace the folders.
        train, test: names of the training and test split.
        validation: share of the training pairs in the validation split, or the name of an official one.
        others: see `CanvasSource`.
    """

    classes: Sequence[str]
    palette: Sequence[Sequence[int]] | None = None
    first: int = 0
    unknown: Unknown = "refuse"
    images: str = "images/{split}"
    masks: str = "masks/{split}"
    lists: str | None = None
    train: str = "train"
    test: str = "test"
    _: KW_ONLY
    width: int = 512
    validation: float | str = 0.1

    name = "masks"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.legend = legend(self.classes, self.palette, self.first, self.unknown)
        self.classes = self.legend.names

    def stored(self, path: Path) -> Stored:
        """Colours of painted masks, otherwise numbers."""
        return (open_numbers if self.legend.colours is None else open_colours)(path, self.max_pixels)

    def class_ids(self, stored: Stored, path: Path) -> Pixels:
        """Class ids by the legend."""
        return self.legend.class_ids(stored, path)

    def hint(self, seen: set[int]) -> str:
        """What the legend suggests."""
        return self.legend.hint(seen)

    def details(self) -> dict[str, object]:
        """Includes the legend."""
        meaning = self.legend
        return {
            **super().details(),
            "classes": meaning.names,
            "colours": meaning.colours,
            "first": meaning.first,
            "unknown": meaning.unknown,
        }

    def pairs(self, split: str) -> list[Frame]:
        """The pairs of the folders or the list of a split."""
        levels = 0 if self.grouping is None else self.grouping.levels
        return PairFolders(self.folder, self.images, self.masks, self.lists, TREE, levels).frames(split)
