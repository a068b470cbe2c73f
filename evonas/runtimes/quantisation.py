"""Networks in int8: post-training static quantisation of ONNX models by ONNX Runtime's own tool.

Weights become int8, one scale for each output channel, and activations 8 bits in the ranges that images of the
training split give them. What comes out is an ordinary ONNX model with QuantizeLinear and DequantizeLinear around what
is computed in int8 (QDQ), which ONNX Runtime fuses when it opens the model: its outputs are those of a device.

Legend: B batch, H W space.
"""

import difflib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evonas.errors import UserError

# the tool's names
_METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_ACTIVATIONS = {"uint8": "QUInt8", "int8": "QInt8"}
# operators with weights, of which the first and the last have a rule
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# operators whose third input is a bias
_BIASED = ("Gemm", "LayerNormalization")
FIRST, LAST = "first", "last"
RULES = (FIRST, LAST)
# where torch's exporter by `torch.export` writes the modules of a node
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class Quantisation:
    """How a network is quantised.

    Args:
        keep_float: layers that are computed in float: names of modules, with all that is in them, or `first` and `last`
            for the first and last layer with weights.
        images: number of images of the training split that the ranges of activations are taken from.
        calibration: `minmax`, `percentile` or `entropy`: how. The latter two keep the activations of all images in
            memory.
        percentile: share of an activation's values within its range, in percent.
        per_channel: one scale for each output channel of a weight, or one for the whole.
        activations: `uint8`, which x86 computes fastest, or `int8`, symmetric, for some accelerators and ARM.
        reduce_range: 7 bits for weights: an x86 without VNNI adds pairs of 8-bit products in 16 bits, which saturate.

    Raises:
        UserError: a setting is out of range or unknown.
    """

    keep_float: Sequence[str] = ()
    images: int = 64
    calibration: str = "minmax"
    percentile: float = 99.999
    per_channel: bool = True
    activations: str = "uint8"
    reduce_range: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_float", tuple(str(each) for each in self.keep_float))
        if self.images < 1:
            raise UserError(f"runtime.int8.images must be at least 1, got {self.images}.", "Try 64.")
        for key, known in (("calibration", _METHODS), ("activations", _ACTIVATIONS)):
            if getattr(self, key) not in known:
                raise UserError(
                    f"runtime.int8.{key}={getattr(self, key)} is unknown.",
                    f"Choose among {', '.join(known)}.",
                )
        if not 50 < self.percentile <= 100:
            raise UserError(
                f"runtime.int8.percentile must be in (50, 100], got {self.percentile:g}.", "Try 99.999."
            )

    def structure(self) -> dict[str, Any]:
        """The settings that latencies depend on, as JSON data."""
        return {
            "tool": f"onnxruntime {version()}",
            "keep_float": sorted(set(self.keep_float)),
            "per_channel": self.per_channel,
            "activations": self.activations,
            "reduce_range": self.reduce_range,
        }

    def identity(self) -> dict[str, Any]:
        """All settings that outputs depend on, as JSON data."""
        chosen: dict[str, Any] = {"images": self.images, "calibration": self.calibration}
        if self.calibration == "percentile":
            chosen["percentile"] = self.percentile
        return {**self.structure(), **chosen, **({"saturates": True} if saturates() else {})}


def version() -> str:
    """The version of the quantiser."""
    import onnxruntime

    return str(onnxruntime.__version__)


