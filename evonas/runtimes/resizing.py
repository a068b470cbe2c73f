"""Antialiased resizing as products of matrices, for runtimes that do not know it or compute something else.

Resizing is linear and the same for all columns and for all rows of an image, so that it is a matrix from each side.
"""

from typing import Any

import torch
from torch import Tensor, nn

# of ONNX -> of torch
_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def resizing_matrix(before: int, after: int, mode: str) -> Tensor:
    """The matrix, after x before, that resizes a column of an image.

    Args:
        before, after: pixels of the column.
        mode: `bilinear` or `bicubic`.
    """
    columns = torch.eye(before)[None, None]
    found = nn.functional.interpolate(columns, (after, before), mode=mode, antialias=True)
    return found[0, 0]


def without_antialiasing(model: bytes) -> bytes:
    """An ONNX model of fixed shapes with products of matrices in place of antialiased resizing."""
    import onnx

    whole = onnx.load_from_string(model)
    if not any(map(_antialiased_mode, whole.graph.node)):
        return model
    inferred = onnx.shape_inference.infer_shapes(whole, data_prop=True).graph
    sides = {
        each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim][-2:]
        for each in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    nodes: list[Any] = []
    for number, node in enumerate(whole.graph.node):
        if not (mode := _antialiased_mode(node)):
            nodes.append(node)
            continue
        names = [f"resize_{number}_{word}" for word in ("rows", "columns", "half")]
        pairs = zip(sides[node.input[0]], sides[node.output[0]], strict=True)
        rows, columns = (resizing_matrix(before, after, mode).numpy() for before, after in pairs)
        for name, matrix in zip(names, (rows, columns.T.copy()), strict=False):
            whole.graph.initializer.append(onnx.numpy_helper.from_array(matrix, name))
        nodes.append(onnx.helper.make_node("MatMul", [names[0], node.input[0]], [names[2]]))
        nodes.append(onnx.helper.make_node("MatMul", [names[2], names[1]], [node.output[0]]))
    del whole.graph.node[:]
    whole.graph.node.extend(nodes)
    return bytes(whole.SerializeToString())


def _antialiased_mode(node: Any) -> str:
    """Torch's mode of an antialiased resizing in ONNX, or the empty string."""
    found = {each.name: each for each in node.attribute} if node.op_type == "Resize" else {}
    is_antialiased = "antialias" in found and found["antialias"].i == 1
    return _MODES[found["mode"].s.decode()] if is_antialiased else ""
