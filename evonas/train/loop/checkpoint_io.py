"""Training checkpoints as verified safetensors files: without pickle, written atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor
from typing_extensions import override

from evonas import weights
from evonas.errors import DataError

_TREE = "tree"
_PLAIN = (str, int, float, bool, type(None))


class SafeCheckpointIO(CheckpointIO):
    """Lightning plugin that stores checkpoints as safetensors: tensors by number, all else as JSON.

    Usage: `Trainer(plugins=[SafeCheckpointIO()])`.

    Args:
        meta: metadata of every saved checkpoint.
    """

    def __init__(self, meta: Mapping[str, Any] | None = None) -> None:
        self._meta = dict(meta or {})

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint durably, replacing the previous one."""
        tensors: dict[str, Tensor] = {}
        text = json.dumps(_pack(checkpoint, tensors))
        tensors[_TREE] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        weights.save(Path(path), tensors, self._meta)

    @override
    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint and verifies its digest.

        Raises:
            DataError: the file was altered, or is not a training checkpoint.
        """
        tensors = weights.load(Path(path))
        if _TREE not in tensors:
            raise DataError(f"{path} contains weights, not a training checkpoint.")
        tree = json.loads(tensors.pop(_TREE).numpy().tobytes())
        if isinstance(map_location, torch.device | str):
            tensors = {name: tensor.to(map_location) for name, tensor in tensors.items()}
        return dict(_unpack(tree, tensors))

    @override
    def remove_checkpoint(self, path: Any) -> None:
        """Removes a checkpoint and its manifest, if they exist."""
        remove(Path(path))


def remove(path: Path) -> None:
    """Removes a weights file and its manifest, if they exist."""
    path.unlink(missing_ok=True)
    weights.manifest(path).unlink(missing_ok=True)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"mapping": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(item, tensors) for item in value]}
    if isinstance(value, _PLAIN):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}: {value!r}")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "mapping":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in content}
    items = [_unpack(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
