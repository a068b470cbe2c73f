"""Objective `params`: number of parameters of a subnet with its head."""

from collections.abc import Mapping
from typing import Any

from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.space.genotype import Genotype
from evonas.supernets.base import cost

VERSION = 1


class Params:
    """Parameters in 10^6: the analytic cost of the backbone, and the tensors of the head."""

    name = "params"
    unit = "M"
    part: Part = "shared"

    def prepare(self, context: EvaluationContext) -> None:
        """Counts the head."""
        self._context = context
        _ = context.head_params

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The exact number in 10^6; runs no network."""
        context = self._context
        backbone = cost(context.family, genotype, context.input_size).params
        return (backbone + context.head_params) / 1e6, {}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """The head; every identity contains space and network."""
        return {"version": VERSION, "head": context.head_config}
