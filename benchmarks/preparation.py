"""How long it takes until a network can be timed: extraction, conversion and loading, by runtime.

Subnets of several families are prepared in each runtime that is installed, and then once more, which converts nothing.
Seconds are of the wall clock; processor seconds of this process stand beside them, since other programs may compute.

    python benchmarks/preparation.py                                    # 20 subnets, quick runtimes
    python benchmarks/preparation.py --runtimes executorch litert --count 5
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from evonas import schema
from evonas.cli import conf_dir
from evonas.errors import UserError
from evonas.objectives.latency.machine import machine
from evonas.randomness import generator
from evonas.runtimes.base import Runtime
from evonas.runtimes.choice import RUNTIMES, named, resolved
from evonas.space.genotype import Genotype
from evonas.stages.build.setup import Setup
from evonas.supernets.supernet import Supernet, extract

FAMILIES = ("resnet10t", "nano", "ofa_nano")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Family:
    """A supernet with random weights on synthetic depth, an image, and subnets."""

    name: str
    net: Supernet
    image: Tensor
    drawn: list[Genotype]


def family(name: str, count: int) -> Family:
    """The supernet that `network=<name>` means, and distinct random subnets."""
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        setup = Setup(compose("config", ["+task=synthetic", f"network={name}"]))
    net = Supernet(setup.family, setup.task.head(setup.family.levels), 0).eval().requires_grad_(False)
    samples = (setup.space.sample(generator(0, "benchmark", number)) for number in range(100 * count))
    drawn = list(islice(dict.fromkeys(samples), count))
    image = torch.randn((1, 3, *setup.task.input_size), generator=torch.Generator().manual_seed(0))
    return Family(name, net, image, drawn)


def usable(names: list[str]) -> Iterator[Runtime]:
    """The runtimes of these names that can be used here; the others are told."""
    for name in names:
        try:
            found = resolved(named(name), CPU)
        except UserError as error:
            print(f"{name}: {error.message}", flush=True)
            continue
        yield found


def condition() -> str:
    """The processor, and how busy it is."""
    found = machine(CPU)
    return f"{found['name']}, {found['cores']} cores, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Print the median of each family and runtime."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--runtimes", nargs="+", default=["torch", "onnxruntime", "openvino"], choices=list(RUNTIMES)
    )
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--count", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    families = [family(name, given.count) for name in given.families]
    print(f"{condition()}, {given.count} subnets each")
    print("| family | runtime | first, s | longest, s | processor, s | again, s |\n|---|---|---|---|---|---|")
    for runtime in usable(given.runtimes):
        # what is imported once is not counted
        warm = families[0]
        runtime.prepare(extract(warm.net, warm.drawn[0]).eval(), warm.image).close()
        for each in families:
            print(_row(each, runtime), flush=True)
    print(condition())


def _row(each: Family, runtime: Runtime) -> str:
    first, computed, again = list[float](), list[float](), list[float]()
    for number, genotype in enumerate(each.drawn):
        for times in (first, again):
            wall, processor = time.perf_counter(), time.process_time()
            net = extract(each.net, genotype).eval()
            runtime.prepare(net, each.image, structure=f"{each.name} {number}").close()
            times.append(time.perf_counter() - wall)
            if times is first:
                computed.append(time.process_time() - processor)
    median = statistics.median
    return (
        f"| {each.name} | {runtime.name} {runtime.version()} | {median(first):.2f} | {max(first):.2f} | "
        f"{median(computed):.2f} | {median(again):.2f} |"
    )


if __name__ == "__main__":
    main()
