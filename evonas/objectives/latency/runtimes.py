"""Runtimes of timed forward passes: torch, ONNX Runtime and TensorRT.

`onnxruntime` and `tensorrt` convert the network to ONNX and need the extra `export`; `tensorrt` uses ONNX Runtime's
TensorRT provider. `auto` is ONNX Runtime where it can be used, because few people ship torch's eager mode.

Legend: B batch, H W space.
"""

import io
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from evonas.errors import UserError
from evonas.objectives.latency.reference_timing import RunOnce

AUTO = "auto"
RUNTIMES = (AUTO, "torch", "onnxruntime", "tensorrt")
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
CLOCKS = ("auto", "wall", "cpu")
# coarsest usable resolution of the thread clock in seconds
_FINE_S = 1e-5
# of ONNX; the first with antialiased resizing, by torch's name and by ONNX's mode
_OPSET = 18
_ANTIALIASED = {"_upsample_bilinear2d_aa": "linear", "_upsample_bicubic2d_aa": "cubic"}
# largest difference of a traced network's outputs, as a part of the largest output
_CLOSE = 0.01
_PROVIDER = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}


def choose(runtime: str, precision: str, device: torch.device, graphs: bool) -> str:
    """Resolves `auto`: ONNX Runtime on a CPU in single precision where its packages are installed, else torch."""
    if runtime != AUTO:
        return runtime
    fits = device.type == "cpu" and precision == "32-true" and not graphs and all(map(find_spec, _PACKAGES))
    return "onnxruntime" if fits else "torch"


def check(runtime: str, precision: str, device: torch.device, graphs: bool) -> None:
    """Checks that a runtime is available and supports the settings.

    Raises:
        UserError: the runtime is unknown, not installed, or does not support precision, device or CUDA graphs.
    """
    if runtime not in RUNTIMES:
        raise UserError(
            f"objective.latency.runtime={runtime} is unknown.", f"Choose among {', '.join(RUNTIMES)}."
        )
    if graphs and (device.type != "cuda" or runtime != "torch"):
        raise UserError(
            f"CUDA graphs need runtime=torch on a CUDA device, not {runtime} on {device.type}.",
            "objective.latency.graphs=false",
        )
    if runtime == "torch":
        return
    if not all(map(find_spec, _PACKAGES)):
        raise UserError(f"runtime={runtime} needs packages that are missing.", "pip install 'evonas[export]'")
    if precision != "32-true":
        raise UserError(
            f"runtime={runtime} measures in precision 32-true, not {precision}.",
            "hardware.precision=32-true, or objective.latency.runtime=torch",
        )
    _provider(runtime, device)


def clock_for(clock: str, runtime: str, device: torch.device, threads: int) -> str:
    """Resolves `auto`: the thread's CPU clock if one thread does all the work, else the wall clock.

    Raises:
        UserError: clock is unknown, or clock=cpu and several threads or a device compute.
    """
    if clock not in CLOCKS:
        raise UserError(f"objective.latency.clock={clock} is unknown.", f"Choose among {', '.join(CLOCKS)}.")
    # with one thread ONNX Runtime and torch compute in the calling thread
    sees_all = device.type == "cpu" and threads == 1
    is_fine = time.get_clock_info("thread_time").resolution < _FINE_S
    if clock == "cpu" and not sees_all:
        raise UserError(
            f"clock=cpu needs a CPU with one thread, not {runtime} on {device.type} with {threads}.",
            "objective.latency.clock=wall",
        )
    return clock if clock != "auto" else "cpu" if sees_all and is_fine else "wall"


def version(runtime: str) -> str:
    """The version of the runtime's package."""
    if runtime == "torch":
        return torch.__version__
    import onnxruntime

    return str(onnxruntime.__version__)


