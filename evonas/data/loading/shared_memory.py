"""Decoded batches in a memory-mapped file that all processes of a machine share.

The first process that needs the file writes it, batch by batch, while the others wait; it is written atomically. A
process that is killed while writing releases the lock and leaves at most a temporary file, which the next process
removes. The pages belong to the system's cache, which may drop and reread them. Mappings are private: writing to a
tensor never changes the file or another process. Machines that share a folder use separate files.

File format: the tensors' bytes, each aligned to 64 bytes; an index as JSON; the length of the index in 8 bytes.
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
    """The batches of `make`, mapped from a file in `folder`, which is written if it does not exist.

    Args:
        folder: folder of the run; the caller that created it removes it when all processes have ended.
        key: everything that the batches depend on; equal keys mean equal batches.
        make: yields the batches, each a dict of CPU tensors; called at most once.

    Raises:
        UserError: the file cannot be written, for instance because the disk is full.
    """
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}-{host}.bin"
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path.with_suffix(".lock")):
        index = _index(path)
        if index is None:
            for torn in path.parent.glob(f".{path.name}.*.tmp"):
                torn.unlink(missing_ok=True)
            files.write_atomic(path, lambda target: _write(target, make()))
            index = _index(path)
    assert index is not None, f"{path} was written and cannot be read"
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    return [{name: _tensor(content, about) for name, about in batch.items()} for batch in index]


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the file system into a UserError with advice."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The decoded images cannot be written to {folder}: {error.strerror or error}.",
            "Free disk space, or choose another disk with outputs=<folder>.",
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock that the system releases when the process ends, also if it is killed."""
    with _disk_errors(path.parent):
        handle = files.open_to_change(path)
    try:
        # on file systems without locks two processes may decode, but writes are still atomic
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(target: Path, batches: Iterable[Batch]) -> None:
    index: list[dict[str, Any]] = []
    with target.open("wb", buffering=0) as stream:
        for batch in batches:
            with _disk_errors(target.parent):
                index.append({name: _append(stream, tensor) for name, tensor in batch.items()})
        text = json.dumps(index).encode()
        with _disk_errors(target.parent):
            _put(stream, text + len(text).to_bytes(_LENGTH, "little"))


def _append(stream: FileIO, tensor: Tensor) -> dict[str, Any]:
    _put(stream, bytes(-stream.tell() % _ALIGNMENT))
    start = stream.tell()
    _put(stream, tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return {"start": start, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def _put(stream: FileIO, content: bytes | memoryview) -> None:
    # unbuffered, so that a full disk raises here and not when the file is closed
    rest = memoryview(content)
    while len(rest):
        rest = rest[stream.write(rest) :]


def _index(path: Path) -> list[dict[str, Any]] | None:
    """The index at the end of the file; None if the file is missing or invalid."""
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


def _tensor(content: Tensor, about: Mapping[str, Any]) -> Tensor:
    dtype: torch.dtype = getattr(torch, about["dtype"])
    size = torch.Size(about["shape"]).numel() * dtype.itemsize
    return content[about["start"] : about["start"] + size].view(dtype).view(about["shape"])
