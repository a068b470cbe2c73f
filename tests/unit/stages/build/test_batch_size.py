"""How many images go through a network at a time when memory decides."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from small_stages import composed
from trees import coco

from evonas.cli_errors import refuse_too_small
from evonas.errors import UserError
from evonas.nn.memory import peak_bytes
from evonas.schema import Hardware
from evonas.stages.build import batch_size, factory
from evonas.stages.build.batch_size import MOST, SHARE, eval_batch_size, fitting, worker_bytes
from evonas.stages.build.setup import Setup

GIB = 2**30


def hardware(**changes: Any) -> Any:
    return OmegaConf.structured(Hardware(**changes))


@pytest.mark.parametrize(
    ("image", "memory", "expected"),
    [
        (100, 0, 1),
        (100, 400, 1),
        (100, 799, 1),
        (100, 800, 2),
        (100, 3300, 8),
        (0, 1e9, MOST),
        (1, 1e12, MOST),
    ],
)
def test_the_largest_power_of_two_that_fits(image: int, memory: float, expected: int) -> None:
    assert fitting(image, memory) == expected


def test_what_was_asked_for_is_taken() -> None:
    assert eval_batch_size(Setup(composed("hardware.eval_batch_size=5"))) == 5
    with pytest.raises(UserError, match=r"hardware\.eval_batch_size=0 is too small"):
        refuse_too_small(composed("hardware.eval_batch_size=0"))


def test_memory_decides_where_nothing_was_asked() -> None:
    cfg = composed("hardware.eval_batch_size=null")
    room = hardware(eval_batch_size=None, memory_gb=21 * real_bytes(Setup(cfg)) / SHARE / GIB)
    assert eval_batch_size(Setup(cfg), room) == 16


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("network.mixer=bidirectional",),
        ("network.width_slicing=per_head",),
        ("head._target_=evonas.nn.topdown.SASFDecoder", "~head.width"),
    ],
)
def test_sizes_are_those_of_real_tensors_though_none_is_made(
    overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(composed("data.height=64", "data.width=64", *overrides))
    expected = real_bytes(setup)
    monkeypatch.setattr(factory, "supernet", None)
    assert batch_size._image_bytes(setup) == expected


@pytest.mark.parametrize("masks", [False, True])
def test_a_detector_is_run_on_a_real_image(tmp_path: Path, masks: bool) -> None:
    """What it keeps depends on its scores."""
    cfg = composed("data.height=64", "data.width=64")
    cfg.task = {
        "_target_": "evonas.tasks.detection.Detection",
        "name": "coco",
        "data": {
            "_target_": "evonas.data.detection.coco.Coco",
            "root": str(coco.write(tmp_path)),
            "height": 64,
            "width": 96,
            "masks": masks,
            "validation": 0.25,
        },
        "head": {
            "_target_": "evonas.nn.detection.rcnn.RCNN",
            "_partial_": True,
            "neck": {"_target_": "evonas.nn.necks.fpn.FPN", "_partial_": True, "out_channels": 16},
            "hidden": 32,
            "anchor_scale": 4.0,
            "proposals": 40,
            "detections": 10,
            "masks": masks,
        },
    }
    assert batch_size._image_bytes(Setup(cfg)) == real_bytes(Setup(cfg))


def real_bytes(setup: Setup) -> int:
    """What the largest subnet's tensors take, told by making them."""
    net = factory.supernet(setup).eval()
    image, largest = torch.zeros(1, 3, *setup.task.input_size), setup.space.largest()
    return peak_bytes(lambda: net(image, largest))


def test_workers_share_the_machine_and_a_limit_counts() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert worker_bytes(hardware(workers=0)) == whole
    assert worker_bytes(hardware(workers=4)) == whole / 4
    assert worker_bytes(hardware(workers=1, memory_gb=0.5)) == GIB / 2


def test_workers_of_one_gpu_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        total_memory = 80 * GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    assert worker_bytes(hardware(accelerator="gpu", devices=2, workers_per_device=4)) == 20 * GIB
    assert worker_bytes(hardware(accelerator="gpu", devices=4, workers=2)) == 80 * GIB
