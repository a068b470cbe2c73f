"""Output whose reader goes away, as `| head` does, ends a command quietly."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evonas import files
from evonas.cli import conf_dir

IDENTITY = {
    "created": "2026-01-01",
    "task": {"name": "toy"},
    "seed": 0,
    "space": {},
    "network": {},
    "data": {},
}


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--cfg", "job", "+task=synthetic"], ["list"], ["list", "stage.json=true"], ["--version"]],
)
def test_a_command_whose_reader_is_gone_ends_quietly(words: list[str], tmp_path: Path) -> None:
    files.write_json(tmp_path / "outputs/a/run.json", IDENTITY)
    read, write = os.pipe()
    os.close(read)
    place = {"PYTHONPATH": str(conf_dir().parent)}
    ended = subprocess.run(
        [sys.executable, "-m", "evonas", *words],
        cwd=tmp_path,
        env={**os.environ, **place},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_command_whose_streams_are_closed_does_its_work(closed: str, tmp_path: Path) -> None:
    files.write_json(tmp_path / "outputs/a/run.json", IDENTITY)
    place = {"PYTHONPATH": str(conf_dir().parent)}
    command = f"{shlex.quote(sys.executable)} -m evonas list stage.json=true {closed}"
    ended = subprocess.run(
        command, shell=True, cwd=tmp_path, env={**os.environ, **place}, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    # no file took the number of a closed stream
    assert json.loads((tmp_path / "outputs/a/run.json").read_text()) == IDENTITY
