"""Steps of EvoNet, and their exact parameters and multiply-adds in closed form. Torch-free.

Multiply-adds count convolutions and matrix products; norms, activations, sums and interpolation are excluded. A causal
mixer counts as its recurrence, token by token. The formulas are those of the layers in `mixers.py`, `block.py` and
`stem.py`; tests compare them with counted networks.

Legend: D width of a stage, I width of the SSD mixer, N state size, H heads, M width of the MLP, L tokens.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evonas.supernets.base import Cost
from evonas.supernets.evonet.space import Architecture, StageChoice
from evonas.supernets.step import Size, Step

# a token reads all tokens through one state, or earlier and later tokens through one state each
MIXERS = ("noncausal", "bidirectional")


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The sizes that are not searched.

    Args:
        dims: channels of each stage.
        heads: heads of each stage's mixer; they divide every width of the mixer.
        stem_dim: channels at stride 2.
        stem_ratio: hidden channels of the stem at stride 4, as a multiple of `dims[0]`.
        merge_ratio: hidden channels of a patch merge, as a multiple of its output.
        mixer: type of the SSD mixers, one of `MIXERS`.
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


def description(of: Architecture, shape: NetworkShape) -> dict[str, Any]:
    """An architecture and the sizes that are not searched, as JSON data; see `families.restore`."""
    resized = {} if of.resolution is None else {"resolution": of.resolution}
    return {"family": "evonet", "architecture": asdict(of)["stages"], **resized, "network": asdict(shape)}


def ssd_width(choice: StageChoice, dim: int) -> int:
    """I, the width of the SSD mixer of a stage: int(expand D)."""
    assert choice.expand is not None, "an attention stage has no SSD mixer"
    return int(choice.expand * dim)


def mlp_width(choice: StageChoice, dim: int) -> int:
    """M, the hidden width of the MLPs of a stage: int(ratio D)."""
    return int(choice.mlp_ratio * dim)


@lru_cache(maxsize=65536)
def path(of: Architecture) -> tuple[Step, ...]:
    """The steps of an architecture: the stem, then the active blocks and the end of each stage.

    Stages count from 1 in places; the end of a stage is at the place after its last block. The choices of a stage are
    part of each of its blocks. Where the resolution is searched it is the last part of every step, since it affects the
    cost of each.
    """
    resized = () if of.resolution is None else (of.resolution,)
    scale = "" if of.resolution is None else f"/r={of.resolution:g}"
    steps = [Step((0, 0), resized, f"stem{scale}" if scale else "")]
    for stage, choice in enumerate(of.stages, start=1):
        step = (choice.mlp_ratio, choice.d_state or 0, choice.expand or 0, *resized)
        work = f"{label(stage, choice)}{scale}"
        steps += [Step((stage, place), step, work) for place, on in enumerate(choice.blocks) if on]
        end = f"stage{stage}{scale}/end" if scale else ""
        steps.append(Step((stage, len(choice.blocks)), resized, end))
    return tuple(steps)


def label(stage: int, choice: StageChoice) -> str:
    """The label of a block in latency tables, such as `stage2/m=2/s=16/e=1`."""
    mixer = "" if choice.d_state is None else f"/s={choice.d_state}/e={choice.expand:g}"
    return f"stage{stage}/m={choice.mlp_ratio:g}{mixer}"


def stem_cost(shape: NetworkShape, size: Size) -> Cost:
    """Cost of the stem, from the image to stride 4."""
    s, h, d = shape.stem_dim, shape.stem_hidden, shape.dims[0]
    params = (27 * s + 2 * s) + 2 * (9 * s * s + 2 * s) + (9 * s * h + 2 * h) + (h * d + 2 * d)
    macs = _positions(size, 1) * (27 * s + 2 * 9 * s * s) + _positions(size, 2) * (9 * s * h + h * d)
    return Cost(params, macs)


def block_cost(choice: StageChoice, shape: NetworkShape, stage: int, size: Size) -> Cost:
    """Cost of a block; `stage` counts from 0."""
    dim, heads, tokens = shape.dims[stage], shape.heads[stage], _positions(size, stage + 2)
    m = mlp_width(choice, dim)
    params = 2 * (9 * dim + dim) + 2 * (2 * dim) + (dim * m + m + m * dim + dim)
    per_token = 2 * 9 * dim + 2 * dim * m
    if choice.d_state is None:
        params += 3 * dim * dim + dim * dim + dim
        return Cost(params, tokens * (per_token + 4 * dim * dim + 2 * tokens * dim))
    i, n = ssd_width(choice, dim), choice.d_state
    params += dim * (2 * i + 2 * n + heads) + 10 * (i + 2 * n) + 3 * heads + 2 * i + i * dim
    scans = 1 + MIXERS.index(shape.mixer)
    mixer = dim * (2 * i + 2 * n + heads) + 9 * (i + 2 * n) + scans * 2 * n * i + i * dim
    return Cost(params, tokens * (per_token + mixer))


def end_cost(shape: NetworkShape, stage: int, size: Size) -> Cost:
    """Cost of the norm of a stage's level and of the patch merge to the next stage; `stage` counts from 0."""
    d = shape.dims[stage]
    if stage + 1 == len(shape.dims):
        return Cost(2 * d, 0)
    h, out = shape.merge_hidden(stage), shape.dims[stage + 1]
    params = (d * h + h) + (9 * h + h) + (h * out + out) + 2 * out
    before, after = _positions(size, stage + 2), _positions(size, stage + 3)
    return Cost(2 * d + params, before * d * h + after * (9 * h + h * out))


def _positions(size: Size, halvings: int) -> int:
    height, width = size
    for _ in range(halvings):
        # a convolution of stride 2 with padding 1 rounds up
        height, width = (height + 1) // 2, (width + 1) // 2
    return height * width
