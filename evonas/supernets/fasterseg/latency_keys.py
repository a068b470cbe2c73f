"""The entries of FasterSeg's latency lookup table that make up a network.

The table has times in ms of modules, measured at 1024x2048 pixels, by names with the size of the input map (H, W),
channels and strides. A network is the sum over its stem, its cells (shared ones once), what joins its branches, and its
head; interpolation costs nothing.
"""

from collections.abc import Iterator

from evonas.supernets.fasterseg.cost import NetworkShape, input_size, joined, shapes
from evonas.supernets.fasterseg.space import STRIDE, Architecture
from evonas.supernets.step import Size

_CELLS = {
    "conv": "BasicResidual1x",
    "zoom": "BasicResidual_downup_1x",
    "conv2": "BasicResidual2x",
    "zoom2": "BasicResidual_downup_2x",
}


def latency_keys(
    of: Architecture, shape: NetworkShape, size: Size, classes: int, as_published: bool
) -> Iterator[str]:
    """Yields the names of a network's entries.

    Args:
        of: the network.
        shape: what is not searched.
        size: height and width of the image in pixels.
        classes: number of classes.
        as_published: whether cells with two convolutions on half of the map have the entry of those on the whole map,
            as in the published search.
    """
    height, width = input_size(size)

    def place(stride: int) -> str:
        return f"H{height // stride}_W{width // stride}"

    def convolution(stride: int, given: int, out: int, kernel: int, step: int = 1) -> str:
        return f"ConvNorm_{place(stride)}_Cin{given}_Cout{out}_kernel{kernel}_stride{step}"

    def cell(name: str, stride: int, given: int, out: int, step: int) -> str:
        return f"{name}_{place(stride)}_Cin{given}_Cout{out}_stride{step}_dilation1"

    one, two, three = shape.stem
    yield convolution(1, 3, one, 3, 2)
    yield cell(_CELLS["conv2"], 2, one, two, 2)
    yield cell(_CELLS["conv2"], 4, two, three, 2)
    branches = [shapes(of, shape, branch) for branch in range(2)]
    for at in range(max(map(len, branches))):
        for cells in branches[: 1 if at < of.shared else 2]:
            if at < len(cells):
                each = cells[at]
                word = "conv2" if as_published and each.operator == "zoom2" else each.operator
                yield cell(_CELLS[word], STRIDE << each.scale, each.given, each.out, 1 + each.is_down)
    for branch, target in enumerate(of.targets):
        channels = joined(of, shape, branch)
        for scale in reversed(range(target)):
            given, out = shape.at(scale + 1, shape.head_width), shape.at(scale, shape.head_width)
            yield convolution(STRIDE << (scale + 1), given, out, 1)
            yield convolution(STRIDE << scale, out + channels[scale], out, 3)
    yield f"ff_{place(STRIDE)}_C{shape.fused}"
    yield f"head_{place(STRIDE)}_Cin{shape.fused}_Cout{classes}"
