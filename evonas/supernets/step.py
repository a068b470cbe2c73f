"""The unit in which a subnet runs: what a family prices, and what its backbones execute."""

from dataclasses import dataclass

# height and width in pixels
Size = tuple[int, int]
# where a step stands in the supernet, such as (stage, block); tuples compare in the order of execution
Place = tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One unit of execution of a subnet: run, priced, timed, drawn and shared as one.

    Args:
        at: its place in the supernet.
        choice: what the genotype chose there, widths and image size included where they change the work.
        label: equal labels are equal work, `stage2/m=2/s=16/e=1`; empty for what every subnet of the family
            runs alike.
    """

    at: Place
    choice: tuple[int | float | str, ...] = ()
    label: str = ""
