"""Networks as graphs that need no evonas: torch's own archive, ONNX, and the command that TensorRT wants.

Legend: B batch, H W space.
"""

import io
import shlex
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from evonas import files

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
IMAGE, OUTPUT = "image", "output"
_TENSORRT = """#!/bin/sh
# Builds a TensorRT engine from {onnx} where TensorRT is installed, for up to {most} images at a time.
# Measure it with: trtexec --loadEngine={engine} --shapes={image}:1x3x{height}x{width}
# Compare it with ONNX Runtime:
#   polygraphy run {onnx} --trt --onnxrt --input-shapes {image}:[1,3,{height},{width}]
exec trtexec {words} "$@"
"""


def capture(net: nn.Module, images: Tensor) -> ExportedProgram:
    """The network as torch's graph; the batch is free, the size of the image is that of `images`.

    Args:
        net: in eval mode.
        images: B 3 H W with B of at least 2, since torch takes a one for a constant.
    """
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    # torchvision calls torch by an old name, at every suppression
    with torch.no_grad(), warnings.catch_warnings(action="ignore", category=FutureWarning):
        return torch.export.export(net, (images,), dynamic_shapes=shapes, strict=False)


def write_graph(program: ExportedProgram, path: Path, images: Tensor, expected: Tensor) -> float:
    """Write torch's archive, which `torch.export.load(path).module()` runs without evonas.

    Returns:
        The largest difference of the graph's output from the expected one.
    """
    content = io.BytesIO()
    torch.export.save(program, content)
    files.write_atomic(path, lambda target: _write(target, content.getvalue()))
    with torch.no_grad():
        return float((program.module()(images) - expected).abs().max())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_onnx(program: ExportedProgram, path: Path, images: Tensor, expected: Tensor) -> float | None:
    """Write the ONNX file; its largest difference in ONNX Runtime, None where a package is missing."""
    if not all(find_spec(package) for package in ONNX_PACKAGES):
        return None
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        made = torch.onnx.export(
            program, dynamo=True, input_names=[IMAGE], output_names=[OUTPUT], verbose=False
        )
    assert made is not None
    files.write_atomic(path, lambda target: made.save(str(target)))
    return _difference(path, images, expected.numpy())


def _difference(path: Path, images: Tensor, expected: np.ndarray) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return float(np.abs(found - expected).max())


def write_tensorrt(path: Path, onnx: str, size: tuple[int, int], most: int = 8) -> None:
    """Write a script with the command that builds a TensorRT engine; nothing here can run it.

    Args:
        path: of the script.
        onnx: name of the ONNX file beside it.
        size: height and width of the images.
        most: images at a time, at most.
    """
    height, width = size
    engine = f"{Path(onnx).stem}.plan"
    counts = {"minShapes": 1, "optShapes": 1, "maxShapes": most}
    shapes = [f"--{name}={IMAGE}:{count}x3x{height}x{width}" for name, count in counts.items()]
    words = shlex.join([f"--onnx={onnx}", f"--saveEngine={engine}", *shapes])
    about = {"onnx": onnx, "engine": engine, "image": IMAGE, "most": most, "words": words}
    files.write_text(path, _TENSORRT.format(**about, height=height, width=width))
