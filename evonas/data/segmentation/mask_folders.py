"""Any folders or lists of images and masks."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from evonas.data.io.pairs import matched
from evonas.data.io.safe import MAX_PIXELS, read_lines
from evonas.data.io.split_lists import Folders, Frame, check_present
from evonas.data.segmentation.base import Pixels
from evonas.data.segmentation.palette import Unknown, legend
from evonas.data.segmentation.variable_size import CanvasSource, CropAugment
from evonas.errors import DataError

TREE = """\
<root>/<images>/<name>.png|jpg   <root>/<masks>/<name>.png
where data.images and data.masks are folders that may hold {split}, which stands for data.train,
data.validation or data.test; or say data.lists=<folder> with a list <split>.txt of each, whose lines
are: image mask, both relative to <root>."""


class MaskFolders(CanvasSource):
    """A source of any images with masks. The file of classes, if there is one, is read at once.

    Args:
        root: holds everything that is named below.
        classes: names in the order of their numbers, or a text file, one class a line (see `legend`).
        palette: red, green and blue of every class in the masks; None for those of the file, or none.
        first: the value of the first class in masks that hold numbers; smaller ones have no class.
        unknown: `refuse` values and colours that are no class, or `ignore` them.
        images: folder of the images; likewise `masks`.
        lists: a folder of lists, used instead of the folders.
        train: the name of the training split; likewise `test`.
        validation: the name of an official holdout; None to cut one from the training pairs.
        height, width, crop, truth_scale, holdout, holdout_seed, holdout_images, augment, augment_seed,
            max_pixels: see `CanvasSource`.
    """

    name = "masks"

    def __init__(
        self,
        root: str,
        classes: str | Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        first: int = 0,
        unknown: Unknown = "refuse",
        images: str = "images/{split}",
        masks: str = "masks/{split}",
        lists: str | None = None,
        train: str = "train",
        validation: str | None = None,
        test: str = "test",
        height: int = 512,
        width: int = 512,
        crop: Sequence[int] | None = None,
        truth_scale: int = 1,
        holdout: float = 0.1,
        holdout_seed: int = 0,
        holdout_images: int = 500,
        augment: CropAugment | None = None,
        augment_seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        cut = (holdout, holdout_seed, holdout_images)
        super().__init__(root, height, width, crop, truth_scale, *cut, augment, augment_seed, max_pixels)
        self.legend = legend(classes, palette, first, unknown)
        self.classes = self.legend.names
        self._folders, self._lists = (images, masks), lists
        self._train, self._validation, self._test = train, validation, test

    def training_frames(self) -> list[Frame]:
        """The pairs of `train`."""
        return self._pairs(self._train)

    def holdout_frames(self) -> list[Frame] | None:
        """The pairs of `validation`, if there is such a split."""
        return None if self._validation is None else self._pairs(self._validation)

    def test_frames(self) -> list[Frame]:
        """The pairs of `test`."""
        return self._pairs(self._test)

    def numbers(self, mask: Image.Image, path: Path) -> Pixels:
        """Classes by the legend."""
        return self.legend.numbers(mask, path)

    def details(self) -> dict[str, object]:
        """What the masks mean."""
        meaning = self.legend
        return {
            **super().details(),
            "classes": meaning.names,
            "colours": meaning.colours,
            "first": meaning.first,
            "unknown": meaning.unknown,
        }

    def _pairs(self, split: str) -> list[Frame]:
        if self._lists is not None:
            return self._listed(Path(self._lists) / f"{split}.txt")
        images, masks = (self.root / folder.format(split=split) for folder in self._folders)
        for place in (images, masks):
            if not place.is_dir():
                raise DataError(f"Folder {place} does not exist.", f"Set data.root=<root>, where:\n{TREE}")
        return matched(images, masks, TREE)

    def _listed(self, path: Path) -> list[Frame]:
        base = self.root.resolve()
        pairs = [
            [self.root / found.relative_to(base) for found in pair]
            for pair in read_lines(path, self.root, columns=2)
        ]
        if not pairs:
            raise DataError(f"{path} names no images.", f"Expected:\n{TREE}")
        frames = [Frame(str(image), image, truth) for image, truth in pairs]
        check_present(frames, Folders(), path.name)
        return frames
