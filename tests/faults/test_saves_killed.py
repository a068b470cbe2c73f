"""A save that is killed at any moment leaves the file before it, whole, and nothing that stays (R9)."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evonas import files
from evonas.randomness import generator

# writes one version after another; a version says in its first bytes what the rest must be
WRITER = """
import hashlib, sys
from pathlib import Path
from evonas import files
path, size, number = Path(sys.argv[1]), int(sys.argv[2]), 0
while True:
    rest = bytes([number % 256]) * size
    text = hashlib.sha256(rest).hexdigest().encode() + rest
    files.write_atomic(path, lambda target: target.write_bytes(text))
    print(number, flush=True)
    number += 1
"""


@contextmanager
def writing(path: Path, size: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that saves without end, with TMPDIR on another file system where there is one."""
    other = Path("/dev/shm")
    environment = {**os.environ, "TMPDIR": str(other)} if other.is_dir() else dict(os.environ)
    command = [sys.executable, "-c", WRITER, str(path), str(size)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_whole(path: Path) -> bool:
    content = path.read_bytes()
    return hashlib.sha256(content[64:]).hexdigest().encode() == content[:64]


@pytest.mark.parametrize(
    ("kills", "size"), [(4, 2_000_000), pytest.param(20, 32_000_000, marks=pytest.mark.slow)]
)
def test_kills_during_saves(tmp_path: Path, kills: int, size: int) -> None:
    path = tmp_path / "checkpoint"
    left = 0
    for moment in generator(0, "saves").random(kills):
        with writing(path, size) as process:
            assert process.stdout is not None and process.stdout.readline() == "0\n"
            time.sleep(0.2 * moment)
            while len(list(tmp_path.iterdir())) < 2 and process.poll() is None:
                time.sleep(0.0005)
        assert is_whole(path)
        left += len(list(tmp_path.iterdir())) - 1
        files.sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [path]
    assert left > 0, "no kill fell into a save"


def test_what_is_being_written_is_not_swept(tmp_path: Path) -> None:
    other = tmp_path / "deep" / ".mine.tmp"
    other.parent.mkdir()
    other.touch()

    def write(target: Path) -> None:
        target.write_text("half")
        files.sweep(tmp_path)
        assert target.read_text() == "half"

    files.write_atomic(tmp_path / "deep" / "file", write)
    assert (tmp_path / "deep" / "file").read_text() == "half"
    assert other.exists()
