"""The stage that lets others measure here."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from latency_servers import SECRET, model

from evonas.errors import EngineError, UserError
from evonas.runtimes.device import Address, Device
from evonas.stages.serve_latency import ServeLatency


def test_the_command_serves_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN_FILE", "token")
    words = [
        sys.executable,
        "-m",
        "evonas",
        "serve-latency",
        "stage.port=0",
        "stage.name=me",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        said = process.stdout.readline() + process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found is not None, said
        monkeypatch.delenv("EVONAS_DEVICE_TOKEN_FILE")
        monkeypatch.setenv("EVONAS_DEVICE_TOKEN", SECRET)
        own = Device(Address.parse(found[0]), 5.0)
        assert own.about["name"] == "me"
        assert own.measure(model(), passes=3).ms
        process.send_signal(signal.SIGINT)
        assert "The latency server has ended" in process.stdout.read()
    assert process.returncode == 0
    assert {each.name for each in tmp_path.iterdir()} == {"token"}


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"port": 70_000}, "stage.port=70000"),
        ({"max_mb": 0}, "stage.max_mb=0"),
        ({"cores": "first"}, "not first"),
        ({"cores": 4000}, "no core 4000"),
        ({"benchmark": {"command": ["bench"], "pattern": "(.)"}}, "has no {model}"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], wrong: str) -> None:
    with pytest.raises(UserError, match=re.escape(wrong)):
        ServeLatency(**settings)  # type: ignore[arg-type]


def test_a_token_file_without_a_token_and_a_taken_port_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, wrong in ((None, "cannot be read"), ("", "has no token"), ("two words", "has no token")):
        if content is not None:
            (tmp_path / "token").write_text(content)
        monkeypatch.setenv("EVONAS_DEVICE_TOKEN_FILE", str(tmp_path / "token"))
        with pytest.raises(UserError, match=wrong):
            ServeLatency().run(None)  # type: ignore[arg-type]
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EngineError, match="cannot listen"):
        ServeLatency(port=taken.getsockname()[1]).run(None)  # type: ignore[arg-type]
