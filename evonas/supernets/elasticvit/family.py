"""ElasticViT (arXiv 2303.09730), a supernet of inverted residuals and attention, parameter by parameter.

Image size, channels and depth of every stage, kernels, expansions and value widths are searched. A subnet has the
first layers of each stage and the first channels of each tensor; smaller kernels are centres of larger ones. The
published network's last layers are a head of their own (`nn/expanded_classifier.py`), so that dense heads read the
levels before them. Levels have the channels of the widest network; those that a narrower one lacks are zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evonas.errors import UserError
from evonas.nn.level import Level, pyramid
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Bar, Cost, Cut, Cuts, DrawnStage, PublishedNetwork, Settings
from evonas.supernets.elasticvit.cost import (
    CLASSES,
    LEVEL_STAGES,
    TOKEN_STRIDES,
    BlockShape,
    LayerShape,
    NetworkShape,
    StoredShapes,
    conv_shapes,
    description,
    head_cost,
    layer_shapes,
    map_size,
    path,
    price,
    published_macs,
    reduction_shape,
)
from evonas.supernets.elasticvit.formats import read_network
from evonas.supernets.elasticvit.published import PUBLISHED, text_of
from evonas.supernets.elasticvit.space import CONVS, STAGES, Architecture, architecture, layout_of
from evonas.supernets.input_size import input_size
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.elasticvit.backbone import ElasticViTBackbone

_STYLES = {3: "s0", 5: "s1"}
_ATTENTION_STYLE = "s2"
# the image size of ImageNet's networks, to which areas are relative
_USUAL = 224
_NORM = ("weight", "bias", "running_mean", "running_var")


class ElasticViT:
    """The family of a space; the largest genotype determines the sizes of the shared weights.

    Args:
        space: a space with the layout of `vit_space`.
        bias_side: side in pixels of the square image whose maps the tables of relative positions cover, 256 as
            published; tokens of larger maps that are further apart are taken as being as far as the table reaches.
        drop_path: rate of the last layer; rates rise linearly over the supernet's layers, and only those of the last
            two stages have them.
        bn_momentum: momentum of the batch norms.
        bn_eps: constant of the batch norms.

    Attributes:
        checkpoint_entries: see `weights.load_foreign`; of a checkpoint the averaged weights are read.

    Raises:
        UserError: the space has another layout, or an argument is invalid.
    """

    name = "elasticvit"
    checkpoint_entries = ("model_ema", "state_dict", "model")

    def __init__(
        self,
        space: Space,
        bias_side: int = 256,
        drop_path: float = 0.0,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-5,
    ) -> None:
        layout = layout_of(space)
        if isinstance(bias_side, bool) or not isinstance(bias_side, int) or bias_side < TOKEN_STRIDES[-1]:
            raise UserError(
                f"network.bias_side must be at least {TOKEN_STRIDES[-1]} pixels, got {bias_side}.",
                "Try network.bias_side=256.",
            )
        self.space, self._layout = space, layout
        levels = tuple(layout.widths[stage] for stage in LEVEL_STAGES)
        self.shape = NetworkShape(layout.depths, levels, bias_side, bn_eps)
        self.drop_path, self.momentum = drop_path, bn_momentum

    @property
    def levels(self) -> tuple[Level, ...]:
        """The maps at strides 4, 8, 16, 32 and 64; T1 and T2 have the same stride, and one level."""
        return pyramid(self.shape.levels)

    def widths(self, genotype: Genotype) -> tuple[int, ...]:
        """The channels of each level that a genotype's backbone fills; the others are zero."""
        of = architecture(self.space, genotype)
        return tuple(of.widths[stage] for stage in LEVEL_STAGES)

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """All places; a layer depends on its own choices, its stage's depth and channels, and the resolution."""
        found: dict[Place, tuple[str, ...]] = {(0, 0): ("r1", "w1")}
        gene = self._layout.gene
        for stage, depth in enumerate(self.shape.depths):
            for place in range(depth):
                before = (f"w{stage}",) if stage and not place else ()
                letters = ("k", "e")[: 1 if stage == 0 else 2] if stage < CONVS else ("m", "v")
                own = (gene(letter, stage, place) for letter in letters)
                at = (stage, place if stage else place + 1)
                # the first layers run at any depth
                depth_gene = (f"d{stage + 1}",) if place >= self._layout.least[stage] else ()
                found[at] = ("r1", *before, f"w{stage + 1}", *depth_gene, *own)
            if stage in LEVEL_STAGES:
                found[stage, depth] = ("r1", f"w{stage + 1}")
        return found

    @cached_property
    def largest(self) -> Architecture:
        """The largest architecture, which determines the sizes of the shared tensors."""
        return architecture(self.space, self.space.largest())

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(architecture(self.space, genotype), self.shape)

    def price(self, step: Step, size: Size) -> Cost:
        return price(step, self.shape, size)

    def published_macs(self, step: Step, size: Size) -> int:
        """The multiply-adds of a step by the published counter, see `base.level_macs`; the head is in the last step."""
        return published_macs(step, self.shape, size)

    def head_cost(self, genotype: Genotype, size: Size, classes: int) -> Cost:
        """The cost of the published classification head for images of `size`, as of `base.classifier_cost`."""
        channels = architecture(self.space, genotype).widths[-1]
        return head_cost(channels, map_size(self.input_size(genotype, size), STAGES - 1), classes)

    @cached_property
    def published(self) -> Mapping[str, PublishedNetwork]:
        """The published networks by name, and the least networks of the sampler, if the space has them."""
        found: dict[str, PublishedNetwork] = {}
        for name, net in PUBLISHED.items():
            with suppress(UserError):
                found[name] = PublishedNetwork(text_of(self.space, net), {"bias_side": 256}, CLASSES)
        return found

    def read_network(self, found: Any) -> Genotype:
        """The genotype of a network in published level tables, see `formats.read_network`."""
        return read_network(self.space, found)

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        return input_size(architecture(self.space, genotype).resolution, size)

    def features(self, genotype: Genotype) -> list[float]:
        """The relative area a of the resized image, and per stage a times four sums over its layers, and a^2 N.

        They are the number of layers and the sums of hidden channels, their products with the channels, and of K^2
        times hidden channels; for attention stages of channels and values. N is the number of attention layers.
        """
        of = architecture(self.space, genotype)
        side = of.resolution / _USUAL if of.resolution > 1 else of.resolution
        found = [1.0]
        for stage in range(CONVS):
            blocks = list(conv_shapes(of, stage))
            found += [
                float(len(blocks)),
                sum(each.hidden for each in blocks),
                sum(each.hidden * (each.given + each.out) for each in blocks),
                sum(each.hidden * each.kernel**2 for each in blocks),
            ]
        for stage in range(CONVS, STAGES):
            layers = list(layer_shapes(of, self.shape, stage))
            found += [
                float(len(layers)),
                sum(each.hidden for each in layers),
                sum(each.channels * (each.channels + each.values) for each in layers),
                sum(each.channels * each.hidden for each in layers),
            ]
        quadratic = sum(
            each.channels + each.values
            for stage in range(CONVS, STAGES)
            for each in layer_shapes(of, self.shape, stage)
        )
        return [*(side**2 * each for each in found), side**4 * quadratic]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return description(architecture(self.space, genotype), self.shape)

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """Inverted residuals by kernel and hidden channels, attention layers by channels of values and hidden ones."""
        of, drawn, first = architecture(self.space, genotype), list[DrawnStage](), 0
        images = f"images x{of.resolution:g}" if of.resolution <= 1 else f"images {of.resolution:g} px"
        for last in LEVEL_STAGES:
            blocks: list[tuple[Bar, ...] | None] = []
            for stage in range(first, last + 1):
                bars = list(self._bars(of, stage))
                blocks += [*bars, *[None] * (self.shape.depths[stage] - len(bars))]
            drawn.append(DrawnStage(of.widths[last], (f"{of.widths[last]} ch", images), tuple(blocks)))
            first = last + 1
        return tuple(drawn)

    def _bars(self, of: Architecture, stage: int) -> Iterator[tuple[Bar, ...]]:
        if stage < CONVS:
            for block in conv_shapes(of, stage):
                kernel = block.kernel
                yield (Bar(_STYLES[kernel], f"{kernel}x{kernel}, {block.hidden} channels", block.hidden),)
            return
        for layer in layer_shapes(of, self.shape, stage):
            values, hidden = layer.values, layer.hidden
            yield (
                Bar(_ATTENTION_STYLE, f"{layer.heads} heads, {values} channels of values", values),
                Bar(_STYLES[3], f"{hidden} hidden channels", hidden),
            )

    def build(self, genotype: Genotype | None, seed: int | None) -> "ElasticViTBackbone":
        from evonas.supernets.elasticvit.backbone import ElasticViTBackbone

        of = self.largest if genotype is None else architecture(self.space, genotype)
        stored = self._stored if genotype is None else None
        return ElasticViTBackbone(of, self.shape, stored, self.drop_path, self.momentum, seed)

    def cuts(self, genotype: Genotype) -> Cuts:
        of, largest, found = architecture(self.space, genotype), self._stored, dict[str, tuple[Cut, ...]]()
        stem = of.widths[0]
        found["first_conv.weight"] = _first((self.largest.widths[0], stem))
        found |= _norm_cuts("first_conv_bn", self.largest.widths[0], stem)
        for stage in range(CONVS):
            blocks = zip(conv_shapes(of, stage), largest.convs(stage), strict=False)
            for place, (block, whole) in enumerate(blocks):
                found |= _block_cuts(f"{_stage_name(stage)}.layers.{place}.0", whole, block)
        for stage in range(CONVS, STAGES):
            under = f"{_stage_name(stage)}.layers"
            found |= _block_cuts(f"{under}.0.reduction", largest.reduction(stage), reduction_shape(of, stage))
            layers = zip(layer_shapes(of, self.shape, stage), largest.layers(stage), strict=False)
            for place, (layer, most) in enumerate(layers):
                found |= _layer_cuts(under, place, most, layer)
        return {name: cuts for name, cuts in found.items() if cuts}

    @cached_property
    def _stored(self) -> StoredShapes:
        """The shapes of the supernet's layers."""
        return StoredShapes(self.largest, self.shape, shared=True)

    def absent(self, genotype: Genotype) -> frozenset[str]:
        """Layers that do not run, and the convolutions of shortcuts that keep their channels."""
        of, found = architecture(self.space, genotype), list[str]()
        for stage, depth in enumerate(of.depths):
            under = f"{_stage_name(stage)}.layers"
            missing = range(depth, self.shape.depths[stage])
            if stage < CONVS:
                found += [f"{under}.{place}" for place in missing]
                found += [
                    f"{under}.{place}.0.shortcut_conv"
                    for place, block in enumerate(conv_shapes(of, stage))
                    if not block.has_shortcut
                ]
            else:
                found += [f"{under}.{2 * place + half}" for place in missing for half in (0, 1)]
                if not reduction_shape(of, stage).has_shortcut:
                    found.append(f"{under}.0.reduction.shortcut_conv")
        return frozenset(found)

    def settings(self, genotype: Genotype) -> Settings:  # noqa: ARG002
        return {}

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.elasticvit.checkpoint_names import adopt

        return adopt(net, found, widening)


