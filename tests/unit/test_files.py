"""Files appear whole or not at all."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evonas import files


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "\u00e4"}
    files.write_json(tmp_path / "deep" / "x.json", value)
    assert files.read_json(tmp_path / "deep" / "x.json") == value


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_json_refuses_what_is_not_a_number(bad: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"a": bad})
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_text(path, "old")

    def torn(target: Path) -> None:
        target.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, torn)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_text(path, "old")
    code = f"from pathlib import Path; from evonas import files; files.write_text(Path({str(path)!r}), 'new')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "EVONAS_FAULT": "files.before_replace"},
        cwd=Path(files.__file__).parent.parent,
    )
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_files_are_private(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "y")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "x") == wanted
