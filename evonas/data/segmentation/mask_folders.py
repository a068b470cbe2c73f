"""Segmentation data of the user: folders or lists of images and masks."""

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from evonas.data.io.pairs import matched
from evonas.data.io.pictures import open_colours, open_numbers
from evonas.data.io.safe import read_lines
from evonas.data.io.split_lists import Folders, Frame, check_present
from evonas.data.segmentation.base import Pixels, Stored
from evonas.data.segmentation.palette import Unknown, legend
from evonas.data.segmentation.variable_size import CanvasSource
from evonas.errors import DataError

log = logging.getLogger(__name__)

TREE = """\
<root>/<images>/<name>.png|jpg   <root>/<masks>/<name>.png
where data.images and data.masks are folders that may contain {split}, which is replaced by data.train,
data.validation or data.test. Or set data.lists=<folder> with a list <split>.txt for each split, whose lines
are: image mask, both relative to <root>."""


@dataclass(eq=False)
class MaskFolders(CanvasSource):
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

    def training_frames(self) -> list[Frame]:
        """The pairs of `train`."""
        return self._pairs(self.train)

    def holdout_frames(self) -> list[Frame] | None:
        """The pairs of `validation`, if it is a name."""
        return self._pairs(self.validation) if isinstance(self.validation, str) else None

    def test_frames(self) -> list[Frame]:
        """The pairs of `test`."""
        return self._pairs(self.test)

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

    def _pairs(self, split: str) -> list[Frame]:
        if self.lists is not None:
            return self._listed(Path(self.lists) / f"{split}.txt")
        images, masks = (self.folder / each.format(split=split) for each in (self.images, self.masks))
        for place in (images, masks):
            if not place.is_dir():
                raise DataError(f"Folder {place} does not exist.", f"Set data.root=<root>, where:\n{TREE}")
        return matched(images, masks, TREE)

    def _listed(self, path: Path) -> list[Frame]:
        if not path.parent.is_dir():
            raise DataError(f"data.lists={self.lists} is not a folder.", f"Expected:\n{TREE}")
        if not path.is_file():
            names = sorted(each.name for each in path.parent.iterdir() if not each.name.startswith("."))
            raise DataError(
                f"{path} does not exist; data.lists={self.lists} contains {', '.join(names[:5]) or 'nothing'}.",
                "Name the lists <split>.txt, or say their names without the suffix: data.train=<name> data.test=<name>",
            )
        base, lines = self.folder.resolve(), read_lines(path, self.folder, columns=2)
        mask_of: dict[Path, Path] = {}
        for image, mask in lines:
            if mask_of.setdefault(image, mask) != mask:
                raise DataError(
                    f"{path} pairs {image} with {mask_of[image].name} and with {mask.name}.",
                    "Remove one of the lines.",
                )
        if not mask_of:
            raise DataError(f"{path} lists no images.", f"Expected:\n{TREE}")
        if len(mask_of) < len(lines):
            log.warning(
                "Skipped: %d of %d lines in %s, which repeat others.",
                len(lines) - len(mask_of),
                len(lines),
                path,
            )
        pairs = [[self.folder / found.relative_to(base) for found in pair] for pair in mask_of.items()]
        frames = [Frame(str(image), image, truth) for image, truth in pairs]
        check_present(frames, Folders(), path.name)
        return frames
