"""The latency server: times ONNX models on this device for a search that runs on another computer.

The file works alone. Copy it to a phone or a board with Python 3.9 or newer, numpy and ONNX Runtime:

    python latency_server.py

It listens on the loopback interface and answers only requests with its token. One model is timed at a time, in a
process of its own that is ended when it takes too long. With `--benchmark` another program times the models in place of
ONNX Runtime; the program and its arguments are the owner's choice, never that of a request.

Requests (HTTP, `Authorization: Bearer <token>`):

    GET  /health            the device's fingerprint and the length of the queue
    POST /jobs              a job; answers its digest. A line of JSON, then the bytes of the model and of the reference
    GET  /jobs/<digest>     the state of a job: waits for its end up to 20 s

A job is sent again after any failure: a digest that is known is not timed again. The server knows no networks and no
statistics; it answers the time of every pass.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import hmac
import json
import math
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

PROTOCOL = 1
PORT = 8765
TOKEN = "EVONAS_DEVICE_TOKEN"
HEADER_BYTES = 64 * 1024
MAX_PASSES = 10_000
# of one request that waits for the end of a job
POLL_S = 20.0
# until the headers of a request have come, and between two pieces of its body
_HEADERS_S, _PIECE_S = 15.0, 15.0
# slowest upload
_BYTES_PER_S = 50_000
_CONNECTIONS = 32
_QUEUE, _KEPT = 32, 1024
_PIECE = 64 * 1024
_OUTPUT_BYTES = 1_000_000
_REASON = 300
# of the folder of a server; younger ones are not taken for abandoned
_PREFIX, _NEW_S = "evonas-latency-", 60.0
_PR_SET_PDEATHSIG = 1
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CPU = Path("/sys/devices/system/cpu")
_ENERGY = Path("/sys/class/powercap")
_PER_MS = {"s": 1000.0, "ms": 1.0, "us": 0.001, "ns": 0.000001}
# a thread's clock is used only if it is finer
_FINE_S = 1e-5


class JobError(Exception):
    """A job that cannot be timed.

    Args:
        reason: one line.
        is_model: whether the model is to blame, and not the device.
    """

    def __init__(self, reason: str, is_model: bool) -> None:
        super().__init__(reason)
        self.reason, self.is_model = reason, is_model


@dataclass(frozen=True)
class Benchmark:
    """A program that times models in place of ONNX Runtime.

    Args:
        command: its words; `{model}`, `{threads}` and `{passes}` stand for values of the job.
        pattern: regular expression with one group, a time; every match in the output is one pass.
        unit: of the times: s, ms, us or ns.
    """

    command: tuple[str, ...]
    pattern: str
    unit: str = "ms"

    def run(self, model: Path, threads: int, passes: int) -> list[float]:
        """Times in ms of at least one pass.

        Raises:
            JobError: the program failed, or its output has no time.
        """
        values = {"{model}": str(model), "{threads}": str(threads), "{passes}": str(passes)}
        words = [_filled(word, values) for word in self.command]
        output = model.parent / "output.txt"
        with output.open("wb") as stream:
            try:
                code = subprocess.call(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
            except OSError as error:
                raise JobError(f"{words[0]} cannot be started: {error.strerror}", False) from error
        with output.open("rb") as stream:
            text = stream.read(_OUTPUT_BYTES).decode("utf-8", "replace")
        found = [float(match.group(1)) * _PER_MS[self.unit] for match in re.finditer(self.pattern, text)]
        if code or not found:
            last = text.strip().splitlines()[-1:] or ["nothing"]
            # a lack of memory and an unknown operation look alike from here
            raise JobError(f"{Path(words[0]).name} ended with {code} and said: {last[0]}", False)
        return found


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def read_benchmark(path: str) -> Benchmark:
    """The benchmark of a JSON file, or of a YAML file where PyYAML is installed.

    Raises:
        ValueError: it is not a benchmark; the text says why.
    """
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith((".yaml", ".yml")):
        try:
            import yaml
        except ImportError as error:
            raise ValueError(f"{path} needs PyYAML; write it as JSON instead") from error
        data = yaml.safe_load(text)
    else:
        data = json.loads(text)
    return benchmark_of(data, path)


def benchmark_of(data: Any, name: str) -> Benchmark:
    """The benchmark of plain data.

    Args:
        data: with `command`, `pattern` and perhaps `unit`.
        name: of the source, for messages.

    Raises:
        ValueError: it is not a benchmark; the text says why.
    """
    if not isinstance(data, dict) or not {"command", "pattern"} <= set(data) <= {
        "command",
        "pattern",
        "unit",
    }:
        raise ValueError(f"{name} must have command and pattern, and may have unit")
    command, unit = data["command"], data.get("unit", "ms")
    if not isinstance(command, list) or not command or not all(isinstance(each, str) for each in command):
        raise ValueError(f"command of {name} must be a list of words")
    if not any("{model}" in each for each in command):
        raise ValueError(f"command of {name} has no {{model}}")
    if unit not in _PER_MS:
        raise ValueError(f"unit of {name} must be one of {', '.join(_PER_MS)}, got {unit}")
    try:
        groups = re.compile(str(data["pattern"])).groups
    except re.error as error:
        raise ValueError(f"pattern of {name} is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"pattern of {name} must have one group, the time; it has {groups}")
    return Benchmark(tuple(command), str(data["pattern"]), unit)


@dataclass(frozen=True)
class Settings:
    """What the owner of the device decides.

    Args:
        name: of the device.
        cores: numbers of the cores that models run on; empty for all.
        provider: of ONNX Runtime.
        benchmark: the program that times in its place.
        timeout_s: limit of one job.
        max_bytes: limit of a request.
    """

    name: str = ""
    cores: tuple[int, ...] = ()
    provider: str = "CPUExecutionProvider"
    benchmark: Benchmark | None = None
    timeout_s: float = 120.0
    max_bytes: int = 256 * 2**20


def fingerprint(settings: Settings) -> dict[str, str]:
    """Everything about the device that times depend on, as far as the system tells it.

    Raises:
        ImportError: ONNX Runtime is not installed, and no benchmark is given.
    """
    found = {
        "name": settings.name or platform.node(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "pinned": ",".join(map(str, settings.cores)),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "protocol": str(PROTOCOL),
    }
    if settings.benchmark is not None:
        program = settings.benchmark.command[0]
        found["benchmark"] = json.dumps([*settings.benchmark.command, settings.benchmark.pattern])
        found["program"] = _file_digest(Path(shutil.which(program) or program))
        return found
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if settings.provider not in available:
        raise ImportError(f"ONNX Runtime here has no {settings.provider}, only {', '.join(available)}")
    found["onnxruntime"] = str(onnxruntime.__version__)
    found["provider"] = settings.provider
    return found


def digest(data: Mapping[str, Any]) -> str:
    """The sha256 of JSON data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _processor() -> str:
    wanted = ("model name", "Hardware", "Model")
    lines = [line.partition(":") for line in _read(Path("/proc/cpuinfo")).splitlines()]
    named = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    found = [named[key] for key in wanted if named.get(key)]
    return found[0] if found else platform.processor() or platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return "missing"


