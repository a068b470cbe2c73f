"""File formats of Once-for-All's networks: `net.subnet` of NSGANetV2 and NAT, and `net.config` of Once-for-All.

`net.subnet` is JSON with the choices of a network: `ks` and `e` list kernel sizes and expansions of the blocks that
run, in order, `d` the number of blocks of each stage, `r` the image size; files of NAT also have `w`, the width
multiplier.

`net.config` is JSON with the layers of the network itself. A file is understood if the network that is read would be
written as the same file; its `name`, `url` and image size (`img_size` or `resolution`) are kept as they are. Releases
of Once-for-All from 0.1 on spell layers otherwise; these are read, and written as NSGANetV2 reads them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evonas.errors import DataError
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.ofa_mbv3.cost import EXPAND, MIX, BlockShape, NetworkShape, block_shapes
from evonas.supernets.ofa_mbv3.space import STAGES, architecture, depths_of


def genotype_of(
    space: Space,
    kernels: Sequence[int],
    expand: Sequence[float],
    depths: Sequence[int],
    resolution: float,
) -> Genotype:
    """The genotype of a network's choices.

    Args:
        space: of `ofa_space`.
        kernels: kernel size of each block that runs, in order; also of all blocks, of which those that do not run are
            skipped.
        expand: expansion of each block, likewise.
        depths: number of blocks of each stage.
        resolution: size at which images are read, as in `space`.

    Raises:
        DataError: the lists do not fit together.
        UserError: a choice is not in the space.
    """
    most = depths_of(space)
    if len(depths) != STAGES:
        raise DataError(
            f"d has {len(depths)} entries, not {STAGES}.", "Give the number of blocks of each stage."
        )
    running = [
        sum(most[:stage]) + place
        for stage, depth in enumerate(depths)
        for place in range(min(depth, most[stage]))
    ]
    values: dict[str, Any] = {f"d{stage}": depth for stage, depth in enumerate(depths, start=1)}
    for word, prefix, given in (("ks", "k", kernels), ("e", "e", expand)):
        if len(given) not in (sum(depths), sum(most)):
            raise DataError(
                f"{word} has {len(given)} entries for {sum(depths)} blocks.",
                "Give one for each block that runs, in order.",
            )
        first = next(axis.choices[0] for axis in space.axes if axis.name == f"{prefix}1")
        found = (
            dict(zip(running, given, strict=False)) if len(given) == sum(depths) else dict(enumerate(given))
        )
        values |= {
            f"{prefix}{at + 1}": found.get(at, first) if at in running else first for at in range(sum(most))
        }
    return space.encode({**values, "r1": resolution})


def read_subnet(space: Space, found: Mapping[str, Any]) -> tuple[Genotype, float | None]:
    """The genotype of the content of a `net.subnet` file, and its width multiplier; None where the file has none.

    Raises:
        DataError: an entry is missing or malformed.
        UserError: a choice is not in the space.
    """
    try:
        size = found["r"]
        side = size[0] if isinstance(size, Sequence) and not isinstance(size, str) else size
        kernels, expand, depths = (_integers(found[key]) for key in ("ks", "e", "d"))
        [resolution], width = _integers([float(side)]), found.get("w")
        multiplier = None if width is None else float(width)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"This is not the content of a net.subnet file: {type(error).__name__} {error}.",
            'It looks like {"ks": [...], "e": [...], "d": [...], "r": 224}.',
        ) from error
    return genotype_of(space, kernels, expand, depths, resolution), multiplier


def _integers(given: Any) -> list[int]:
    """The numbers of a list, or of a text such as `[5 5 7 3]`; blocks that do not run may have None."""
    if isinstance(given, str):
        given = given.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    numbers = [0.0 if each is None else float(each) for each in given]
    fraction = next((each for each in numbers if not each.is_integer()), None)
    if fraction is not None:
        raise ValueError(f"{fraction} is not a whole number")
    return list(map(int, numbers))


def write_subnet(space: Space, genotype: Genotype, width: float | None = None) -> dict[str, Any]:
    """The content of a `net.subnet` file, with `w` where a width multiplier is given; the inverse of `read_subnet`."""
    of = architecture(space, genotype)
    blocks = [block for stage in of.stages for block in stage]
    found: dict[str, Any] = {
        "ks": [block.kernel for block in blocks],
        "e": [int(block.expand) for block in blocks],
        "d": [len(stage) for stage in of.stages],
        "r": int(of.resolution),
    }
    return found if width is None else {**found, "w": width}


_SIZES = ("img_size", "resolution")
_LAYERS = ("bn", "first_conv", "blocks", "final_expand_layer", "feature_mix_layer", "classifier")
# channels of the last stage for a width multiplier of 1
_LAST = 160


@dataclass(frozen=True, slots=True)
class NetConfig:
    """The content of a `net.config` file.

    Args:
        genotype: the network.
        width: multiplier of all channels.
        act_func: one activation for all layers; None for ReLU and h-swish.
        classes: number of classes.
        dropout: probability before the linear layer.
        bn: `momentum` and `eps` of the batch norms; None where the file has none.
        has_hidden: whether the file has the numbers of hidden channels (`mid_channels`).
        about: entries that are not layers, such as `name` and `img_size`.
    """

    genotype: Genotype
    width: float
    act_func: str | None
    classes: int
    dropout: float = 0.0
    bn: Mapping[str, float] | None = None
    has_hidden: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the family with which it builds the network."""
        found: dict[str, Any] = {"width": self.width, "act_func": self.act_func}
        return (
            found
            if self.bn is None
            else {**found, "bn_momentum": self.bn["momentum"], "bn_eps": self.bn["eps"]}
        )


