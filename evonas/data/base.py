"""What data is: a source of three splits, each a deterministic list of items.

Legend: C channels, H W space.

The contract. A source is cheap to build: it opens no file and renders nothing until a
split is asked for its length or an item. `source.dataset(split)` may be called again;
the answers share what was read, but each has an epoch and an `augment` switch of its
own. Item `i` is a pure function of the source's arguments, of `i` and, on `train` while
`augment` is true, of (augment_seed, epoch, i): never of a global generator and never of
the order of access. Images are float32, normalised, at the size the source states
(augmented ones at its `crop`, where it has one).
Splits are disjoint. `manifest` names in a sha256 what the items depend on, augmentation
aside, so equal manifests mean equal data.
"""

from collections.abc import Iterator
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor
from torch.utils.data import Dataset

from evonas.errors import UserError

Split = Literal["train", "holdout", "test"]
SPLITS: tuple[Split, ...] = ("train", "holdout", "test")
Item = dict[str, Tensor]


class Images(Dataset[Item]):
    """One split: a list of items whose augmentation follows the epoch.

    Args:
        split: which one; only `train` is ever augmented.
    """

    def __init__(self, split: Split) -> None:
        if split not in SPLITS:
            raise UserError(f"The split '{split}' is unknown.", f"Choose one of: {', '.join(SPLITS)}.")
        self.split = split
        self.augment = split == "train"
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Augment as in this epoch from now on; loader workers started earlier do not notice."""
        self.epoch = epoch

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Item:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def manifest(self) -> str:
        """The sha256 of what defines the items, augmentation aside."""
        raise NotImplementedError

    def position(self, index: int) -> int:
        """The index counted from the front; IndexError ends a plain `for` loop."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"item {index} of a {self.split} split of {size}")
        return index % size


@runtime_checkable
class Source(Protocol):
    """See the module's contract; `size` is the height and width of every image, in pixels."""

    size: tuple[int, int]

    def dataset(self, split: Split) -> Images: ...


def check_size(height: int, width: int) -> tuple[int, int]:
    """The image size, refused unless both sides are positive multiples of 32 (the deepest stride)."""
    if height < 32 or width < 32 or height % 32 or width % 32:
        raise UserError(
            f"Image sides must be multiples of 32, got {height}x{width}.",
            "Use multiples of 32, for example data.height=64 data.width=96.",
        )
    return height, width


def seeded(**values: Any) -> str:
    """One line of text that names values by key, in the order of the keys; used in manifests."""
    return " ".join(f"{key}={values[key]}" for key in sorted(values))