def _stage_name(stage: int) -> str:
    return "conv_stem" if stage == 0 else f"feature_exactor.{stage - 1}"


def _first(*axes: tuple[int, int]) -> tuple[Cut, ...]:
    """The slice of the first entries of each axis, from (all, kept); axes that are kept whole need none."""
    return tuple(Cut(axis, ((0, kept),)) for axis, (full, kept) in enumerate(axes) if kept != full)


def _norm_cuts(name: str, full: int, kept: int) -> dict[str, tuple[Cut, ...]]:
    return {f"{name}.{tensor}": _first((full, kept)) for tensor in _NORM}


def _block_cuts(name: str, whole: BlockShape, own: BlockShape) -> dict[str, tuple[Cut, ...]]:
    """The slices of an inverted residual; a smaller kernel is the centre of the stored one."""
    given, hidden, out, squeezed = (
        (getattr(whole, key), getattr(own, key)) for key in ("given", "hidden", "out", "squeezed")
    )
    border = (whole.kernel - own.kernel) // 2
    middle = tuple(Cut(axis, ((border, own.kernel),)) for axis in (2, 3)) if border else ()
    found = {
        "dw_conv.weight": (*_first(hidden), *middle),
        "pwl_conv.weight": _first(out, hidden),
    }
    if own.expands:
        found["pw_conv.weight"] = _first(hidden, given)
    if own.has_shortcut:
        found["shortcut_conv.weight"] = _first(out, given)
    if own.squeezed:
        found["se_conv1.weight"] = _first(squeezed, hidden)
        found["se_conv1.bias"] = _first(squeezed)
        found["se_conv2.weight"] = _first(hidden, squeezed)
        found["se_conv2.bias"] = _first(hidden)
    found = {f"{name}.{tensor}": cuts for tensor, cuts in found.items()}
    for norm, (full, kept) in (("pw_bn", hidden), ("dw_bn", hidden), ("pwl_bn", out)):
        if norm != "pw_bn" or own.expands:
            found |= _norm_cuts(f"{name}.{norm}", full, kept)
    return found