def saturates() -> bool:
    """Whether sums of two 8-bit products may saturate here: on an x86 without VNNI, as far as Linux tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return bool(flags) and not any("vnni" in flag for flag in flags)


def check_kept(keep_float: Iterable[str], known: Iterable[str]) -> None:
    """Checks that layers to be kept in float exist.

    Args:
        keep_float: see `Quantisation`.
        known: names of modules of the networks that are quantised; parts in front of a dot count as well.

    Raises:
        UserError: a name is unknown; the nearest ones are named.
    """
    names = sorted(
        {".".join(parts[:end]) for parts in map(_split, known) for end in range(1, len(parts) + 1)}
    )
    for name in keep_float:
        if name not in names and name not in RULES:
            near = difflib.get_close_matches(name, names, 3, 0.3) or names[:3]
            raise UserError(
                f"runtime.int8.keep_float: no network has a layer called '{name}'.",
                f"Choose {', '.join(RULES)}, or modules such as {', '.join(near)}.",
            )


def quantised(model: bytes, images: Iterable[np.ndarray], settings: Quantisation) -> bytes:
    """The model in int8. Layers in `keep_float` that it does not have are ignored; see `check_kept`.

    Args:
        model: an ONNX model with one input, whose nodes are named as `onnx_model` names them.
        images: arrays B 3 H W of the training split, as the model takes them; see `arrays`.
        settings: how; `images` was chosen before.

    Raises:
        UserError: the tool cannot quantise it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    whole = onnx.load_from_string(model)
    kept = _kept_nodes(whole, settings.keep_float)
    extra = {"CalibPercentile": settings.percentile} if settings.calibration == "percentile" else {}
    with tempfile.TemporaryDirectory(prefix="evonas-int8-") as folder, _silent():
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        try:
            _preprocess(whole, ready)
            excluded = _excluded(onnx.load(ready), kept)
            quantize_static(
                ready,
                made,
                _Reader(whole.graph.input[0].name, images),
                quant_format=QuantFormat.QDQ,
                per_channel=settings.per_channel,
                reduce_range=settings.reduce_range,
                activation_type=QuantType[_ACTIVATIONS[settings.activations]],
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
                calibrate_method=CalibrationMethod[_METHODS[settings.calibration]],
                extra_options={**extra, "ActivationSymmetric": settings.activations == "int8"},
            )
        except (OSError, MemoryError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise UserError(
                f"ONNX Runtime's tool cannot quantise this network to int8: {reason}",
                "Keep what it fails on in float: runtime.int8.keep_float=[head]; or runtime.precision=fp32.",
            ) from error
        return made.read_bytes()


def arrays(images: Sequence[Tensor], shape: Sequence[int], most: int) -> list[np.ndarray]:
    """Calibration images as a model of one shape takes them.

    Args:
        images: B 3 H W each, of any B; images of another size are resized.
        shape: B 3 H W of the model. A batch that is not full is filled with the first images again.
        most: number of images that are used, of those that there are.

    Raises:
        UserError: there is no image.
    """
    batch, size = shape[0], tuple(shape[2:])
    resized = [
        each if tuple(each.shape[2:]) == size else nn.functional.interpolate(each, size, mode="bilinear")
        for each in images
    ]
    whole = torch.cat([each.cpu() for each in resized])[:most] if resized else torch.empty(0)
    if not len(whole):
        raise UserError(
            "int8 needs images of the training split to calibrate with, and there is none.",
            "runtime.precision=fp32",
        )
    order = torch.arange(-(-len(whole) // batch) * batch) % len(whole)
    return [each.numpy() for each in whole[order].split(batch)]


def layers_of(model: Any) -> dict[str, set[str]]:
    """Names of the modules that each node of an ONNX model was converted from, by the node's name.

    A node that was fused from two modules, such as a convolution and its norm, has the names of both.

    Args:
        model: an `onnx.ModelProto`.
    """
    weights = {each.name for each in model.graph.initializer}
    found: dict[str, set[str]] = {}
    for node in model.graph.node:
        scopes = next((each.value for each in node.metadata_props if each.key == _SCOPES), None)
        if scopes is None:
            # '/backbone.stem.conv/Conv'
            named = {node.name.strip("/").rpartition("/")[0].replace("/", ".")}
        else:
            # "['', 'backbone', 'backbone.stem.conv', 'conv2d']": the last is of torch's operation
            parts = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
            named = set(parts[-2:-1])
        owners = {name.rpartition(".")[0] for name in node.input if name in weights}
        found[node.name] = (named | owners) - {""}
    return found


def _split(name: str) -> list[str]:
    return name.split(".")


def _kept_nodes(model: Any, keep_float: Sequence[str]) -> set[str]:
    """Names of the nodes that are computed in float."""
    weights = {each.name for each in model.graph.initializer}
    weighted = [
        node.name
        for node in model.graph.node
        if node.op_type in _WEIGHTED and any(name in weights for name in node.input[1:])
    ]
    ends = {FIRST: weighted[:1], LAST: weighted[-1:]}
    kept = {node for rule in keep_float for node in ends.get(rule, ())}
    for node, layers in layers_of(model).items():
        if any(layer == name or layer.startswith(f"{name}.") for layer in layers for name in keep_float):
            kept.add(node)
    return kept


def _excluded(model: Any, kept: set[str]) -> list[str]:
    """Names of the nodes of a preprocessed model that are not quantised."""
    shapes: Mapping[str, Any] = {each.name: each.dims for each in model.graph.initializer}
    found = []
    for node in model.graph.node:
        # fused nodes are called after the first of them
        is_kept = any(node.name == name or node.name.startswith(f"{name}/") for name in kept)
        # the tool takes every bias for a vector
        bias = node.input[2] if node.op_type in _BIASED and len(node.input) > 2 else ""
        if is_kept or len(shapes.get(bias, (0,))) != 1:
            found.append(node.name)
    return found


def _preprocess(model: Any, target: Path) -> None:
    """Infers shapes and fuses nodes, as ONNX Runtime recommends before quantisation."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(model, target)
    except (OSError, MemoryError):
        raise
    except Exception:
        # symbolic inference fails on reshapes by computed sizes, and constants need none
        quant_pre_process(model, target, skip_symbolic_shape=True)


class _Reader:
    """Images as ONNX Runtime's tool reads them."""

    def __init__(self, name: str, images: Iterable[np.ndarray]) -> None:
        self._images: Iterator[dict[str, np.ndarray]] = ({name: image} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._images, None)


@contextmanager
def _silent() -> Iterator[None]:
    """The tool prints what it does, and logs what does not concern anybody who did not write the model."""
    log = logging.getLogger()
    before = log.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
