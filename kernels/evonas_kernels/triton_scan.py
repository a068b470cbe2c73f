"""The selective scan with one state per channel in Triton: h_l = exp(dt_l a) h_(l-1) + dt_l b_l x_l.

Tokens are cut into parts. All parts walk at once from a state of zero, then what enters each part is known
(`triton_carry.py`), then all walk at once again from there: a program takes a block of channels along the
tokens of a part. Tensors are contiguous: x, dt B L C, a C, b B L, each of a type of its own; numbers are
float32 on the way.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from evonas_kernels.triton_carry import carry

# channels of a program: two for each thread of a warp
CHANNELS = 64


@triton.jit
def _sum_up(
    x,
    dt,
    a,
    b,
    states,
    decays,
    L,
    C,
    PART,
    IS_REVERSED: tl.constexpr,
    BC: tl.constexpr,
):
    """What a part makes of zero and what it leaves of all else; reversed, x is the slope of the states."""
    part, item = tl.program_id(0), tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    is_here = channel < C
    rate = tl.load(a + channel, mask=is_here, other=0.0).to(tl.float32)
    start, stop = part * PART, min(part * PART + PART, L)
    state, total = tl.zeros((BC,), dtype=tl.float32), tl.full((BC,), 1.0, dtype=tl.float32)
    for n in range(stop - start):
        row = item * L + (stop - 1 - n if IS_REVERSED else start + n)
        step = tl.load(dt + row * C + channel, mask=is_here, other=0.0).to(tl.float32)
        value = tl.load(x + row * C + channel, mask=is_here, other=0.0).to(tl.float32)
        decay = tl.exp(step * rate)
        if IS_REVERSED:
            state = decay * (state + value)
        else:
            state = decay * state + step * tl.load(b + row).to(tl.float32) * value
        total = total * decay
    at = (item * tl.num_programs(0) + part) * C + channel
    tl.store(states + at, state, mask=is_here)
    tl.store(decays + at, total, mask=is_here)


@triton.jit
def _walk(x, dt, a, b, entering, h, L, C, PART, BC: tl.constexpr):
    """h of a part, from what enters it."""
    part, item = tl.program_id(0), tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    is_here = channel < C
    rate = tl.load(a + channel, mask=is_here, other=0.0).to(tl.float32)
    at = (item * tl.num_programs(0) + part) * C + channel
    state = tl.load(entering + at, mask=is_here, other=0.0)
    for token in range(part * PART, min(part * PART + PART, L)):
        row = item * L + token
        step = tl.load(dt + row * C + channel, mask=is_here, other=0.0).to(tl.float32)
        value = tl.load(x + row * C + channel, mask=is_here, other=0.0).to(tl.float32)
        state = tl.exp(step * rate) * state + step * tl.load(b + row).to(tl.float32) * value
        tl.store(h + row * C + channel, state.to(h.dtype.element_ty), mask=is_here)


@triton.jit
def _walk_back(
    x,
    dt,
    a,
    b,
    h,
    of_h,
    entering,
    of_x,
    of_dt,
    of_a,
    of_b,
    L,
    C,
    PART,
    BC: tl.constexpr,
):
    """All slopes of a part, from its last token on; of_a B parts C and of_b B blocks L are to be added up."""
    part, block, item = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel = block * BC + tl.arange(0, BC)
    is_here = channel < C
    rate = tl.load(a + channel, mask=is_here, other=0.0).to(tl.float32)
    place = (item * tl.num_programs(0) + part) * C + channel
    later = tl.load(entering + place, mask=is_here, other=0.0)
    of_rate = tl.zeros((BC,), dtype=tl.float32)
    start, stop = part * PART, min(part * PART + PART, L)
    for n in range(stop - start):
        token = stop - 1 - n
        row = item * L + token
        at = row * C + channel
        step = tl.load(dt + at, mask=is_here, other=0.0).to(tl.float32)
        value = tl.load(x + at, mask=is_here, other=0.0).to(tl.float32)
        weight = tl.load(b + row).to(tl.float32)
        before = tl.load(h + at - C, mask=is_here & (at >= item * L * C + C), other=0.0).to(tl.float32)
        decay = tl.exp(step * rate)
        slope = later + tl.load(of_h + at, mask=is_here, other=0.0).to(tl.float32)
        later = decay * slope
        of_exponent = later * before
        of_rate += of_exponent * step
        tl.store(of_x + at, (slope * step * weight).to(of_x.dtype.element_ty), mask=is_here)
        of_step = of_exponent * rate + slope * weight * value
        tl.store(of_dt + at, of_step.to(of_dt.dtype.element_ty), mask=is_here)
        tl.store(of_b + (item * tl.num_programs(1) + block) * L + token, tl.sum(slope * step * value, 0))
    tl.store(of_a + place, of_rate, mask=is_here)


def forward(x: Tensor, dt: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """h, as x."""
    h, (batch, tokens, channels) = torch.empty_like(x), x.shape
    grid, part = _cut(batch, tokens, channels)
    entering = _entering(x, dt, a, b)
    _walk[grid](x, dt, a, b, entering, h, tokens, channels, part, BC=CHANNELS, num_warps=1)
    return h


def backward(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, h: Tensor, of_h: Tensor) -> tuple[Tensor, ...]:
    """Slopes of all operands, by h and its slope."""
    batch, tokens, channels = x.shape
    grid, part = _cut(batch, tokens, channels)
    of_x, of_dt = torch.empty_like(x), torch.empty_like(dt)
    of_a = x.new_empty(batch, grid[0], channels, dtype=torch.float32)
    of_b = x.new_empty(batch, grid[1], tokens, dtype=torch.float32)
    entering = _entering(of_h, dt, a, b, is_reversed=True)
    given, made = (x, dt, a, b, h, of_h, entering), (of_x, of_dt, of_a, of_b)
    _walk_back[grid](*given, *made, tokens, channels, part, BC=CHANNELS, num_warps=1)
    return of_x, of_dt, of_a.sum(dim=(0, 1)).to(a.dtype), of_b.sum(dim=1).to(b.dtype)


def _entering(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, is_reversed: bool = False) -> Tensor:
    """The states that enter each part, B parts C; reversed, the slopes that come from later parts."""
    batch, tokens, channels = x.shape
    grid, part = _cut(batch, tokens, channels)
    states, decays = (x.new_empty(batch, grid[0], channels, dtype=torch.float32) for _ in range(2))
    sizes = (tokens, channels, part)
    _sum_up[grid](x, dt, a, b, states, decays, *sizes, IS_REVERSED=is_reversed, BC=CHANNELS, num_warps=1)
    return carry(states, decays, is_reversed)


def _cut(batch: int, tokens: int, channels: int) -> tuple[tuple[int, int, int], int]:
    """Parts, blocks of channels and items; and the tokens of a part.

    Parts are about as long as there are many, so that the walks within and between them take alike.
    """
    part = triton.next_power_of_2(int(tokens**0.5))
    return (triton.cdiv(tokens, part), triton.cdiv(channels, CHANNELS), batch), part
