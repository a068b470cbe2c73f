"""Novel views from the first command to the last, on a handful of scenes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = {
    "data.train": 8,
    "data.validation": 4,
    "data.test": 4,
    "data.height": 32,
    "data.width": 64,
    "hardware.engine": "inline",
    "budget.evaluations": 4,
    "rank.subnets": 3,
    "select.include_max": "false",
    "train.scratch": "false",
}


@pytest.mark.slow
def test_the_whole_pipeline_draws_novel_views(evonas_command: Callable[..., Any], tmp_path: Path) -> None:
    words = [f"{key}={value}" for key, value in SMALL.items()]
    ended = evonas_command("+task=splat", "+debug=fast", "run=small", f"outputs={tmp_path}", *words)
    assert ended.code == 0, ended.err
    tested = json.loads((tmp_path / "small/evaluate/test.json").read_text())
    assert tested["error_name"] == "rmse"
    assert tested["baseline"]["name"] == "copy of the nearest view"
    (net,) = tested["nets"]
    assert {"rmse", "psnr", "ssim", "abs_rel"} <= net["retrained"].keys()
    assert 0 < net["retrained"]["rmse"] < 0.5
    (exported,) = (tmp_path / "small/export").iterdir()
    assert json.loads((exported / "config.json").read_text())["head"]["kind"] == "gaussians"
    assert len(list((tmp_path / "small/evaluate/pictures").glob("*.png"))) == 9
