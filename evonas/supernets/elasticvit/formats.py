"""ElasticViT's genotypes as nested lists, as its level tables, banks and configs have them.

A network is a list of ten: the image size; the channels and the depths of seven stages; expansions and kernels of all
layers of the stem, C1 and C2; expansions of all feed-forward layers; heads of all attention layers; windows (1 for
every layer), widths of queries and keys (1) and of values. Channels and depths start with the stem, whose layers have
expansion 1.
"""

from collections.abc import Sequence
from typing import Any

from evonas.errors import DataError
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.elasticvit.space import CONVS, HEAD, STAGES, Layout, architecture, layout_of

_PARTS = (
    "image size",
    "channels",
    "depths",
    "conv ratios",
    "kernels",
    "mlp ratios",
    "heads",
    "windows",
    "qk scales",
    "v scales",
)
_FORM = "A network is [size, [7 channels], [7 depths], [ratios], [kernels], [mlp], [heads], [windows], [qk], [v]]."


def read_network(space: Space, found: Any) -> Genotype:
    """The genotype of a network's nested lists.

    Raises:
        DataError: the lists do not make a network.
        UserError: a choice is not in the space.
    """
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != len(_PARTS):
        raise DataError(f"This is not a network of ElasticViT: {str(found)[:80]}", _FORM)
    resolution = _number(found[0], _PARTS[0])
    lists = [_numbers(each, what) for each, what in zip(found[1:], _PARTS[1:], strict=True)]
    widths, depths, expand, kernels, mlp, heads, windows, keys, value = lists
    if (
        len(widths) != STAGES
        or len(depths) != STAGES
        or any(int(depth) != depth or depth < 1 for depth in depths)
    ):
        raise DataError(f"Channels {widths} and depths {depths} are not those of {STAGES} stages.", _FORM)
    convs, layers = int(sum(depths[:CONVS])), int(sum(depths[CONVS:]))
    for what, given, count in zip(_PARTS[3:], lists[2:], (convs,) * 2 + (layers,) * 5, strict=True):
        if len(given) != count:
            raise DataError(f"There are {len(given)} {what} for {count} layers.", "Give one for each layer.")
    wanted = [
        width // HEAD
        for width, depth in zip(widths[CONVS:], depths[CONVS:], strict=True)
        for _ in range(int(depth))
    ]
    fixed = (
        ("heads", heads, wanted), ("windows", windows, [1] * layers), ("qk scales", keys, [1] * layers),
        ("conv ratios of the stem", expand[: int(depths[0])], [1] * int(depths[0])),
    )  # fmt: skip
    for what, given, right in fixed:
        if list(given) != right:
            raise DataError(
                f"{what} are {list(given)}, not {right}.", "Other networks are not in this supernet."
            )
    values: dict[str, Any] = {"r1": resolution}
    values |= {f"w{stage}": width for stage, width in enumerate(widths, 1)}
    values |= {f"d{stage}": depth for stage, depth in enumerate(depths, 1)}
    layout = layout_of(space)
    for letter, first, given in (
        ("e", 1, expand[int(depths[0]) :]),
        ("k", 0, kernels),
        ("m", CONVS, mlp),
        ("v", CONVS, value),
    ):
        start = 0
        for stage in range(first, CONVS if first < CONVS else STAGES):
            own = given[start : start + int(depths[stage])]
            start += len(own)
            values |= _choices(space, layout, letter, stage, own)
    return space.encode(values)


def write_network(space: Space, genotype: Genotype) -> list[Any]:
    """The nested lists of a network; the inverse of `read_network`."""
    of = architecture(space, genotype)
    convs = [block for stage in of.convs for block in stage]
    layers = [layer for stage in of.attentions for layer in stage]
    heads = [
        width // HEAD for width, stage in zip(of.widths[CONVS:], of.attentions, strict=True) for _ in stage
    ]
    ones = [1] * len(layers)
    return [
        of.resolution,
        list(of.widths),
        list(of.depths),
        [block.expand for block in convs],
        [block.kernel for block in convs],
        [int(layer.mlp) if layer.mlp == int(layer.mlp) else layer.mlp for layer in layers],
        heads,
        ones,
        list(ones),
        [layer.value for layer in layers],
    ]


def _choices(space: Space, layout: Layout, letter: str, stage: int, own: Sequence[float]) -> dict[str, Any]:
    """The genes of a stage's layers; those of layers that do not run have the first choice."""
    if layout.per_layer:
        names = [layout.gene(letter, stage, place) for place in range(layout.depths[stage])]
        first = {axis.name: axis.choices[0] for axis in space.axes}
        return {name: own[place] if place < len(own) else first[name] for place, name in enumerate(names)}
    if len(set(own)) > 1:
        raise DataError(
            f"The layers of stage {stage} differ ({', '.join(f'{each:g}' for each in own)}), and those of space "
            f"{space.name} do not.",
            "Choose space=elasticvit_layers.",
        )
    return {layout.gene(letter, stage, 0): own[0]}


def _numbers(found: Any, what: str) -> list[float]:
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise DataError(f"{what} must be a list, got {str(found)[:80]}.", _FORM)
    return [_number(each, what) for each in found]


def _number(found: Any, what: str) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise DataError(f"{what} must hold numbers, got {str(found)[:80]}.", _FORM)
    return found
