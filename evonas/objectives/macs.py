"""Multiply-adds of a subnet with its head for one image of the task's size, in closed form."""

from collections.abc import Mapping
from typing import Any

from evonas.evaluate.engine import Part
from evonas.objectives.context import Bench
from evonas.space.genotype import Genotype
from evonas.supernets.base import cost
from evonas.supernets.resolution import head_size

VERSION = 1


class Macs:
    """Multiply-adds in 10^9: the backbone by the prices of its steps, the head counted by running it."""

    name = "macs"
    unit = "GMAC"
    part: Part = "shared"

    def prepare(self, bench: Bench) -> None:
        """Count the head."""
        self._bench = bench
        bench.head_macs(bench.input_size)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """Exact up to the family's conventions of what counts; no network runs."""
        bench, size = self._bench, self._bench.input_size
        backbone = cost(bench.family, genotype, size).macs
        behind = head_size(bench.head, size, bench.family.input_size(genotype, size))
        return (backbone + bench.head_macs(behind)) / 1e9, {}

    def identity(self, bench: Bench) -> Mapping[str, Any]:
        """Image size and head; space and network are in every identity."""
        return {"version": VERSION, "input_size": list(bench.input_size), "head": bench.head_config}
