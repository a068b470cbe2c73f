"""What a sampler is: which genotypes a training step trains.

The contract. `genotypes(step)` is a pure function of (constructor arguments, step): it
is the same on every rank and after every resume. It never returns an empty list.
"""

from typing import Protocol, runtime_checkable

from evonas.space.genotype import Genotype


@runtime_checkable
class Sampler(Protocol):
    """See the module's contract."""

    def genotypes(self, step: int) -> list[Genotype]: ...
