"""Signals at twenty random moments: an exit code, a command that resumes, and no process left (R17)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import evonas
from evonas.randomness import generator

COMMAND = [sys.executable, "-m", "evonas", "+task=synthetic", "stage=teacher", "run=mine", "resume=true"]


def started(folder: Path) -> "subprocess.Popen[str]":
    """The command in a group of its own, once it has opened its run."""
    attempts = folder / "outputs" / "mine" / "attempts"
    before = len(list(attempts.glob("*/log.txt")))
    process = subprocess.Popen(
        COMMAND,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(evonas.__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(attempts.glob("*/log.txt"))) == before:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


# numpy recurses without end when its import is interrupted, and others raise whatever they like
HALF_IMPORTED = """
import os, signal, sys, time
from evonas.cli import main
from evonas.stages import doctor
def interrupted(*_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except BaseException as error:
        raise RecursionError("half imported") from error
doctor.findings = interrupted
sys.argv = ["evonas", "doctor"]
sys.exit(main())
"""


def test_what_an_interruption_breaks_is_no_bug(tmp_path: Path) -> None:
    place = {"PYTHONPATH": str(Path(evonas.__file__).parent.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", HALF_IMPORTED],
        cwd=tmp_path,
        env={**os.environ, **place},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 143, ended.stderr
    assert "bug" not in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_signals(tmp_path: Path) -> None:
    rng, hits = generator(0, "signals"), 0
    for number, moment in enumerate(rng.uniform(0, 6, 20)):
        sent, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][number % 2]
        process = started(tmp_path)
        time.sleep(moment)
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
        # one that was done already says so
        assert process.returncode in (code, 0), err
        if process.returncode == code:
            hits += 1
            assert "stage=teacher run=mine resume=true" in out.splitlines()[-1]
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        assert (tmp_path / "outputs" / "mine" / ".lock").read_text() == ""
    assert hits >= 5
    process = started(tmp_path)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
