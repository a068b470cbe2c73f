"""Multiply-adds of a subnet with its head for one image of the task's size, in closed form."""

from collections.abc import Mapping
from typing import Any

from evonas.evaluate.engine import Part
from evonas.nn.cost import count_macs
from evonas.objectives.bench import Bench
from evonas.space.evonet import architecture
from evonas.space.genotype import Genotype

VERSION = 1


class Macs:
    """Multiply-adds in 10^9: the backbone by `nn/cost.py`, the head counted once by running it."""

    name = "macs"
    unit = "GMAC"
    part: Part = "shared"

    def prepare(self, bench: Bench) -> None:
        """Count the head."""
        self._bench = bench
        _ = bench.head_macs

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """Exact up to the conventions of `nn/cost.py`; no network runs."""
        bench = self._bench
        backbone = count_macs(architecture(bench.space, genotype), bench.backbone.shape, *bench.input_size)
        return (backbone + bench.head_macs) / 1e9, {}

    def identity(self, bench: Bench) -> Mapping[str, Any]:
        """Image size and head; space and network are in every identity."""
        return {"version": VERSION, "input_size": list(bench.input_size), "head": bench.head_config}
