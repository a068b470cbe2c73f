"""Public classification data sets by name: those of the transfer experiments of NSGANetV2 (arXiv 2007.10396)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from evonas.data.classification.augment import Views
from evonas.data.classification.base import LabelledImageSource, Part, Shelf
from evonas.data.classification.cifar_binary import CIFAR10, CIFAR100, Stl10
from evonas.data.classification.index_files import AIRCRAFT, CARS, DTD, FOOD101, Cinic, Flowers, Pets
from evonas.errors import DataError, UserError


class Kind(Protocol):
    """Layout of a data set: `folder` below the root, number of classes, and reader."""

    @property
    def folder(self) -> str: ...

    @property
    def classes(self) -> int: ...

    def read(self, root: Path, part: Part) -> Shelf: ...

    def class_names(self, root: Path) -> Sequence[str]: ...


KINDS: dict[str, Kind] = {
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "cinic10": Cinic(),
    "stl10": Stl10(),
    "flowers102": Flowers(),
    "pets": Pets(),
    "dtd": DTD,
    "aircraft": AIRCRAFT,
    "cars": CARS,
    "food101": FOOD101,
}


class NamedImages(LabelledImageSource):
    """A source of a public data set; `test` is its official test split, `holdout` a part of the other images.

    Args:
        name: one of `KINDS`.
        root: folder of the unpacked archives.
        views, seed, augment_seed, validation: see `LabelledImageSource`.

    Raises:
        UserError: name is unknown.
    """

    def __init__(
        self,
        name: str,
        root: str,
        views: Views,
        seed: int = 0,
        augment_seed: int = 0,
        validation: float = 0.1,
    ) -> None:
        if name not in KINDS:
            raise UserError(f"data.name={name} is unknown.", f"Known: {', '.join(KINDS)}")
        self.name, self.root, self._kind = name, Path(root), KINDS[name]
        super().__init__(self._kind.classes, views, seed, augment_seed, validation)
        self._shelves: dict[Part, Shelf] = {}

    def shelf(self, part: Part) -> Shelf:
        """The images of a part, listed once."""
        if part not in self._shelves:
            self._check_there()
            self._shelves[part] = self._kind.read(self.root, part)
        return self._shelves[part]

    def class_names(self) -> Sequence[str]:
        """The class names of the data set."""
        self._check_there()
        return self._kind.class_names(self.root)

    def _check_there(self) -> None:
        folder = self.root / self._kind.folder
        if not folder.is_dir():
            raise DataError(
                f"Folder {folder} does not exist.",
                f"Unpack {self.name} as docs/data.md says, and set data.root=<the folder that holds "
                f"{self._kind.folder}>.",
            )
