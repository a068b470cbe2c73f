"""Errors of the machine and of other software, each as an error with a sentence; what is left is a bug of evonas."""

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from evonas.errors import DataError, EngineError, EvoNASError, UserError

_RESTORE = "Restore the file from a copy, or start another search with run=<new name>."
_RESUME = "then repeat the command with resume=true"
# errno -> what happened, and what to do; one sentence for all files and folders
_MACHINE: Mapping[int, tuple[str, str]] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        ("The disk is full, or a limit on files is", f"Free space on the disk, {_RESUME}"),
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        (
            "This user may not do that",
            "Ask the owner of the file, or work in a folder of your own: outputs=<folder>",
        ),
    ),
    errno.EROFS: ("The disk is read-only", "Name a folder that can be written: outputs=<folder>"),
    errno.EIO: ("The disk failed", f"Check the disk, {_RESUME}"),
    errno.ESTALE: ("The network file system lost a file", f"Check the mount, {_RESUME}"),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        ("Too many files are open", "Raise the limit, for instance: ulimit -n 4096"),
    ),
    errno.EAGAIN: ("The machine has no process or thread left", f"End other processes, {_RESUME}"),
}
_NETWORK = frozenset(
    {
        errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH,
        errno.ETIMEDOUT, errno.EADDRINUSE, errno.EADDRNOTAVAIL,
    }
)  # fmt: skip
_NO_SUCH_FILE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST}
)
# what accelerators' drivers and Lightning say of hardware, in errors of types that they use for everything
_ACCELERATOR = re.compile(
    r"CUDA (driver|error|initialization)|No CUDA GPUs|NVIDIA driver|HIP error|NCCL|MPS backend|"
    r"can not run on your system|No supported gpu backend|You requested gpu"
)
_QUEUES = ("submitit", "hydra_plugins.hydra_submitit_launcher")


def known_error(error: Exception) -> Exception:
    """The error with a sentence for an error that no change of evonas would prevent; else the error as it is.

    A full disk, a missing right, an absent accelerator, a queue that refuses a job: the exit code tells them from
    bugs.
    """
    while _module(error).startswith("hydra.") and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, EvoNASError):
        return error
    text = " ".join(str(error).split())[:500] or type(error).__name__
    if type(error).__name__ == "MissingMandatoryValue":
        return UserError(f"A setting is missing: {str(error).partition(chr(10))[0]}.")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        first = str(error).partition("\n")[0] or "no more could be had"
        return EngineError(f"Out of memory: {first}.", "Try a smaller batch: train.supernet.batch_size=8")
    if _module(error).startswith(_QUEUES) or _was_raised_in(error, _QUEUES):
        return EngineError(
            f"The queue refused the job: {text.rstrip('.')}.",
            "Check hydra.launcher.partition, hydra.launcher.timeout_min and what sbatch says of the same limits.",
        )
    if isinstance(error, sqlite3.Error):
        return sqlite_error(error, None)
    if isinstance(error, OSError):
        return _of_system(error, text)
    if type(error).__name__ in ("AcceleratorError", "MisconfigurationException") or (
        isinstance(error, RuntimeError) and _ACCELERATOR.search(text)
    ):
        return EngineError(
            f"The accelerator failed or is not there: {text.rstrip('.')}.",
            "See what works here with: python -m evonas doctor   or use hardware=cpu",
        )
    return error


def sqlite_error(error: sqlite3.Error, path: Path | None) -> EvoNASError:
    """The error with a sentence for one of SQLite, by its code: not every failure is a full disk.

    Args:
        path: the database, or None where it is not known.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    name = str(path or "A database")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return EngineError(
            f"{name} is in use by another process: {error}.",
            "Wait until that process has ended, then repeat.",
        )
    if code == sqlite3.SQLITE_READONLY_ROLLBACK:
        return DataError(
            f"{name} was not copied or written whole: a journal of an unfinished write lies beside it.",
            _RESTORE,
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return EngineError(
            f"{name} cannot be written: {error}.",
            "Make the file and its folder writable for you, or name another folder: outputs=<folder>",
        )
    if primary == sqlite3.SQLITE_CANTOPEN:
        return EngineError(
            f"{name} cannot be opened: {error}.", "Check that the file and its folder are yours to open."
        )
    if primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        free = (
            "" if path is None else f" ({shutil.disk_usage(path.parent).free // 2**20} MiB free on its disk)"
        )
        hint = (
            "Free space on the disk"
            if primary == sqlite3.SQLITE_FULL
            else "Check the disk and its free space"
        )
        return EngineError(f"{name} cannot be used: {error}{free}.", f"{hint}, {_RESUME}")
    if primary == sqlite3.SQLITE_NOMEM:
        return EngineError(f"Out of memory: {error}.", "Free memory, then repeat the command.")
    if primary == sqlite3.SQLITE_INTERRUPT:
        return DataError(f"{name} takes too long to read.", _RESTORE)
    # no such table or column, malformed, not a database, of another type
    return DataError(
        f"{name} is damaged or not an archive: {error}.",
        _RESTORE,
    )


def _of_system(error: OSError, text: str) -> Exception:
    """An error of the operating system, by its number; one without a number is of a library and stays."""
    number = error.errno or 0
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    said = f"{place}{error.strerror or text}"
    if number in _MACHINE:
        what, hint = _MACHINE[number]
        return EngineError(f"{what}: {said}.", hint)
    if number in _NETWORK or isinstance(error, ConnectionError | TimeoutError):
        return EngineError(
            f"The network failed: {said}.", "Check the address and the connection, then repeat."
        )
    if number in _NO_SUCH_FILE and error.filename is not None:
        return DataError(
            f"A file or folder is not as it was expected: {said}.", "Check that nothing removed it."
        )
    return error


def _module(error: Exception) -> str:
    return type(error).__module__


def _was_raised_in(error: Exception, packages: tuple[str, ...]) -> bool:
    """Whether the innermost frame of an error is in one of some packages."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return name.startswith(packages)
