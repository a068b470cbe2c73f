"""Published networks of the space, and the least networks of its sampler, from the configs of the authors' code.

A network is: image size; channels of the seven stages; their depths; expansions of C1 and C2; kernels of the stem, C1
and C2; expansions of the feed-forward layers of T1 to T4; and their value widths: a digit for each stage, whose layers
are alike.
"""

from collections.abc import Mapping
from types import MappingProxyType

from evonas.space.space import Space
from evonas.supernets.elasticvit.space import CONVS, layout_of

Network = tuple[int, str, str, str, str, str, str]

PUBLISHED: Mapping[str, Network] = MappingProxyType(
    {
        "T1": (128, "16 24 32 64 96 176 272", "1231111", "33", "333", "2234", "2222"),
        "T2": (160, "16 24 40 48 96 176 256", "1231122", "33", "333", "3432", "2222"),
        "S1": (192, "16 24 40 64 96 192 272", "1332222", "33", "333", "2234", "2222"),
        "S2": (224, "16 24 48 64 96 192 256", "1332222", "33", "333", "2224", "2222"),
        "M": (224, "16 32 48 64 96 192 288", "1352222", "33", "533", "2445", "2222"),
        "L1": (256, "16 24 40 64 96 192 320", "1332222", "36", "555", "4344", "2222"),
        "L1.5": (256, "16 24 48 64 96 256 320", "2442222", "34", "335", "4535", "2222"),
        "L2": (256, "16 24 40 80 128 256 304", "1342222", "66", "333", "3235", "2223"),
        "L3": (256, "16 32 48 80 128 256 320", "1342222", "55", "535", "4435", "2222"),
        "min200": (128, "16 16 16 48 80 144 160", "1221111", "33", "333", "2222", "2222"),
        "min400": (176, "16 24 32 48 96 176 224", "1332222", "33", "333", "2322", "2222"),
        "min800": (224, "16 24 32 64 96 192 256", "1332222", "33", "333", "2222", "2222"),
    }
)


def text_of(space: Space, net: Network) -> str:
    """The text form of a network in a space.

    Raises:
        UserError: the space does not have it.
    """
    resolution, widths, *digits = net
    depths, expand, kernels, mlp, value = ([int(digit) for digit in each] for each in digits)
    values: dict[str, int] = {"r1": resolution}
    values |= {f"w{stage}": int(width) for stage, width in enumerate(widths.split(), 1)}
    values |= {f"d{stage}": depth for stage, depth in enumerate(depths, 1)}
    layout = layout_of(space)
    for letter, first, choices in (
        ("e", 1, expand),
        ("k", 0, kernels),
        ("m", CONVS, mlp),
        ("v", CONVS, value),
    ):
        for stage, choice in enumerate(choices, first):
            for place in range(layout.depths[stage]):
                values[layout.gene(letter, stage, place)] = choice
    return space.format(space.encode(values))
