"""Files appear whole or not at all."""

import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evonas import files
from evonas.errors import DamagedError, DataError


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


def test_a_scratch_folder_of_a_killed_process_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = (
        "import os, signal\nfrom evonas.files import Scratch\n"
        "made = Scratch('evonas-try-')\n(made.path / 'x').touch()\nprint(made.path, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    place = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", code], env=place, capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.parent == tmp_path and (left / "x").exists()
    with files.Scratch("evonas-try-") as young:
        assert left.exists(), "it may belong to a process that has just begun"
        hour_ago = time.time() - 3600
        os.utime(left, (hour_ago, hour_ago))
        os.utime(young, (hour_ago, hour_ago))
        with files.Scratch("evonas-try-") as other:
            assert not left.exists() and young.exists() and other.exists()
    assert list(tmp_path.iterdir()) == []


def test_scratch_folders_follow_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "x").touch()
    (tmp_path / "evonas-try-link").symlink_to(theirs)
    os.utime(theirs, (0, 0))
    files.Scratch("evonas-try-").close()
    assert (theirs / "x").exists()


TORN = [b"", b"{", b"\xff\xfe", b"[" * 1_000_000, b'{"a": 1', b"[1]", b'{"b": 1}']


@pytest.mark.parametrize("content", TORN)
def test_a_torn_file_is_named_with_the_way_out(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd name.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"odd name\.json is damaged") as caught:
        files.read_json(path, needs=("a",))
    assert shlex.split(caught.value.hint.partition("after: ")[2]) == ["rm", str(path)]
    assert caught.value.exit_code == 3
