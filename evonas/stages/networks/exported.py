"""Exported networks: a folder that says by itself what the network is.

`config.json` holds sizes and choices as plain numbers. Reading one calls known classes
with those numbers; nothing in it is ever taken for code or for a name of code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from evonas import files, weights
from evonas.errors import DataError
from evonas.mm.rcnn import MMDetRCNN
from evonas.mm.upernet import MMSegUPerNet
from evonas.nn.classifier import Classifier
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.gaussians import GaussianHead
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.nn.topdown import SASFDecoder
from evonas.nn.upernet import UPerNet
from evonas.supernets.backbone import Backbone
from evonas.supernets.families import restore
from evonas.supernets.static_net import StaticNet

# format 1, of the first release, knew one family and did not name it
FORMAT = 2
READABLE = (1, FORMAT)
# heads that describe themselves, by the kind that config.json names; a DenseHead has no kind
KINDS: Mapping[str, Any] = {
    "mamba": SASFDecoder,
    "classifier": Classifier,
    "gaussians": GaussianHead,
    "upernet": UPerNet,
    "mmseg_upernet": MMSegUPerNet,
    "mmdet_rcnn": MMDetRCNN,
    "rcnn": RCNN,
}
MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# forms that need no evonas
GRAPH, ONNX, TENSORRT = "model.pt2", "model.onnx", "tensorrt.sh"


def load_exported(folder: Path) -> StaticNet:
    """The network of an export folder, in eval mode on the CPU; needs no training code.

    Raises:
        DataError: the folder is not an export, was altered, or is of a newer format.
    """
    net = _network(read_config(folder))
    try:
        net.load_state_dict(weights.load(Path(folder) / MODEL))
    except RuntimeError as error:
        raise DataError(f"The weights in {folder} do not fit its {CONFIG}.", "Export it again.") from error
    return net.eval()


def load_backbone(folder: Path) -> Backbone:
    """The backbone of an export folder alone, whatever its head is, in eval mode on the CPU.

    Raises:
        DataError: the folder is not an export, was altered, or is of a newer format.
    """
    backbone = restore(read_config(folder))
    own = {
        name.removeprefix("backbone."): tensor
        for name, tensor in weights.load(Path(folder) / MODEL).items()
        if name.startswith("backbone.")
    }
    try:
        backbone.load_state_dict(own)
    except RuntimeError as error:
        raise DataError(f"The weights in {folder} do not fit its {CONFIG}.", "Export it again.") from error
    return backbone.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """The checked `config.json` of an export folder."""
    path = Path(folder) / CONFIG
    try:
        config = files.read_json(path)
        version = int(config["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is no exported network: {error}.", "Make one with stage=export."
        ) from error
    if version not in READABLE:
        raise DataError(
            f"{path} has format {version}, this evonas reads {FORMAT} and older ones.",
            "Use the evonas that wrote it.",
        )
    if (
        weights.manifest(path.with_name(MODEL)).exists()
        and files.sha256(path.with_name(MODEL)) != config["sha256"]
    ):
        raise DataError(
            f"{path.with_name(MODEL)} is not the file that {CONFIG} describes.", "Export it again."
        )
    return dict(config)


def describe(net: StaticNet) -> dict[str, Any]:
    """Everything besides the weights that is needed to build a network again, as plain numbers."""
    return {**net.backbone.describe(), "head": _describe_head(net.head)}


def _describe_head(head: nn.Module) -> dict[str, Any] | None:
    """None for a head that is not ours: its weights and its ONNX file are still exported."""
    for kind, known in KINDS.items():
        if type(head) is known:
            settings: Any = head.settings
            return {"kind": kind, **settings}
    if type(head) is not DenseHead:
        return None
    channels = {"out_channels": head.predict.out_channels, "width": head.predict.in_channels}
    return {**channels, "output": head.output, "scale": head.scale}


def _network(config: dict[str, Any]) -> StaticNet:
    if config["head"] is None:
        raise DataError(
            "This network has a head of its own, which evonas cannot build.",
            f"Use {GRAPH} or {ONNX} instead.",
        )
    backbone = restore(config)
    try:
        return StaticNet(backbone, _head(list(backbone.levels), config["head"]))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> DataError:
    return DataError(f"The {CONFIG} of this export is damaged: {error}.", "Export it again.")


def _head(levels: list[Level], settings: dict[str, Any]) -> nn.Module:
    others = {key: value for key, value in settings.items() if key != "kind"}
    return KINDS[settings["kind"]](levels, **others) if "kind" in settings else DenseHead(levels, **others)
