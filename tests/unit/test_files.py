"""Files appear whole or not at all."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evonas import files
from evonas.errors import DataError


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


def test_links_pipes_and_depths_are_refused_in_a_run(tmp_path: Path) -> None:
    run, mine = tmp_path / "run", tmp_path / "mine"
    mine.write_text("mine")
    (run / "search/wandb/run-1").mkdir(parents=True)
    (run / "search/wandb/latest-run").symlink_to("run-1")
    (run / "search/archive.sqlite").write_bytes(b"x" * 1000)
    assert files.check_run_files(run) == 1000
    for make in (
        lambda path: path.symlink_to(mine),
        lambda path: path.symlink_to(run / "search/archive.sqlite"),
        lambda path: path.symlink_to(tmp_path),
        os.mkfifo,
    ):
        for place in ("report", "search/wandb/x", "search/workers"):
            make(run / place)
            with pytest.raises(DataError, match=place):
                files.check_run_files(run)
            (run / place).unlink()
    (run / "/".join("d" * 70)).mkdir(parents=True)
    with pytest.raises(DataError, match="folders deep"):
        files.check_run_files(run)


def test_files_are_appended_to_and_links_are_not(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    os.mkfifo(tmp_path / "pipe")
    for opened in (files.open_to_append, files.open_to_change):
        os.close(opened(tmp_path / "new"))
        with pytest.raises(DataError, match="is a link"):
            opened(tmp_path / "link")
        with pytest.raises((DataError, OSError)):
            opened(tmp_path / "pipe")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("content", [b"[" * 10**6, b"{", b"\xff", b'{"a": ' * 10**5])
def test_json_that_is_none_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json is (damaged|nested)"):
        files.read_json(tmp_path / "x.json")


def test_huge_json_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as stream:
        stream.truncate(10**11)
    with pytest.raises(DataError, match="100000000000 bytes"):
        files.read_json(tmp_path / "x.json")
