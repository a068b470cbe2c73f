"""Converted networks that are kept: the newest in memory, more of them in a folder."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from evonas import files

MEMORY_BYTES, FOLDER_BYTES = 64 * 2**20, 256 * 2**20
# nothing else in a folder has it, so that nothing else is removed
_SUFFIX = ".conversion"
# sha256 of the model, in front of it
_DIGEST_BYTES = 32


class Conversions:
    """Models by what they were converted from; the least recently used ones make room for others.

    A folder that cannot be written is not used. A file that is not whole does not count.

    Args:
        folder: shared by processes; None for memory alone.
        memory_bytes: limit of this process.
        folder_bytes: limit of the folder.
    """

    def __init__(
        self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES, folder_bytes: int = FOLDER_BYTES
    ) -> None:
        self._folder, self._memory_bytes, self._folder_bytes = folder, memory_bytes, folder_bytes
        self._known: OrderedDict[str, bytes] = OrderedDict()

    def get(self, source: Any, convert: Callable[[], bytes]) -> bytes:
        """The model that was converted from the same source before, or what `convert` makes now.

        Args:
            source: JSON data that the structure of the model depends on; its versions of packages among them.
            convert: makes the model.
        """
        key = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
        found = self._known.pop(key, None) or self._read(key)
        if found is None:
            found = convert()
            self._write(key, found)
        self._known[key] = found
        while len(self._known) > 1 and sum(map(len, self._known.values())) > self._memory_bytes:
            self._known.popitem(last=False)
        return found

    def _read(self, key: str) -> bytes | None:
        if self._folder is None:
            return None
        path = self._folder / f"{key}{_SUFFIX}"
        with suppress(OSError):
            if path.is_symlink() or path.stat().st_size > self._folder_bytes:
                return None
            content = path.read_bytes()
            digest, model = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if hashlib.sha256(model).digest() == digest:
                path.touch()
                return model
        return None

    def _write(self, key: str, model: bytes) -> None:
        if self._folder is None or len(model) > self._folder_bytes:
            return
        content = hashlib.sha256(model).digest() + model
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            files.write_atomic(self._folder / f"{key}{_SUFFIX}", lambda target: _fill(target, content))
            self._make_room()

    def _make_room(self) -> None:
        assert self._folder is not None
        kept = 0
        paths = [path for path in self._folder.glob(f"*{_SUFFIX}") if path.is_file()]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
            kept += path.stat().st_size
            if kept > self._folder_bytes:
                path.unlink(missing_ok=True)


def _fill(target: Path, content: bytes) -> None:
    target.write_bytes(content)
