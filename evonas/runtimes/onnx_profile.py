"""Where the time of a network goes in ONNX Runtime: its own profiler, node by node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from evonas import files
from evonas.errors import DataError

_SUFFIX = "_kernel_time"
_WARMUP = 3


@dataclass(frozen=True, slots=True)
class NodeTime:
    """Time of one node of the graph that ONNX Runtime made of a network.

    Args:
        name: of the node; fused nodes have names of their own.
        operation: such as Conv, or FusedConv.
        provider: who ran it; another than the one asked for is a fallback.
        ms: median time of a pass.
    """

    name: str
    operation: str
    provider: str
    ms: float


@dataclass(frozen=True, slots=True)
class OperationTime:
    """Time of all nodes of an operation with one provider; `share` is that of the whole network."""

    operation: str
    provider: str
    nodes: int
    ms: float
    share: float


def profiled(
    model: bytes, threads: int = 1, passes: int = 20, provider: str = "CPUExecutionProvider"
) -> list[NodeTime]:
    """Times the nodes of a model, in the order in which they run.

    Args:
        model: an ONNX file, of fixed shapes.
        threads: CPU threads of a pass.
        passes: number of passes, of which the median counts.
        provider: execution provider that is asked for.

    Raises:
        DataError: ONNX Runtime wrote a profile that cannot be read.
    """
    import onnxruntime

    with files.Scratch("evonas-profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        generator = np.random.default_rng(0)
        inputs = {
            each.name: generator.standard_normal(each.shape, dtype=np.float32)
            for each in session.get_inputs()
        }
        for _ in range(_WARMUP + passes):
            session.run(None, inputs)
        return read_profile(Path(session.end_profiling()))


def read_profile(path: Path) -> list[NodeTime]:
    """The nodes of a profile that ONNX Runtime wrote; the first passes are warm-up.

    Raises:
        DataError: it is none.
    """
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(events, list):
            raise ValueError("it is no list of events")
        kernels = [
            each for each in events if each.get("cat") == "Node" and str(each["name"]).endswith(_SUFFIX)
        ]
        times: dict[tuple[str, str, str], list[float]] = {}
        for each in kernels:
            name = str(each["name"]).removesuffix(_SUFFIX)
            key = name, str(each["args"]["op_name"]), str(each["args"].get("provider", ""))
            times.setdefault(key, []).append(float(each["dur"]) / 1000.0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"ONNX Runtime's profile {path} cannot be read: {error}.") from error
    # an operation may run on another core in the first passes, with cold caches
    return [NodeTime(*key, median(found[_WARMUP:] or found)) for key, found in times.items()]


def by_operation(nodes: Sequence[NodeTime]) -> list[OperationTime]:
    """Sums over operations, the dearest first."""
    whole = sum(node.ms for node in nodes) or 1.0
    groups: dict[tuple[str, str], list[float]] = {}
    for node in nodes:
        groups.setdefault((node.operation, node.provider), []).append(node.ms)
    found = [OperationTime(*key, len(each), sum(each), sum(each) / whole) for key, each in groups.items()]
    return sorted(found, key=lambda each: -each.ms)


def fallbacks(nodes: Sequence[NodeTime], provider: str) -> Mapping[str, str]:
    """Operations that ran in another provider than the one asked for, and in which."""
    return {node.operation: node.provider for node in nodes if node.provider not in ("", provider)}
