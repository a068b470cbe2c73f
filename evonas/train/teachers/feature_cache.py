"""Disk cache of teacher outputs, so that a frozen teacher processes every training image once.

Legend: B batch, C channels, H W space.

The file contains one record per training image, in the order of the split: a digest, the output and the map, in
float32. The digest covers the key of the file and the index of the image, so an incomplete record, or one of other
data or another teacher, is recomputed. Several processes may fill one file.

The teacher processes images one by one, so a record does not depend on the batch of its image and a training gives
the same bits whatever the cache contains.
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

from evonas import files
from evonas.data.base import Images, Item
from evonas.errors import EngineError, UserError
from evonas.nn.detection.base import HeadOutput
from evonas.tasks.base import Batch
from evonas.train.distillation.cross_architecture import distilled_level

Shape = tuple[int, ...]
Outputs = tuple[HeadOutput, list[Tensor]]
_DIGEST = 32
_FLOAT = 4


class IndexedImages(Images):
    """A split without augmentation whose items contain their index as `index`, an integer tensor.

    Args:
        images: a training split, owned by this object: its `augment` is set to False.
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
        """The manifest of the split."""
        return self.images.manifest()


class RecordFile:
    """A file of float32 records of fixed size.

    Args:
        path: created with the first record; sparse until it is full.
        key: identifies what the records depend on; records of another key are ignored.
        shapes: shapes of the tensors of a record, without batch dimension.
        count: maximum number of records.
    """

    def __init__(self, path: Path, key: str, shapes: Sequence[Shape], count: int) -> None:
        self.path, self.key, self.shapes, self.count = path, key, tuple(shapes), count
        self._floats = sum(math.prod(shape) for shape in self.shapes)

    @property
    def num_bytes(self) -> int:
        """Size of the full file."""
        return self.count * self._length

    @property
    def _length(self) -> int:
        return _DIGEST + _FLOAT * self._floats

    def check_space(self) -> None:
        """Raises an EngineError if the disk has too little free space for the full file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # allocated blocks, since the file is sparse
        held = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        free = shutil.disk_usage(self.path.parent).free
        if self.num_bytes - held > free:
            raise EngineError(
                f"The teacher's cache needs {human_size(self.num_bytes)}, but {self.path.parent} has "
                f"{human_size(free)} left.",
                "Use distill.cache=false, or outputs=<a larger disk>.",
            )

    def read(self, index: int) -> list[Tensor] | None:
        """The tensors of a record, or None if it is missing or incomplete."""
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
        """Writes a record of tensors with the shapes of this file.

        Raises:
            EngineError: the file cannot be written.
        """
        flat = torch.cat([tensor.detach().float().cpu().reshape(-1) for tensor in tensors])
        payload = flat.numpy().astype("<f4").tobytes()
        try:
            # other processes may write to the file, so it is not truncated
            handle = files.open_to_change(self.path)
            try:
                os.pwrite(handle, self._sealed(index, payload) + payload, index * self._length)
            finally:
                os.close(handle)
        except OSError as error:
            raise EngineError(
                f"Cannot write to the teacher's cache {self.path}: {error.strerror}.",
                "Use distill.cache=false, or outputs=<a larger disk>.",
            ) from error

    def _sealed(self, index: int, payload: bytes) -> bytes:
        return hashlib.sha256(f"{self.key}/{index}/".encode() + payload).digest()


class CachedTeacher(nn.Module):
    """A frozen teacher whose outputs on a split without augmentation are cached.

    Args:
        teacher: a teacher in eval mode; its output and the map of `level` are cached.
        records: the cache, with the shapes of `image_outputs`.
        level: index of the cached level.
    """

    def __init__(self, teacher: Any, records: RecordFile, level: int) -> None:
        super().__init__()
        self.teacher, self.records, self.level = teacher, records, level

    def outputs(self, images: Tensor, indices: Tensor) -> Outputs:
        """The teacher's output on each image, and a list of the cached map.

        Args:
            images: B 3 H W.
            indices: position of each image in the split.
        """
        rows: list[list[Tensor]] = []
        for row, index in enumerate(indices.tolist()):
            found = self.records.read(index)
            if found is None:
                found = image_outputs(self.teacher, images[row : row + 1], self.level)
                self.records.write(index, found)
            rows.append(found)
        output, kept = (torch.stack(column).to(images.device) for column in zip(*rows, strict=True))
        return output, [kept]


@torch.no_grad()
def image_outputs(teacher: Any, image: Tensor, level: int) -> list[Tensor]:
    """Output and distilled map of one image (1 3 H W), without batch dimension, float32 on the CPU."""
    output, maps = teacher.forward_with_features(image)
    return [part[0].float().cpu() for part in (output, distilled_level(maps, level))]


def teacher_outputs(teacher: Any, batch: Batch) -> Outputs:
    """Output and feature maps of a teacher on a batch, from its cache if it has one.

    Raises:
        UserError: the teacher has a cache, but the batch is not from `IndexedImages`.
    """
    if not isinstance(teacher, CachedTeacher):
        output, maps = teacher.forward_with_features(batch["image"])
        return output, list(maps)
    if "index" not in batch:
        raise UserError(
            "distill.cache=true needs images without augmentation.",
            "Use distill.cache=false, or augment=false in the recipe, such as train.supernet.augment=false.",
        )
    return teacher.outputs(batch["image"], batch["index"])


def human_size(num_bytes: float) -> str:
    """A size in decimal units, such as 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
