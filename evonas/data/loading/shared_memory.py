"""Decoded batches in one file that all processes of a machine map: one copy in memory, however many look.

The first process that needs the file makes it, batch by batch, while the others wait; it appears whole or
not at all. A process that is killed while making it leaves the lock free and at most a temporary file, which
the next one removes. The pages belong to the system's cache, which drops them when memory is short and
reads them again. Mappings are private: writing into a tensor never changes the file or another process.
Machines that share a folder have a file each.

The file: the tensors' bytes, each beginning at a multiple of 64; an index as JSON; its length in 8 bytes.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evonas import files
from evonas.errors import UserError

_ALIGNMENT = 64
_LENGTH = 8

Batch = Mapping[str, Tensor]


def shared_batches(folder: Path, key: str, make: Callable[[], Iterable[Batch]]) -> list[dict[str, Tensor]]:
    """The batches that `make` gives, mapped from a file of `folder` that is made when there is none.

    Args:
        folder: private to the run; whoever made it removes it when all processes have ended.
        key: names what the batches depend on; equal keys mean equal batches.
        make: gives the batches one after the other, each a dict of CPU tensors; called at most once.

    Raises:
        UserError: the file cannot be written, for instance because the disk is full.
    """
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}-{host}.bin"
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(path.with_suffix(".lock")):
        index = _index(path)
        if index is None:
            _forget_torn(path)
            files.write_atomic(path, lambda target: _write(target, make()))
            index = _index(path)
    assert index is not None, f"{path} was written and cannot be read"
    return _mapped(path, index)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say what the user can do when the folder cannot be written to."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The decoded images cannot be kept in {folder}: {error.strerror or error}.",
            "Free some space, or choose another disk with outputs=<folder>.",
        ) from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when this process ends in whatever way."""
    with _told(path.parent):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # without locks on this file system two may decode, but each file is still whole
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _forget_torn(path: Path) -> None:
    for torn in path.parent.glob(f".{path.name}.*.tmp"):
        torn.unlink(missing_ok=True)


def _write(target: Path, batches: Iterable[Batch]) -> None:
    index: list[dict[str, Any]] = []
    with target.open("wb", buffering=0) as stream:
        for batch in batches:
            with _told(target.parent):
                index.append({name: _append(stream, tensor) for name, tensor in batch.items()})
        text = json.dumps(index).encode()
        with _told(target.parent):
            _put(stream, text + len(text).to_bytes(_LENGTH, "little"))


def _append(stream: FileIO, tensor: Tensor) -> dict[str, Any]:
    _put(stream, bytes(-stream.tell() % _ALIGNMENT))
    start = stream.tell()
    _put(stream, tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return {"start": start, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def _put(stream: FileIO, content: bytes | memoryview) -> None:
    # without a buffer, so that a full disk is met here and not when the file is closed
    rest = memoryview(content)
    while len(rest):
        rest = rest[stream.write(rest) :]


def _index(path: Path) -> list[dict[str, Any]] | None:
    """What the end of the file says is in it; None without a file, or if it is not one of ours."""
    try:
        whole = path.stat().st_size
        with path.open("rb") as stream:
            stream.seek(max(whole - _LENGTH, 0))
            length = int.from_bytes(stream.read(_LENGTH), "little")
            if not 0 < length <= whole - _LENGTH:
                return None
            stream.seek(whole - _LENGTH - length)
            index: list[dict[str, Any]] = json.loads(stream.read(length))
            return index
    except (FileNotFoundError, ValueError):
        return None


def _mapped(path: Path, index: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    return [{name: _tensor(content, about) for name, about in batch.items()} for batch in index]


def _tensor(content: Tensor, about: Mapping[str, Any]) -> Tensor:
    dtype: torch.dtype = getattr(torch, about["dtype"])
    size = torch.Size(about["shape"]).numel() * dtype.itemsize
    return content[about["start"] : about["start"] + size].view(dtype).view(about["shape"])
