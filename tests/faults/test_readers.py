"""Readers that look at an archive all the time do not disturb its writer, and see whole facts only (R19)."""

import subprocess
import sys
from pathlib import Path

import pytest

from evonas.archive import Archive, Evaluation

# looks twenty times a second until the writer says that it is done; prints how often it looked
READER = """
import sys, time
from pathlib import Path
from evonas.archive import Archive
path, done, looks, last = Path(sys.argv[1]), Path(sys.argv[2]), 0, 0
while not done.exists():
    with Archive.read(path) as archive:
        found = archive.evaluations()
    assert [each.seq for each in found] == list(range(len(found))) and len(found) >= last
    looks, last = looks + 1, len(found)
    if looks == 1:
        print("ready", flush=True)
    time.sleep(0.05)
print(looks, last)
"""


@pytest.mark.parametrize("commits", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_four_readers_and_a_writer(tmp_path: Path, commits: int) -> None:
    path, done = tmp_path / "archive.sqlite", tmp_path / "done"
    with Archive.open(path, {}, resume=False) as archive:
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, str(path), str(done)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        try:
            for reader in readers:
                assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
            for seq in range(commits):
                # a lock that a reader held would be an EngineError here
                archive.record(Evaluation(seq, "f", f"g{seq}", "shared", "done", {"error": 1.0 / (1 + seq)}))
        finally:
            done.touch()
            answers = [reader.communicate(timeout=60) for reader in readers]
    assert [reader.returncode for reader in readers] == [0] * 4, answers
    # each of them looked again while facts came
    assert all(int(out.split()[0]) > 1 for out, _ in answers)
