"""Exported networks: folders that describe a network without a run.

`config.json` holds sizes and choices as plain numbers. Reading it calls known classes with these numbers; nothing
in it is executed or names code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.mm.rcnn import MMDetRCNN
from evonas.mm.upernet import MMSegUPerNet
from evonas.nn.classifier import Classifier
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.expanded_classifier import ExpandedClassifier
from evonas.nn.fcn_head import FCNHead
from evonas.nn.gaussians import GaussianHead
from evonas.nn.heads import DenseHead
from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.nn.topdown import SASFDecoder
from evonas.nn.upernet import UPerNet
from evonas.supernets.backbone import Backbone
from evonas.supernets.families import restore
from evonas.supernets.static_net import StaticNet

# format 1, of the first release, had one family and did not name it
FORMAT = 2
READABLE = (1, FORMAT)
# heads with `settings`, by their kind in config.json; a DenseHead has no kind
KINDS: Mapping[str, Any] = {
    "mamba": SASFDecoder,
    "classifier": Classifier,
    "mobilenet_v3": MobileNetV3Head,
    "expanded_classifier": ExpandedClassifier,
    "gaussians": GaussianHead,
    "fcn": FCNHead,
    "upernet": UPerNet,
    "mmseg_upernet": MMSegUPerNet,
    "mmdet_rcnn": MMDetRCNN,
    "rcnn": RCNN,
}
MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# forms that need no evonas
GRAPH, ONNX, ONNX_INT8, TENSORRT = "model.pt2", "model.onnx", "model.int8.onnx", "tensorrt.sh"


def load_exported(folder: Path) -> StaticNet:
    """The network of an export folder, in eval mode on the CPU; needs no training code.

    Raises:
        DataError: the folder is not an export, was altered, or is of a newer format.
    """
    config = read_config(folder)
    if config["head"] is None:
        raise DataError(
            "This network has a head of its own, which evonas cannot build.",
            f"Use {GRAPH} or {ONNX} instead.",
        )
    backbone = restore(config)
    try:
        settings = dict(config["head"])
        head = KINDS[settings.pop("kind")] if "kind" in settings else DenseHead
        net = StaticNet(backbone, head(list(backbone.levels), **settings))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"The {CONFIG} of this export is damaged: {error}.", "Export it again.") from error
    _load(net, weights.load(Path(folder) / MODEL), folder)
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
    _load(backbone, own, folder)
    return backbone.eval()


def _load(net: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"The weights in {folder} do not fit its {CONFIG}.", "Export it again.") from error


def feature_indices(backbone: Backbone, out_indices: Sequence[int] | None) -> tuple[int, ...]:
    """Checked `out_indices`: the numbers of the levels that are returned, 0 for the finest.

    Args:
        out_indices: None for all levels.

    Raises:
        UserError: it is empty, or there is no such level.
    """
    levels = range(len(backbone.levels))
    chosen = tuple(levels if out_indices is None else out_indices)
    if not chosen or not set(chosen) <= set(levels):
        raise UserError(
            f"out_indices must name levels of a backbone with {len(levels)} levels, got {list(chosen)}.",
            f"Choose among {list(levels)}.",
        )
    return chosen


def read_config(folder: Path) -> dict[str, Any]:
    """The checked `config.json` of an export folder."""
    path = Path(folder) / CONFIG
    try:
        config = files.read_json(path)
        version = int(config["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is not an exported network: {error}.", "Make one with stage=export."
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
    """Everything besides the weights that rebuilds a network, as plain data."""
    return {**net.backbone.describe(), "head": _describe_head(net.head)}


def _describe_head(head: nn.Module) -> dict[str, Any] | None:
    """None for a head of another package: only its weights and graphs are exported."""
    for kind, known in KINDS.items():
        if type(head) is known:
            settings: Any = head.settings
            return {"kind": kind, **settings}
    if type(head) is not DenseHead:
        return None
    channels = {"out_channels": head.predict.out_channels, "width": head.predict.in_channels}
    return {**channels, "output": head.output, "scale": head.scale}
