"""A device elsewhere: finds it, proves who may use it, and has it time ONNX models.

A device is `http://host:port`, where somebody has started the latency server of `latency_server.py`, or
`ssh://user@host`, where the server is started over the user's own ssh and ends with this process. Every request may be
repeated, so a server that dies and comes back loses nothing. A failure is the device's unless the device says that it
cannot run the model.
"""

import atexit
import functools
import http.client
import json
import math
import os
import re
import secrets
import select
import shlex
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from evonas import files
from evonas.errors import EngineError, InfeasibleError, UserError
from evonas.runtimes import latency_server
from evonas.runtimes.latency_server import PORT, TOKEN, Request, one_line

TOKEN_FILE = "EVONAS_DEVICE_TOKEN_FILE"
# this machine, by a process of its own for each network
HERE = "here"
INSTALL = "pip install 'evonas[export]'"
EXAMPLES = "Write http://<host>:<port> of a latency server, or ssh://<user>@<host>."
_ADDRESS = re.compile(
    r"(?P<scheme>https?|ssh)://(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?"
    r"(?P<python>/[^?#\s]*)?(?:\?(?P<options>[^#\s]*))?"
)
# settings of a server that is started over ssh, which are options of its command line
_OPTIONS = ("benchmark", "cores", "name", "provider", "timeout")
_ANSWER_BYTES = 4 * 2**20
_CONNECT_S, _START_S = 10.0, 60.0
# a request waits for the end of a job
_READ_S = latency_server.POLL_S + 20.0
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_ATTEMPTS_OF_PORTS = 3
# what ssh runs there: it reads the server's file from its input and becomes it
_BEGIN = """
import atexit, os, runpy, shutil, sys, tempfile
length = int(sys.stdin.buffer.readline())
folder = tempfile.mkdtemp(prefix="evonas-server-")
atexit.register(shutil.rmtree, folder, True)
path = os.path.join(folder, "latency_server.py")
with open(path, "wb") as stream:
    stream.write(sys.stdin.buffer.read(length))
sys.argv[0] = path
runpy.run_path(path, run_name="__main__")
"""
Answer = dict[str, Any]
T = TypeVar("T")


class _AgainError(Exception):
    """The device cannot answer now, and may do so later."""


