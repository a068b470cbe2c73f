"""Step: the unit of execution and cost of a subnet. Torch-free."""

from dataclasses import dataclass

# height and width in pixels
Size = tuple[int, int]
# position of a step in the supernet, such as (stage, block); tuples compare in execution order
Place = tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """A unit of execution of a subnet: stem, block or end of a stage.

    Args:
        at: its place in the supernet.
        choice: choices of the genotype at this place, including widths and image size where they affect the cost.
        label: steps with equal labels have equal latency, such as `stage2/m=2/s=16/e=1`; empty for steps that all
            subnets of the family share.
    """

    at: Place
    choice: tuple[int | float | str, ...] = ()
    label: str = ""
