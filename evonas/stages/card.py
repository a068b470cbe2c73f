"""The card of an exported network: a README made of its facts."""

from collections.abc import Mapping
from typing import Any

_TEXT = """# {name}

A network for the task `{task}`, found by evonas in run `{run}`.

| fact | value |
|---|---|
| genotype | `{genotype}` |
| parameters | {params:,} |
| multiply-adds, one image | {macs:,} |
| input | float32, N x 3 x {height} x {width}, normalised as in training |
| sha256 of model.safetensors | `{sha256}` |
{onnx}
## Metrics
{metrics}
## Use

```python
from pathlib import Path
from evonas.stages.exported import load_exported

net = load_exported(Path("."))
```
"""


def card(config: Mapping[str, Any]) -> str:
    """Markdown from the facts of `config.json`; a split that was not measured is said to be so."""
    height, width = config["input_size"]
    difference = config["onnx_difference"]
    onnx = "" if difference is None else f"| largest difference of ONNX from torch | {difference:.1e} |\n"
    metrics = "".join(_split(title, config[title]) for title in ("holdout", "test"))
    return _TEXT.format(**{**config, "height": height, "width": width, "onnx": onnx, "metrics": metrics})


def _split(title: str, metrics: Mapping[str, float | None] | None) -> str:
    if not metrics:
        return f"\nNot measured on the {title} split.\n"
    rows = "".join(
        f"| {name} | {'-' if value is None else f'{value:.4g}'} |\n" for name, value in metrics.items()
    )
    return f"\n| {title} split | value |\n|---|---|\n{rows}"