class _TokenError(_AgainError):
    """The device does not know this token; it may have been started again with another one."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is.

    Args:
        scheme: http, https or ssh.
        host: name or address.
        port: of the server, or of ssh; 0 for the usual one.
        user: of ssh.
        python: the interpreter on the device, for ssh.
        options: settings of a server that is started over ssh, by name.
    """

    scheme: str
    host: str
    port: int = 0
    user: str = ""
    python: str = "python3"
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads `http://host:port` or `ssh://user@host:port/path/of/python?cores=4-7`.

        Raises:
            UserError: it is neither, or holds a password.
        """
        if re.match(r"\w+://[^/@]*:[^/@]*@", text):
            raise UserError(
                "The address of a device holds a password, and addresses are written into runs.",
                "Use a key of ssh, or a token: see docs/tutorials/bring_your_own_device.md",
            )
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            raise UserError(f"{text!r:.200} is not the address of a device.", EXAMPLES)
        options = tuple(parse_qsl(match["options"] or "", keep_blank_values=True))
        unknown = [name for name, _ in options if name not in _OPTIONS]
        is_ssh = match["scheme"] == "ssh"
        if unknown or (options and not is_ssh):
            raise UserError(
                f"{text!r:.200} has the unknown option {(unknown or [options[0][0]])[0]!r:.60}.",
                f"Devices of ssh:// take {', '.join(_OPTIONS)}; those of http:// are set where they are started.",
            )
        if not is_ssh and (match["user"] or (match["python"] or "/") != "/"):
            raise UserError(f"{text!r:.200} has more than host and port.", EXAMPLES)
        python = match["python"] if is_ssh and match["python"] not in (None, "/") else "python3"
        return cls(
            match["scheme"],
            match["host"].strip("[]"),
            int(match["port"] or 0),
            match["user"] or "",
            str(python),
            options,
        )

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}" + (f":{self.port}" if self.port else "")


def read_token(address: Address) -> str:
    """The token for a device: of its line in the token file, else of the environment.

    A line of the file is the address and the token, or a token alone for all devices.

    Raises:
        UserError: there is none, or others may read the file.
    """
    named = os.environ.get(TOKEN_FILE, "")
    path = Path(named) if named else Path("~/.config/evonas/device_token").expanduser()
    if named or path.is_file():
        try:
            mode, lines = path.stat().st_mode, path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The token file {path} cannot be read: {error}.", f"Check ${TOKEN_FILE}."
            ) from error
        if mode & 0o077:
            raise UserError(f"Others may read the token file {path}.", f"chmod 600 {shlex.quote(str(path))}")
        words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        found = [each[1] for each in words if len(each) == 2 and each[0].rstrip("/") == str(address)]
        found += [each[0] for each in words if len(each) == 1]
        if found:
            return found[0]
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise UserError(
            f"There is no token for the device {address}.",
            f"Its server prints one when it starts: export {TOKEN}=<token>, or write it into {path} (chmod 600).",
        )
    return token


@dataclass(frozen=True, slots=True)
class Passes:
    """What a device measured.

    Args:
        ms: time of each pass.
        reference_ms: time of the pass of the reference after each of them; empty without a reference.
        disturbed: whether another program interrupted the pass.
        extra: memory in bytes and energy in millijoules, as far as the device tells them.
    """

    ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    disturbed: tuple[bool, ...]
    extra: Mapping[str, float]


class Device:
    """A device elsewhere; use `device_at`, so that a process has one connection to each.

    Args:
        address: of the device.
        wait_s: how long it may be out of reach before a measurement fails.
    """

    def __init__(self, address: Address, wait_s: float = 120.0) -> None:
        self.address, self.wait_s = address, wait_s
        self._lock = threading.RLock()
        self._link: _Ssh | None = None
        self._health: Answer | None = None

    def __str__(self) -> str:
        return str(self.address)

    @property
    def about(self) -> dict[str, str]:
        """The device's fingerprint: processor, cores, runtime and whatever else times depend on.

        Raises:
            UserError: the token is missing or wrong.
            EngineError: the device does not answer.
        """
        return dict(self._known["device"])

    @property
    def identity(self) -> str:
        """The digest of `about`."""
        return latency_server.digest(self.about)

    @property
    def has_thread_clock(self) -> bool:
        """Whether it can time the computing thread alone."""
        return bool(self._known.get("thread_clock"))

    @property
    def tells(self) -> list[str]:
        """What it tells besides times: `memory` and `energy`, or neither."""
        found = self._known.get("tells")
        return [str(each) for each in found] if isinstance(found, list) else []

    @property
    def _known(self) -> Answer:
        with self._lock:
            if self._health is None:
                try:
                    self._health = self._persist(self._ask_health, wait_s=min(self.wait_s, 10.0))
                except _TokenError as error:
                    raise UserError(
                        f"The device {self} does not accept this token.",
                        f"Copy the token that its server printed: export {TOKEN}=<token>",
                    ) from error
            return self._health

    def check_unchanged(self, identity: str) -> None:
        """Raises an EngineError if the device is another one than at the beginning.

        Args:
            identity: digest of its fingerprint at the beginning.
        """
        if self.identity != identity:
            raise EngineError(
                f"The device {self} is not the one that this command began with: it is now "
                f"{one_line(json.dumps(self.about))}.",
                "Bring back the device as it was and repeat with resume=true, or start another search.",
            )

    def measure(self, model: bytes, reference: bytes = b"", **settings: Any) -> Passes:
        """Times a model.

        Args:
            model: an ONNX file.
            reference: an ONNX file that runs after each pass.
            settings: of `latency_server.Request`.

        Raises:
            InfeasibleError: the device cannot run the model.
            EngineError: the device does not answer, has changed, or failed.
        """
        try:
            return self._measure(model, reference, settings)
        except InfeasibleError:
            raise
        except UserError as error:
            # a token that is missing where a worker runs is not the fault of a genotype
            raise EngineError(error.message, error.hint) from error

    def _measure(self, model: bytes, reference: bytes, settings: Mapping[str, Any]) -> Passes:
        request = Request(
            **{"attempt": uuid.uuid4().hex, **settings}, model=len(model), reference=len(reference)
        )
        body = json.dumps(asdict(request)).encode() + b"\n" + model + reference
        limit = int(self._known.get("max_bytes") or len(body))
        if len(body) > limit:
            raise InfeasibleError(
                f"the device {self} takes models of at most {limit} bytes, and not {len(body)}"
            )
        job = ""

        def ask() -> Answer:
            nonlocal job
            if not job:
                status, answer = self._request("POST", "/jobs", body)
                if status != 202 or not re.fullmatch("[0-9a-f]{64}", str(answer.get("job"))):
                    raise _refusal(status, answer)
                job = str(answer["job"])
            status, answer = self._request("GET", f"/jobs/{job}")
            if status != 200:
                # a server that was started again does not know it
                job = ""
                raise _refusal(status, answer)
            return answer

        with self._lock:
            while (answer := self._persist(ask)).get("state") == "waiting":
                pass
            if answer.get("device") != self.identity:
                self._refuse_changed()
        return _passes(answer, request, str(self))

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            if self._link is not None:
                self._link.close()
                self._link = None

    def _refuse_changed(self) -> None:
        before, now = self.about, dict(self._persist(self._ask_health)["device"])
        changed = [
            f"{key} was {before.get(key) or 'nothing'} and is {now.get(key) or 'nothing'}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        raise EngineError(
            f"the device {self} has changed since this command began: {'; '.join(changed) or 'it answered as another'}",
            "Bring back the device as it was and repeat with resume=true, or start another search.",
        )

    def _ask_health(self) -> Answer:
        status, answer = self._request("GET", "/health")
        device = answer.get("device")
        if status != 200 or not isinstance(device, dict):
            raise _refusal(status, answer)
        if device.get("protocol") != str(latency_server.PROTOCOL):
            raise EngineError(
                f"The latency server at {self} is of another release.",
                "Copy latency_server.py of this release to the device, and start it again.",
            )
        return {**answer, "device": {str(key): str(value) for key, value in device.items()}}

    def _persist(self, ask: Callable[[], T], wait_s: float | None = None) -> T:
        """Asks until the device answers.

        Raises:
            EngineError: it did not for `wait_s` seconds.
        """
        began, number = time.monotonic(), 0
        limit = self.wait_s if wait_s is None else wait_s
        while True:
            try:
                return ask()
            except (_AgainError, OSError, http.client.HTTPException, ValueError) as error:
                pause = _PAUSES_S[min(number, len(_PAUSES_S) - 1)]
                is_over = time.monotonic() + pause - began > limit
                if isinstance(error, _TokenError) and (self._health is None or is_over):
                    if self._health is None:
                        raise
                    raise EngineError(
                        f"the device {self} does not accept the token any more",
                        "Start its server with a token of your own: --token-file <file>",
                    ) from error
                if is_over:
                    raise EngineError(
                        f"the device {self} does not answer: {_reason(error)}",
                        "Start its latency server again, then repeat the command with resume=true.",
                    ) from error
                number += 1
                time.sleep(pause)

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Answer]:
        """One request; the status and the JSON of the answer.

        Raises:
            OSError, HTTPException, ValueError: there was no answer, or another than JSON.
        """
        if self.address.scheme == "ssh":
            if self._link is None:
                self._link = _Ssh(self.address)
            host, port, token = self._link.ready()
        else:
            host, port, token = self.address.host, self.address.port or PORT, read_token(self.address)
        if self.address.scheme == "https":
            port = self.address.port or 443
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=_CONNECT_S, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(_READ_S)
            connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            content = answer.read(_ANSWER_BYTES + 1)
        finally:
            connection.close()
        if len(content) > _ANSWER_BYTES:
            raise ValueError("its answer is too long")
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("its answer is not that of a latency server")
        return answer.status, found


class ThisDevice:
    """This machine as a device: networks run in ONNX Runtime in processes of their own, one at a time."""

    def __init__(self) -> None:
        self._settings = latency_server.Settings()
        self._scratch = files.Scratch("evonas-here-")
        self._jobs = latency_server.Jobs(self._settings, self._scratch.path, self.identity)

    def __str__(self) -> str:
        return HERE

    @property
    def about(self) -> dict[str, str]:
        """As `Device.about`.

        Raises:
            UserError: ONNX Runtime is not installed.
        """
        try:
            return latency_server.fingerprint(self._settings)
        except ImportError as error:
            raise UserError(f"Processes of their own need ONNX Runtime: {error}.", INSTALL) from error

    @property
    def identity(self) -> str:
        """The digest of `about`."""
        return latency_server.digest(self.about)

    @property
    def has_thread_clock(self) -> bool:
        """As `Device.has_thread_clock`."""
        return latency_server.has_thread_clock()

    @property
    def tells(self) -> list[str]:
        """As `Device.tells`."""
        return latency_server.tells()

    def check_unchanged(self, identity: str) -> None:
        """Nothing: a process stays where it is."""

    def measure(self, model: bytes, reference: bytes = b"", **settings: Any) -> Passes:
        """As `Device.measure`."""
        request = Request(
            **{"attempt": uuid.uuid4().hex, **settings}, model=len(model), reference=len(reference)
        )
        job = self._jobs.find(self._jobs.add(request, model + reference))
        assert job is not None, "a new job is known"
        job.ended.wait()
        return _passes(dict(job.answer or {}), request, str(self))

    def close(self) -> None:
        """Ends the running process, and removes its files."""
        self._jobs.close()
        self._scratch.close()


@functools.cache
def device_at(text: str, wait_s: float = 120.0) -> Device | ThisDevice:
    """The device of an address, or this machine for `here`; one for all objectives of a process.

    Raises:
        UserError: the address cannot be read.
    """
    device = ThisDevice() if text == HERE else Device(Address.parse(text), wait_s)
    atexit.register(device.close)
    return device


class _Ssh:
    """A latency server on the other side of ssh, which lives as long as this process, and a port that leads to it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._port, self._token = 0, ""

    def ready(self) -> tuple[str, int, str]:
        """Host, port and token; starts the server if there is none.

        Raises:
            UserError: this machine has no ssh.
            _AgainError: ssh or the server failed.
        """
        if self._process is None or self._process.poll() is not None:
            for number in range(_ATTEMPTS_OF_PORTS):
                try:
                    self._start()
                    break
                except _AgainError as error:
                    is_taken = re.search("in use|cannot listen|forwarding failed", str(error))
                    if not is_taken or number == _ATTEMPTS_OF_PORTS - 1:
                        raise
        return "127.0.0.1", self._port, self._token

    def _start(self) -> None:
        self.close()
        address, self._token = self._address, secrets.token_urlsafe(24)
        self._port, far = _free_port(), 20_000 + secrets.randbelow(40_000)
        options = [word for name, value in address.options for word in (f"--{name}={value}",)]
        there = [address.python, "-c", _BEGIN, f"--port={far}", "--attached", *options]
        words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]
        words += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
        words += ["-L", f"127.0.0.1:{self._port}:127.0.0.1:{far}"]
        words += ["-p", str(address.port)] if address.port else []
        words += ["--", f"{address.user}@{address.host}" if address.user else address.host, shlex.join(there)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `close`
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            self._errors.close()
            raise UserError(
                f"{address} needs ssh, which is not installed here.", "Install OpenSSH."
            ) from error
        source = Path(latency_server.__file__).read_bytes()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            # the token is neither an argument, which others there could see, nor in the environment
            self._process.stdin.write(b"%d\n%s%s\n" % (len(source), source, self._token.encode()))
            self._process.stdin.flush()
        if not self._is_announced():
            reason = self._reason()
            self.close()
            raise _AgainError(f"ssh: {reason}")

    def _is_announced(self) -> bool:
        """Whether the server has printed its first line."""
        process, ends, seen = self._process, time.monotonic() + _START_S, b""
        assert process is not None and process.stdout is not None
        while time.monotonic() < ends:
            readable, _, _ = select.select([process.stdout], [], [], max(ends - time.monotonic(), 0))
            piece = os.read(process.stdout.fileno(), 4096) if readable else b""
            if readable and not piece:
                process.wait(5)
                return False
            seen += piece
            # a shell there may greet first
            if re.search(rb'(?m)^\{"port": \d+', seen) and seen.endswith(b"\n"):
                return True
        return False

    def _reason(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read(100_000).decode("utf-8", "replace").strip().splitlines()
        return one_line(lines[-1]) if lines else "the server did not start"

    def close(self) -> None:
        """Ends the server: it lives as long as its input is open."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._errors.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _refusal(status: int, answer: Answer) -> Exception:
    """The error of an answer that is not the one asked for."""
    reason = one_line(str(answer.get("error") or f"status {status}"))
    if status == 401:
        return _TokenError(reason)
    if status in (400, 411, 413):
        return EngineError(f"a latency server refused a job: {reason}", "Is it of this release of evonas?")
    return _AgainError(reason)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(str(text))


def _passes(answer: Answer, request: Request, name: str) -> Passes:
    """The times of an answer.

    Raises:
        InfeasibleError: the device cannot run the model.
        EngineError: it failed, or these are not times.
    """
    if answer.get("state") == "failed":
        reason = one_line(str(answer.get("reason")))
        if answer.get("fault") == "model":
            raise InfeasibleError(f"the device {name} cannot run this network: {reason}")
        raise EngineError(f"the device {name} failed: {reason}", "Look at the device, then repeat.")
    lists = [answer.get(key) for key in ("ms", "reference_ms", "disturbed")]
    ms, beside, disturbed = (each if isinstance(each, list) else [] for each in lists)
    is_right = (
        0 < len(ms) <= max(request.passes, request.least)
        and len(disturbed) == len(ms)
        and len(beside) == (len(ms) if request.reference else 0)
        and all(isinstance(each, int | float) and math.isfinite(each) and each > 0 for each in [*ms, *beside])
    )
    if not is_right:
        raise EngineError(f"the device {name} answered no times", "Is its latency server of this release?")
    names = ("idle_bytes", "load_bytes", "run_bytes", "energy_mj")
    extra = {key: float(answer[key]) for key in names if isinstance(answer.get(key), int | float)}
    return Passes(tuple(map(float, ms)), tuple(map(float, beside)), tuple(map(bool, disturbed)), extra)
