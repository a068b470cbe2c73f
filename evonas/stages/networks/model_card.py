"""The card of an exported network: a README made of its facts."""

from collections.abc import Mapping
from typing import Any

from evonas.data.augment import MEAN, STD
from evonas.metric import readable

_TEXT = """---
library_name: evonas
tags: [neural-architecture-search, {task}]
---
# {name}

A network for the task `{task}`, found by evonas in run `{run}`.
{shortened}
| fact | value |
|---|---|
| genotype | `{genotype}` |
| parameters | {params:,} |
| multiply-adds, one image | {macs:,} |
{latency}| input | float32, N x 3 x {height} x {width}, RGB, `(image / 255 - mean) / deviation` |
| mean | {mean} |
| deviation | {deviation} |
| sha256 of model.safetensors | `{sha256}` |
| largest difference of model.pt2 | {graph_difference:.1e} |
{onnx}
## Metrics
{metrics}
## Use

```python
import evonas

net = evonas.load(".")  # and evonas.load(".", features_only=True) for the backbone, as of timm
```

Without evonas, with torch alone:

```python
import torch

net = torch.export.load("model.pt2").module()
```

`evonas.load` returns it in eval mode; call `net.train()` before you train it further.

Any number of images at a time, of the size above.{more}
"""
_ONNX_ROW = "| largest difference of model.onnx | {:.1e} |\n"
_ONNX = (
    " `model.onnx` is the same network for ONNX Runtime, and\n"
    "`tensorrt.sh` the command that makes a TensorRT engine of it, which was not tried."
)


def card(config: Mapping[str, Any]) -> str:
    """Markdown from the facts of `config.json`; a split that was not measured is said to be so."""
    height, width = config["input_size"]
    difference = config["onnx_difference"]
    onnx = (
        {"onnx": "", "more": ""}
        if difference is None
        else {"onnx": _ONNX_ROW.format(difference), "more": _ONNX}
    )
    timed = config.get("latency")
    facts = {
        "latency": "" if timed is None else f"| latency, {_images(timed)} | {_latency(timed)} |\n",
        "mean": ", ".join(f"{value:g}" for value in MEAN),
        "deviation": ", ".join(f"{value:g}" for value in STD),
        "shortened": f"\n**{told}**\n" if (told := config.get("shortened")) else "",
    }
    splits = {"validation": config["holdout"], "test": config["test"]}
    metrics = "".join(_split(title, config["error_name"], found) for title, found in splits.items())
    return _TEXT.format(**{**config, **onnx, **facts, "height": height, "width": width, "metrics": metrics})


def _images(timed: Mapping[str, Any]) -> str:
    batch = timed.get("batch") or 1
    return "one image" if batch == 1 else f"a pass of {batch} images"


def _latency(timed: Mapping[str, Any]) -> str:
    about = [timed.get("runtime"), timed.get("precision"), timed.get("device")]
    threads = timed.get("threads")
    about.insert(2, f"{threads} thread{'s' if threads != 1 else ''}" if threads else None)
    where = ", ".join(str(each) for each in about if each)
    return f"{timed['ms']:.4g} ms" + (f" ({where})" if where else "")


def _split(title: str, error: str, metrics: Mapping[str, float | None] | None) -> str:
    if not metrics:
        return f"\nNot measured on the {title} split.\n"
    rows = "".join(
        f"| {metric.label}, {metric.direction} | {'-' if value is None else f'{value:.4g}'} |\n"
        for metric, value in readable(error, metrics)
    )
    return f"\n| {title} split | value |\n|---|---|\n{rows}"
