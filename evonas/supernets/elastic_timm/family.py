"""Any model of timm made elastic: inner widths, attention heads, depth and resolution, and streams where wanted.

A subnet has the first channels and heads of every group that `structure.py` lists, the first droppable blocks of
every stage, and reads smaller images. The largest subnet is the user's own model, bit for bit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Bar, Cost, Cuts, DrawnStage, Pieces, Settings
from evonas.supernets.elastic_timm import subnet
from evonas.supernets.elastic_timm.cost import Prices, input_size, path
from evonas.supernets.elastic_timm.space import Architecture, Reading, has_streams, variant_of
from evonas.supernets.elastic_timm.structure import HEADS, ROTATED, STREAM, WIDTH, Block, Structure
from evonas.supernets.elastic_timm.structure_store import STREAMS, VARIANTS, structure_of
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.elastic_timm.backbone import ElasticBackbone


ORDERS = ("norm", "taylor", *VARIANTS, "none")


class ElasticTimm:
    """The family of a timm model's subnets.

    Args:
        space: of `elastic_space`, for the same model.
        name: timm's name of the model.
        structure: the digest of its structure; None for what the installed timm gives.
        drop_path: timm's `drop_path_rate`; 0 for models that know none.
        order: how channels and heads are sorted, see `order.py`: `norm` when foreign weights are adopted, `taylor`
            then and once more by the loss when the largest subnet is trained, `centred` as `taylor`, with the means of
            what is cut in the biases of what read it, `rotated` as `centred`, with heads that are rotated and lose
            channels instead of going as a whole, or `none`. A curriculum that trains the largest subnet alone ends
            with a sorting by any of them.

    Raises:
        UserError: the model cannot be made elastic, the space is another model's, or the order is unknown.
        DataError: the structure with this digest is not the one that the installed timm gives.
    """

    name = "elastic_timm"

    def __init__(
        self,
        space: Space,
        name: str,
        structure: str | None = None,
        drop_path: float = 0.0,
        order: str = "norm",
    ) -> None:
        if order not in ORDERS:
            raise UserError(
                f"network.order={order} is unknown.", f"Choose network.order={', '.join(ORDERS)}."
            )
        self.structure = structure_of(name, structure, _variant(order, STREAMS if has_streams(space) else ""))
        self.space, self.order = space, order
        self._arguments = (("drop_path_rate", drop_path),) if drop_path else ()
        self._reading = Reading(space, self.structure)
        self._prices = Prices(self.structure, _macs_of_modules)
        self._architecture = lru_cache(maxsize=65536)(self._reading.architecture)
        self._path = lru_cache(maxsize=65536)(self._steps)

    @staticmethod
    def structure_digest(name: str, order: str = "norm", space: Mapping[str, Any] | None = None) -> str:
        """The digest of the structure that the installed timm gives a model; finding it takes seconds, once.

        Args:
            name: timm's name of the model.
            order: see the class.
            space: the config of the space, which may want streams.
        """
        given = (space or {}).get("streams")
        # other values are refused by the space
        streams = given if isinstance(given, Sequence) and not isinstance(given, str) else ()
        return structure_of(name, variant=_variant(order, variant_of(streams))).digest

    def _steps(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(self._architecture(genotype), self.structure)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Up to four of timm's feature maps, from stride 4 on; of a transformer at equal distances."""
        return subnet.levels(self.structure)

    def level_pieces(self, genotype: Genotype) -> tuple[Pieces, ...]:
        """See `base.level_pieces`; all channels where no stream is cut."""
        return subnet.level_pieces(self.structure, self._architecture(genotype))

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """A block depends on the resolution, its genes, its streams and, if it may be left out, its stage's depth."""
        found, number = dict[Place, tuple[str, ...]](), 0
        for at, stage in enumerate(self.structure.stages):
            for inner in range(len(stage.blocks)):
                found[at, inner] = self._reading.genes_of(at, number)
                number += 1
            found[at, len(stage.blocks)] = self._reading.genes_of_level(at)
        return found

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return self._path(genotype)

    def price(self, step: Step, size: Size) -> Cost:
        return self._prices.of(step, size)

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        return input_size(self.structure, self._architecture(genotype).resolution, size)

    def features(self, genotype: Genotype) -> list[float]:
        """The area that is read, and per stage in units of it: blocks, and thousands of parameters."""
        of, found = self._architecture(genotype), [1.0]
        steps = {step.at: step for step in self.path(genotype)}
        for at, stage in enumerate(self.structure.stages):
            run = [steps[at, inner] for inner in range(len(stage.blocks)) if (at, inner) in steps]
            found += [float(len(run)), sum(self._prices.params(step) for step in run) / 1000]
        area = of.resolution**2
        return [area * each for each in found]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return subnet.description(self.structure, self._architecture(genotype))

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """A block is as tall as its widest group has channels, one that has none as its stage's level."""
        of, stages, number = self._architecture(genotype), list[DrawnStage](), 0
        for stage, level in zip(self.structure.stages, subnet.levels(self.structure, of), strict=True):
            blocks = of.blocks[number : number + len(stage.blocks)]
            number += len(stage.blocks)
            drawn = [
                None if units is None else self._bars(block, units, level.channels)
                for block, units in zip(stage.blocks, blocks, strict=True)
            ]
            running = sum(each is not None for each in drawn)
            captions = (
                f"{level.channels} ch",
                f"{running} of {len(drawn)} blocks",
                f"images x{of.resolution:g}",
            )
            stages.append(DrawnStage(level.channels, captions, tuple(drawn)))
        return tuple(stages)

    def _bars(self, block: Block, units: Sequence[int], channels: int) -> tuple[Bar, ...]:
        bars, kinds = list[Bar](), dict[str, list[tuple[int, int]]]()
        for index, count in zip(block.groups, units, strict=True):
            group = self.structure.groups[index]
            if group.kind == STREAM:
                # the stage's width
                continue
            # a unit of heads has all their channels, one of rotated heads a channel of each
            part = max(
                len(axis.starts) if group.kind == ROTATED and axis.axis == 1 else axis.length
                for axis in group.axes
            )
            kinds.setdefault(group.kind, []).append((count * part, count))
        for kind, widths in kinds.items():
            width, count = max(widths)
            word = {HEADS: "heads", ROTATED: "channels a head"}.get(kind, "wide")
            bars.append(Bar("s0" if kind == WIDTH else "s1", f"{count} {word}", width))
        return tuple(bars) or (Bar("s2", "whole", channels),)

    def build(self, genotype: Genotype | None, seed: int | None) -> "ElasticBackbone":
        from evonas.supernets.elastic_timm.backbone import build

        of: Architecture | None = None if genotype is None else self._architecture(genotype)
        return build(self.structure, of, seed, self._arguments)

    def cuts(self, genotype: Genotype) -> Cuts:
        return subnet.cuts(self.structure, self._architecture(genotype))

    def absent(self, genotype: Genotype) -> frozenset[str]:
        return subnet.absent(self.structure, self._architecture(genotype))

    def settings(self, genotype: Genotype) -> Settings:
        return subnet.settings(self.structure, self._architecture(genotype))

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.elastic_timm.adopt import adopt

        return adopt(self.structure, net, found, widening, self.order)

    def sort_by_losses(self, net: "nn.Module", losses: "Iterable[Callable[[], Tensor]]") -> None:
        """Sort channels and heads of a supernet by Taylor scores, in place, unless `order` is `norm` or `none`.

        Args:
            net: has `backbone` and `head`.
            losses: each computes the loss of one batch with the largest subnet.
        """
        if self.order not in ("norm", "none"):
            self.sort_finally(net, losses)

    def sort_finally(self, net: "nn.Module", losses: "Iterable[Callable[[], Tensor]]") -> None:
        """Sort a supernet that is cut as it is, in place: by norms or by Taylor scores, as `order` says.

        The arguments are those of `sort_by_losses`.
        """
        if self.order == "none":
            return
        from evonas.supernets.elastic_timm.order import centre, norm_scores, sort, taylor_scores
        from evonas.supernets.elastic_timm.rotation import rotate

        model: Any = net.backbone
        if self.order in VARIANTS:
            losses = list(losses)
            rotate(self.structure, model.net, losses)
            centre(self.structure, model.net, losses)
        head: Any = net.head
        scores = (
            norm_scores(self.structure, model.net, head)
            if self.order == "norm"
            else taylor_scores(self.structure, model.net, losses, head)
        )
        sort(self.structure, model.net, scores, head)


def _variant(order: str, streams: str) -> str:
    """See `structure_store.structure_of`."""
    return "-".join(each for each in (streams, order if order in VARIANTS else "") if each)


def _macs_of_modules(structure: Structure, size: Size) -> Mapping[str, int]:
    # counting runs the model, which needs torch
    from evonas.supernets.elastic_timm.count import macs_of_modules

    return macs_of_modules(structure, size)
