"""A point of a race: what it has shown on each rung, and what is finally said about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evonas.evaluate.engine import Job, Part
from evonas.search.base import Told
from evonas.space.genotype import Genotype


@dataclass(frozen=True, slots=True)
class Shown:
    """What one rung has shown: the error on its images, and on each piece of them."""

    error: float
    errors: tuple[float, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, error: float, extra: Mapping[str, Any]) -> "Shown":
        """From the extra facts of a measurement on some images."""
        return cls(error, tuple(extra.get("errors", ())), tuple(extra.get("error_sizes", ())))


@dataclass(eq=False)
class Runner:
    """A point on its way through the rungs.

    Args:
        jobs: of each part, in full.
        exact: the objectives besides the error, in order, once known.
        shown: by the number of a rung's images.
        rival: who made it leave, and by how much its error was larger there; None while it stays.
        told: the last word, once known.
    """

    genotype: Genotype
    text: str
    jobs: dict[Part, Job] = field(default_factory=dict)
    exact: tuple[float, ...] = ()
    shown: dict[int, Shown] = field(default_factory=dict)
    rival: "tuple[Runner, float] | None" = None
    told: Told | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether all of it is known, on all images."""
        return self.told is not None and self.told.objectives is not None

    @property
    def is_orphan(self) -> bool:
        """Whether it left because of a rival that later could not be measured."""
        if self.told is not None or self.rival is None:
            return False
        beater = self.rival[0].told
        return beater is not None and beater.objectives is None

    def last_word(self, place: int) -> Told:
        """What is known, or for one that left: its rival's error and the difference, the rest as measured.

        Args:
            place: of the error among the objectives.
        """
        if self.told is None:
            assert self.rival is not None
            beater, difference = self.rival
            known = beater.last_word(place).objectives
            assert known is not None
            rest = self.exact
            values = (*rest[:place], known[place] + difference, *rest[place:])
            self.told = Told(self.genotype, values, estimated=True)
        return self.told
