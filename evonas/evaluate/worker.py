"""The worker process: builds one evaluator and answers requests until its pipe closes.

Started as `python -m evonas.evaluate.worker <fd> <parent pid> <memory bytes> <log or ->`. The first message is
the pickled evaluator spec, sent by the parent over an inherited socket; all other messages in both directions
are JSON, so that a broken worker cannot do harm. The process has no durable state and may be killed at any
time.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import EngineError
from evonas.evaluate.measure import EvaluatorSpec, answer, explain, greeting, ready_evaluator

LOG_BYTES = 1_000_000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Answer requests until the pipe closes or the parent process ends."""
    fd, parent, memory_bytes, log = int(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3]
    _die_with(parent)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _serve(Connection(fd), None if log == "-" else Path(log))


def _serve(connection: Connection, log: Path | None) -> None:
    try:
        spec = _spec(connection)
        evaluator = ready_evaluator(spec)
    except EngineError as error:
        _send(connection, {"ready": False, "message": error.message, "hint": error.hint})
        return
    _send(connection, greeting(evaluator, spec))
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        _send(connection, answer(evaluator, request))
        if log is not None:
            _rotate(log)


def _spec(connection: Connection) -> EvaluatorSpec:
    try:
        spec: EvaluatorSpec = connection.recv()
    except (AttributeError, ImportError) as error:
        # the factory was defined in a script or in a module that this process cannot import
        raise EngineError(f"The evaluator cannot start. {explain(error)}") from error
    return spec


def _send(connection: Connection, message: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(message, allow_nan=False).encode())


def _rotate(log: Path) -> None:
    # output goes directly to the file descriptor, so the log is rotated between jobs
    sys.stdout.flush()
    if os.fstat(1).st_size < LOG_BYTES:
        return
    log.replace(log.with_suffix(".old.log"))
    fresh = files.open_to_append(log)
    os.dup2(fresh, 1)
    os.dup2(fresh, 2)
    os.close(fresh)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def poll() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    # on other systems, and for a parent that ended before the call above
    threading.Thread(target=poll, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
