"""Handle of a worker process in the supervisor: pipe, state and termination."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evonas import files
from evonas.evaluate.backlog import Pass
from evonas.evaluate.measure import EvaluatorSpec, parse_answer
from evonas.evaluate.supervisor import WorkerLostError

RUNAWAY_BYTES = 16_000_000
_MESSAGE_BYTES = 64_000_000
_KEPT_BYTES = 200_000
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a worker: threads, address space in GB (or None), and the folder of its output."""

    threads: int = 1
    memory_gb: float | None = None
    log_dir: Path | None = None


class Worker:
    """A worker process, started on demand and restarted after a loss.

    `task` is the current pass; `is_ready` is False until the evaluator is set up.

    Args:
        index: number in the worker's name.
        spec: config or factory of the evaluator.
        limits: resource limits.
        device: name of the device in the event log.
        visible: value of CUDA_VISIBLE_DEVICES, or None to inherit it.
    """

    def __init__(
        self, index: int, spec: EvaluatorSpec, limits: Limits, device: str = "cpu", visible: str | None = None
    ) -> None:
        self.name = f"worker{index}"
        self.device = device
        self._visible = visible
        self.task: Pass | None = None
        self.is_ready = False
        self._spec = spec
        self._limits = limits
        self._deadline = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def is_running(self) -> bool:
        """Whether a process was started and is not known to be lost."""
        return self._process is not None

    @property
    def is_waited_for(self) -> bool:
        """Whether a message is expected: the first message after the start, or an answer."""
        return self.is_running and (self.task is not None or not self.is_ready)

    @property
    def connection(self) -> Connection:
        """The pipe to the process."""
        assert self._connection is not None
        return self._connection

    @property
    def pid(self) -> int | None:
        """Process id, or None if not running."""
        return self._process.pid if self._process else None

    @property
    def deadline(self) -> float:
        """Deadline of the expected message, on the monotonic clock."""
        return self._deadline

    def start(self, setup_s: float) -> None:
        """Start the process; its first message must arrive within `setup_s` seconds."""
        ours, theirs = socket.socketpair()
        try:
            self._process = self._spawn(theirs.fileno())
        finally:
            theirs.close()
        self._connection = Connection(ours.detach())
        self._deadline = time.monotonic() + setup_s
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(self._spec)

    def send(self, task: Pass, deadline_s: float) -> bool:
        """Send a pass; False if the process has ended, so that the pass was not started."""
        try:
            self.connection.send_bytes(json.dumps(task.request).encode())
        except OSError:
            self.stop()
            return False
        task.began = time.monotonic()
        self.task, self._deadline = task, task.began + deadline_s
        return True

    def receive(self) -> dict[str, Any] | None:
        """Receive the next message, or None if there is none yet; raises a WorkerLostError if the worker is lost."""
        try:
            if self.connection.poll(0):
                message = parse_answer(self.connection.recv_bytes(_MESSAGE_BYTES))
                if message is None:
                    raise WorkerLostError("worker sent junk")
                return message
        except (EOFError, OSError):
            raise WorkerLostError(self._last_words()) from None
        # a grandchild may hold the pipe open after the worker has died
        if self._process is not None and self._process.poll() is not None:
            raise WorkerLostError(self._last_words())
        if time.monotonic() >= self._deadline:
            raise WorkerLostError("timeout")
        log = self._log()
        if log is not None and log.exists() and log.stat().st_size > RUNAWAY_BYTES:
            raise WorkerLostError(f"printed more than {RUNAWAY_BYTES // 1_000_000} MB")
        return None

    def stop(self) -> None:
        """Kill the process and its children."""
        process, connection = self._process, self._connection
        self._process = self._connection = self.task = None
        self.is_ready = False
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
        if connection is not None:
            connection.close()

    def _spawn(self, fd: int) -> "subprocess.Popen[bytes]":
        memory = int((self._limits.memory_gb or 0) * 2**30)
        log = self._log()
        if log is not None and log.exists():
            _keep_end(log)
        arguments = [str(fd), str(os.getpid()), str(memory), str(log or "-")]
        device = {} if self._visible is None else {"CUDA_VISIBLE_DEVICES": self._visible}
        environment = {**os.environ, **thread_variables(self._limits.threads), **device, **import_path()}
        output = subprocess.DEVNULL if log is None else files.open_to_append(log)
        try:
            return subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-P", "-m", "evonas.evaluate.worker", *arguments],
                pass_fds=[fd],
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # its own session, so that Ctrl-C reaches the driver alone, which then decides
                start_new_session=True,
            )
        finally:
            if output != subprocess.DEVNULL:
                os.close(output)

    def _log(self) -> Path | None:
        if self._limits.log_dir is None:
            return None
        self._limits.log_dir.mkdir(parents=True, exist_ok=True)
        return self._limits.log_dir.absolute() / f"{self.name}.log"

    def _last_words(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            return "worker closed its pipe"
        return (
            f"worker died of {signal.Signals(-code).name}" if code < 0 else f"worker exited with code {code}"
        )


def _keep_end(log: Path) -> None:
    # the output of a lost worker must not count against its successor
    with os.fdopen(files.open_to_change(log), "r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size > _KEPT_BYTES:
            stream.seek(size - _KEPT_BYTES)
            end = stream.read()
            stream.seek(0)
            stream.write(end)
            stream.truncate()


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables that set the number of threads of numerical libraries."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def import_path() -> dict[str, str]:
    """Environment variable that gives another process the import path of this one."""
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
