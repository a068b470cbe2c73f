"""The entries of NSGANetV2's latency table that make up a network.

The table (`i7-8700K_lut.yaml`) has times in ms of the layers of Once-for-All's MobileNetV3, measured on square images
of one size, by names with the sizes of the input and output maps, channels, and what else a block is made of.
"""

from collections.abc import Iterator

from evonas.supernets.ofa_mbv3.cost import EXPAND, MIX, BlockShape, NetworkShape, block_shapes, halved
from evonas.supernets.ofa_mbv3.space import Architecture
from evonas.supernets.step import Size

# classes of the published table
CLASSES = 1000


def latency_keys(of: Architecture, shape: NetworkShape, own: Size, classes: int) -> Iterator[str]:
    """Yields the names of a network's entries, those of the published head last.

    Args:
        of: the network.
        shape: what is not searched.
        own: height and width at which the network reads images, in pixels.
        classes: number of classes.
    """
    before, stem = own, shape.stem
    after = _halved(before)
    yield f"first_conv-input:{_map(before, 3)}-output:{_map(after, stem)}"
    yield _block(BlockShape(stem, stem, stem, 0, 3, 1), after, 1)
    for stage, choices in enumerate(of.stages):
        for block, choice in zip(block_shapes(of, shape, stage), choices, strict=True):
            yield _block(block, after, int(choice.expand))
            after = _halved(after) if block.stride == 2 else after
    last = shape.channels[-1]
    wide, mixed = EXPAND * last, MIX * last
    yield f"final_expand_layer-input:{_map(after, last)}-output:{_map(after, wide)}"
    yield f"feature_mix_layer-input:{_map((1, 1), wide)}-output:{_map((1, 1), mixed)}"
    yield f"classifier-input:{mixed}-output:{classes}"


def _block(of: BlockShape, size: Size, expand: int) -> str:
    after = _halved(size) if of.stride == 2 else size
    is_residual = of.stride == 1 and of.given == of.out
    return (
        f"MBConv-input:{_map(size, of.given)}-output:{_map(after, of.out)}-expand:{expand}-kernel:{of.kernel}"
        f"-stride:{of.stride}-idskip:{int(is_residual)}-se:{int(of.squeezed > 0)}"
    )


def _map(size: Size, channels: int) -> str:
    return f"{size[0]}x{size[1]}x{channels}"


def _halved(size: Size) -> Size:
    return halved(size[0]), halved(size[1])
