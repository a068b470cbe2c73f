"""Detection from one command to a report, on a written tree and a network of a few thousand weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trees import coco

from evonas.nn.detection.rcnn import RCNN
from evonas.stages.networks.exported import load_exported

SMALL = (
    "+task=cells",
    "data.train=train2017",
    "data.test=val2017",
    "data.height=64",
    "data.width=64",
    "network.dims=[8,16,16,16]",
    "network.heads=[2,2,2,2]",
    "network.stem_dim=8",
    "head.neck.out_channels=8",
    "head.hidden=16",
    "head.proposals=20",
    "head.training_proposals=20",
    "head.samples=16",
    "head.detections=10",
    "distill.heads=2",
    "distill.head_dim=4",
)
SHORT = (
    "limits=debug",
    "limits.max_batches=1",
    "budget.population=2",
    "budget.evaluations=2",
    "select.rules=[knee]",
    "select.include_max=false",
    "train.scratch=false",
    "objective.latency.max_seconds=0.2",
    "objective.latency.warmup_seconds=0.1",
    "hardware.engine=inline",
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_detection_runs_from_one_command(tmp_path: Path, evonas_command: Callable[..., Any]) -> None:
    tree = coco.write(tmp_path / "coco", height=64, width=64)
    ended = evonas_command(*SMALL, *SHORT, f"data.root={tree}", "run=d")
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs" / "d"
    tested = json.loads((run / "evaluate" / "test.json").read_text())
    assert tested["error_name"] == "one_minus_map" and tested["num_images"] == 4
    assert tested["teacher"]["one_minus_map"] <= 1 and "common" in tested["baseline"]["name"]
    (net,) = tested["nets"]
    assert net["retrained"]["one_minus_map"] <= 1
    assert len(list((run / "evaluate" / "pictures").glob("*-knee.png"))) == 3
    # what the search counted in closed form is what the network does
    chosen = json.loads((run / "selected.json").read_text())["nets"][0]
    assert chosen["objectives"]["macs"] == pytest.approx(net["macs"] / 1e9, rel=0.02)
    exported = json.loads((run / "export" / "knee" / "config.json").read_text())
    assert exported["onnx_difference"] < 1e-3
    assert isinstance(load_exported(run / "export" / "knee").head, RCNN)
    assert "one_minus_map" in (run / "report" / "index.html").read_text()
