"""What a supernet family is: a way to build networks from genotypes out of shared weights.

A family has two sides. Its *facts* need no torch: which space it has, which steps a genotype runs, what a step
costs, at which size it reads images, how it is described and drawn. Search, archives, engines, cost tables,
samplers and reports ask for facts alone. Its *modules* are the other side: `build` makes the backbone of one
genotype as a plain static network, and `cuts` says which slice of the supernet's tensors each of that network's
tensors is. Everything else is written once for all families:

- The supernet's tensors are those of `build(None, seed)`, the backbone of the largest genotype; its state dict
  is the weights file.
- A subnet is that backbone without the modules that `absent` names, bound to slices of the shared tensors
  (`supernets/slices.py`). It is made for a call and forgotten: no subnet is ever active, and nothing is cached.
- Extraction is `build(genotype, None)` with copies of the same slices, so it computes the same bits.
- A backbone runs step by step (`supernets/backbone.py`). Subnets whose paths begin alike compute the same
  activations up to there, so prefix sharing, batch-norm calibration of shared prefixes, profiles and latency
  tables walk over steps and know nothing else of a family.

What a family must promise is held in tests/contract/test_families.py, one class for all families: the price of
a genotype's steps is what is counted on the extracted network, equal paths compute equal bits and different
paths different ones, gradients reach exactly the slices, and a genotype drawn from the space is canonical, so
that networks which compute the same are one point. A family lives in a folder of its own beside this file; the
list in `families.py` and one YAML in conf/network name it, and nothing else does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.backbone import Backbone


@dataclass(frozen=True, slots=True)
class Cost:
    """Trainable numbers, and multiply-adds of convolutions and matrix products for one image."""

    params: int
    macs: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.macs + other.macs)


@dataclass(frozen=True, slots=True)
class Cut:
    """One axis of a tensor that a subnet has a part of.

    Args:
        axis: of the supernet's tensor.
        pieces: (start, length) of each part, in the order in which the subnet's tensor holds them.
    """

    axis: int
    pieces: tuple[tuple[int, int], ...]


# by name of tensor; a tensor that is not named belongs to the subnet whole
Cuts = Mapping[str, tuple[Cut, ...]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a drawn block: a class of the report's style sheet, what it is, and its width in channels."""

    style: str
    what: str
    channels: float


@dataclass(frozen=True, slots=True)
class DrawnStage:
    """A stage as the report draws it.

    Args:
        width: channels of the stage.
        captions: short lines below it.
        blocks: the bars of every place; None for a place where no block runs.
    """

    width: int
    captions: tuple[str, ...]
    blocks: tuple[tuple[Bar, ...] | None, ...]


@runtime_checkable
class SupernetFamily(Protocol):
    """See the module's contract.

    Attributes:
        name: a word, written into exported networks.
        space: all genotypes.
        levels: what every backbone of the family yields, finest first.
        places: every place where a step may stand, with the genes that its choice depends on: names of axes,
            and of single bits as `d1.3`.
    """

    name: str
    space: Space

    @property
    def levels(self) -> tuple[Level, ...]: ...

    @property
    def places(self) -> Mapping[Place, tuple[str, ...]]: ...

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        """The steps that a genotype runs, in their order."""
        ...

    def price(self, step: Step, size: Size) -> Cost:
        """What a step costs on an image of this size, given before the network resizes it."""
        ...

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        """The size at which the genotype's backbone reads an image of `size`; resolution may be a gene."""
        ...

    def features(self, genotype: Genotype) -> list[float]:
        """Numbers in which the latency of a genotype is about linear, for predictors."""
        ...

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        """Plain JSON from which `families.restore` builds the backbone again, `family` among it."""
        ...

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """The stages as a report draws them."""
        ...

    def build(self, genotype: Genotype | None, seed: int | None) -> "Backbone":
        """A static backbone with tensors of its own.

        Args:
            genotype: which; None for the largest, whose tensors are the supernet's.
            seed: of the random weights; None leaves them uninitialised for a state dict.
        """
        ...

    def cuts(self, genotype: Genotype) -> Cuts:
        """Which slices of the supernet's tensors the genotype's backbone consists of."""
        ...

    def absent(self, genotype: Genotype) -> frozenset[str]:
        """Names of the supernet's modules that the genotype's backbone does not have."""
        ...

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        """Put a checkpoint's tensors into a supernet of this family, in place.

        Args:
            net: has `backbone` and `head`; what finds no partner stays as it is. A head is taken over whole or
                not at all.
            found: as `weights.load_foreign` gives it, in our naming or in a published one that the family knows.
            widening: what new channels around smaller tensors hold: `zeros`, or `copies` of old ones.

        Raises:
            DataError: no tensor of the backbone found a place.
            UserError: the widening is unknown or cannot be done.
        """
        ...


def cost(family: SupernetFamily, genotype: Genotype, size: Size) -> Cost:
    """Parameters and multiply-adds of a genotype's backbone for one image of `size`."""
    total = Cost(0, 0)
    for step in family.path(genotype):
        total += family.price(step, size)
    return total


def labels(family: SupernetFamily, genotype: Genotype, size: Size) -> list[str]:
    """The label of every step of a genotype that not all subnets run alike, and of the head behind it."""
    found = [step.label for step in family.path(genotype) if step.label]
    behind = head_label(size, family.input_size(genotype, size))
    return [*found, behind] if behind else found


def head_label(size: Size, own: Size) -> str:
    """The label of the head behind a backbone that reads images of `size` at its `own` size."""
    return "" if own == size else f"head/{own[0]}x{own[1]}"


def column(space: Space, gene: str) -> int:
    """Where an axis (`m1`) or a single bit (`d1.3`) stands in the integer layout."""
    name, _, bit = gene.partition(".")
    return space.spans[name].start + (int(bit) - 1 if bit else 0)
