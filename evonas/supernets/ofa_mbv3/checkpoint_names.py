"""Loading of Once-for-All's and NAT's checkpoints, by the names of supernets and of static networks.

Names of the originals are those of our backbone and head without the prefixes `backbone.` and `head.`, up to these
variants: `module.` before all of them, `mobile_inverted_conv` instead of `conv` in blocks, `classifier.linear.linear`
instead of `classifier.linear`, and in static networks `conv.weight` and `bn.weight` instead of `conv.conv.weight` and
`bn.bn.weight`. Static networks have no matrices, and number the blocks that run one after the other.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from evonas.errors import DataError, UserError
from evonas.supernets.adoption import Adoption, adopt_equal, first_names
from evonas.supernets.ofa_mbv3.cost import NetworkShape

_OURS = ("backbone.", "head.")
_BACKBONE = ("first_conv.", "blocks.")
_HEAD = ("final_expand_layer.", "feature_mix_layer.", "classifier.")
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\Z")
_STATIC = re.compile(
    r"conv\.(inverted_bottleneck|depth_conv|point_linear)\.(conv|bn)\.(?!conv\.|bn\.|\dto)(.+)\Z"
)
_OUT = "conv.point_linear.conv.conv.weight"


def adopt(shape: NetworkShape, net: nn.Module, found: Mapping[str, Tensor], widening: str) -> Adoption:
    """See `SupernetFamily.adopt`; of a foreign file the whole backbone must fit.

    A file of a static network fits the network of its genotype (`static_net`), and a supernet if it is the largest.

    Raises:
        DataError: the file is not one of Once-for-All, or a tensor of the backbone is missing or of another shape.
        UserError: widening is not `zeros`.
    """
    if any(name.startswith(_OURS) for name in found):
        return adopt_equal(net, found, widening)
    if widening != "zeros":
        raise UserError(f"stage.widening={widening} is not for this network.", "Leave stage.widening out.")
    given, is_static = our_names(found, shape)
    wanted = net.state_dict()
    for name, own in wanted.items():
        # matrices may be missing, and counters of batches decide nothing
        is_needed = name.startswith(_OURS[0]) and not name.endswith(("_matrix", "num_batches_tracked"))
        if is_needed and name not in given:
            raise DataError(
                f"The checkpoint has no tensor for {name}; its names are {first_names(tuple(found))}.",
                "Use a state dict of Once-for-All, NSGANetV2 or NAT, or one that evonas made.",
            )
        if name.startswith(_OURS[0]) and name in given and given[name].shape != own.shape:
            raise DataError(
                f"{name} is {tuple(given[name].shape)} in the checkpoint and {tuple(own.shape)} in the network.",
                "Give the network its genotype and its network.width (1.0 or 1.2)."
                if is_static
                else "Choose network.width as in the checkpoint's name (1.0 or 1.2), and space=ofa_mbv3.",
            )
    return replace(adopt_equal(net, given, widening), naming="Once-for-All")


def our_names(found: Mapping[str, Tensor], shape: NetworkShape) -> tuple[dict[str, Tensor], bool]:
    """The tensors under the names of our networks, and whether they are those of a static network.

    Args:
        found: tensors by the names of Once-for-All.
        shape: of the network that they are for; its channels tell the stages of a static network's blocks.

    Raises:
        DataError: a static network has more blocks in a stage than the space.
    """
    plain, is_static = dict[str, Tensor](), False
    for given, tensor in found.items():
        name = given.removeprefix("module.").replace("classifier.linear.linear.", "classifier.linear.")
        block = _BLOCK.match(name)
        if block is not None:
            inner = re.sub(r"\Amobile_inverted_conv\.", "conv.", block[2])
            static = _STATIC.match(inner) if block[1] != "0" else None
            if static is not None:
                is_static = True
                inner = f"conv.{static[1]}.{static[2]}.{static[2]}.{static[3]}"
            name = f"blocks.{block[1]}.{inner}"
        plain[name] = tensor
    numbers = _numbers(plain, shape) if is_static else {}
    made: dict[str, Tensor] = {}
    for name, tensor in plain.items():
        block = _BLOCK.match(name)
        if block is not None:
            name = f"blocks.{numbers.get(int(block[1]), block[1])}.{block[2]}"
        prefix = _OURS[0] if name.startswith(_BACKBONE) else _OURS[1] if name.startswith(_HEAD) else ""
        made[f"{prefix}{name}"] = tensor
    return made, is_static


def their_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a static network in the naming of NSGANetV2's `net.inherited`; `our_names` reads it.

    Args:
        state: state dict of a network of one genotype, with the published head.
    """
    plain = {name.removeprefix(_OURS[0]).removeprefix(_OURS[1]): tensor for name, tensor in state.items()}
    numbers = sorted({int(block[1]) for name in plain if (block := _BLOCK.match(name)) is not None})
    found = dict[str, Tensor]()
    for name, tensor in plain.items():
        block = _BLOCK.match(name)
        if block is not None:
            inner = re.sub(r"\.(conv|bn)\.\1\.", r".\1.", block[2])
            name = f"blocks.{numbers.index(int(block[1]))}.mobile_inverted_{inner}"
        found[name] = tensor
    return found


def _numbers(plain: Mapping[str, Tensor], shape: NetworkShape) -> dict[int, int]:
    """The number of each block of a static network among all blocks of the supernet."""
    widths = {
        int(block[1]): tensor.shape[0]
        for name, tensor in plain.items()
        if (block := _BLOCK.match(name)) is not None and block[2] == _OUT
    }
    found: dict[int, int] = {}
    counts = [0] * len(shape.channels)
    for number, width in sorted(widths.items()):
        if width not in shape.channels:
            raise DataError(
                f"Block {number} of the checkpoint has {width} channels, and the network's stages have "
                f"{', '.join(map(str, shape.channels))}.",
                "Choose network.width as in the checkpoint (1.0 or 1.2).",
            )
        stage = shape.channels.index(width)
        if counts[stage] == shape.depths[stage]:
            raise DataError(
                f"The checkpoint has more than {counts[stage]} blocks of {width} channels, and the space has not.",
                "Choose space=ofa_mbv3.",
            )
        found[number] = shape.number(stage, counts[stage])
        counts[stage] += 1
    return found
