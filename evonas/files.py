"""Files of runs: atomic writes, checksums, bounded reads, and refusal of links.

A run folder may come from somebody else. What is written in it goes into files that lie there, never through a link,
and what is read is bounded in size and depth.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evonas import fault_injection
from evonas.command_text import shell
from evonas.errors import DamagedError, DataError, UserError

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "lustre", "gpfs", "ceph"}
)
MAX_JSON_BYTES = 64 * 2**20
# files and folders of a run, and how deep they lie
MAX_ENTRIES, MAX_DEPTH = 200_000, 64
# W&B links its newest record and log
_LINKING = "wandb"
# how long a new scratch folder may take to be locked
YOUNG_S = 60.0
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
NETWORK_FILE_SYSTEMS |= {"beegfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse"}


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it durably.

    The temporary file is in the same folder, since a rename across file systems is a copy, which a crash
    can truncate.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        # held until this process has finished or ended, so that `sweep` recognises abandoned files
        fcntl.flock(handle, fcntl.LOCK_EX)
        write(temporary)
        _sync(temporary)
        fault_injection.point("files.before_replace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)
    _sync(path.parent)


def sweep(folder: Path) -> None:
    """Remove temporary files that killed processes left below a folder; files being written stay."""
    for path in folder.rglob(".*.tmp"):
        if not _TEMPORARY.fullmatch(path.name) or not path.is_file() or path.is_symlink():
            continue
        # another process may finish with it meanwhile
        with suppress(FileNotFoundError), path.open("rb") as stream, suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


class Scratch:
    """A private temporary folder; those of killed processes are removed when the next one is made.

    The folder is locked while its process lives, so that only abandoned ones are removed.

    Args:
        prefix: of its name, different for each purpose.
    """

    def __init__(self, prefix: str) -> None:
        base = Path(tempfile.gettempdir())
        for path in base.glob(f"{prefix}*"):
            _remove_abandoned(path)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        self._handle: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the folder and all that is in it; may be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove a scratch folder of this user whose process has ended; a young one may not be locked yet."""
    # another process may be removing it as well
    with suppress(OSError):
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            return
        if time.time() - about.st_mtime < YOUNG_S:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""

    def write(target: Path) -> None:
        target.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; raises a ValueError for NaN and infinities."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


# what JSON of another shape than evonas writes leads to, where its values are used
SHAPES = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def read_json(path: Path, needs: Sequence[str] | Mapping[str, type | tuple[type, ...]] = ()) -> Any:
    """Read a JSON file that evonas wrote.

    Args:
        needs: keys that an object must have, if wanted with the types of their values; with them, anything but an
            object is refused.

    Raises:
        DamagedError: it is torn, nested too deeply, larger than 64 MiB, lacks a key, or has a value of another type.
    """
    size = path.stat().st_size
    try:
        if size > MAX_JSON_BYTES:
            raise ValueError(f"it has {size} bytes, more than {MAX_JSON_BYTES}")
        found = json.loads(path.read_bytes())
        if needs and not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
        missing = [key for key in needs if key not in found]
        if missing:
            raise ValueError(f"it has no '{missing[0]}'")
        for key, kind in needs.items() if isinstance(needs, Mapping) else ():
            if not isinstance(found[key], kind):
                raise ValueError(f"its '{key}' is {found[key]!r:.80}")
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        remove = shell(["rm", path])
        raise DamagedError(
            f"{path} is damaged: {why}.",
            f"Restore it from a copy, or let the command that wrote it make it again, after: {remove}",
        ) from error
    return found


def open_to_append(path: Path) -> int:
    """Open a private file to append to it, and create it if it is missing; returns its descriptor.

    Raises:
        DataError: the path is a link.
    """
    return _open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def open_to_change(path: Path) -> int:
    """Open a private file to read and write it, and create it if it is missing; returns its descriptor.

    Raises:
        DataError: the path is a link, or a pipe or device.
    """
    return _open_own(path, os.O_RDWR | os.O_CREAT)


def _open_own(path: Path, flags: int) -> int:
    try:
        # without waiting, as opening a pipe does
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP or path.is_symlink():
            raise _link(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _special(path)
    return handle


def check_run_files(folder: Path) -> int:
    """Refuse a run folder with links, pipes or devices, before anything in it is read or written.

    Returns:
        The size of its files in bytes.

    Raises:
        DataError: an entry is a link, neither file nor folder, or there are too many of them or too deep.
    """
    size = 0
    for number, entry in enumerate(_entries(folder)):
        if number >= MAX_ENTRIES:
            raise DataError(
                f"{folder} holds more than {MAX_ENTRIES} files.",
                "Is it a run? Move away what is not its own.",
            )
        if entry.is_symlink():
            if not _is_own_link(Path(entry.path), folder):
                raise _link(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            # the driver of a running search may remove a file meanwhile
            with suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_size
        elif not entry.is_dir(follow_symlinks=False):
            raise _special(Path(entry.path))
    return size


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """All entries below a folder, without following links."""
    waiting = [(folder, 0)]
    while waiting:
        parent, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise DataError(f"{parent} lies more than {MAX_DEPTH} folders deep.", "Is it a run?")
        with suppress(FileNotFoundError), os.scandir(parent) as found:
            for entry in found:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), depth + 1))


def _is_own_link(path: Path, folder: Path) -> bool:
    """Whether a link is one of W&B's inside of its own folder."""
    parts = path.relative_to(folder).parts
    if _LINKING not in parts[:-1]:
        return False
    home = folder.joinpath(*parts[: parts.index(_LINKING) + 1])
    return path.resolve().is_relative_to(home.resolve())


def _link(path: Path) -> DataError:
    return DataError(f"{path} is a link, and links in a run are not followed.", "Put the file itself there.")


def _special(path: Path) -> DataError:
    return DataError(f"{path} is neither a file nor a folder.", "Remove it from the run.")


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system of a folder; empty if unknown."""
    best, kind = Path(), ""
    lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines() if mounts.is_file() else []
    for _, place, found, *_ in (line.split() for line in lines):
        point = Path(place.replace("\\040", " "))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, found
    return kind


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_network(path: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Raise a UserError if the path lies on a network file system, where a database can lose commits."""
    kind = file_system(path, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UserError(
            f"{path} lies on a network file system ({kind}), whose locks SQLite cannot trust.",
            "Put outputs= on a local disk.",
        )
