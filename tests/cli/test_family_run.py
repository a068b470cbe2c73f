"""The whole pipeline on a network of another family, with nothing typed but its name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_a_cnn_runs_from_one_command(tmp_path: Path, evonas_command: Callable[..., Any]) -> None:
    ended = evonas_command("+task=synthetic", "network=nano_cnn", "run=cnn", *SHORT)
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs/cnn"
    chosen = json.loads((run / "selected.json").read_text())["nets"]
    assert all(net["genotype"].startswith("nano_cnn:r=") for net in chosen)
    tested = {net["name"]: net for net in json.loads((run / "evaluate/test.json").read_text())["nets"]}
    for net in chosen:
        # what the search adds up from steps is what is counted on the network as exported
        assert tested[net["name"]]["macs"] == round(1e9 * net["objectives"]["macs"])
        assert json.loads((run / f"export/{net['name']}/config.json").read_text())["family"] == "mbconv"
        loaded = evonas.load(f"run:cnn#{net['name']}", "outputs")
        assert sum(each.numel() for each in loaded.parameters()) == tested[net["name"]]["params"]
    page = (run / "report/index.html").read_text()
    assert "of 14 blocks are active" in page and "3x3" in page
