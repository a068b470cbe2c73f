"""One driver per run: a lock that a dead process cannot hold.

The lock file names its owner by host, boot, process id and start time, so neither a crash,
a reboot nor a reused process id leaves a run locked. Reading and changing the file is
guarded by `flock`, which the kernel drops when a process dies in between.
"""

import fcntl
import json
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from evonas import files
from evonas.command_text import shell
from evonas.errors import EngineError, UserError


@dataclass(frozen=True, slots=True)
class Owner:
    """A process; `start` and `boot` distinguish it from a later process with the same id."""

    host: str
    boot: str
    pid: int
    start: str


def this_process() -> Owner:
    """The owner that a lock acquired now would name."""
    return Owner(socket.gethostname(), _boot(), os.getpid(), _start(os.getpid()))


def acquire(path: Path, name: str) -> None:
    """Acquire the lock at `path` for this process; the lock of a dead process is taken over.

    Raises:
        UserError: another running process holds it; the message names its pid and host.
        EngineError: the lock file cannot be written.
    """
    with _guarded(path) as stream:
        owner = _read(stream)
        if owner is not None and owner != this_process() and is_alive(owner):
            is_here = owner.host == socket.gethostname()
            raise UserError(
                f"Run '{name}' is in use by process {owner.pid} on {owner.host}.",
                f"Wait for it, or stop it with: kill {owner.pid}"
                if is_here
                else f"If it is gone for certain, type: {shell(['rm', path])}",
            )
        _write(stream, json.dumps(asdict(this_process())))


def release(path: Path) -> None:
    """Release the lock if this process holds it; may be called twice."""
    if not path.exists():
        return
    # a run that was only looked at may lie on a read-only disk
    with _guarded(path, os.O_RDONLY) as stream:
        is_ours = _read(stream) == this_process()
    if is_ours:
        with _guarded(path) as stream:
            _write(stream, "")


def holder(path: Path) -> Owner | None:
    """The running process that holds the lock, or None."""
    if not path.exists():
        return None
    with _guarded(path, os.O_RDONLY) as stream:
        owner = _read(stream)
    return owner if owner is not None and is_alive(owner) else None


def is_alive(owner: Owner) -> bool:
    """Whether the process still runs; a process on another host counts as alive."""
    if owner.host != socket.gethostname():
        return True
    return owner.boot == _boot() and owner.start != "" and owner.start == _start(owner.pid)


@contextmanager
def _guarded(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[TextIO]:
    """The opened lock file; whoever only looks opens it for reading, also on a read-only disk."""
    is_looked_at = flags == os.O_RDONLY
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW) if is_looked_at else files.open_to_change(path)
    except OSError as error:
        raise EngineError(
            f"Cannot open the lock {path}: {error.strerror}.",
            "Make the run's folder writable for you, or copy it and name the folder of the copy: outputs=<folder>",
        ) from error
    with os.fdopen(handle, "r" if is_looked_at else "r+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH if is_looked_at else fcntl.LOCK_EX)
        yield stream


def _read(stream: TextIO) -> Owner | None:
    """The recorded owner; a truncated file has none, since its writer died."""
    stream.seek(0)
    try:
        return Owner(**json.loads(stream.read()))
    except (ValueError, TypeError):
        return None


def _write(stream: TextIO, text: str) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()
    os.fsync(stream.fileno())


def _boot() -> str:
    known = Path("/proc/sys/kernel/random/boot_id")
    return known.read_text().strip() if known.exists() else platform.node()


def _start(pid: int) -> str:
    """Start time of a process in the system's own unit; empty if there is no such process."""
    if not Path("/proc/self/stat").exists():
        asked = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # a zombie has ended; its parent has not read its exit code yet
    return "" if fields[0] in "ZX" else fields[19]
