"""What a latency server and its client promise each other, over real sockets and with real processes."""

import ast
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from latency_servers import SECRET, SERVER, Served, fake_ssh, model, served

from evonas.errors import EngineError, InfeasibleError, UserError
from evonas.runtimes.device import Address, Device, _passes
from evonas.runtimes.latency_server import Request

QUICK = {"passes": 5, "warmup": 1, "seconds": 1.0}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN", SECRET)


def device(server: Served, wait_s: float = 10.0) -> Device:
    return Device(Address.parse(server.address), wait_s)


def asked(
    server: Served,
    method: str,
    path: str,
    body: bytes | None = None,
    token: str | None = SECRET,
    **headers: str,
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    given = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        connection.request(method, path, body, {**given, **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def job(**fields: object) -> bytes:
    content = model()
    return json.dumps({"model": len(content), **QUICK, **fields}).encode() + b"\n" + content


def test_passes_have_times(server: Served) -> None:
    found = device(server).measure(model(), model(8), **QUICK)
    assert len(found.ms) == len(found.reference_ms) == len(found.disturbed) == 5
    assert min(found.ms) > 0


def test_more_work_takes_longer(server: Served) -> None:
    own = device(server)
    less, more = (own.measure(model(256, layers), **QUICK) for layers in (1, 24))
    assert min(more.ms) > 4 * min(less.ms)


def test_the_fingerprint_tells_the_device(server: Served) -> None:
    about = device(server).about
    assert {"name", "processor", "cores", "onnxruntime", "governor", "provider"} <= about.keys()
    assert about["cores"] == str(os.cpu_count())


def test_an_equal_job_is_not_measured_again(server: Served) -> None:
    own = device(server)
    one, same, other = (own.measure(model(), **QUICK, attempt=each) for each in ("a", "a", "b"))
    assert one.ms == same.ms
    assert one.ms != other.ms


def test_a_model_that_cannot_run_is_not_the_devices_fault(server: Served) -> None:
    with pytest.raises(InfeasibleError, match="cannot run this network"):
        device(server).measure(b"not an ONNX file", **QUICK)
    assert device(server).measure(model(), **QUICK).ms


def test_a_wrong_token_is_told_and_not_shown(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN", "guessed")
    with pytest.raises(UserError, match="does not accept this token") as caught:
        _ = device(server).about
    assert "guessed" not in str(caught.value)


def test_a_missing_token_is_told(server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVONAS_DEVICE_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="no token"):
        _ = device(server).about
    # while a search runs this is a fault of the machine, and no genotype fails for it
    with pytest.raises(EngineError, match="no token"):
        device(server).measure(model())


def test_tokens_of_several_devices_lie_in_a_private_file(
    server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# mine\nhttp://10.1.1.1:1 other\n{server.address} {SECRET}\n")
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN_FILE", str(path))
    monkeypatch.delenv("EVONAS_DEVICE_TOKEN")
    path.chmod(0o644)
    with pytest.raises(UserError, match="Others may read"):
        _ = device(server).about
    path.chmod(0o600)
    assert device(server).about


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.7:8765",
        "ftp://10.0.0.7",
        "http://",
        "http://host:99999",
        "http://host/path",
        "http://me@host",
        "ssh://-oProxyCommand=touch",
        "ssh://me@-oProxyCommand=touch",
        "ssh://me@host;touch",
        "ssh://me@host?command=touch",
        "http://host?cores=1",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        Address.parse(text)


def test_a_password_in_an_address_is_refused_unseen() -> None:
    with pytest.raises(UserError) as caught:
        Address.parse("http://me:hunter2@host:1")
    assert "hunter2" not in str(caught.value)


# --- requests that mean harm


@pytest.mark.parametrize("wrong", [None, "", "guessed", SECRET + "x", "\xff\xfe"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/jobs"), ("GET", "/jobs/" + "0" * 64)]
)
def test_nothing_is_answered_without_the_token(
    server: Served, wrong: str | None, method: str, path: str
) -> None:
    status, answer = asked(server, method, path, b"{}" if method == "POST" else None, wrong)
    assert status == 401
    assert answer.keys() == {"error"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"[]\nx",
        b"[" * 60_000 + b"\nx",
        b'{"model": 1, "command": "touch x"}\nx',
        b'{"model": 5}\nx',
        b'{"model": 1, "passes": 1e9}\nx',
        b'{"model": 1, "passes": true}\nx',
        b'{"model": 1, "seconds": NaN}\nx',
        b'{"model": 1, "threads": -1}\nx',
        b'{"model": -1, "reference": 2}\nx',
        b'{"model": 1, "clock": "sun"}\nx',
        b'{"attempt": "' + b"a" * 70_000 + b'", "model": 1}\nx',
        bytes(range(256)) * 4,
    ],
)
def test_what_is_not_a_job_is_refused(server: Served, body: bytes) -> None:
    status, answer = asked(server, "POST", "/jobs", body)
    assert (status, answer.keys()) == (400, {"error"})


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/jobs/../../etc/passwd", "//etc/passwd", "/jobs/%2e%2e", "/"]
)
def test_paths_lead_nowhere(server: Served, path: str) -> None:
    assert asked(server, "GET", path)[0] == 404
    assert asked(server, "POST", path, job())[0] == 404


def test_a_huge_body_is_refused_before_it_is_read(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as stream:
        head = f"POST /jobs HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {10**12}\r\n\r\n"
        stream.sendall(head.encode())
        assert b" 413 " in stream.recv(4096)


def test_chunks_of_unknown_length_are_refused(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as stream:
        head = f"POST /jobs HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nTransfer-Encoding: chunked\r\n\r\n"
        stream.sendall(head.encode())
        assert b" 411 " in stream.recv(4096)


def test_slow_clients_and_junk_hold_nobody_up(server: Served) -> None:
    streams = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(20)]
    for number, stream in enumerate(streams):
        stream.sendall(b"\x16\x03\x01\x00" if number % 2 else b"POST /jobs HTTP/1.1\r\nX: ")
    assert device(server).measure(model(), **QUICK).ms
    for stream in streams:
        stream.close()


def test_more_connections_than_it_serves_are_closed_and_served_later(server: Served) -> None:
    streams = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(60)]
    threading.Timer(0.5, lambda: [stream.close() for stream in streams]).start()
    assert device(server).measure(model(), **QUICK).ms


def test_jobs_wait_for_one_another(server: Served) -> None:
    found: list[float] = []

    def measure() -> None:
        found.append(min(device(server).measure(model(128), **QUICK).ms))

    threads = [threading.Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4


# --- processes that end


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_runs() -> None:
    with served("--timeout", "1.5") as slow:
        with pytest.raises(EngineError, match="timeout"):
            device(slow).measure(model(2048, 200), **QUICK)
        assert device(slow).measure(model(), **QUICK).ms


def test_a_server_that_is_killed_and_started_again_loses_nothing() -> None:
    first = Served()
    own, found = device(first, wait_s=60), []
    _ = own.about
    thread = threading.Thread(
        target=lambda: found.append(own.measure(model(512, 40), passes=9, seconds=30.0))
    )
    thread.start()
    time.sleep(0.8)
    first.kill()
    time.sleep(0.5)
    with served(port=first.port):
        thread.join(60)
    assert len(found[0].ms) == 9


def test_a_server_that_stays_away_is_the_machines_fault() -> None:
    gone = Served()
    own = device(gone, wait_s=1.0)
    _ = own.about
    gone.kill()
    with pytest.raises(EngineError, match="does not answer"):
        own.measure(model())


def test_a_device_that_changes_is_refused_by_what_changed() -> None:
    first = Served()
    own = device(first, wait_s=20)
    before = own.identity
    first.kill()
    with served("--name", "another", port=first.port) as second:
        with pytest.raises(EngineError, match=r"name was .* and is another"):
            own.measure(model(), **QUICK)
        # another process of the same search
        with pytest.raises(EngineError, match="not the one that this command began with"):
            device(second).check_unchanged(before)


def test_it_ends_as_its_owner_says_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    server = Served()
    assert device(server).measure(model(), **QUICK).ms
    asked(server, "POST", "/jobs", b"junk")
    asked(server, "POST", "/jobs", job(), token=None)
    assert server.stop() == 0
    # the lock of all servers, and what ONNX Runtime itself keeps there
    assert [each.name for each in tmp_path.iterdir() if each.suffix != ".lock" and each.name != ".ses"] == []


def test_what_killed_servers_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    killed, alive = Served(), Served()
    killed.kill()
    folders = set(tmp_path.glob("evonas-latency-*/"))
    assert len(folders) == 2
    for folder in folders:
        os.utime(folder, (0, 0))
    with served() as last:
        monkeypatch.setattr(tempfile, "tempdir", None)
        assert len(set(tmp_path.glob("evonas-latency-*/")) & folders) == 1
        assert device(alive).measure(model(), **QUICK).ms and device(last).measure(model(), **QUICK).ms
    alive.stop()


def test_a_network_address_is_warned_of_and_a_new_token_is_printed() -> None:
    words = [sys.executable, str(SERVER), "--host", "0.0.0.0", "--port", "0"]
    environment = {key: value for key, value in os.environ.items() if key != "EVONAS_DEVICE_TOKEN"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert "WARNING: 0.0.0.0 can be reached from the network" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
    assert len(said[2].split()[1]) >= 32


def test_the_file_works_alone_in_python_3_9() -> None:
    tree = ast.parse(SERVER.read_text(encoding="utf-8"), feature_version=(3, 9))
    names = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        for alias in (node.names if isinstance(node, ast.Import) else [])
    } | {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "yaml"}


# --- another program in place of ONNX Runtime


def test_a_program_of_the_owner_times_the_models(tmp_path: Path) -> None:
    program = tmp_path / "bench.sh"
    program.write_text(
        '#!/bin/sh\nwc -c < "$1" >&2\necho "warm 9.0"\necho "took 1500 us"\necho "took 1700 us"\n'
    )
    program.chmod(0o755)
    said = {
        "command": [str(program), "{model}", "--threads={threads}"],
        "pattern": r"took (\d+) us",
        "unit": "us",
    }
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(said))
    with served("--benchmark", str(path)) as own:
        found = device(own).measure(b"any bytes", b"others", **{**QUICK, "passes": 4})
        assert found.ms == found.reference_ms == (1.5, 1.7, 1.5, 1.7)
        assert "took" in device(own).about["benchmark"]
        program.write_text("#!/bin/sh\necho no such operation\nexit 3\n")
        with pytest.raises(EngineError, match="ended with 3 and said: no such operation"):
            device(own).measure(b"any bytes", **QUICK)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"command": ["bench"], "pattern": "(.)"}, "has no {model}"),
        ({"command": "bench {model}", "pattern": "(.)"}, "list of words"),
        ({"command": ["bench", "{model}"], "pattern": "("}, "no regular expression"),
        ({"command": ["bench", "{model}"], "pattern": "."}, "one group"),
        ({"command": ["bench", "{model}"], "pattern": "(.)", "unit": "hours"}, "must be one of"),
        ({"command": ["bench", "{model}"]}, "must have command and pattern"),
    ],
)
def test_a_program_that_cannot_work_is_refused_at_the_start(tmp_path: Path, said: object, wrong: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(said))
    ended = subprocess.run(
        [sys.executable, str(SERVER), "--benchmark", str(path)], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2
    assert wrong in ended.stderr
    assert "Traceback" not in ended.stderr


# --- devices that answer something else


@pytest.mark.parametrize(
    "answer",
    [
        {"state": "done"},
        {"state": "done", "ms": [], "reference_ms": [], "disturbed": []},
        {"state": "done", "ms": [1.0], "reference_ms": [], "disturbed": []},
        {"state": "done", "ms": [-1.0], "reference_ms": [], "disturbed": [False]},
        {"state": "done", "ms": [float("nan")], "reference_ms": [], "disturbed": [False]},
        {"state": "done", "ms": ["1"], "reference_ms": [], "disturbed": [False]},
        {"state": "done", "ms": [1.0] * 99, "reference_ms": [], "disturbed": [False] * 99},
        {"state": "done", "ms": [1.0], "reference_ms": [1.0], "disturbed": [False]},
        {"state": "failed", "fault": "device", "reason": "a\x1b[31m fault\n" * 99},
        {"state": "failed"},
    ],
)
def test_answers_that_are_no_times_are_the_devices_fault(answer: dict[str, object]) -> None:
    with pytest.raises(EngineError, match="the device board") as caught:
        _passes(answer, Request(passes=5), "board")
    assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.0 200 OK\r\n\r\n[1]", b"HTTP/1.0 302 X\r\n\r\n{}"]
)
def test_another_program_at_the_address_is_told(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    stream, _ = other.accept()
                    stream.recv(4096)
                    stream.sendall(said)
                    stream.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(EngineError, match="does not answer"):
            _ = Device(Address.parse(f"http://127.0.0.1:{other.getsockname()[1]}"), 0.3).about


# --- over ssh


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_ssh(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_SAID", str(tmp_path / "said"))
    monkeypatch.delenv("EVONAS_DEVICE_TOKEN")
    return tmp_path / "said"


def over_ssh(text: str = "") -> Device:
    return Device(Address.parse(f"ssh://me@here:2222{sys.executable}{text}"), 20.0)


def test_ssh_starts_the_server_and_carries_its_port(ssh: Path) -> None:
    own = over_ssh("?name=board&cores=0")
    try:
        assert own.measure(model(), **QUICK).ms
        assert own.about["name"] == "board"
        assert own.about["pinned"] == "0"
        said = ast.literal_eval(ssh.read_text().splitlines()[0])
        assert {"BatchMode=yes", "ExitOnForwardFailure=yes", "-p", "2222", "me@here"} <= set(said)
        assert own._link is not None and own._link._token not in ssh.read_text()
        assert own._link._process is not None
        process = own._link._process
        # the connection breaks: the next measurement opens another one
        process.kill()
        assert own.measure(model(), **QUICK).ms
    finally:
        own.close()


@pytest.mark.usefixtures("ssh")
def test_the_server_ends_with_its_connection() -> None:
    own = over_ssh()
    _ = own.about
    assert own._link is not None
    process, port = own._link._process, own._link._port
    own.close()
    assert process is not None and process.returncode is not None
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)


@pytest.mark.usefixtures("ssh")
def test_what_ssh_says_is_told() -> None:
    own = Device(Address.parse("ssh://nobody@elsewhere"), 0.1)
    with pytest.raises(EngineError, match="Permission denied"):
        _ = own.about


def test_a_machine_without_ssh_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs ssh"):
        _ = Device(Address.parse("ssh://me@here"), 0.1).about
