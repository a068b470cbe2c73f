"""What enters each part of a recurrence that was cut into parts, in Triton.

A part turns what enters it, h, into decay h + own: `own` is what it makes of zero. Decays are only ever
multiplied.
"""

import triton
import triton.language as tl
from torch import Tensor

# elements of a state that one program carries
WIDTH = 128


@triton.jit
def _carry(
    states,
    decays,
    parts,
    width,
    IS_SHARED: tl.constexpr,
    IS_REVERSED: tl.constexpr,
    BW: tl.constexpr,
):
    """states[row, part] becomes what enters the part; a row's elements have one decay if it is shared."""
    row, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * BW + tl.arange(0, BW)
    is_here = at < width
    entering = tl.zeros((BW,), dtype=tl.float32)
    for n in range(parts):
        part = row * parts + (parts - 1 - n if IS_REVERSED else n)
        own = tl.load(states + part * width + at, mask=is_here, other=0.0)
        if IS_SHARED:
            decay = tl.load(decays + part)
        else:
            decay = tl.load(decays + part * width + at, mask=is_here, other=0.0)
        tl.store(states + part * width + at, entering, mask=is_here)
        entering = decay * entering + own


def carry(states: Tensor, decays: Tensor, is_reversed: bool = False) -> Tensor:
    """What enters each part, in the place of what each makes of zero: rows, parts, any more axes; float32.

    `decays` has the shape of `states`, or only its rows and parts. Reversed, the last part comes first.
    """
    (rows, parts), width = states.shape[:2], states[0, 0].numel()
    grid = (rows, triton.cdiv(width, WIDTH))
    _carry[grid](
        states,
        decays,
        parts,
        width,
        IS_SHARED=decays.dim() == 2,
        IS_REVERSED=is_reversed,
        BW=WIDTH,
        num_warps=1,
    )
    return states
