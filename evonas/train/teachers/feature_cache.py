"""The teacher's answers on disk, so that a frozen teacher sees every training image once.

Legend: B batch, C channels, H W space.

One file holds one record a training image, in the order of the split: a digest, the output and
the maps, all float32. A record is written in one piece and its digest covers the file's key and
the item's index, so a record that a crash tore, or that belongs to other data or another
teacher, is not used but made again. Several processes may fill one file.

The teacher looks at one image at a time here: then a record does not depend on which images
shared a batch, and a training gives the same bits whether its cache was empty, half full or full.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from evonas.data.base import Images, Item
from evonas.errors import EngineError, UserError
from evonas.nn.detection.base import Answer
from evonas.tasks.base import Batch
from evonas.train.distillation.cross_architecture import compared

Shape = tuple[int, ...]
Outcome = tuple[Answer, list[Tensor]]
_DIGEST = 32
_FLOAT = 4


class Numbered(Images):
    """A split without augmentation whose items carry their position as `index`, an integer tensor.

    Args:
        images: a training split of its own (its `augment` is switched off).
    """

    def __init__(self, images: Images) -> None:
        super().__init__(images.split)
        self.images = images
        self.augment = images.augment = False

    def __len__(self) -> int:
        return len(self.images)

    @override
    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        return {**self.images[index], "index": torch.tensor(index)}

    @override
    def manifest(self) -> str:
        """The manifest of the split itself: numbers change no item."""
        return self.images.manifest()


class Records:
    """A file of equally long records of float32 tensors.

    Args:
        path: made when the first record is written; sparse until it is full.
        key: names what the records depend on; records of another key do not count.
        shapes: of the tensors of one record, without the batch.
        count: how many records there may be.
    """

    def __init__(self, path: Path, key: str, shapes: Sequence[Shape], count: int) -> None:
        self.path, self.key, self.shapes, self.count = path, key, tuple(shapes), count
        self._floats = sum(math.prod(shape) for shape in self.shapes)

    @property
    def num_bytes(self) -> int:
        """What the file holds when it is full."""
        return self.count * self._length

    @property
    def _length(self) -> int:
        return _DIGEST + _FLOAT * self._floats

    def check_space(self) -> None:
        """Raise an EngineError where the disk cannot hold what is missing of a full file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # blocks are counted, since the file is sparse while it fills
        held = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        free = shutil.disk_usage(self.path.parent).free
        if self.num_bytes - held > free:
            raise EngineError(
                f"The teacher's cache needs {human_size(self.num_bytes)}, but {self.path.parent} has "
                f"{human_size(free)} left.",
                "Use distill.cache=false, or outputs=<a larger disk>.",
            )

    def read(self, index: int) -> list[Tensor] | None:
        """The tensors of one record, or None where it was not written, or not whole."""
        try:
            with self.path.open("rb") as file:
                found = os.pread(file.fileno(), self._length, index * self._length)
        except FileNotFoundError:
            return None
        payload = found[_DIGEST:]
        if len(found) < self._length or self._sealed(index, payload) != found[:_DIGEST]:
            return None
        values = torch.from_numpy(np.frombuffer(bytearray(payload), dtype="<f4"))
        parts = values.split([math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def write(self, index: int, tensors: Sequence[Tensor]) -> None:
        """Keep one record; its tensors have the shapes of this file."""
        flat = torch.cat([tensor.detach().float().cpu().reshape(-1) for tensor in tensors])
        payload = flat.numpy().astype("<f4").tobytes()
        try:
            _write_at(self.path, self._sealed(index, payload) + payload, index * self._length)
        except OSError as error:
            raise EngineError(
                f"Cannot write to the teacher's cache {self.path}: {error.strerror}.",
                "Use distill.cache=false, or outputs=<a larger disk>.",
            ) from error

    def _sealed(self, index: int, payload: bytes) -> bytes:
        return hashlib.sha256(f"{self.key}/{index}/".encode() + payload).digest()


class CachedTeacher(nn.Module):
    """A frozen teacher that is asked once about every image of an un-augmented split.

    Args:
        teacher: in eval mode; see `evonas/train/teachers/base.py`. Only its output and the map of
            `level` are kept.
        records: where its answers are kept, in the shapes that `answer_one` gives.
        level: which of the teacher's levels is kept.
    """

    def __init__(self, teacher: Any, records: Records, level: int) -> None:
        super().__init__()
        self.teacher, self.records, self.level = teacher, records, level

    def answer(self, images: Tensor, indices: Tensor) -> Outcome:
        """What the teacher says of each image alone: the output, and a list of the one kept map."""
        rows = [self._row(images[row : row + 1], int(index)) for row, index in enumerate(indices)]
        output, kept = (torch.stack(column).to(images.device) for column in zip(*rows, strict=True))
        return output, [kept]

    def _row(self, image: Tensor, index: int) -> list[Tensor]:
        found = self.records.read(index)
        if found is None:
            found = answer_one(self.teacher, image, self.level)
            self.records.write(index, found)
        return found


@torch.no_grad()
def answer_one(teacher: Any, image: Tensor, level: int) -> list[Tensor]:
    """Output and compared map of one image (1 3 H W), without the batch, float32 on the CPU."""
    output, maps = teacher.forward_with_features(image)
    return [part[0].float().cpu() for part in (output, compared(maps, level))]


def answer(teacher: Any, batch: Batch) -> Outcome:
    """What a teacher says of a batch: from its cache where it has one.

    Raises:
        UserError: the teacher has a cache, but the items are not `Numbered`.
    """
    if not isinstance(teacher, CachedTeacher):
        output, maps = teacher.forward_with_features(batch["image"])
        return output, list(maps)
    if "index" not in batch:
        raise UserError(
            "distill.cache=true needs images that stay the same, but they are augmented.",
            "Use distill.cache=false, or augment=false in the recipe, such as train.supernet.augment=false.",
        )
    return teacher.answer(batch["image"], batch["index"])


def _write_at(path: Path, content: bytes, place: int) -> None:
    """Write into the middle of a file that others may be writing to as well."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, content, place)
    finally:
        os.close(handle)


def human_size(num_bytes: float) -> str:
    """Bytes in decimal units, for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
