"""Objectives `macs` and `params`, and analytic multiply-adds for `search.analytic_objectives`; no backbone is run.

A family computes the cost of a backbone in closed form (`supernets/base.py`); the head's is counted once, on the meta
device. Torch-free until a head is counted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Cost, SupernetFamily, cost
from evonas.supernets.families import family_config

if TYPE_CHECKING:
    from evonas.objectives.context import EvaluationContext

VERSION = 1


class Macs:
    """Multiply-adds in 10^9 of a subnet with its head, for one image of the task's size."""

    name = "macs"
    unit = "GMAC"
    part: Part = "shared"

    def prepare(self, context: "EvaluationContext") -> None:
        """Counts the head."""
        self._context = context
        context.head_macs(context.input_size, context.space.smallest())

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """Multiply-adds in 10^9, by the family's counting rules."""
        context = self._context
        backbone = cost(context.family, genotype, context.input_size).macs
        return (backbone + context.head_macs(context.head_size(genotype), genotype)) / 1e9, {}

    def identity(self, context: "EvaluationContext") -> Mapping[str, Any]:
        """Image size and head; every identity contains space and network."""
        return {"version": VERSION, "input_size": list(context.input_size), "head": context.head_config}


class Params:
    """Parameters in 10^6 of a subnet with its head."""

    name = "params"
    unit = "M"
    part: Part = "shared"

    def prepare(self, context: "EvaluationContext") -> None:
        """Counts the head."""
        self._context = context
        context.head_params(context.space.smallest())

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The exact number in 10^6."""
        context = self._context
        backbone = cost(context.family, genotype, context.input_size).params
        return (backbone + context.head_params(genotype)) / 1e6, {}

    def identity(self, context: "EvaluationContext") -> Mapping[str, Any]:
        """The head; every identity contains space and network."""
        return {"version": VERSION, "head": context.head_config}


class _ClosedForm:
    """The cost of the backbone alone in closed form, with a family for each space it is asked about."""

    def __init__(self, network: Mapping[str, Any], height: int, width: int) -> None:
        if "_target_" not in network or min(height, width) < 1:
            raise UserError(
                f"{type(self).__name__} needs a network config with _target_ and an image size, got {height} x {width} "
                f"pixels and a network with {', '.join(network)}.",
                "Set network: ${network}, and the size of the task's images.",
            )
        self._network = family_config(network)
        self._size = int(height), int(width)
        self._families: dict[str, SupernetFamily] = {}

    def _cost(self, space: Space, genotype: Genotype) -> Cost:
        if space.name not in self._families:
            self._families[space.name] = build(self._network, space=space)
        return cost(self._families[space.name], genotype, self._size)


class AnalyticMacs(_ClosedForm):
    """Multiply-adds in 10^9 of the backbone alone, for `search.analytic_objectives`.

    For images of one size the head is the same for every subnet, so this differs from `Macs` by a constant and ranks
    genotypes equally, as `search.analytic_objectives` requires.

    Args:
        network: config of the supernet's family; needs `_recursive_: false` in the config of this class.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Raises:
        UserError: network has no `_target_`, or the image is empty.
    """

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """Multiply-adds in 10^9, by the family's counting rules."""
        return self._cost(space, genotype).macs / 1e9


class AnalyticParams(_ClosedForm):
    """Parameters in 10^6 of the backbone alone, for `search.params` of EDNAG; see `AnalyticMacs`.

    Args:
        network: config of the supernet's family; needs `_recursive_: false` in the config of this class.
    """

    def __init__(self, network: Mapping[str, Any]) -> None:
        # parameters do not depend on the size of images
        super().__init__(network, 32, 32)

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """Parameters in 10^6."""
        return self._cost(space, genotype).params / 1e6