def _layer_cuts(under: str, place: int, whole: LayerShape, own: LayerShape) -> dict[str, tuple[Cut, ...]]:
    """The slices of an attention and its feed-forward layer; rows of queries, keys and values stand apart."""
    channels, values, hidden = (
        (getattr(whole, key), getattr(own, key)) for key in ("channels", "values", "hidden")
    )
    full, c = channels
    rows = ((0, c), (full, c), (2 * full, own.values))
    is_whole = own.channels == whole.channels and own.values == whole.values
    attention = {
        "attention_bias": _first((1, 1), (whole.heads, own.heads)),
        "qkv.weight": () if is_whole else (Cut(0, _joined(rows)), *_first((1, 1), channels)),
        "proj.weight": _first(channels, values),
        "proj.bias": _first(channels),
        "dw_v_conv.weight": _first(values),
        "norm1.weight": _first(channels),
        "norm1.bias": _first(channels),
    }
    forward = {
        "norm1.weight": _first(channels),
        "norm1.bias": _first(channels),
        "fc1.weight": _first(hidden, channels),
        "fc1.bias": _first(hidden),
        "fc2.weight": _first(channels, hidden),
        "fc2.bias": _first(channels),
    }
    return {
        f"{under}.{2 * place + half}.{tensor}": cuts
        for half, layer in enumerate((attention, forward))
        for tensor, cuts in layer.items()
    }


def _joined(pieces: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges (start, length), of which neighbours that touch are one."""
    found: list[tuple[int, int]] = []
    for start, length in pieces:
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((start, length))
    return tuple(found)