# --- one job, in its own process


@dataclass(frozen=True)
class Request:
    """The first line of a job.

    Args:
        attempt: any text; equal jobs with equal texts are timed once.
        threads: of the runtime.
        passes: number of timed passes.
        warmup: number of passes before them.
        least: number of passes that are made however long they take.
        seconds: further passes end after so many seconds.
        clock: `wall`, or `cpu` for the time of the computing thread.
        model: bytes of the model.
        reference: bytes of a model that runs after each pass; 0 for none.
    """

    attempt: str = ""
    threads: int = 1
    passes: int = 10
    least: int = 2
    warmup: int = 3
    seconds: float = 2.0
    clock: str = "wall"
    model: int = 0
    reference: int = 0

    @classmethod
    def of(cls, line: bytes) -> Request:
        """Reads it.

        Raises:
            ValueError: it is not one; the text says why.
        """
        data = json.loads(line.decode("utf-8"))
        if not isinstance(data, dict) or not set(data) <= set(cls.__dataclass_fields__):
            raise ValueError("unknown fields")
        for name, default in vars(cls()).items():
            value = data.get(name, default)
            # a truth value is an int, and an int is a float
            is_number = isinstance(value, int) or (isinstance(value, float) and isinstance(default, float))
            is_right = isinstance(value, str) if isinstance(default, str) else is_number and value is not True
            if not is_right:
                raise ValueError(f"{name} is {value!r:.40}")
        found = cls(**data)
        if not (
            1 <= found.threads <= 1024
            and 1 <= found.passes <= MAX_PASSES
            and 1 <= found.least <= MAX_PASSES
            and 0 <= found.warmup <= MAX_PASSES
            and math.isfinite(found.seconds)
            and 0 < found.seconds <= 3600
            and found.clock in ("wall", "cpu")
            and found.model > 0
            and found.reference >= 0
            and len(found.attempt) <= 200
        ):
            raise ValueError("a number is out of its range")
        return found