def read_config(space: Space, found: Mapping[str, Any], resolution: float | None = None) -> NetConfig:
    """The network of the content of a `net.config` file.

    Args:
        space: of `ofa_space`.
        found: the JSON data.
        resolution: the image size of files that have none, such as `r` of the `net.subnet` file beside it.

    Raises:
        DataError: an entry is missing, or the network would be written in another way.
        UserError: a choice is not in the space.
    """
    try:
        found = _older(found)
        first, classifier = found["first_conv"], found["classifier"]
        blocks = [block["mobile_inverted_conv"] for block in found["blocks"]]
        act_func, width = first["act_func"], float(blocks[-1]["out_channels"]) / _LAST
        is_usual = (act_func, blocks[0]["act_func"]) == ("h_swish", "relu")
        channels = NetworkShape(width, depths_of(space)).channels
        stages = [block["out_channels"] for block in blocks[1:]]
        depths = [stages.count(each) for each in channels]
        side = next((found[key] for key in _SIZES if key in found), resolution)
        if side is None:
            raise DataError(
                "This net.config has no image size.", "Give the r of its net.subnet as resolution."
            )
        genotype = genotype_of(
            space,
            [block["kernel_size"] for block in blocks[1:]],
            [block["expand_ratio"] for block in blocks[1:]],
            depths,
            side[0] if isinstance(side, list) else side,
        )
        net = NetConfig(
            genotype,
            width,
            None if is_usual else act_func,
            classifier["out_features"],
            classifier["dropout_rate"],
            found.get("bn"),
            any(block["mid_channels"] is not None for block in blocks),
            {key: value for key, value in found.items() if key not in _LAYERS},
        )
        written = write_config(space, net)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise DataError(
            f"This is not the content of a net.config file: {type(error).__name__} {error}.",
            "Give a file of Once-for-All, NSGANetV2 or NAT.",
        ) from error
    difference = next(_differences(found, written), None)
    if difference is not None:
        name, given, wanted = difference
        raise DataError(
            f"This net.config is not a network of the space: {name} is {given!r} and would be {wanted!r}.",
            "Only networks of Once-for-All's MobileNetV3 can be read.",
        )
    return net


