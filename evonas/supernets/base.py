"""Contract of supernet families: a family builds networks from genotypes out of shared weights.

The torch-free part of a family describes subnets: space, steps of a genotype, their costs, input size, description
and drawing. Search, archives, engines, cost tables, samplers and reports use this part only. The other part builds
modules: `build` returns the backbone of one genotype as a static network, and `cuts` maps each of its tensors to a
slice of a supernet tensor. Everything else is implemented once for all families:

- The supernet's tensors are those of `build(None, seed)`, the backbone of the largest genotype with the tensors from
  which smaller ones are derived; its state dict is the weights file.
- A subnet is this backbone without the modules and tensors in `absent`, bound to slices of the shared tensors
  (`supernets/slices.py`). It is created per call: no subnet is active between calls, and nothing is cached.
- A tensor of a subnet may be a differentiable function of slices (`Derived`), such as a small kernel that a shared
  matrix makes of a large one. It is computed once per call, in the precision of the shared tensors; gradients reach
  every slice that it is made of. Tensors that only such functions read are absent from subnets, also from the
  largest, and belong to the supernet alone.
- Extraction is `build(genotype, None)` with copies of the same slices and results of the same functions, so it computes
  the same bits.
- A backbone runs step by step (`supernets/backbone.py`). Subnets with a common path prefix compute the same
  activations up to its end, so prefix sharing, BN calibration of shared prefixes, profiles and latency tables depend
  on steps only.
- A family whose steps depend on so many genes that their combinations cannot be listed has a method `distinct_steps`,
  as of `profile.distinct_steps`; cost tables then compute every genotype alone.

tests/contract/test_families.py tests the contract for every family: the costs of a genotype's steps equal those
counted on the extracted network, equal paths compute equal bits and different paths different ones, gradients reach
exactly the slices, and sampled genotypes are canonical, so that equal networks are one point. A family is a folder
beside this file; only the list in `families.py` and a YAML file in conf/network name it.
"""

from collections.abc import Callable, Mapping
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
    """Number of trainable parameters, and multiply-adds of convolutions and matrix products for one image."""

    params: int
    macs: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.macs + other.macs)


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice along one axis of a supernet tensor.

    Args:
        axis: axis of the supernet's tensor.
        pieces: (start, length) of each selected range, in the order of the subnet's tensor.
    """

    axis: int
    pieces: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """A tensor of a subnet that is computed from slices of the supernet's tensors.

    Args:
        function: differentiable; takes the slices in the order of `sources`.
        sources: names of tensors of the supernet with their slices; () takes a tensor whole.
    """

    function: "Callable[..., Tensor]"
    sources: tuple[tuple[str, tuple[Cut, ...]], ...]


# by name of the tensor; tensors without an entry are used whole
Cuts = Mapping[str, tuple[Cut, ...] | Derived]
# (start, length) of ranges of channels, in order
Pieces = tuple[tuple[int, int], ...]
# by name of module, by attribute: sizes that modules keep beside their tensors
Settings = Mapping[str, Mapping[str, int | tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a drawn block: CSS class of the report, label, and width in channels."""

    style: str
    what: str
    channels: float


@dataclass(frozen=True, slots=True)
class DrawnStage:
    """The drawing of a stage in the report.

    Args:
        width: channels of the stage.
        captions: short lines below the stage.
        blocks: the bars of each place; None for a place without a block.
    """

    width: int
    captions: tuple[str, ...]
    blocks: tuple[tuple[Bar, ...] | None, ...]


@runtime_checkable
class SupernetFamily(Protocol):
    """A supernet family; see the module's contract.

    Attributes:
        name: name of the family in exported networks.
        space: the search space.
        levels: levels of every backbone of the family, finest first; in families with a method `level_pieces` those of
            the largest.
        places: all places of steps, with the genes that the step there depends on: names of axes, and single bits
            such as `d1.3`.
    """

    name: str
    space: Space

    @property
    def levels(self) -> tuple[Level, ...]: ...

    @property
    def places(self) -> Mapping[Place, tuple[str, ...]]: ...

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        """The steps that a genotype runs, in order."""
        ...

    def price(self, step: Step, size: Size) -> Cost:
        """The cost of a step for an image of `size` (height, width in pixels), before the network resizes it."""
        ...

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        """The size to which the genotype's backbone resizes an image of `size`; resolution may be a gene."""
        ...

    def features(self, genotype: Genotype) -> list[float]:
        """Features in which latency is approximately linear, for predictors."""
        ...

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        """JSON data from which `families.restore` rebuilds the backbone; it contains `family`."""
        ...

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """The drawing of each stage in the report."""
        ...

    def build(self, genotype: Genotype | None, seed: int | None) -> "Backbone":
        """A static backbone with its own tensors.

        Args:
            genotype: the network; None for the largest, whose tensors are the supernet's.
            seed: seed of the random weights; None leaves them uninitialised, to be loaded.
        """
        ...

    def cuts(self, genotype: Genotype) -> Cuts:
        """The slices of the supernet's tensors, and functions of slices, that make the genotype's backbone."""
        ...

    def absent(self, genotype: Genotype) -> frozenset[str]:
        """Names of the supernet's modules and tensors that the genotype's backbone lacks."""
        ...

    def settings(self, genotype: Genotype) -> Settings:
        """Attributes of modules that say how large their tensors are, where they are not the supernet's.

        Empty in a family whose modules read sizes from their tensors.
        """
        ...

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        """Loads a checkpoint into a supernet of this family, in place.

        Args:
            net: has `backbone` and `head`; tensors without a counterpart keep their values. The head is loaded
                completely or not at all.
            found: result of `weights.load_foreign`, in our naming or in a published one that the family knows.
            widening: initialisation of new channels around smaller tensors: `zeros`, or `copies` of old ones.

        Raises:
            DataError: no tensor of the backbone matches.
            UserError: the widening is unknown or not possible.
        """
        ...


