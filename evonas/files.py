"""Atomic writes, checksums, and removal of temporary files that killed writes left behind."""

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from evonas import fault_injection
from evonas.errors import UserError

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "lustre", "gpfs", "ceph"}
)
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


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""

    def write(target: Path) -> None:
        target.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; raises a ValueError for NaN and infinities."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


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