def write_config(space: Space, net: NetConfig) -> dict[str, Any]:
    """The content of a `net.config` file; the inverse of `read_config`."""
    shape = NetworkShape(net.width, depths_of(space), net.act_func)
    of, last = architecture(space, net.genotype), shape.channels[-1]
    usual = net.act_func or "h_swish"
    fixed = BlockShape(shape.stem, shape.stem, shape.stem, 0, 3, 1)
    blocks = [_block(fixed, 1, net.act_func or "relu", None)]
    for stage, choices in enumerate(of.stages):
        for block, choice in zip(block_shapes(of, shape, stage), choices, strict=True):
            hidden = block.hidden if net.has_hidden else None
            blocks.append(_block(block, int(choice.expand), shape.activation(stage), hidden))
    return {
        **net.about,
        **({} if net.bn is None else {"bn": dict(net.bn)}),
        "first_conv": _convolution(3, shape.stem, usual, kernel=3, stride=2),
        "blocks": blocks,
        "final_expand_layer": _convolution(last, EXPAND * last, usual),
        "feature_mix_layer": _convolution(EXPAND * last, MIX * last, usual, use_bn=False),
        "classifier": {
            "name": "LinearLayer",
            "in_features": MIX * last,
            "out_features": net.classes,
            "bias": True,
            "use_bn": False,
            "act_func": None,
            "dropout_rate": net.dropout,
            "ops_order": "weight_bn_act",
        },
    }


def _older(found: Mapping[str, Any]) -> dict[str, Any]:
    """A file in the spelling of releases before 0.1; entries of later ones that say nothing are left out."""
    older = dict(found)
    if "bn" in older:
        older["bn"] = _without(older["bn"], ws_eps=None)
    for key in ("first_conv", "final_expand_layer", "feature_mix_layer"):
        older[key] = _without(older[key], use_se=False)
    older["blocks"] = [_older_block(block) for block in found["blocks"]]
    return older


def _older_block(found: Mapping[str, Any]) -> dict[str, Any]:
    block = {{"conv": "mobile_inverted_conv"}.get(key, key): value for key, value in found.items()}
    layer, shortcut = dict(block["mobile_inverted_conv"]), block["shortcut"]
    if block.get("name") == "ResidualBlock":
        block["name"] = "MobileInvertedResidualBlock"
    if layer.get("name") == "MBConvLayer":
        layer = {**_without(layer, groups=None), "name": "MBInvertedConvLayer"}
    if shortcut is not None:
        numbers = {
            key: [shortcut[key]] for key in ("in_channels", "out_channels") if isinstance(shortcut[key], int)
        }
        shortcut = {**shortcut, **numbers}
    return {**block, "mobile_inverted_conv": layer, "shortcut": shortcut}


def _without(layer: Mapping[str, Any], **nothing: Any) -> dict[str, Any]:
    """A layer without entries that have these values."""
    return {key: value for key, value in layer.items() if key not in nothing or value != nothing[key]}


def _convolution(
    given: int, out: int, act_func: str, kernel: int = 1, stride: int = 1, use_bn: bool = True
) -> dict[str, Any]:
    return {
        "name": "ConvLayer",
        "kernel_size": kernel,
        "stride": stride,
        "dilation": 1,
        "groups": 1,
        "bias": False,
        "has_shuffle": False,
        "in_channels": given,
        "out_channels": out,
        "use_bn": use_bn,
        "act_func": act_func,
        "dropout_rate": 0,
        "ops_order": "weight_bn_act",
    }


def _block(of: BlockShape, expand: int, act_func: str, hidden: int | None) -> dict[str, Any]:
    shortcut = {
        "name": "IdentityLayer",
        "in_channels": [of.given],
        "out_channels": [of.out],
        "use_bn": False,
        "act_func": None,
        "dropout_rate": 0,
        "ops_order": "weight_bn_act",
    }
    return {
        "name": "MobileInvertedResidualBlock",
        "mobile_inverted_conv": {
            "name": "MBInvertedConvLayer",
            "in_channels": of.given,
            "out_channels": of.out,
            "kernel_size": of.kernel,
            "stride": of.stride,
            "expand_ratio": expand,
            "mid_channels": hidden,
            "act_func": act_func,
            "use_se": of.squeezed > 0,
        },
        "shortcut": shortcut if of.stride == 1 and of.given == of.out else None,
    }


def _differences(given: Any, wanted: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields (path, given, wanted) of entries that differ."""
    if isinstance(given, Mapping) and isinstance(wanted, Mapping):
        for key in sorted({*given, *wanted}):
            yield from _differences(given.get(key), wanted.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(given, list) and isinstance(wanted, list) and len(given) == len(wanted):
        for at, (one, other) in enumerate(zip(given, wanted, strict=True)):
            yield from _differences(one, other, f"{name}[{at}]")
    elif given != wanted:
        yield name, given, wanted
