"""The stage that makes the supernet's starting weights."""

from pathlib import Path
from typing import Any

from torch import nn

from evonas import files, weights
from evonas.errors import DataError
from evonas.stages import assembly
from evonas.stages.base import Context

PRETRAINED = "pretrain/supernet.safetensors"


class Pretrain:
    """Seeded weights, or a checkpoint from elsewhere.

    Args:
        weights: a safetensors or `.pth` file whose tensors are taken where name and shape
            agree, with or without the prefix `backbone.`; None for seeded weights.
    """

    needs_task = True

    def __init__(self, weights: str | None = None) -> None:
        self.weights = weights

    def run(self, context: Context) -> str:
        """Write the starting weights and say where they came from."""
        net = assembly.supernet(context.cfg)
        meta: dict[str, Any] = {"source": "seed", "seed": context.cfg.seed}
        if self.weights:
            meta = _adopt(net, Path(self.weights).expanduser())
        path = context.run.path(PRETRAINED)
        weights.save(path, net.state_dict(), meta)
        return f"Starting weights from {meta['source']}: {path}"


def _adopt(net: nn.Module, path: Path) -> dict[str, Any]:
    found = weights.load_foreign(path)
    wanted = net.state_dict()
    fitting = {}
    for name, tensor in found.items():
        for target in (name, f"backbone.{name}"):
            if target in wanted and wanted[target].shape == tensor.shape:
                fitting[target] = tensor
    if not fitting:
        raise DataError(f"No tensor of {path} fits the network.", "Choose the network it was made for.")
    net.load_state_dict(fitting, strict=False)
    return {
        "source": path.name,
        "sha256": files.sha256(path),
        "adopted": len(fitting),
        "of": len(wanted),
    }
