"""The worker process: builds one evaluator, then measures what it is sent until its pipe closes.

Started as `python -m evonas.evaluate.worker <fd> <parent pid> <memory bytes> <log or ->`. The first message
is the pickled evaluator spec, from our own parent over an inherited socket; everything after it, in both
directions, is JSON, so that nothing a broken worker sends can do harm. The process owns nothing durable and
may be killed at any moment.
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

from evonas.errors import EngineError
from evonas.evaluate.engine import EvaluatorLike
from evonas.evaluate.measure import EvaluatorSpec, answer, explain, greeting, ready_evaluator

LOG_BYTES = 1_000_000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Serve until the pipe closes or the parent dies."""
    fd, parent, memory_bytes, log = int(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3]
    _die_with(parent)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _serve(Connection(fd), None if log == "-" else Path(log))


def _serve(connection: Connection, log: Path | None) -> None:
    evaluator = _start(connection)
    while evaluator is not None:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        _send(connection, answer(evaluator, request))
        if log is not None:
            _bound(log)


def _start(connection: Connection) -> EvaluatorLike | None:
    try:
        evaluator = ready_evaluator(_spec(connection))
    except EngineError as error:
        _send(connection, {"ready": False, "message": error.message, "hint": error.hint})
        return None
    _send(connection, greeting(evaluator))
    return evaluator


def _spec(connection: Connection) -> EvaluatorSpec:
    try:
        spec: EvaluatorSpec = connection.recv()
    except (AttributeError, ImportError) as error:
        # a factory that was defined in a script, or in a module this process cannot find
        raise EngineError(f"The evaluator cannot start. {explain(error)}") from error
    return spec


def _send(connection: Connection, message: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(message, allow_nan=False).encode())


def _bound(log: Path) -> None:
    # what this process prints goes straight to the file descriptor, so rotation happens between jobs
    sys.stdout.flush()
    if os.fstat(1).st_size < LOG_BYTES:
        return
    log.replace(log.with_suffix(".old.log"))
    fresh = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fresh, 1)
    os.dup2(fresh, 2)
    os.close(fresh)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # elsewhere, and for a parent that died before the line above: look now and then
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
