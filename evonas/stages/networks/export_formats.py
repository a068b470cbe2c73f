"""Graphs of networks that run without evonas: torch's archive, ONNX, and a script that builds a TensorRT engine.

Legend: B batch, H W space.
"""

import io
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from evonas import files
from evonas.command_text import shell

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
IMAGE, OUTPUT, BATCH = "image", "output", "batch"
_TENSORRT = """#!/bin/sh
# Builds a TensorRT engine from {onnx} where TensorRT is installed, for up to {most} images at a time.
# Measure it with: trtexec --loadEngine={engine} --shapes={image}:1x3x{height}x{width}
# Compare it with ONNX Runtime:
#   polygraphy run {onnx} --trt --onnxrt --input-shapes {image}:[1,3,{height},{width}]
exec trtexec {words} "$@"
"""


def capture(net: nn.Module, images: Tensor) -> ExportedProgram:
    """The network as torch's graph, for any batch size and the image size of `images`.

    Args:
        net: in eval mode.
        images: B 3 H W with B of at least 2, because torch specialises on 1.
    """
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    # torchvision uses a deprecated name of torch in non-maximum suppression
    with torch.no_grad(), warnings.catch_warnings(action="ignore", category=FutureWarning):
        return torch.export.export(net, (images,), dynamic_shapes=shapes, strict=False)


def write_graph(program: ExportedProgram, path: Path, images: Tensor, expected: Tensor) -> float:
    """Write torch's archive, which `torch.export.load(path).module()` runs without evonas.

    Returns:
        largest absolute difference of the graph's output from `expected`.
    """
    content = io.BytesIO()
    torch.export.save(program, content)

    def write(target: Path) -> None:
        target.write_bytes(content.getvalue())

    files.write_atomic(path, write)
    with torch.no_grad():
        return float((program.module()(images) - expected).abs().max())


def write_onnx(program: ExportedProgram, path: Path, images: Tensor, expected: Tensor) -> float | None:
    """Write the ONNX file.

    Returns:
        largest absolute difference in ONNX Runtime from `expected`; None, and no file, if a package is missing.
    """
    if not all(find_spec(package) for package in ONNX_PACKAGES):
        return None
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[IMAGE],
            output_names=[OUTPUT],
            # a name that people know, in place of the one of torch's tracer
            dynamic_shapes=({0: BATCH},),
            verbose=False,
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
    """Write a script with the command that builds a TensorRT engine; it is not run here.

    Args:
        path: of the script.
        onnx: name of the ONNX file beside it.
        size: height and width of the images.
        most: largest batch size.
    """
    height, width = size
    engine = f"{Path(onnx).stem}.plan"
    counts = {"minShapes": 1, "optShapes": 1, "maxShapes": most}
    shapes = [f"--{name}={IMAGE}:{count}x3x{height}x{width}" for name, count in counts.items()]
    words = shell([f"--onnx={onnx}", f"--saveEngine={engine}", *shapes])
    about = {"onnx": onnx, "engine": engine, "image": IMAGE, "most": most, "words": words}
    files.write_text(path, _TENSORRT.format(**about, height=height, width=width))
