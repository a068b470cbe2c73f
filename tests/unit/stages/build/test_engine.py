"""Which engine hardware means, and how workers share devices."""

from pathlib import Path
from typing import Any

import pytest
from misbehaving import Obedient
from omegaconf import OmegaConf

from evonas.cli_errors import refuse_too_small
from evonas.errors import EngineError, UserError
from evonas.evaluate import ray as ray_engine
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine, _devices
from evonas.schema import Hardware
from evonas.stages.build.engine import engine_for, worker_count


def hardware(**changes: Any) -> Any:
    return OmegaConf.structured(Hardware(**changes))


@pytest.mark.parametrize(
    ("changes", "kind", "workers"),
    [
        ({}, LocalEngine, 2),
        ({"workers": 0}, InlineEngine, 0),
        ({"engine": "inline"}, InlineEngine, 2),
        ({"accelerator": "gpu", "devices": 4, "workers_per_device": 2}, LocalEngine, 8),
        ({"accelerator": "gpu", "devices": 4, "workers_per_device": 2, "workers": 0}, InlineEngine, 0),
        ({"workers_per_device": 5}, LocalEngine, 2),
    ],
)
def test_engine_and_number_of_workers(changes: dict[str, Any], kind: type, workers: int) -> None:
    made = engine_for(hardware(**changes), Obedient(), None)  # type: ignore[arg-type]
    assert isinstance(made, kind)
    assert worker_count(hardware(**changes)) == workers
    made.close()


def test_workers_are_dealt_to_devices_and_one_of_each_is_exclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    made = LocalEngine(Obedient(), workers=5, gpus=2)
    assert [worker.device for worker in made._shared] == ["gpu4", "gpu6", "gpu4", "gpu6", "gpu4"]
    assert [worker.device for worker in made._exclusive] == ["gpu4", "gpu6"]


def test_a_worker_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _devices(2) == [("gpu0", "0"), ("gpu1", "1")]
    assert _devices(0) == [("cpu", None)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(EngineError, match="lists 1") as caught:
        _devices(2)
    assert caught.value.hint == "hardware.devices=1"


def test_unknown_engines_and_devices_without_workers_are_refused() -> None:
    with pytest.raises(UserError, match=r"hardware\.engine=rayy is unknown"):
        engine_for(hardware(engine="rayy"), {}, None)
    with pytest.raises(UserError, match="workers_per_device=0 is too small"):
        refuse_too_small(OmegaConf.create({"hardware": hardware(workers_per_device=0)}))


def test_without_ray_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match="needs the package 'ray'") as caught:
        engine_for(hardware(engine="ray"), {}, tmp_path)
    assert caught.value.hint == "pip install 'evonas[ray]'"
    assert ray_engine._LOOPBACK == "127.0.0.1"
