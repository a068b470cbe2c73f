"""A driver process under test: start it, watch what it does, kill it, and look for what it leaves behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import driver

from evonas.archive import Archive

HERE = Path(__file__).parent


@dataclass
class Trial:
    """One search in a folder, started as often as it is killed."""

    folder: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self) -> "subprocess.Popen[str]":
        """Start the driver in a process group of its own."""
        self.folder.mkdir(exist_ok=True)
        paths = [str(HERE), str(HERE.parent.parent), *filter(None, sys.path)]
        return subprocess.Popen(
            [sys.executable, str(HERE / "driver.py"), str(self.folder), *self.arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TRIAL": self.mark, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, driver: "subprocess.Popen[str] | None" = None) -> str:
        """Let the driver end by itself; its archive's digest."""
        out, err = (driver or self.start()).communicate(timeout=120)
        assert out, err
        return out.splitlines()[-1]

    def go_on_here(self) -> str:
        """Let the search end in this process, which has everything imported; its archive's digest."""
        self.folder.mkdir(exist_ok=True)
        return driver.run(driver.options([str(self.folder), *self.arguments]))

    def kill_when(self, reached: Callable[[], bool], whole_group: bool = False) -> bool:
        """Start the driver and SIGKILL it once `reached`; False if it ended before."""
        driver = self.start()
        while not reached():
            if driver.poll() is not None:
                return False
            time.sleep(0.002)
        os.killpg(driver.pid, signal.SIGKILL) if whole_group else driver.kill()
        driver.communicate()
        return True

    @property
    def executions(self) -> list[str]:
        """Every execution that an evaluator began, in the order they began."""
        events = self.folder / "events"
        return events.read_text().splitlines() if events.exists() else []

    @property
    def recorded(self) -> int:
        """Rows in the archive, without disturbing its writer."""
        return len(self.rows())

    def rows(self) -> list[tuple[str, ...]]:
        """Genotype and part of every recorded evaluation, read straight from the file."""
        path = self.folder / "archive.sqlite"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT genotype, part FROM evaluation").fetchall()
        finally:
            connection.close()

    def in_order_recorded(self) -> list[str]:
        """Every fact in the order in which it became durable."""
        with Archive.read(self.folder / "archive.sqlite") as archive:
            return [repr(fact) for fact in archive.in_order_recorded()]

    def repeated(self) -> Counter[str]:
        """Executions beyond the first of each genotype and part."""
        return Counter(self.executions) - Counter(set(self.executions))

    def is_sound(self) -> bool:
        """Whether SQLite finds nothing wrong in the archive."""
        connection = sqlite3.connect(self.folder / "archive.sqlite")
        try:
            return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finally:
            connection.close()

    def dump(self) -> str:
        """The canonical dump."""
        archive = Archive.read(self.folder / "archive.sqlite")
        try:
            return archive.dump()
        finally:
            archive.close()

    def survivors(self) -> list[int]:
        """Processes that this trial started and that still run."""
        return [pid for pid in _processes() if self._is_ours(pid)]

    def gone(self, within_s: float = 10.0) -> bool:
        """Whether every process of the trial ends by itself within some seconds."""
        limit = time.monotonic() + within_s
        while self.survivors() and time.monotonic() < limit:
            time.sleep(0.05)
        return not self.survivors()

    def _is_ours(self, pid: int) -> bool:
        try:
            ours = f"TRIAL={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return ours and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            return False


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