def cost(family: SupernetFamily, genotype: Genotype, size: Size) -> Cost:
    """Parameters and multiply-adds of a genotype's backbone for one image of `size`."""
    total = Cost(0, 0)
    for step in family.path(genotype):
        total += family.price(step, size)
    return total


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A published network of a family.

    Args:
        genotype: text form.
        settings: arguments of the family that the network has, by name.
        classes: number of classes of its classification head; None without one.
    """

    genotype: str
    settings: Mapping[str, Any]
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class PublishedSearch:
    """Networks that a search evaluated, in order, as files of other projects list them.

    Args:
        names: of the objectives, as here: `error` (a share), `macs` (10^9), `params` (10^6), `latency` (ms).
        networks: those whose evaluation succeeded.
        values: their objectives, minimised.
    """

    names: tuple[str, ...]
    networks: tuple[PublishedNetwork, ...]
    values: tuple[tuple[float, ...], ...]


def published(family: SupernetFamily) -> Mapping[str, PublishedNetwork]:
    """The published networks of a family's space by name; empty where the family lists none."""
    found: Mapping[str, PublishedNetwork] = getattr(family, "published", {})
    return found


def classifier_cost(family: SupernetFamily, genotype: Genotype, size: Size, classes: int) -> Cost:
    """The cost of a genotype's classification head: that which the family publishes, or else mean and linear layer.

    A family that publishes one has a method `head_cost(genotype, size, classes)`.
    """
    own = getattr(family, "head_cost", None)
    if own is not None:
        cost_of_head: Cost = own(genotype, size, classes)
        return cost_of_head
    channels = levels_of(family, genotype)[-1].channels
    return Cost((channels + 1) * classes, channels * classes)


def level_macs(family: SupernetFamily, step: Step, size: Size) -> int:
    """The multiply-adds of a step as cost levels count them (`train/sampling/cost_levels.py`).

    They are those of `price`, but in families whose published levels refer to another counter; such a family has a
    method `published_macs(step, size)`, and its steps add up to the published size of a whole network.
    """
    own = getattr(family, "published_macs", None)
    return family.price(step, size).macs if own is None else int(own(step, size))


def published_macs(family: SupernetFamily, genotype: Genotype, size: Size) -> int | None:
    """The size of a genotype's network by its family's published counter; None in families without one."""
    if not hasattr(family, "published_macs"):
        return None
    return sum(level_macs(family, step, size) for step in family.path(genotype))


def widths(family: SupernetFamily, genotype: Genotype) -> tuple[int, ...]:
    """The channels of each level that a genotype's backbone fills; the others, up to those of the level, are zero.

    All, but in families with a method `widths(genotype)`. Heads that are narrower for narrower networks read them
    (`supernets/elastic_head.py`).
    """
    own = getattr(family, "widths", None)
    if own is not None:
        found: tuple[int, ...] = own(genotype)
        return found
    return tuple(level.channels for level in levels_of(family, genotype))


def level_pieces(family: SupernetFamily, genotype: Genotype) -> tuple[Pieces, ...] | None:
    """Which channels of each level of the family the levels of a genotype's backbone have.

    None in families whose backbones have all of them; others have a method `level_pieces(genotype)`.
    """
    own = getattr(family, "level_pieces", None)
    found: tuple[Pieces, ...] | None = None if own is None else own(genotype)
    return found


def levels_of(family: SupernetFamily, genotype: Genotype) -> tuple[Level, ...]:
    """The levels of a genotype's backbone, finest first."""
    pieces = level_pieces(family, genotype)
    if pieces is None:
        return family.levels
    return tuple(
        Level(sum(length for _, length in each), level.stride)
        for each, level in zip(pieces, family.levels, strict=True)
    )


@dataclass(frozen=True, slots=True)
class LevelChannels:
    """What a head may know of the levels of a genotype's backbone.

    Args:
        filled: the channels of each level that are not zero.
        pieces: which channels of the whole levels its levels have; None where they have all.
    """

    filled: tuple[int, ...]
    pieces: tuple[Pieces, ...] | None = None


def level_channels(family: SupernetFamily, genotype: Genotype) -> LevelChannels:
    """The channels of a genotype's levels."""
    pieces = level_pieces(family, genotype)
    whole = tuple(((0, level.channels),) for level in family.levels)
    return LevelChannels(widths(family, genotype), None if pieces == whole else pieces)


def labels(family: SupernetFamily, genotype: Genotype, size: Size) -> list[str]:
    """The labels of a genotype's steps that differ between subnets, and of its head if images are resized."""
    found = [step.label for step in family.path(genotype) if step.label]
    behind = head_label(size, family.input_size(genotype, size))
    return [*found, behind] if behind else found


def head_label(size: Size, own: Size) -> str:
    """The label of the head behind a backbone that resizes images of `size` to `own`; empty if it does not."""
    return "" if own == size else f"head/{own[0]}x{own[1]}"


def column(space: Space, gene: str) -> int:
    """The position of an axis (`m1`) or a single bit (`d1.3`) in the integer layout."""
    name, _, bit = gene.partition(".")
    return space.spans[name].start + (int(bit) - 1 if bit else 0)
