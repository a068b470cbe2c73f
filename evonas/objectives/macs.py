"""Multiply-adds of a subnet with its head for one image of the task's size, in closed form."""

from collections.abc import Mapping
from typing import Any

from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.space.genotype import Genotype
from evonas.supernets.base import cost
from evonas.supernets.resolution import head_size

VERSION = 1


class Macs:
    """Multiply-adds in 10^9: the backbone by the prices of its steps, the head counted by running it."""

    name = "macs"
    unit = "GMAC"
    part: Part = "shared"

    def prepare(self, context: EvaluationContext) -> None:
        """Count the head."""
        self._context = context
        context.head_macs(context.input_size)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """Exact up to the family's conventions of what counts; no network runs."""
        context, size = self._context, self._context.input_size
        backbone = cost(context.family, genotype, size).macs
        behind = head_size(context.head, size, context.family.input_size(genotype, size))
        return (backbone + context.head_macs(behind)) / 1e9, {}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Image size and head; space and network are in every identity."""
        return {"version": VERSION, "input_size": list(context.input_size), "head": context.head_config}
