"""Settings that do not fit together, or not this machine, are refused before a run is opened."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@NO_GPU
@pytest.mark.parametrize("stage", ["pretrain", "supernet", "retrain", "search", "measure", "run"])
@pytest.mark.parametrize("hardware", ["gpu", "gpus8", "slurm"])
def test_a_gpu_that_is_not_there(stage: str, hardware: str, evonas_command: Callable, tmp_path: Path) -> None:
    ended = evonas_command("+task=synthetic", f"stage={stage}", "run=a", f"hardware={hardware}")
    assert ended.code == 2, ended.err
    assert "torch finds no GPU here" in ended.err
    assert "hardware=cpu" in ended.err and "python -m evonas doctor" in ended.err
    assert not list(tmp_path.iterdir()), "no run is left behind"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one")
def test_an_apple_gpu_that_is_not_there(evonas_command: Callable) -> None:
    ended = evonas_command("+task=synthetic", "stage=pretrain", "hardware=mps")
    assert ended.code == 2 and "no Apple GPU" in ended.err and "hardware=cpu" in ended.err


def test_an_accelerator_that_nobody_knows(evonas_command: Callable) -> None:
    ended = evonas_command("+task=synthetic", "stage=pretrain", "hardware.accelerator=abacus")
    assert ended.code == 2 and "hardware.accelerator=abacus is unknown" in ended.err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
def test_more_gpus_than_there_are(evonas_command: Callable) -> None:
    ended = evonas_command("+task=synthetic", "stage=pretrain", "hardware=gpu", "hardware.devices=99")
    assert ended.code == 2 and f"hardware.devices={torch.cuda.device_count()}" in ended.err


@NO_GPU
@pytest.mark.parametrize("words", [["list"], ["stage=select", "run=a", "+task=synthetic"]])
def test_stages_that_use_no_device_are_not_refused_for_it(words: list[str], evonas_command: Callable) -> None:
    ended = evonas_command(*words, "hardware=gpu")
    assert "GPU" not in ended.err


@NO_GPU
def test_tables_are_searched_without_a_device(evonas_command: Callable, tmp_path: Path) -> None:
    ended = evonas_command("+task=nb201", f"data.root={tmp_path}", "stage=search", "hardware=gpu")
    assert "GPU" not in ended.err and ended.code in (2, 3)


@NO_GPU
def test_the_actors_of_ray_may_have_what_the_driver_lacks(evonas_command: Callable) -> None:
    ended = evonas_command("+task=synthetic", "stage=search", "run=a", "hardware=ray_cluster")
    assert "torch finds no GPU" not in ended.err


@pytest.mark.parametrize(
    ("words", "said", "typed"),
    [
        (["search=saswot_matrices"], "say no network of space nano", "network=fasterseg_saswot"),
        (["+space.resolutions=0.5"], "resolutions=0.5 is not a list", "resolutions=[0.5]"),
        (
            ["network=timm", "network.name=resnet10t", "space.streams=0.5"],
            "streams=0.5 is not a list",
            "streams=[0.5]",
        ),
        (["network=timm", "network.name=resnt18"], "resnt18 is not a model of timm", "Similar: resnet18"),
    ],
)
def test_a_choice_that_fits_no_stage_ends_before_training(
    evonas_command: Callable, words: list[str], said: str, typed: str
) -> None:
    network = [] if "network=timm" in words else ["network=nano", "sampler=sandwich"]
    ended = evonas_command("+task=synthetic", *network, *words, "stage=run", "baselines=[]", "distill=none")
    assert ended.code == 2, ended.err
    assert said in ended.err and typed in ended.err
    assert "[1/" not in ended.out, "no stage began"
