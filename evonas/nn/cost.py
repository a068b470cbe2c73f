"""Parameters and multiply-adds of a subnet in closed form; exact, and free of torch.

Multiply-adds count convolutions and matrix products; norms, activations, sums and
interpolation are left out. A causal mixer counts as its recurrence, one token after another.
Formulas: parameters and products of the layers in `mixers.py`, `blocks.py` and `stem.py`,
written out; tests hold them equal to counted networks.

Legend: D width of a stage, I inner width, N state size, H heads, M hidden width, L tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from evonas.space.evonet import Architecture, StageChoice

# all tokens by one state, or those before it by one state and those after it by another
MIXERS = ("noncausal", "bidirectional")


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The sizes that are not searched.

    Args:
        dims: channels of each stage.
        heads: heads of each stage's mixer; they divide every inner width.
        stem_dim: channels at stride 2.
        stem_ratio: channels inside the stem at stride 4, as a multiple of `dims[0]`.
        merge_ratio: hidden channels of a patch merge, as a multiple of its output.
        mixer: which tokens a token reads in the stages that are no attention, one of `MIXERS`.
    """

    dims: tuple[int, ...] = (64, 128, 256, 512)
    heads: tuple[int, ...] = (2, 4, 8, 16)
    stem_dim: int = 32
    stem_ratio: float = 4.0
    merge_ratio: float = 4.0
    mixer: str = MIXERS[0]

    @property
    def stem_hidden(self) -> int:
        """Channels between the stem's last two convolutions."""
        return int(self.stem_ratio * self.dims[0])

    def merge_hidden(self, stage: int) -> int:
        """Hidden channels of the patch merge after a stage."""
        return int(self.merge_ratio * self.dims[stage + 1])


def inner(choice: StageChoice, dim: int) -> int:
    """I: inner width of the SSD mixer of a stage, int(expand D)."""
    assert choice.expand is not None, "an attention stage has no inner width"
    return int(choice.expand * dim)


def hidden(choice: StageChoice, dim: int) -> int:
    """M: hidden width of the MLPs of a stage, int(ratio D)."""
    return int(choice.mlp_ratio * dim)


def count_params(architecture: Architecture, shape: NetworkShape) -> int:
    """Trainable numbers of the backbone of one subnet, without a head."""
    total = _stem_params(shape) + sum(2 * dim for dim in shape.dims)
    for index, choice in enumerate(architecture.stages):
        total += sum(choice.blocks) * _block_params(choice, shape.dims[index], shape.heads[index])
        if index + 1 < len(architecture.stages):
            total += _merge_params(shape, index)
    return total


def count_macs(architecture: Architecture, shape: NetworkShape, height: int, width: int) -> int:
    """Multiply-adds of the backbone of one subnet for one image of height x width pixels."""
    sizes = list(_sizes(height, width, len(architecture.stages) + 1))
    total = _stem_macs(shape, sizes[0], sizes[1])
    for index, choice in enumerate(architecture.stages):
        tokens = sizes[index + 1]
        total += sum(choice.blocks) * _block_macs(choice, shape, index, tokens)
        if index + 1 < len(architecture.stages):
            total += _merge_macs(shape, index, tokens, sizes[index + 2])
    return total


def _sizes(height: int, width: int, levels: int) -> Iterator[int]:
    # a convolution of stride 2 with padding 1 rounds up
    for _ in range(levels):
        height, width = (height + 1) // 2, (width + 1) // 2
        yield height * width


def _stem_params(shape: NetworkShape) -> int:
    s, h, d = shape.stem_dim, shape.stem_hidden, shape.dims[0]
    return (27 * s + 2 * s) + 2 * (9 * s * s + 2 * s) + (9 * s * h + 2 * h) + (h * d + 2 * d)


def _merge_params(shape: NetworkShape, stage: int) -> int:
    d, h, out = shape.dims[stage], shape.merge_hidden(stage), shape.dims[stage + 1]
    return (d * h + h) + (9 * h + h) + (h * out + out) + 2 * out


def _block_params(choice: StageChoice, dim: int, heads: int) -> int:
    m = hidden(choice, dim)
    around = 2 * (9 * dim + dim) + 2 * (2 * dim)
    mlp = dim * m + m + m * dim + dim
    return around + mlp + _mixer_params(choice, dim, heads)


def _mixer_params(choice: StageChoice, dim: int, heads: int) -> int:
    if choice.d_state is None:
        return 3 * dim * dim + dim * dim + dim
    i, n = inner(choice, dim), choice.d_state
    return dim * (2 * i + 2 * n + heads) + 10 * (i + 2 * n) + 3 * heads + 2 * i + i * dim


def _stem_macs(shape: NetworkShape, half: int, quarter: int) -> int:
    s, h, d = shape.stem_dim, shape.stem_hidden, shape.dims[0]
    return half * (27 * s + 2 * 9 * s * s) + quarter * (9 * s * h + h * d)


def _merge_macs(shape: NetworkShape, stage: int, before: int, after: int) -> int:
    d, h, out = shape.dims[stage], shape.merge_hidden(stage), shape.dims[stage + 1]
    return before * d * h + after * (9 * h + h * out)


def _block_macs(choice: StageChoice, shape: NetworkShape, stage: int, tokens: int) -> int:
    dim, heads = shape.dims[stage], shape.heads[stage]
    per_token = 2 * 9 * dim + 2 * dim * hidden(choice, dim)
    if choice.d_state is None:
        return tokens * (per_token + 4 * dim * dim + 2 * tokens * dim)
    i, n = inner(choice, dim), choice.d_state
    walks = 1 + MIXERS.index(shape.mixer)
    mixer = dim * (2 * i + 2 * n + heads) + 9 * (i + 2 * n) + walks * 2 * n * i + i * dim
    return tokens * (per_token + mixer)
