"""Objective `macs`: multiply-adds of a subnet with its head for one image of the task's size."""

from collections.abc import Mapping
from typing import Any

from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.space.genotype import Genotype
from evonas.supernets.base import cost
from evonas.supernets.resolution import head_size

VERSION = 1


class Macs:
    """Multiply-adds in 10^9: the analytic cost of the backbone, and the head counted by running it."""

    name = "macs"
    unit = "GMAC"
    part: Part = "shared"

    def prepare(self, context: EvaluationContext) -> None:
        """Counts the head."""
        self._context = context
        context.head_macs(context.input_size)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """Multiply-adds in 10^9, by the family's counting rules; runs no network."""
        context, size = self._context, self._context.input_size
        backbone = cost(context.family, genotype, size).macs
        behind = head_size(context.head, size, context.family.input_size(genotype, size))
        return (backbone + context.head_macs(behind)) / 1e9, {}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Image size and head; every identity contains space and network."""
        return {"version": VERSION, "input_size": list(context.input_size), "head": context.head_config}