def torch_once(
    net: Callable[[Tensor], object],
    image: Tensor,
    autocast: Callable[[], AbstractContextManager[object]],
    graphs: bool = False,
    clock: str = "wall",
) -> RunOnce:
    """A timed forward pass in torch; CUDA events measure on CUDA, a host clock on CPU and MPS.

    Args:
        net: network or part of a network, in eval mode on the image's device.
        image: B 3 H W, or the input of the part.
        autocast: returns the context of the precision.
        graphs: whether a CUDA graph is recorded and replayed, which removes launch overhead.
        clock: `wall` or `cpu`; see `clock_for`.
    """

    def forward() -> None:
        with autocast():
            net(image)

    if image.device.type == "cuda":
        return _timed_by_events(_as_graph(forward) if graphs else forward)

    now = _now(clock)

    def once() -> float:
        begin = now()
        forward()
        if image.device.type == "mps":
            torch.mps.synchronize()
        return 1000.0 * (now() - begin)

    return once


def onnx_once(runtime: str, net: nn.Module, image: Tensor, threads: int, clock: str = "wall") -> RunOnce:
    """A timed forward pass in ONNX Runtime, including copies of input and output.

    Args:
        runtime: `onnxruntime` or `tensorrt`.
        net: network in eval mode on the CPU.
        image: B 3 H W; its device determines the provider.
        threads: CPU threads of the session.
        clock: `wall` or `cpu`; see `clock_for`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    providers = [_provider(runtime, image.device)]
    session = onnxruntime.InferenceSession(onnx_model(net, image.cpu()), options, providers=providers)
    inputs = {session.get_inputs()[0].name: image.cpu().numpy()}

    now = _now(clock)

    def once() -> float:
        begin = now()
        session.run(None, inputs)
        return 1000.0 * (now() - begin)

    return once


def onnx_model(net: nn.Module, image: Tensor) -> bytes:
    """The network for images of one size as an ONNX model to be timed.

    torch's exporter by tracing takes a tenth of the time of the one by `torch.export`, which matters when hundreds of
    networks are timed once. What it cannot convert, or converts wrongly because the network decides by the content of
    images, is left to the other one, whose files `stage=export` writes.

    Args:
        net: network in eval mode on the CPU.
        image: B 3 H W.

    Raises:
        UserError: neither exporter converts it.
    """
    # tracing warns of sizes that it takes as constants and of its own age, and prints graphs that it cannot convert
    with torch.no_grad(), warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
        with suppress(Exception):
            for name, mode in _ANTIALIASED.items():
                torch.onnx.register_custom_op_symbolic(f"aten::{name}", partial(_antialiased, mode), _OPSET)
            content = io.BytesIO()
            torch.onnx.export(net, (image,), content, dynamo=False, opset_version=_OPSET)  # type: ignore[arg-type]
            if _computes_the_same(content.getvalue(), net, image.flip(-1)):
                return content.getvalue()
        try:
            program = torch.onnx.export(net, (image,), dynamo=True, verbose=False)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"This network cannot be converted to ONNX: {reason}", "objective.latency.runtime=torch"
            ) from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Sets the number of torch's CPU threads and restores it at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _computes_the_same(model: bytes, net: nn.Module, image: Tensor) -> bool:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
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


def _now(clock: str) -> Callable[[], float]:
    return time.thread_time if clock == "cpu" else time.perf_counter


def _provider(runtime: str, device: torch.device) -> str:
    import onnxruntime

    wanted = _PROVIDER.get(runtime) or _PROVIDER.get(device.type, "CPUExecutionProvider")
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise UserError(
            f"runtime={runtime} on {device.type} needs {wanted}; ONNX Runtime here has {', '.join(available)}.",
            "pip install onnxruntime-gpu and TensorRT, or objective.latency.runtime=torch",
        )
    return wanted


def _timed_by_events(forward: Callable[[], None]) -> RunOnce:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def once() -> float:
        begin.record()
        forward()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return once


def _as_graph(forward: Callable[[], None]) -> Callable[[], None]:
    # lazy initialisation must finish before the capture, on another stream
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    return graph.replay