def measure(folder: Path, settings: Settings) -> dict[str, Any]:
    """Times the job of a folder: `request.json`, `model.onnx` and perhaps `reference.onnx`.

    Returns:
        `ms` and `disturbed` (whether another program interrupted) of each pass, `reference_ms` of the passes of the
        reference, and where the system tells them `idle_bytes`, `load_bytes` and `run_bytes`, the peaks of resident
        memory before the model is loaded, while it is loaded and while it runs, and `energy_mj` of a pass.

    Raises:
        JobError: it cannot be timed.
    """
    request = Request(**json.loads((folder / "request.json").read_text(encoding="utf-8")))
    paths = [folder / "model.onnx", *([folder / "reference.onnx"] if request.reference else [])]
    if settings.benchmark is not None:
        return _measure_by_program(settings.benchmark, paths, request)
    import numpy
    import onnxruntime

    found: dict[str, Any] = {}
    _reset_peak()
    found["idle_bytes"] = _peak_bytes()
    runs = []
    for path in paths:
        runs.append(_session(onnxruntime, numpy, path, request.threads, settings.provider))
        if path is paths[0]:
            found["load_bytes"] = _peak_bytes()
            _trim()
            _reset_peak()
            runs[0]()
            found["run_bytes"] = _peak_bytes()
    now = time.thread_time if request.clock == "cpu" else time.perf_counter
    for _ in range(request.warmup):
        for run in runs:
            run()
    gc.disable()
    times: list[list[float]] = [[] for _ in runs]
    disturbed: list[bool] = []
    energy = _energy_uj()
    ends = time.monotonic() + request.seconds
    while len(disturbed) < request.passes and (len(disturbed) < request.least or time.monotonic() < ends):
        switches = _interruptions()
        for run, own in zip(runs, times):  # noqa: B905 -- Python 3.9
            begin = now()
            run()
            own.append(1000.0 * (now() - begin))
        disturbed.append(_interruptions() > switches)
    found |= {"ms": times[0], "reference_ms": times[1] if len(runs) > 1 else [], "disturbed": disturbed}
    spent = _spent_mj(energy, _energy_uj())
    if spent is not None and len(runs) == 1:
        found["energy_mj"] = spent / len(disturbed)
    return {key: value for key, value in found.items() if value is not None}


