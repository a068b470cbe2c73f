"""Once-for-All's MobileNetV3 (arXiv 1908.09791), the supernet of NSGANetV2, NAT and EDNAG, parameter by parameter.

Depth, kernel size, expansion and image size are searched; input and output channels of blocks are fixed. A subnet has
the first blocks of each stage and the first hidden channels of each block, and smaller kernels are made of larger ones
by shared matrices. The published network's last layers are a head of their own (`nn/mobilenet_v3.py`), so that dense
heads read the levels before them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evonas.errors import UserError
from evonas.nn.level import Level, pyramid
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import (
    Bar,
    Cost,
    Cut,
    Cuts,
    Derived,
    DrawnStage,
    PublishedNetwork,
    PublishedSearch,
    Settings,
)
from evonas.supernets.input_size import input_size
from evonas.supernets.ofa_mbv3.cost import (
    EXPAND,
    LEVEL_STAGES,
    MIX,
    BlockShape,
    NetworkShape,
    block_shapes,
    description,
    head_cost,
    path,
    price,
)
from evonas.supernets.ofa_mbv3.formats import (
    NetConfig,
    genotype_of,
    read_config,
    read_subnet,
    write_config,
    write_subnet,
)
from evonas.supernets.ofa_mbv3.latency_keys import CLASSES, latency_keys
from evonas.supernets.ofa_mbv3.published import PUBLISHED
from evonas.supernets.ofa_mbv3.search_files import read_networks, read_search, write_search
from evonas.supernets.ofa_mbv3.space import Architecture, architecture, depths_of
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.space.opening import Opening
    from evonas.supernets.adoption import Adoption
    from evonas.supernets.ofa_mbv3.backbone import OFABackbone

ORDERS = ("norm", "none")
ACT_FUNCS = ("relu", "h_swish", "mish")
_STYLES = {3: "s0", 5: "s1"}
# the image size of ImageNet's networks, to which areas are relative
_USUAL = 224


class OFAMobileNetV3:
    """The family of a space; the largest genotype determines the sizes of the shared weights.

    Args:
        space: a space with the layout of `ofa_space`.
        width: multiplier of all channels; the published supernets have 1.0 and 1.2.
        act_func: one activation for all layers, such as `mish` in networks of NAT; None for ReLU and h-swish.
        drop_path: rate of the last block; rates rise linearly over the supernet's blocks.
        bn_momentum: momentum of the batch norms.
        bn_eps: constant of the batch norms.
        order: `norm` sorts hidden channels by importance before a curriculum opens smaller expansions; `none` does not.

    Raises:
        UserError: the space has another layout, or an argument is invalid.
    """

    name = "ofa_mbv3"

    def __init__(
        self,
        space: Space,
        width: float = 1.0,
        act_func: str | None = None,
        drop_path: float = 0.0,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-5,
        order: str = "norm",
    ) -> None:
        if order not in ORDERS:
            raise UserError(
                f"network.order={order} is unknown.", f"Choose network.order={', '.join(ORDERS)}."
            )
        if not width > 0:
            raise UserError(f"network.width must be above 0, got {width}.", "Try network.width=1.2.")
        if act_func is not None and act_func not in ACT_FUNCS:
            raise UserError(
                f"network.act_func={act_func} is unknown.",
                f"Choose network.act_func={', '.join(ACT_FUNCS)} or null.",
            )
        self.space, self.shape = space, NetworkShape(float(width), depths_of(space), act_func, bn_eps)
        self.kernels = tuple(int(choice) for choice in _axis(space, "k1"))
        self.drop_path, self.momentum, self.order = drop_path, bn_momentum, order

    @property
    def levels(self) -> tuple[Level, ...]:
        """The maps at strides 4, 8, 16 and 32; stages 3 and 4 have the same stride, and one level."""
        return pyramid(self.shape.channels[stage] for stage in LEVEL_STAGES)

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """All places; a block depends on its own choices, on its stage's depth, and the resolution."""
        found: dict[Place, tuple[str, ...]] = {(0, 0): ("r1",)}
        for stage, depth in enumerate(self.shape.depths):
            for place in range(depth):
                number = self.shape.number(stage, place)
                found[stage + 1, place] = ("r1", f"d{stage + 1}", f"k{number}", f"e{number}")
            if stage in LEVEL_STAGES:
                found[stage + 1, depth] = ("r1",)
        return found

    @cached_property
    def largest(self) -> Architecture:
        """The largest architecture, which determines the sizes of the shared tensors."""
        return architecture(self.space, self.space.largest())

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(architecture(self.space, genotype), self.shape)

    def price(self, step: Step, size: Size) -> Cost:
        return price(step, self.shape, size)

    def head_cost(self, genotype: Genotype, size: Size, classes: int) -> Cost:
        """The cost of the published classification head for images of `size`, as of `base.classifier_cost`."""
        return head_cost(self.shape, self.input_size(genotype, size), classes)

    @cached_property
    def published(self) -> Mapping[str, PublishedNetwork]:
        """The networks of NAT by name, if the space has them."""
        found: dict[str, PublishedNetwork] = {}
        for name, net in PUBLISHED.items():
            kernels, expand, depths = (
                [int(digit) for digit in each] for each in (net.kernels, net.expand, net.depths)
            )
            with suppress(UserError):
                genotype = genotype_of(self.space, kernels, expand, depths, net.resolution)
                settings = {"width": net.width, "act_func": net.act_func}
                found[name] = PublishedNetwork(self.space.format(genotype), settings, net.classes)
        return found

    # those of the published table
    latency_classes = CLASSES

    def latency_keys(self, genotype: Genotype, size: Size, classes: int, as_published: bool) -> Iterator[str]:  # noqa: ARG002
        """The names of the genotype's entries in NSGANetV2's latency table; see `latency_keys.py`."""
        own = self.input_size(genotype, size)
        return latency_keys(architecture(self.space, genotype), self.shape, own, classes)

    def read_network(self, values: Mapping[str, Any]) -> PublishedNetwork:
        """The network of a `net.subnet` or `net.config` file, as JSON data.

        Raises:
            DataError: it is neither.
            UserError: the network is not one of the space.
        """
        if "ks" in values or "blocks" not in values:
            genotype, width = read_subnet(self.space, values)
            return PublishedNetwork(
                self.space.format(genotype), {} if width is None else {"width": width}, None
            )
        net = read_config(self.space, values)
        settings = {"width": net.width, "act_func": net.act_func}
        return PublishedNetwork(self.space.format(net.genotype), settings, net.classes)

    def read_search(
        self,
        values: Mapping[str, Any] | None,
        networks: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = (),
    ) -> PublishedSearch:
        """The archive of a search with NSGANetV2, as JSON data.

        Args:
            values: of its last `iter_<t>.stats`; None for those of the networks alone.
            networks: of `net_<i>.subnet` and `net_<i>.stats` of its networks.

        Raises:
            DataError: an entry is malformed.
            UserError: a network is not one of the space.
        """
        if values is None:
            return read_networks(self.space, networks)
        return read_search(self.space, values, networks)

    def write_search(self, search: PublishedSearch, last: int, initial: int) -> Mapping[str, Any] | None:
        """The content of `iter_<t>.stats`, as of `search_files.write_search`; None where it cannot be written.

        It cannot say image sizes that are parts of those of a task.
        """
        is_part = architecture(self.space, self.space.smallest()).resolution < 32
        return None if is_part else write_search(self.space, search, last, initial)

    def network_weights(self, state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """The state dict of a static network of the family and its published head, in the published naming."""
        from evonas.supernets.ofa_mbv3.checkpoint_names import their_names

        return their_names(state)

    def network_files(self, genotype: Genotype, head: "nn.Module") -> dict[str, Mapping[str, Any]]:
        """The network as others read it, as JSON data by file name.

        These are `net.subnet` and, with the published head, `net.config`. Empty in spaces of image sizes that are parts
        of those of a task, which these files cannot say.
        """
        from evonas.nn.mobilenet_v3 import MobileNetV3Head

        side = architecture(self.space, genotype).resolution
        if side < 32:
            return {}
        files: dict[str, Mapping[str, Any]] = {
            "net.subnet": write_subnet(self.space, genotype, self.shape.width)
        }
        own = head.settings if isinstance(head, MobileNetV3Head) else {}
        if (own.get("expand"), own.get("mix"), own.get("act_func")) == (EXPAND, MIX, self.shape.act_func):
            net = NetConfig(
                genotype,
                self.shape.width,
                self.shape.act_func,
                own["out_channels"],
                own["dropout"],
                {"momentum": self.momentum, "eps": self.shape.bn_eps},
                about={"name": "MobileNetV3", "img_size": int(side)},
            )
            files["net.config"] = write_config(self.space, net)
        return files

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        return input_size(architecture(self.space, genotype).resolution, size)

    def features(self, genotype: Genotype) -> list[float]:
        """The relative area a of the resized image, and per stage a times four sums over its blocks.

        They are the number of blocks and the sums of M, M K^2 and M (I + O).
        """
        of = architecture(self.space, genotype)
        side = of.resolution / _USUAL if of.resolution > 1 else of.resolution
        found = [1.0]
        for stage in range(len(of.stages)):
            blocks = list(block_shapes(of, self.shape, stage))
            found += [
                float(len(blocks)),
                sum(each.hidden for each in blocks),
                sum(each.hidden * each.kernel**2 for each in blocks),
                sum(each.hidden * (each.given + each.out) for each in blocks),
            ]
        return [side**2 * each for each in found]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return description(architecture(self.space, genotype), self.shape)

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """The bar of a block: kernel size, and channels of the depthwise convolution; stages of one level together."""
        of, drawn, first = architecture(self.space, genotype), list[DrawnStage](), 0
        for last in LEVEL_STAGES:
            blocks: list[tuple[Bar, ...] | None] = []
            for stage in range(first, last + 1):
                bars = [self._bar(each) for each in block_shapes(of, self.shape, stage)]
                blocks += [*bars, *[None] * (self.shape.depths[stage] - len(bars))]
            factors = [f"{each.expand:g}" for stage in of.stages[first : last + 1] for each in stage]
            images = f"images x{of.resolution:g}" if of.resolution <= 1 else f"images {of.resolution:g} px"
            captions = (f"{self.shape.channels[last]} ch", f"expand {', '.join(factors)}", images)
            drawn.append(DrawnStage(self.shape.channels[last], captions, tuple(blocks)))
            first = last + 1
        return tuple(drawn)

    def _bar(self, block: BlockShape) -> tuple[Bar, ...]:
        return (Bar(_STYLES.get(block.kernel, "s2"), f"{block.kernel}x{block.kernel}", block.hidden),)

    def build(self, genotype: Genotype | None, seed: int | None) -> "OFABackbone":
        from evonas.supernets.ofa_mbv3.backbone import OFABackbone

        of = self.largest if genotype is None else architecture(self.space, genotype)
        # a network of its own has kernels, not what makes smaller ones
        kernels = self.kernels if genotype is None else ()
        return OFABackbone(of, self.shape, kernels, self.drop_path, self.momentum, seed)

    def cuts(self, genotype: Genotype) -> Cuts:
        of, found = architecture(self.space, genotype), dict[str, tuple[Cut, ...] | Derived]()
        for stage in range(len(of.stages)):
            largest = list(block_shapes(self.largest, self.shape, stage))
            for at, block in enumerate(block_shapes(of, self.shape, stage)):
                under = f"blocks.{self.shape.number(stage, at)}.conv"
                for name, cuts in _block_cuts(largest[at], block):
                    if cuts:
                        found[f"{under}.{name}"] = cuts
                if block.kernel < largest[at].kernel:
                    rows = _first(0, largest[at].hidden, block.hidden)
                    found[f"{under}.{_KERNEL}.conv.weight"] = self._smaller(under, rows, block.kernel)
        return found

    def _smaller(self, under: str, rows: tuple[Cut, ...], kernel: int) -> Derived:
        from evonas.supernets.ofa_mbv3.backbone import matrix_name, smaller_kernel

        steps = [larger for larger in reversed(self.kernels) if larger > kernel]
        matrices = tuple((f"{under}.{_KERNEL}.{matrix_name(larger)}", ()) for larger in steps)
        return Derived(smaller_kernel, ((f"{under}.{_KERNEL}.conv.weight", rows), *matrices))

    def absent(self, genotype: Genotype) -> frozenset[str]:
        """Blocks that do not run, and the matrices of those that do."""
        from evonas.supernets.ofa_mbv3.backbone import matrix_name

        found: list[str] = []
        for stage, choices in enumerate(architecture(self.space, genotype).stages):
            for place in range(self.shape.depths[stage]):
                name = f"blocks.{self.shape.number(stage, place)}"
                matrices = [f"{name}.conv.{_KERNEL}.{matrix_name(larger)}" for larger in self.kernels[1:]]
                found += matrices if place < len(choices) else [name]
        return frozenset(found)

    def sort_before_step(self, net: "nn.Module", trained: Sequence["Opening"], opened: "Opening") -> None:
        """Sort hidden channels of a supernet by importance, in place, if a curriculum step opens further expansions.

        Args:
            net: has `backbone`.
            trained: what the steps before it opened.
            opened: what the step opens.
        """
        if self.order == "none":
            return
        from evonas.supernets.ofa_mbv3.order import sort_block

        before, now = [self.space.narrowed(each) for each in trained], self.space.narrowed(opened)
        for stage, depth in enumerate(self.shape.depths):
            for place in range(depth):
                number = self.shape.number(stage, place)
                gene = f"e{number}"
                known = {index for each in before for index in each.choices[gene]}
                if not known or known >= set(now.choices[gene]):
                    continue
                factors = _axis(self.space, gene)
                shapes = [
                    self.shape.block(stage, place, self.kernels[-1], factors[index])
                    for index in sorted(known)
                ]
                largest = self.shape.block(stage, place, self.kernels[-1], factors[-1])
                block = net.get_submodule(f"backbone.blocks.{number}")
                hidden, squeezed = ([getattr(each, key) for each in (*shapes, largest)] for key in _SORTED)
                sort_block(block, hidden, squeezed)

    def settings(self, genotype: Genotype) -> Settings:  # noqa: ARG002
        return {}

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.ofa_mbv3.checkpoint_names import adopt

        return adopt(self.shape, net, found, widening)


# the module of the depthwise kernel and its matrices in a block
_KERNEL = "depth_conv.conv"
_SORTED = ("hidden", "squeezed")


def _axis(space: Space, gene: str) -> tuple[Any, ...]:
    return next(axis.choices for axis in space.axes if axis.name == gene)


def _block_cuts(largest: BlockShape, block: BlockShape) -> Iterator[tuple[str, tuple[Cut, ...]]]:
    """Yields the slices of the largest block's tensors that make a block, but for smaller kernels."""
    rows, columns = (_first(axis, largest.hidden, block.hidden) for axis in (0, 1))
    few, of_few = (_first(axis, largest.squeezed, block.squeezed) for axis in (0, 1))
    yield "inverted_bottleneck.conv.conv.weight", rows
    yield f"{_KERNEL}.conv.weight", rows
    yield "point_linear.conv.conv.weight", columns
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        yield f"inverted_bottleneck.bn.bn.{tensor}", rows
        yield f"depth_conv.bn.bn.{tensor}", rows
    if block.squeezed:
        yield "depth_conv.se.fc.reduce.weight", (*few, *columns)
        yield "depth_conv.se.fc.reduce.bias", few
        yield "depth_conv.se.fc.expand.weight", (*rows, *of_few)
        yield "depth_conv.se.fc.expand.bias", rows


def _first(axis: int, full: int, kept: int) -> tuple[Cut, ...]:
    """The slice of the first channels of an axis; empty if all are kept."""
    return () if kept == full else (Cut(axis, ((0, kept),)),)
