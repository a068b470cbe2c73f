"""The two kinds of gene a space is made of: ordinal axes and groups of on/off bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.errors import UserError

Choice = float | int | str
Opening = Mapping[str, "Sequence[Choice] | str"]


def prefix_of(name: str) -> str:
    """The letters of a gene's name: genes that share them are written together (`m1`, `m2` -> `m`)."""
    return name.rstrip("0123456789")


@dataclass(frozen=True, slots=True)
class Axis:
    """A named gene with ordered choices, smallest first.

    Args:
        name: letters and a number, such as `m1`.
        choices: the values, in ascending order of cost.
        expressed_by: (name of a `Bits`, position): the gene matters only while that bit is on.
    """

    name: str
    choices: tuple[Choice, ...]
    expressed_by: tuple[str, int] | None = None

    @property
    def length(self) -> int:
        """Genes it takes."""
        return 1

    @property
    def cardinality(self) -> int:
        """Number of choices."""
        return len(self.choices)

    def index(self, value: Choice) -> int:
        """Position of a value.

        Raises:
            UserError: the value is not a choice.
        """
        if value not in self.choices:
            allowed = ", ".join(
                f"{choice:g}" if isinstance(choice, float) else str(choice) for choice in self.choices
            )
            raise UserError(f"'{value}' is not a choice of axis {self.name}.", f"Allowed: {allowed}.")
        return self.choices.index(value)

    def opened(self, opening: Opening) -> tuple[int, ...]:
        """Indices that an opening allows."""
        allowed = opening.get(self.name, opening.get(prefix_of(self.name), "free"))
        if isinstance(allowed, str):
            return tuple(range(self.cardinality))
        return tuple(self.index(value) for value in allowed)


@dataclass(frozen=True, slots=True)
class Bits:
    """A named group of on/off genes, of which at least `minimum` are on."""

    name: str
    length: int
    minimum: int = 1

    @property
    def cardinality(self) -> int:
        """Values of one bit."""
        return 2

    def all_on(self, opening: Opening) -> bool:
        """Whether an opening fixes every bit to one."""
        return opening.get(self.name, opening.get(prefix_of(self.name), "free")) == "all"
