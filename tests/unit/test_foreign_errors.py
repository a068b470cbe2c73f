"""What of the machine's and other software's failures becomes a sentence, and what stays a bug of ours."""

import errno
import os
import sqlite3
import types
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from evonas.archive import Archive
from evonas.errors import DataError, EngineError, EvoNASError
from evonas.foreign_errors import known_error


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, EngineError, "The disk is full"),
        (errno.EDQUOT, EngineError, "The disk is full"),
        (errno.EACCES, EngineError, "This user may not do that: /x/y: Permission denied."),
        (errno.EROFS, EngineError, "The disk is read-only: /x/y"),
        (errno.EIO, EngineError, "The disk failed: /x/y"),
        (errno.EMFILE, EngineError, "Too many files are open"),
        (errno.ECONNREFUSED, EngineError, "The network failed"),
        (errno.ENOENT, DataError, "A file or folder is not as it was expected: /x/y"),
    ],
)
def test_the_system_says_why_by_number(number: int, kind: type[EvoNASError], said: str) -> None:
    found = known_error(OSError(number, os.strerror(number), "/x/y"))
    assert type(found) is kind and found.message.startswith(said) and found.hint


def test_what_hydra_wraps_is_found() -> None:
    wrapped = InstantiationException("Error in call to target 'x'")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(known_error(wrapped), EngineError)


@pytest.mark.parametrize(
    "bug", [KeyError("nets"), RuntimeError("shapes (2, 3) and (4,)"), OSError("odd"), AssertionError()]
)
def test_a_bug_stays_one(bug: Exception) -> None:
    assert known_error(bug) is bug


def test_a_real_file_without_its_rights(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        (tmp_path / "missing/x").read_text()
    assert str(tmp_path / "missing/x") in str(known_error(caught.value))


def test_a_gpu_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises((RuntimeError, AssertionError)) as caught:
        torch.zeros(1, device="cuda")
    found = known_error(caught.value)
    assert isinstance(found, EngineError) and "hardware=cpu" in found.hint


def test_the_queue_refuses() -> None:
    # submitit raises what sbatch printed, as an error of a class of its own
    module = types.ModuleType("submitit.core.utils")
    exec(
        "class FailedJobError(RuntimeError): pass\ndef run(): raise RuntimeError('no sbatch here')",
        module.__dict__,
    )
    refused = known_error(module.FailedJobError("sbatch: error: invalid partition specified: big\n"))
    assert isinstance(refused, EngineError) and "invalid partition specified: big." in refused.message
    with pytest.raises(RuntimeError) as caught:
        module.run()
    assert "no sbatch here" in str(known_error(caught.value))


def failed(number: int) -> EvoNASError:
    """What an archive says to an error of SQLite with a code."""
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = number
    found = known_error(error)
    assert isinstance(found, EvoNASError)
    return found


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (sqlite3.SQLITE_FULL, "cannot be used", "Free space"),
        (sqlite3.SQLITE_BUSY, "in use by another process", "Wait"),
        (sqlite3.SQLITE_READONLY, "cannot be written", "writable"),
        # an extended code of the same kind
        (sqlite3.SQLITE_READONLY | 8 << 8, "cannot be written", "writable"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened", "yours"),
        (sqlite3.SQLITE_ERROR, "damaged", "Restore"),
        (sqlite3.SQLITE_INTERRUPT, "takes too long", "Restore"),
    ],
)
def test_sqlite_says_why_by_code(code: int, said: str, hint: str) -> None:
    found = failed(code)
    assert said in found.message and hint in found.hint
    assert ("space" in found.hint) == (code == sqlite3.SQLITE_FULL)


def test_a_locked_archive_is_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "archive.sqlite"
    Archive.open(path, {"seed": 1}, resume=False).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("evonas.archive._TIMEOUT_S", 0.1)
    with pytest.raises(EngineError, match="in use by another process") as caught:
        Archive.open(path, {"seed": 1}, resume=True).settle("reference", [1.0])
    assert "space" not in caught.value.hint
    other.close()


def test_an_archive_without_its_table_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    Archive.open(path, {"seed": 1}, resume=False).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE evaluation")
    connection.close()
    with pytest.raises(DataError, match="does not have the tables of an archive"):
        Archive.read(path)
