"""Networks as ONNX models, to be timed and quantised.

Legend: B batch, H W space.
"""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from evonas.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# the first with antialiased resizing, by torch's name and by ONNX's mode
_OPSET = 18
_ANTIALIASED = {"_upsample_bilinear2d_aa": "linear", "_upsample_bicubic2d_aa": "cubic"}
# largest difference of a traced network's outputs, as a part of the largest output
_CLOSE = 0.01
# in place of the dots in names of modules while a network is traced
_DOT = ":"
# ONNX Runtime's session of a model; the package has no types
Session = Any


def onnx_model(net: nn.Module, image: Tensor) -> bytes:
    """The network for images of one shape as an ONNX model; see `converted`."""
    return converted(net, image, open_session)[0]


def converted(
    net: nn.Module, image: Tensor, opened: Callable[[bytes], Session]
) -> tuple[bytes, Session | None]:
    """The network for images of one shape as an ONNX model, and the session that it was compared in.

    torch's exporter by tracing takes a tenth of the time of the one by `torch.export`, which matters when hundreds of
    networks are timed once. What it cannot convert, or converts wrongly because the network decides by the content of
    images, is left to the other one, whose files `stage=export` writes.

    Args:
        net: network in eval mode on the CPU.
        image: B 3 H W.
        opened: opens a session of a model on the CPU; opening is most of the time of the comparison.

    Returns:
        the model, and its session, None where it was not compared.

    Raises:
        UserError: neither exporter converts it.
    """
    # tracing warns of sizes that it takes as constants and of its own age, and prints graphs that it cannot convert
    with torch.no_grad(), warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
        with suppress(Exception):
            for name, mode in _ANTIALIASED.items():
                torch.onnx.register_custom_op_symbolic(f"aten::{name}", partial(_antialiased, mode), _OPSET)
            content = io.BytesIO()
            with _whole_names(net):
                torch.onnx.export(net, (image,), content, dynamo=False, opset_version=_OPSET)  # type: ignore[arg-type]
            model = _named_by_modules(content.getvalue())
            session = opened(model)
            if _computes_the_same(session, net, image.flip(-1)):
                return model, session
        try:
            program = torch.onnx.export(net, (image,), dynamo=True, verbose=False)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"This network cannot be converted to ONNX: {reason}", "runtime=torch") from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString()), None


def open_session(model: bytes, threads: int = 1, provider: str = "CPUExecutionProvider") -> Session:
    """A session of ONNX Runtime.

    Args:
        model: an ONNX model.
        threads: CPU threads of a pass.
        provider: the execution provider.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=[provider])


@contextmanager
def _whole_names(net: nn.Module) -> Iterator[None]:
    """Has the exporter by tracing name nodes after modules as a whole; it drops what is in front of the last dots."""

    def named_modules(*arguments: Any, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        found = nn.Module.named_modules(net, *arguments, **options)
        return ((name.replace(".", _DOT), module) for name, module in found)

    # modules keep what is assigned to them, and this is not one of their parts
    object.__setattr__(net, "named_modules", named_modules)
    try:
        yield
    finally:
        object.__delattr__(net, "named_modules")


def _named_by_modules(model: bytes) -> bytes:
    """The model with nodes called '/<module>/<operation>'."""
    import onnx

    whole = onnx.load_from_string(model)
    known = Counter[str]()
    for node in whole.graph.node:
        *modules, _ = node.name.strip("/").split("/")
        name = "/".join(["", *(part.replace(_DOT, ".") for part in modules[-1:]), node.op_type])
        known[name] += 1
        node.name = name if known[name] == 1 else f"{name}_{known[name]}"
    return bytes(whole.SerializeToString())


def _computes_the_same(session: Session, net: nn.Module, image: Tensor) -> bool:
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    expected = [each.numpy() for each in tree_leaves(net(image)) if isinstance(each, Tensor)]
    return len(found) == len(expected) and all(
        np.allclose(one, other, rtol=0, atol=_CLOSE * float(np.abs(other).max(initial=1.0)))
        for one, other in zip(found, expected, strict=True)
        if one.dtype.kind == "f"
    )


def _antialiased(mode: str, graph: Any, images: Any, size: Any, *_: Any) -> Any:
    """Resizing with antialiasing, which torch's exporter by tracing does not know."""
    empty = graph.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
    batch = graph.op("Constant", value_t=torch.tensor(images.type().sizes()[:2], dtype=torch.int64))
    target = graph.op("Concat", batch, size, axis_i=0)
    return graph.op(
        "Resize",
        images,
        empty,
        empty,
        target,
        mode_s=mode,
        cubic_coeff_a_f=-0.5,
        antialias_i=1,
        exclude_outside_i=1,
    )