def _session(onnxruntime: Any, numpy: Any, path: Path, threads: int, provider: str) -> Callable[[], None]:
    """A pass of the model on normally distributed inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        random = numpy.random.default_rng(0)
        inputs = {}
        for each in session.get_inputs():
            shape = [size if isinstance(size, int) and size > 0 else 1 for size in each.shape]
            if each.type in ("tensor(float)", "tensor(float16)", "tensor(double)"):
                kind = "float64" if each.type == "tensor(double)" else "float32"
                made = random.standard_normal(shape, dtype=kind)
                inputs[each.name] = made.astype("float16") if each.type == "tensor(float16)" else made
            else:
                inputs[each.name] = numpy.zeros(shape, each.type[7:-1])
        session.run(None, inputs)
    except MemoryError as error:
        raise JobError("out of memory", False) from error
    except Exception as error:
        # ONNX Runtime's own errors have no common class
        raise JobError(one_line(f"{type(error).__name__}: {error}"), "alloc" not in str(error)) from error
    return lambda: session.run(None, inputs) and None


def _measure_by_program(benchmark: Benchmark, paths: Sequence[Path], request: Request) -> dict[str, Any]:
    times: list[list[float]] = [[] for _ in paths]
    ends = time.monotonic() + request.seconds
    while len(times[0]) < request.passes and (len(times[0]) < request.least or time.monotonic() < ends):
        left = request.passes - len(times[0])
        found = [benchmark.run(path, request.threads, left) for path in paths]
        # pairs of a pass and one of the reference
        count = min(map(len, found))
        for own, more in zip(times, found):  # noqa: B905
            own += more[:count]
    count = min(len(times[0]), MAX_PASSES)
    return {
        "ms": times[0][:count],
        "reference_ms": times[1][:count] if len(times) > 1 else [],
        "disturbed": [False] * count,
    }


def _interruptions() -> int:
    """Number of involuntary context switches of this thread; 0 if the system does not report it."""
    try:
        import resource
    except ImportError:
        return 0
    thread = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if thread is None else int(resource.getrusage(thread).ru_nivcsw)


def _peak_bytes() -> int | None:
    """Peak of this process's resident memory since the last `_reset_peak`; None where the system does not tell it.

    `ru_maxrss` would contain that of the process that started this one.
    """
    found = re.search(r"VmHWM:\s*(\d+) kB", _read(Path("/proc/self/status")))
    return None if found is None else 1024 * int(found.group(1))


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _trim() -> None:
    """Gives memory that loading has freed back to the system, where the C library can."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def _energy_uj() -> list[tuple[int, int]]:
    """Counter in microjoules and its range, of each processor package (RAPL); empty if not readable."""
    found = []
    for package in sorted(_ENERGY.glob("intel-rapl:[0-9]")):
        count, most = _read(package / "energy_uj"), _read(package / "max_energy_range_uj")
        if count.isdigit() and most.isdigit():
            found.append((int(count), int(most)))
    return found


