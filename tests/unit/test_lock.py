"""One driver per run, and a dead one holds nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import evonas
from evonas import lock
from evonas.errors import EngineError, UserError

HOLD = """
import sys, time
from pathlib import Path
from evonas import lock
lock.acquire(Path(sys.argv[1]), "mine")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    place = Path(evonas.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=place, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_living_holder_is_named(path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(UserError) as caught:
        lock.acquire(path, "mine")
    assert str(other.pid) in caught.value.message
    assert socket.gethostname() in caught.value.message
    assert caught.value.exit_code == 2
    found = lock.holder(path)
    assert found is not None
    assert found.pid == other.pid


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_is_taken_over_at_once(
    reaped: bool, path: Path, other: subprocess.Popen[str]
) -> None:
    os.kill(other.pid, signal.SIGKILL)
    if reaped:
        other.wait()
    else:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    lock.acquire(path, "mine")
    assert lock.holder(path) == lock.this_process()


def test_a_reused_process_id_is_not_mistaken(path: Path) -> None:
    parent = replace(lock.this_process(), pid=os.getppid(), start="12345")
    path.write_text(json.dumps(asdict(parent)))
    lock.acquire(path, "mine")
    assert lock.holder(path) == lock.this_process()


def test_a_reboot_frees_the_lock(path: Path) -> None:
    path.write_text(json.dumps(asdict(replace(lock.this_process(), boot="before"))))
    lock.acquire(path, "mine")
    assert lock.holder(path) == lock.this_process()


def test_another_host_is_believed(path: Path) -> None:
    path.write_text(json.dumps(asdict(replace(lock.this_process(), host="elsewhere", pid=1))))
    with pytest.raises(UserError, match="elsewhere") as caught:
        lock.acquire(path, "mine")
    assert caught.value.hint.endswith(f"rm {path}")


@pytest.mark.parametrize("torn", ["", "{", '{"host": "x"}', "[1]", "null"])
def test_a_torn_lock_is_nobodys(torn: str, path: Path) -> None:
    path.write_text(torn)
    lock.acquire(path, "mine")
    assert lock.holder(path) == lock.this_process()


def test_release_frees_and_may_be_repeated(path: Path) -> None:
    lock.acquire(path, "mine")
    lock.acquire(path, "mine")
    lock.release(path)
    lock.release(path)
    assert lock.holder(path) is None


def test_release_leaves_the_lock_of_others(path: Path, other: subprocess.Popen[str]) -> None:
    lock.release(path)
    found = lock.holder(path)
    assert found is not None
    assert found.pid == other.pid


def test_an_unwritable_folder_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Cannot open the lock"):
        lock.acquire(tmp_path / "absent" / ".lock", "mine")
