"""The whole pipeline on a network of another family, with nothing typed but its name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm

import evonas

SHORT = (
    "limits=debug",
    "data.train=16",
    "data.validation=8",
    "data.test=8",
    "budget.population=4",
    "budget.evaluations=8",
    "select.rules=[knee]",
    "objective.latency.max_seconds=0.05",
    "objective.latency.warmup_seconds=0.01",
    "hardware.engine=inline",
)


@pytest.mark.parametrize(
    ("network", "family", "blocks"),
    [
        ("nano_cnn", "mbconv", 14),
        pytest.param("ofa_nano", "ofa_mbv3", 10, marks=pytest.mark.slow),
        pytest.param("elasticvit_nano", "elasticvit", 13, marks=pytest.mark.slow),
    ],
)
def test_a_network_runs_from_one_command(
    tmp_path: Path, evonas_command: Callable[..., Any], network: str, family: str, blocks: int
) -> None:
    ended = evonas_command("+task=synthetic", f"network={network}", "run=cnn", *SHORT)
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs/cnn"
    chosen = json.loads((run / "selected.json").read_text())["nets"]
    assert all(net["genotype"].startswith(f"{network}:") for net in chosen)
    tested = {net["name"]: net for net in json.loads((run / "evaluate/test.json").read_text())["nets"]}
    for net in chosen:
        # what the search adds up from steps is what is counted on the network as exported
        assert tested[net["name"]]["macs"] == round(1e9 * net["objectives"]["macs"])
        assert json.loads((run / f"export/{net['name']}/config.json").read_text())["family"] == family
        loaded = evonas.load(f"run:cnn#{net['name']}", "outputs")
        assert sum(each.numel() for each in loaded.parameters()) == tested[net["name"]]["params"]
    page = (run / "report/index.html").read_text()
    assert f"of {blocks} blocks are active" in page and "3x3" in page


def test_a_transformer_trains_by_its_published_sampling(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    words = (
        "+task=shapes",
        "network=elasticvit_nano",
        "head=elasticvit",
        "head.mix=64",
        "sampler=elasticvit_nano",
        "sampler.strategy.levels=2",
        "+sampler.strategy.size=8",
        "sampler.strategy.members=1",
        "objective=[error,macs]",
        "run=vit",
    )
    # what belongs to latency
    small = [word for word in SHORT if not word.startswith("objective.latency")]
    for stage in (["pretrain", "stage.train=false"], ["supernet"], ["search"], ["select"]):
        ended = evonas_command(*words, f"stage={stage[0]}", *stage[1:], *small)
        assert ended.code == 0, ended.err
    run = tmp_path / "outputs/vit"
    steps = json.loads((run / "supernet/panel.json").read_text())["steps"]
    assert [step["name"] for step in steps] == ["walk"]
    tensors = safetensors.torch.load_file(run / "supernet/supernet.safetensors")
    assert tensors["head.pre_head_0.weight"].shape == (6 * 112, 112)
    # a network's head counts with its own channels
    for net in json.loads((run / "selected.json").read_text())["nets"]:
        said = ["network=elasticvit_nano", f"genotype={net['genotype']}", "size=[64,64]"]
        printed = evonas_command("cost", *said).out.split()
        backbone = int(printed[printed.index("backbone_macs") + 1])
        width = int(net["genotype"].split("/w=")[1].split("/")[0].split(",")[-1])
        # the last map of an image of at most 64 pixels is one
        head = width * 6 * width + 6 * width * 64 + 64 * 10
        assert round(1e9 * net["objectives"]["macs"]) == backbone + head


def test_a_timm_model_runs_from_its_weights(tmp_path: Path, evonas_command: Callable[..., Any]) -> None:
    theirs = timm.create_model("test_resnet", pretrained=False)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    words = ("network=timm", "network.name=test_resnet", "network.weights=theirs.safetensors")
    ended = evonas_command("+task=synthetic", *words, "network.order=taylor", "run=elastic", *SHORT)
    assert ended.code == 0, ended.err
    assert "Starting weights from theirs.safetensors" in ended.out and "tensors adopted" in ended.out
    run = tmp_path / "outputs/elastic"
    identity = json.loads((run / "run.json").read_text())
    assert len(identity["network"]["structure"]) == 64
    net = json.loads((run / "selected.json").read_text())["nets"][0]
    tested = json.loads((run / "evaluate/test.json").read_text())["nets"][0]
    assert net["genotype"].startswith("timm-test_resnet:r=")
    assert tested["macs"] == round(1e9 * net["objectives"]["macs"])
    loaded = evonas.load(f"run:elastic#{net['name']}", "outputs")
    assert sum(each.numel() for each in loaded.parameters()) == tested["params"]
    # weights of another network are refused before anything is trained
    words = ("network=timm", "network.name=mobilenetv3_small_050", "network.weights=theirs.safetensors")
    ended = evonas_command("+task=synthetic", *words, *SHORT)
    assert ended.code == 3 and "does not hold mobilenetv3_small_050" in ended.err
    ended = evonas_command("+task=synthetic", "network=timm", *SHORT)
    assert ended.code == 2 and "network.name is missing" in ended.err


def test_streams_want_a_head_that_can_be_narrower(tmp_path: Path, evonas_command: Callable[..., Any]) -> None:
    words = ("+task=synthetic", "network=timm", "network.name=test_resnet", "space.streams=[0.5,1.0]")
    ended = evonas_command(*words, "head=mamba", "run=wide", *SHORT)
    assert ended.code == 2 and "cannot be narrower" in ended.err and "head=light" in ended.err
    # before any stage
    assert not list((tmp_path / "outputs/wide").glob("*/*.safetensors"))


@pytest.mark.slow
def test_streams_run_from_one_command(tmp_path: Path, evonas_command: Callable[..., Any]) -> None:
    words = ("+task=synthetic", "network=timm", "network.name=test_resnet", "space.streams=[0.5,0.75,1.0]")
    more = ("network.order=taylor", "head=light", "run=streams")
    ended = evonas_command(*words, *more, *SHORT)
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs/streams"
    net = json.loads((run / "selected.json").read_text())["nets"][0]
    tested = json.loads((run / "evaluate/test.json").read_text())["nets"][0]
    assert "/c=" in net["genotype"] and tested["macs"] == round(1e9 * net["objectives"]["macs"])
    loaded = evonas.load(f"run:streams#{net['name']}", "outputs")
    assert sum(each.numel() for each in loaded.parameters()) == tested["params"]
    assert [each.in_channels for each in loaded.head.laterals] == [each.channels for each in loaded.levels]
    features = evonas.load(f"run:streams#{net['name']}", "outputs", features_only=True)
    assert features.feature_info.channels() == [each.channels for each in loaded.levels]


def test_a_preview_fine_tunes_the_whole_model_and_cuts_it(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    words = ("+task=synthetic", "network=timm", "network.name=test_resnet", "stage=preview", *SHORT)
    ended = evonas_command(*words, "run=fresh")
    assert ended.code == 2 and "no trained head" in ended.err and "sampler=largest" in ended.err
    ended = evonas_command(*words, "sampler=largest", "run=first")
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs/first"
    assert json.loads((run / "selected.json").read_text())["nets"]
    assert (run / "report/index.html").exists() and not (run / "retrain").exists()
    panel = json.loads((run / "supernet/panel.json").read_text())["steps"]
    assert [step["name"] for step in panel] == ["largest"]
    # the fine-tuned model is the start of another preview, which trains nothing
    file = "network.weights=outputs/first/supernet/supernet.safetensors"
    ended = evonas_command(*words, file, "network.order=taylor", "run=second")
    assert ended.code == 0, ended.err
    assert "keeps its starting weights" in ended.out
    # weights that were never trained are refused behind inputs= as well
    ended = evonas_command(*words, "inputs=fresh", "run=third")
    assert ended.code == 2 and "no trained head" in ended.err