def _spent_mj(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> float | None:
    """Energy in millijoules between two readings of counters, which begin again at their range."""
    if not before or len(before) != len(after):
        return None
    spent = [(after[at][0] - before[at][0]) % (before[at][1] + 1) for at in range(len(before))]
    return sum(spent) / 1000.0


def has_thread_clock() -> bool:
    """Whether the clock of a thread is fine enough to time it alone."""
    return time.get_clock_info("thread_time").resolution < _FINE_S


def tells() -> list[str]:
    """What this device tells besides times: `memory` and `energy`, or neither."""
    has_memory = _peak_bytes() is not None and Path("/proc/self/clear_refs").exists()
    return [*(["memory"] if has_memory else []), *(["energy"] if _energy_uj() else [])]


def one_line(text: str) -> str:
    """Text of others as one line of at most 300 printable characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:_REASON]


def _job_process(folder: Path) -> int:
    """The process of a job: writes `answer.json` into its folder."""
    if sys.platform.startswith("linux"):
        import ctypes

        # a server that is killed leaves no measurement behind, which would disturb those of its successor
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    data = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    benchmark = data.pop("benchmark")
    data["cores"] = tuple(data["cores"])
    settings = Settings(**data, benchmark=benchmark and benchmark_of(benchmark, "benchmark"))
    if settings.cores:
        os.sched_setaffinity(0, settings.cores)
    try:
        answer: dict[str, Any] = {"state": "done", **measure(folder, settings)}
    except JobError as error:
        answer = {
            "state": "failed",
            "fault": "model" if error.is_model else "device",
            "reason": one_line(error.reason),
        }
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return 0


# --- the queue


@dataclass
class Job:
    """A job of the queue; `answer` is set once it has ended, and its bytes are dropped then."""

    request: Request
    content: bytes
    answer: dict[str, Any] | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """Times jobs one after the other, and keeps the answers of the latest ones.

    Args:
        settings: of the device.
        folder: private folder for the files of the running job.
        identity: the device's fingerprint, which every answer names.
    """

    def __init__(self, settings: Settings, folder: Path, identity: str) -> None:
        self._settings, self._folder, self._identity = settings, folder, identity
        self._known: OrderedDict[str, Job] = OrderedDict()
        self._waiting: Queue[Job | None] = Queue(_QUEUE)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._bytes = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return self._waiting.qsize()

    def add(self, request: Request, content: bytes) -> str:
        """Queues a job, or finds the one that is known, and returns its digest.

        Raises:
            Full: too many jobs, or too many bytes of them, are waiting.
        """
        own = vars(request) | {"content": hashlib.sha256(content).hexdigest()}
        key = digest(own)
        with self._lock:
            if key in self._known:
                return key
            if self._bytes and self._bytes + len(content) > 2 * self._settings.max_bytes:
                raise Full
            job = Job(request, content)
            self._waiting.put_nowait(job)
            self._bytes += len(content)
            self._known[key] = job
            ended = [each for each, known in self._known.items() if known.answer is not None]
            for each in ended[: max(len(ended) - _KEPT, 0)]:
                del self._known[each]
        return key

    def find(self, key: str) -> Job | None:
        """The job of a digest, if it is known."""
        with self._lock:
            return self._known.get(key)

    def close(self) -> None:
        """Ends the running job and the queue."""
        self._is_closed = True
        self._kill()
        with contextlib.suppress(Full):
            self._waiting.put_nowait(None)
        self._thread.join(10)

    def _work(self) -> None:
        while not self._is_closed:
            try:
                job = self._waiting.get(timeout=1)
            except Empty:
                continue
            if job is None:
                return
            try:
                answer = self._answer(job)
            except Exception as error:
                # a full disk, no more processes: the next job may succeed
                answer = {
                    "state": "failed",
                    "fault": "device",
                    "reason": one_line(f"{type(error).__name__}: {error}"),
                }
            with self._lock:
                self._bytes -= len(job.content)
                job.content = b""
                job.answer = {**answer, "device": self._identity}
                if answer.get("fault") == "device":
                    # what failed here may succeed when it is sent again
                    self._known = OrderedDict(
                        (key, each) for key, each in self._known.items() if each is not job
                    )
            job.ended.set()

    def _answer(self, job: Job) -> dict[str, Any]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            request, settings = job.request, self._settings
            (folder / "model.onnx").write_bytes(job.content[: request.model])
            if request.reference:
                (folder / "reference.onnx").write_bytes(job.content[request.model :])
            plain = {**vars(settings), "benchmark": settings.benchmark and vars(settings.benchmark)}
            if settings.benchmark is not None:
                plain["benchmark"] = {**vars(settings.benchmark), "command": list(settings.benchmark.command)}
            (folder / "request.json").write_text(json.dumps(vars(request)), encoding="utf-8")
            (folder / "settings.json").write_text(json.dumps(plain), encoding="utf-8")
            with _alone_on_device():
                reason = self._run(folder)
            written = folder / "answer.json"
            if reason or not written.is_file():
                return {"state": "failed", "fault": "device", "reason": reason or "no answer was written"}
            answer: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
            return answer
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, folder: Path) -> str:
        """Runs the job's process to its end or to its limit; returns what went wrong, or the empty string."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EVONAS_")}
        environment["TMPDIR"] = str(folder)
        words = [sys.executable, str(Path(__file__).resolve()), "--job", str(folder)]
        with (folder / "log.txt").open("wb") as stream:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        if self._is_closed:
            self._kill()
        try:
            code = self._process.wait(self._settings.timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
            return f"timeout: no answer within {self._settings.timeout_s:g} s"
        finally:
            # a program of the benchmark may have started others
            self._kill()
        if code < 0:
            return f"the process was ended by signal {-code}"
        if code:
            with (folder / "log.txt").open("rb") as stream:
                last = stream.read(_OUTPUT_BYTES).decode("utf-8", "replace").strip().splitlines()[-1:]
            return one_line(f"the process ended with {code}: {''.join(last)}")
        return ""

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _alone_on_device() -> Iterator[None]:
    """Waits until no other server of this user on this device measures."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"evonas-latency-{os.getuid()}.lock"
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        # somebody else's file, or a disk without room: other servers are then not waited for
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# --- the network


class Server(socketserver.ThreadingTCPServer):
    """A server of a device; at most 32 connections at a time, and further ones are closed at once.

    Args:
        address: host and port; 0 for any free port.
        token: which every request must bear.
        settings: of the device.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = _CONNECTIONS

    def __init__(self, address: tuple[str, int], token: str, settings: Settings) -> None:
        self.token, self.settings = token, settings
        self.device = fingerprint(settings)
        self.identity = digest(self.device)
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)
        _remove_abandoned()
        self._folder = tempfile.mkdtemp(prefix=_PREFIX)
        self._held = _locked(self._folder)
        self.jobs = Jobs(settings, Path(self._folder), self.identity)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks concerns nobody else."""

    def server_close(self) -> None:
        super().server_close()
        if hasattr(self, "jobs"):
            self.jobs.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._held is not None:
                os.close(self._held)


def _locked(folder: str) -> int | None:
    """A handle that locks a folder while this process lives; None if another process has it, or nobody can."""
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove_abandoned() -> None:
    """Removes the folders of servers of this user that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            about = path.lstat()
            # a new one is not locked yet
            is_old = time.time() - about.st_mtime > _NEW_S
            if path.is_symlink() or not path.is_dir() or about.st_uid != os.getuid() or not is_old:
                continue
            handle = _locked(str(path))
            if handle is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(handle)


class Handler(BaseHTTPRequestHandler):
    """Answers one request of a connection."""

    server: Server
    server_version = "evonas-latency"
    sys_version = ""
    timeout = _PIECE_S

    def setup(self) -> None:
        super().setup()
        # a client that sends a byte from time to time would hold the connection for ever
        self._guard = threading.Timer(_HEADERS_S, self._cut)
        self._guard.daemon = True
        self._guard.start()

    def finish(self) -> None:
        self._guard.cancel()
        with contextlib.suppress(OSError):
            super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing that a client sends is printed."""

    def do_GET(self) -> None:
        """The device, or the state of a job."""
        if not self._is_allowed():
            return
        if self.path == "/health":
            has_clock = has_thread_clock() and self.server.settings.benchmark is None
            self._send(
                200,
                {
                    "device": self.server.device,
                    "identity": self.server.identity,
                    "queue": len(self.server.jobs),
                    "thread_clock": has_clock,
                    "tells": [] if self.server.settings.benchmark else tells(),
                    "max_bytes": self.server.settings.max_bytes,
                },
            )
            return
        named = re.fullmatch(r"/jobs/([0-9a-f]{64})", self.path)
        job = self.server.jobs.find(named.group(1)) if named else None
        if job is None:
            self._refuse(404, "there is no such job or page")
            return
        job.ended.wait(POLL_S)
        self._send(200, job.answer or {"state": "waiting", "device": self.server.identity})

    def do_POST(self) -> None:
        """A job."""
        if not self._is_allowed():
            return
        if self.path != "/jobs":
            self._refuse(404, "jobs are sent to /jobs")
            return
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", length) or self.headers.get("Transfer-Encoding"):
            self._refuse(411, "a job needs Content-Length")
            return
        if int(length) > self.server.settings.max_bytes:
            self._refuse(413, f"a job has at most {self.server.settings.max_bytes} bytes here")
            return
        body = self._body(int(length))
        if body is None:
            return
        line, _, content = body.partition(b"\n")
        try:
            if len(line) > HEADER_BYTES:
                raise ValueError("its first line is too long")
            request = Request.of(line)
            if request.model + request.reference != len(content):
                raise ValueError(f"it has {len(content)} bytes of models")
        except (ValueError, RecursionError) as error:
            self._refuse(400, f"this is not a job: {error}")
            return
        try:
            key = self.server.jobs.add(request, content)
        except Full:
            self._refuse(503, "the queue is full")
            return
        self._send(202, {"job": key, "device": self.server.identity})

    def _is_allowed(self) -> bool:
        self._guard.cancel()
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        is_same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.server.token.encode())
        if scheme != "Bearer" or not is_same:
            self._refuse(401, "the token is missing or wrong")
            return False
        return True

    def _body(self, length: int) -> bytes | None:
        """The body of a request; None if it does not come in time."""
        ends = time.monotonic() + _PIECE_S + length / _BYTES_PER_S
        pieces, missing = [], length
        while missing:
            try:
                piece = self.connection_read(min(missing, _PIECE))
            except OSError:
                return None
            if not piece or time.monotonic() > ends:
                return None
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def connection_read(self, length: int) -> bytes:
        """What has come of the request, at most `length` bytes."""
        return self.rfile.read1(length)

    def _refuse(self, code: int, reason: str) -> None:
        self.close_connection = True
        self._send(code, {"error": one_line(reason)})

    def _send(self, code: int, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str = "",
    announce: bool = False,
    until: Callable[[], None] | None = None,
) -> None:
    """Serves until a signal, or until `until` returns.

    Args:
        settings: of the device.
        host: address to listen on.
        port: 0 for any free port.
        token: empty for a new one, which is printed.
        announce: whether the address is printed as one line of JSON, for programs.
        until: blocks until nobody needs the server any more.

    Raises:
        OSError: the address cannot be used.
        ImportError: ONNX Runtime is not installed.
    """
    is_new = not token
    token = token or secrets.token_urlsafe(24)
    server = Server((host, port), token, settings)
    own_port = server.server_address[1]
    if announce:
        print(json.dumps({"port": own_port, "device": server.device}), flush=True)
    else:
        print(f"Latency server of {server.device['name']}, {server.device['processor']}", flush=True)
        print(f"address: http://{host}:{own_port}", flush=True)
        if is_new:
            print(f"token:   {token}", flush=True)
    if host not in _LOOPBACK:
        print(
            f"WARNING: {host} can be reached from the network. Whoever has the token can run models here, and it "
            "travels unencrypted, as models do. Where the device has ssh, use runtime.device=ssh://<user>@<host>.",
            file=sys.stderr,
            flush=True,
        )

    def stop(*_: Any) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if until is not None:
        waits = until

        def watch() -> None:
            waits()
            stop()

        threading.Thread(target=watch, daemon=True).start()
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.server_close()


def parse_cores(text: str) -> tuple[int, ...]:
    """Cores such as `4-7` or `0,2`.

    Raises:
        ValueError: the text is something else, or names a core that is not there.
    """
    found: list[int] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        if match is None:
            raise ValueError(f"cores are numbers such as 4-7 or 0,2, not {text}")
        found += range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1)
    if found and not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system cannot keep a program on some cores")
    missing = sorted(set(found) - os.sched_getaffinity(0)) if found else []
    if missing:
        raise ValueError(f"there is no core {missing[0]}")
    return tuple(sorted(set(found)))


def main(words: Sequence[str]) -> int:
    """The command line of this file alone."""
    if list(words[:1]) == ["--job"]:
        return _job_process(Path(words[1]))
    parser = argparse.ArgumentParser(description="Times ONNX models on this device for a search elsewhere.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this device alone)"
    )
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument(
        "--token-file", help=f"file of the token (default: ${TOKEN}, else a new one is printed)"
    )
    parser.add_argument("--name", default="", help="of the device (default: its host name)")
    parser.add_argument("--cores", default="", help="cores that models run on, such as 4-7")
    parser.add_argument("--provider", default="CPUExecutionProvider", help="of ONNX Runtime")
    parser.add_argument("--benchmark", help="JSON or YAML of a program that times in place of ONNX Runtime")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds of one job")
    parser.add_argument("--max-mb", type=int, default=256, help="size of one job")
    parser.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    try:
        settings = Settings(
            name=given.name,
            cores=parse_cores(given.cores),
            provider=given.provider,
            benchmark=read_benchmark(given.benchmark) if given.benchmark else None,
            timeout_s=given.timeout,
            max_bytes=given.max_mb * 2**20,
        )
        token = os.environ.get(TOKEN, "")
        if given.token_file:
            token = Path(given.token_file).read_text(encoding="utf-8").strip()
        if given.attached:
            # the first line of standard input; the server ends with whoever writes there
            token = sys.stdin.readline().strip()
            if not token:
                raise ValueError("no token came on standard input")
        until = _until_input_ends if given.attached else None
        serve(settings, given.host, given.port, token, given.attached, until)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    return 0


def _until_input_ends() -> None:
    while sys.stdin.read(4096):
        pass


if __name__ == "__main__":
    # modules beside this file are not those that it needs, though one may be called onnxruntime.py
    _here = Path(__file__).resolve().parent
    sys.path[:] = [each for each in sys.path if Path(each).resolve() != _here]
    sys.exit(main(sys.argv[1:]))
