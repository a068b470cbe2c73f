"""Runtimes: how the forward of a subnet is executed while it is timed.

`torch` runs it as training does; `onnxruntime` and `tensorrt` export it to ONNX first, the latter through
ONNX Runtime's TensorRT provider, so both need the packages of the extra `export`.

Legend: B batch, H W space.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.objectives.latency.reference_timing import RunOnce

RUNTIMES = ("torch", "onnxruntime", "tensorrt")
CLOCKS = ("auto", "wall", "cpu")
# a thread's clock that ticks coarser than this says nothing of a small network
_FINE_S = 1e-5
_PROVIDER = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}


def check(runtime: str, precision: str, device: torch.device, graphs: bool) -> None:
    """Refuse a runtime that is unknown or not installed here, and what it cannot do.

    Raises:
        UserError: with what to type instead.
    """
    if runtime not in RUNTIMES:
        raise UserError(f"There is no runtime '{runtime}'.", f"Choose among {', '.join(RUNTIMES)}.")
    if graphs and (device.type != "cuda" or runtime != "torch"):
        raise UserError(
            f"CUDA graphs need runtime=torch on a CUDA device, not {runtime} on {device.type}.",
            "objective.latency.graphs=false",
        )
    if runtime == "torch":
        return
    if not all(find_spec(package) for package in ("onnx", "onnxruntime", "onnxscript")):
        raise UserError(f"runtime={runtime} needs packages that are missing.", "pip install 'evonas[export]'")
    if precision != "32-true":
        raise UserError(
            f"runtime={runtime} measures in precision 32-true, not {precision}.",
            "hardware.precision=32-true, or objective.latency.runtime=torch",
        )
    _provider(runtime, device)


def clock_for(clock: str, runtime: str, device: torch.device, threads: int) -> str:
    """The clock that `auto` means: the thread's own where it sees all the work, else the wall's.

    Raises:
        UserError: it is unknown, or others compute beside the thread whose time is asked for.
    """
    if clock not in CLOCKS:
        raise UserError(f"There is no clock '{clock}'.", f"Choose among {', '.join(CLOCKS)}.")
    # with one thread ONNX Runtime computes in the thread that calls it, as torch does
    sees_all = device.type == "cpu" and threads == 1
    is_fine = time.get_clock_info("thread_time").resolution < _FINE_S
    if clock == "cpu" and not sees_all:
        raise UserError(
            f"clock=cpu needs a CPU with one thread, not {runtime} on {device.type} with {threads}.",
            "objective.latency.clock=wall",
        )
    return clock if clock != "auto" else "cpu" if sees_all and is_fine else "wall"


def version(runtime: str) -> str:
    """The version of what executes, beside torch's own."""
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
    """One forward by torch; on CUDA timed by events on the device's own clock, on CPU and MPS by ours.

    Args:
        net: in eval mode on the image's device; any part of a network will do.
        image: [B 3 H W], or what the part takes.
        autocast: makes the context of the precision.
        graphs: record the forward once and replay it, so that launches cost nothing (CUDA).
        clock: wall, or cpu for the time that the calling thread was computing; see `clock_for`.
    """

    def forward() -> None:
        with autocast():
            net(image)

    if image.device.type == "cuda":
        return _by_events(_recorded(forward) if graphs else forward)

    now = _now(clock)

    def once() -> float:
        begin = now()
        forward()
        if image.device.type == "mps":
            torch.mps.synchronize()
        return 1000.0 * (now() - begin)

    return once


def onnx_once(runtime: str, net: nn.Module, image: Tensor, threads: int, clock: str = "wall") -> RunOnce:
    """One forward by ONNX Runtime, which copies the image in and the output out, as a user's program does.

    Args:
        net: in eval mode on the CPU.
        image: [B 3 H W]; its device decides which provider runs.
        threads: of the session.
        clock: wall or cpu; see `clock_for`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    providers = [_provider(runtime, image.device)]
    session = onnxruntime.InferenceSession(_exported(net, image.cpu()), options, providers=providers)
    fed = {session.get_inputs()[0].name: image.cpu().numpy()}

    now = _now(clock)

    def once() -> float:
        begin = now()
        session.run(None, fed)
        return 1000.0 * (now() - begin)

    return once


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch with so many CPU threads, whatever the process uses otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _now(clock: str) -> Callable[[], float]:
    return time.thread_time if clock == "cpu" else time.perf_counter


def _provider(runtime: str, device: torch.device) -> str:
    import onnxruntime

    wanted = _PROVIDER.get(runtime) or _PROVIDER.get(device.type, "CPUExecutionProvider")
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise UserError(
            f"ONNX Runtime here has no {wanted}, which runtime={runtime} on {device.type} needs; "
            f"it has {', '.join(available)}.",
            "pip install onnxruntime-gpu and TensorRT, or objective.latency.runtime=torch",
        )
    return wanted


def _exported(net: nn.Module, image: Tensor) -> bytes:
    with torch.no_grad():
        program = torch.onnx.export(net.cpu(), (image,), dynamo=True, verbose=False)
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _by_events(forward: Callable[[], None]) -> RunOnce:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def once() -> float:
        begin.record()
        forward()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return once


def _recorded(forward: Callable[[], None]) -> Callable[[], None]:
    # lazy initialisations must be over before a recording, and must not be on the stream that records
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
