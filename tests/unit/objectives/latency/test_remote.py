"""Latency on a device elsewhere, as an objective: a real server, a real network, our own statistics."""

from collections.abc import Iterator
from typing import Any

import pytest
import small_run
from latency_servers import SECRET, Served, served

from evonas.config import to_plain
from evonas.errors import EngineError, UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.measured import Latency
from evonas.runtimes.device import device_at
from evonas.runtimes.remote import Remote
from evonas.stages.build import factory
from evonas.stages.build.devices import expect_devices, on_devices

BRIEF: dict[str, Any] = {
    "warmup": 1,
    "warmup_seconds": 0.1,
    "seconds": 0.05,
    "max_seconds": 0.3,
    "min_repeats": 5,
}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> EvaluationContext:
    made = small_run.context(tmp_path_factory.mktemp("run"))
    small_run.train(made)
    plain = [to_plain(made.cfg[key]) for key in ("space", "network", "task")]
    return EvaluationContext(*plain, made.run.need(factory.SUPERNET, made_by="supernet"))


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--name", "board") as found:
        yield found


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN", SECRET)
    device_at.cache_clear()


def latency(server: Served, **settings: Any) -> Latency:
    return Latency(runtime=Remote(device=server.address, wait_s=10), **{**BRIEF, **settings})


def test_a_latency_is_that_of_the_device(server: Served, context: EvaluationContext) -> None:
    measured = latency(server)
    measured.prepare(context)
    small, facts = measured.measure(context.space.smallest())
    large, _ = measured.measure(context.space.largest())
    assert 0 < small < large
    assert facts["device"]["name"].startswith("board (")
    assert facts["latency"]["low_ms"] <= small <= facts["latency"]["high_ms"]
    assert facts["latency"]["runtime"][0] == "onnxruntime"
    # the smallest network is the reference, and equal to it in its own time
    assert small == pytest.approx(facts["latency"]["reference_ms"], rel=0.5)
    assert {"cores", "clock_mhz"}.isdisjoint(facts["latency"])


def test_a_latency_without_a_reference_is_one_too(server: Served, context: EvaluationContext) -> None:
    measured = latency(server, reference=False)
    measured.prepare(context)
    value, facts = measured.measure(context.space.smallest())
    assert value > 0
    assert "reference_ms" not in facts["latency"]


def test_identities_are_those_of_the_device(server: Served, context: EvaluationContext) -> None:
    one = latency(server).identity(context)
    assert one["device"]["name"].startswith("board (")
    assert SECRET not in str(one) and str(server.port) not in str(one)
    with served("--name", "other") as second:
        assert latency(second).identity(context) != one


def test_several_devices_are_as_many_objectives(server: Served, context: EvaluationContext) -> None:
    base = {"_target_": "evonas.objectives.latency.measured.Latency", **BRIEF}
    base["runtime"] = {
        "_target_": "evonas.runtimes.choice.Auto",
        "precision": "fp32",
        "threads": 1,
        "batch": 1,
    }
    error = {"_target_": "evonas.objectives.error.Error"}
    with served("--name", "other") as second:
        devices = {"board": server.address, "other": {"device": second.address, "threads": 2}}
        found = on_devices({"error": error, "latency_devices": base}, devices)
        assert list(found) == ["error", "latency_board", "latency_other"]
        assert [found[f"latency_{name}"]["runtime"]["threads"] for name in devices] == [1, 2]
        expect_devices(found)
        for name in devices:
            runtime = {
                key: value for key, value in found[f"latency_{name}"]["runtime"].items() if key != "_target_"
            }
            measured = Latency(runtime=Remote(**runtime), name=f"latency_{name}", **BRIEF)
            measured.prepare(context)
            value, facts = measured.measure(context.space.smallest())
            assert value > 0
            assert facts[f"latency_{name}"]["device"]["name"].startswith(name)
    # another device answers at the address: a worker that starts now refuses it
    with served("--name", "third", port=second.port):
        device_at.cache_clear()
        with pytest.raises(EngineError, match="not the one that this command began with"):
            measured.prepare(context)


@pytest.mark.parametrize(
    ("objectives", "devices", "wrong"),
    [
        ({}, {"phone": "http://h:1"}, "no objective measures it"),
        ({"latency_devices": {}}, {}, "has no device"),
        ({"latency_devices": {}}, {"my phone": "http://h:1"}, "cannot be the name"),
        ({"latency_devices": {}}, {"phone": {"device": "http://h:1", "token": "x"}}, "wrong setting 'token'"),
        ({"latency_devices": {}}, {"phone": {"threads": 1}}, "wrong setting 'device'"),
        ({"latency_devices": {}}, {"phone": 7}, "wrong setting"),
    ],
)
def test_devices_that_cannot_be_measured_are_refused(objectives: Any, devices: Any, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        on_devices(objectives, devices)


def test_runtimes_of_devices_need_an_address() -> None:
    with pytest.raises(UserError, match="needs the address"):
        Remote()
    with pytest.raises(UserError, match="is not the address of a device"):
        Remote(device="phone")
    with pytest.raises(UserError, match="wait_s must be positive"):
        Remote(device="here", wait_s=-1)
