"""What a family's networks cost on the embedded tasks, smallest and largest, as a Markdown table.

    python benchmarks/families.py [network ...]

Multiply-adds and parameters are those of backbone and head for one image; latencies are medians on one thread,
by torch and by ONNX Runtime, of networks with random weights. Nothing is trained.
"""

import sys
from collections.abc import Iterator

from trials import composed

from evonas.config import to_plain
from evonas.objectives.analytic_costs import Macs, Params
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.measured import Latency
from evonas.supernets.supernet import Supernet

NETWORKS = ("nano", "nano_cnn")
RUNTIMES = ("torch", "onnxruntime")


def main(*networks: str) -> None:
    """Print the table."""
    print("| network | subnet | M parameters | MMAC | ms, torch | ms, ONNX Runtime |")
    print("|---|---|---|---|---|---|")
    for network in networks or NETWORKS:
        for row in _rows(network):
            print("| " + " | ".join(row) + " |", flush=True)


def _rows(network: str) -> Iterator[tuple[str, ...]]:
    cfg = composed("+task=synthetic", f"network={network}")
    config = {key: value for key, value in to_plain(cfg.network).items() if key != "space"}
    bench = EvaluationContext(to_plain(cfg.space), config, to_plain(cfg.task), path="")
    # random weights cost what trained ones cost
    bench.__dict__["supernet"] = Supernet(bench.family, bench.head).eval().requires_grad_(False)
    objectives = [Params(), Macs(), *(Latency(runtime=each) for each in RUNTIMES)]
    for objective in objectives:
        objective.prepare(bench)
    found = []
    for name, genotype in (("smallest", bench.space.smallest()), ("largest", bench.space.largest())):
        values = [objective.measure(genotype)[0] for objective in objectives]
        found.append(values)
        params, macs, *times = values
        yield network, name, f"{params:.3f}", f"{1000 * macs:.2f}", *(f"{each:.2f}" for each in times)
    yield (
        network,
        "largest / smallest",
        *(f"{large / small:.1f}" for small, large in zip(*found, strict=True)),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
