"""Causal state space duality in Triton: matrix products within a tile of tokens, one state between tiles.

With the state h_l = exp(dt_l a) h_(l-1) + b_l (dt_l x_l)^T of a head, y_l = c_l h_l + d x_l (Mamba-2, arXiv
2405.21060). All tiles make their states from zero at once, then what enters each is known
(`triton_carry.py`), then all tiles read at once. Logarithms of decays are added up within a tile alone.

Tensors are contiguous: x B L N P, dt B L N, a and d N, b and c B L S. Products are of the type of x, of
float32 in three pieces (tf32x3), and sums are float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from evonas_kernels.triton_carry import carry

# tokens of a tile: those of float32 take twice the registers
TOKENS = {torch.float32: 32, torch.bfloat16: 64, torch.float16: 64}


@triton.jit
def _rows(x, stride, count, width, BL: tl.constexpr, BW: tl.constexpr):
    """BL x BW numbers from `x` on, zero beyond so many rows and the width."""
    row, at = tl.arange(0, BL)[:, None], tl.arange(0, BW)[None, :]
    return tl.load(x + row * stride + at, mask=(row < count) & (at < width), other=0.0)


@triton.jit
def _put(x, stride, count, width, found, BL: tl.constexpr, BW: tl.constexpr):
    """Write what `_rows` reads."""
    row, at = tl.arange(0, BL)[:, None], tl.arange(0, BW)[None, :]
    tl.store(x + row * stride + at, found.to(x.dtype.element_ty), mask=(row < count) & (at < width))


@triton.jit
def _exponents(dt, rate, stride, count, BL: tl.constexpr):
    """Steps, and sums of the logarithms of decays: up to each token, and after it to the end of the tile.

    In double precision, so that strong decays take no digits from others when sums are subtracted.
    """
    k = tl.arange(0, BL)
    step = tl.load(dt + k * stride, mask=k < count, other=0.0).to(tl.float32)
    log = (step * rate).to(tl.float64)
    since_start = tl.cumsum(log, 0)
    return step, since_start, tl.sum(log, 0) - since_start


@triton.jit
def _fades(since_start, BL: tl.constexpr):
    """fades[i, j]: what token i still has of what token j wrote; zero where j comes after i."""
    k = tl.arange(0, BL)
    # the rounded sums, and what rounding took: matrices are single precision
    high = since_start.to(tl.float32)
    low = (since_start - high.to(tl.float64)).to(tl.float32)
    exponent = (high[:, None] - high[None, :]) + (low[:, None] - low[None, :])
    return tl.where(k[:, None] >= k[None, :], tl.exp(exponent), 0.0)


@triton.jit
def _sum_up(
    x,
    dt,
    a,
    b,
    states,
    decays,
    L,
    S,
    N: tl.constexpr,
    P: tl.constexpr,
    IS_REVERSED: tl.constexpr,
    BL: tl.constexpr,
    BS: tl.constexpr,
    BP: tl.constexpr,
):
    """What a tile makes of a state of zero, and its decay; reversed, x is the slope of y and b is c."""
    part, head, item = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    first, count = item * L + part * BL, L - part * BL
    rate = tl.load(a + head).to(tl.float32)
    step, since_start, to_end = _exponents(dt + first * N + head, rate, N, count, BL)
    weight = tl.exp(since_start.to(tl.float32)) if IS_REVERSED else step * tl.exp(to_end.to(tl.float32))
    values = _rows(x + (first * N + head) * P, N * P, count, P, BL, BP)
    keys = _rows(b + first * S, S, count, S, BL, BS)
    weighted = (values.to(tl.float32) * weight[:, None]).to(values.dtype)
    state = tl.dot(tl.trans(keys), weighted, input_precision="tf32x3")
    place = (item * N + head) * tl.num_programs(0) + part
    _put(states + place * S * P, P, S, P, state, BS, BP)
    tl.store(decays + place, tl.exp(tl.sum(step * rate, 0)))


@triton.jit
def _read(
    x,
    dt,
    a,
    b,
    c,
    d,
    entering,
    y,
    L,
    S,
    N: tl.constexpr,
    P: tl.constexpr,
    BL: tl.constexpr,
    BS: tl.constexpr,
    BP: tl.constexpr,
):
    """y of a tile of tokens of one head, from the state that enters it."""
    part, head, item = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    first, count = item * L + part * BL, L - part * BL
    rate = tl.load(a + head).to(tl.float32)
    step, since_start, _ = _exponents(dt + first * N + head, rate, N, count, BL)
    values = _rows(x + (first * N + head) * P, N * P, count, P, BL, BP)
    queries = _rows(c + first * S, S, count, S, BL, BS)
    keys = _rows(b + first * S, S, count, S, BL, BS)
    place = (item * N + head) * tl.num_programs(0) + part
    state = _rows(entering + place * S * P, P, S, P, BS, BP).to(queries.dtype)
    scores = tl.dot(queries, tl.trans(keys), input_precision="tf32x3") * _fades(since_start, BL)
    weighted = (values.to(tl.float32) * step[:, None]).to(values.dtype)
    found = tl.dot(queries, state, input_precision="tf32x3") * tl.exp(since_start.to(tl.float32))[:, None]
    found += tl.dot(scores.to(values.dtype), weighted, input_precision="tf32x3")
    found += values.to(tl.float32) * tl.load(d + head).to(tl.float32)
    _put(y + (first * N + head) * P, N * P, count, P, found, BL, BP)


@triton.jit
def _slopes_by_states(values, keys, queries, slope, state, of_state, entered, leaves):
    """What the states that enter and leave a tile add to slopes: of keys, queries, values and exponents."""
    of_key = tl.dot(values, tl.trans(of_state.to(keys.dtype)), input_precision="tf32x3")
    of_query = tl.dot(slope, tl.trans(state.to(keys.dtype)), input_precision="tf32x3")
    of_value = tl.dot(keys, of_state.to(keys.dtype), input_precision="tf32x3")
    of_key, of_query, of_value = (
        leaves[:, None] * of_key,
        entered[:, None] * of_query,
        leaves[:, None] * of_value,
    )
    by_key, by_query = tl.sum(of_key * keys.to(tl.float32), 1), tl.sum(of_query * queries.to(tl.float32), 1)
    # a decay counts for what is read from it on, and for what was written before it
    of_log = tl.cumsum(by_query, 0, reverse=True) + tl.cumsum(by_key, 0) - by_key
    return of_key, of_query, of_value, of_log


@triton.jit
def _slopes_within(values, keys, queries, slope, fades):
    """What the tokens of a tile add to each other's slopes: of keys, queries, values and exponents."""
    scores = tl.dot(queries, tl.trans(keys), input_precision="tf32x3")
    of_scores = tl.dot(slope, tl.trans(values), input_precision="tf32x3") * fades
    k = tl.arange(0, values.shape[0])
    of_fades = tl.where(k[:, None] > k[None, :], of_scores * scores, 0.0)
    of_log = tl.cumsum(tl.sum(of_fades, 1) - tl.sum(of_fades, 0), 0, reverse=True)
    of_value = tl.dot(tl.trans(scores * fades).to(slope.dtype), slope, input_precision="tf32x3")
    of_query = tl.dot(of_scores.to(keys.dtype), keys, input_precision="tf32x3")
    of_key = tl.dot(tl.trans(of_scores).to(keys.dtype), queries, input_precision="tf32x3")
    return of_key, of_query, of_value, of_log


@triton.jit
def _slopes(
    x,
    dt,
    a,
    b,
    c,
    d,
    of_y,
    entering,
    of_leaving,
    of_x,
    of_dt,
    of_a,
    of_b,
    of_c,
    of_d,
    L,
    S,
    N: tl.constexpr,
    P: tl.constexpr,
    BL: tl.constexpr,
    BS: tl.constexpr,
    BP: tl.constexpr,
):
    """All slopes of a tile of one head: of_b and of_c to be added up over heads, of_a and of_d over tiles."""
    part, head, item = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    first, count = item * L + part * BL, L - part * BL
    k, rate = tl.arange(0, BL), tl.load(a + head).to(tl.float32)
    step, since_start, to_end = _exponents(dt + first * N + head, rate, N, count, BL)
    fades = _fades(since_start, BL)
    entered, leaves = tl.exp(since_start.to(tl.float32)), tl.exp(to_end.to(tl.float32))
    values = _rows(x + (first * N + head) * P, N * P, count, P, BL, BP)
    slope = _rows(of_y + (first * N + head) * P, N * P, count, P, BL, BP)
    keys = _rows(b + first * S, S, count, S, BL, BS)
    queries = _rows(c + first * S, S, count, S, BL, BS)
    place = (item * N + head) * tl.num_programs(0) + part
    state = _rows(entering + place * S * P, P, S, P, BS, BP)
    of_state = _rows(of_leaving + place * S * P, P, S, P, BS, BP)
    weighted = (values.to(tl.float32) * step[:, None]).to(values.dtype)
    of_key, of_query, of_weighted, of_log = _slopes_by_states(
        weighted, keys, queries, slope, state, of_state, entered, leaves
    )
    of_log += tl.exp(tl.sum(step * rate, 0)) * tl.sum(tl.sum(state * of_state, 1), 0)
    more_key, more_query, more_weighted, more_log = _slopes_within(weighted, keys, queries, slope, fades)
    of_weighted, of_log = of_weighted + more_weighted, of_log + more_log
    wide, steep = values.to(tl.float32), slope.to(tl.float32)
    of_value = of_weighted * step[:, None] + steep * tl.load(d + head).to(tl.float32)
    of_step = of_log * rate + tl.sum(of_weighted * wide, 1)
    _put(of_x + (first * N + head) * P, N * P, count, P, of_value, BL, BP)
    tl.store(of_dt + (first + k) * N + head, of_step.to(of_dt.dtype.element_ty), mask=k < count)
    there = ((item * N + head) * L + part * BL) * S
    _put(of_b + there, S, count, S, of_key + more_key, BL, BS)
    _put(of_c + there, S, count, S, of_query + more_query, BL, BS)
    tl.store(of_a + place, tl.sum(of_log * step, 0))
    tl.store(of_d + place, tl.sum(tl.sum(steep * wide, 1), 0))


def forward(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """y, as x."""
    y, entering = torch.empty_like(x), _entering(x, dt, a, b)
    _read[_grid(x)](x, dt, a, b, c, d, entering, y, *_sizes(x, b), **_tiles(x, b))
    return y


def backward(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, of_y: Tensor
) -> tuple[Tensor, ...]:
    """Slopes of all operands, by the slope of y; the states are made again."""
    (batch, tokens, heads, _), grid = x.shape, _grid(x)
    of_x, of_dt = torch.empty_like(x), torch.empty_like(dt)
    of_a, of_d = (x.new_empty(batch, heads, grid[0], dtype=torch.float32) for _ in range(2))
    of_b, of_c = (x.new_empty(batch, heads, tokens, b.shape[-1], dtype=torch.float32) for _ in range(2))
    given = (x, dt, a, b, c, d, of_y, _entering(x, dt, a, b), _entering(of_y, dt, a, c, is_reversed=True))
    _slopes[grid](*given, of_x, of_dt, of_a, of_b, of_c, of_d, *_sizes(x, b), **_tiles(x, b), num_warps=8)
    of_a, of_d = of_a.sum(dim=(0, 2)).to(a.dtype), of_d.sum(dim=(0, 2)).to(d.dtype)
    return of_x, of_dt, of_a, of_b.sum(dim=1).to(b.dtype), of_c.sum(dim=1).to(c.dtype), of_d


def _entering(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, is_reversed: bool = False) -> Tensor:
    """The states that enter each tile, (B N) tiles S P; reversed, the slopes of those that leave it."""
    (batch, _, heads, width), grid = x.shape, _grid(x)
    rows, tiles = batch * heads, grid[0]
    states = x.new_empty(rows, tiles, b.shape[-1], width, dtype=torch.float32)
    decays = x.new_empty(rows, tiles, dtype=torch.float32)
    _sum_up[grid](x, dt, a, b, states, decays, *_sizes(x, b), IS_REVERSED=is_reversed, **_tiles(x, b))
    return carry(states, decays, is_reversed)


def _grid(x: Tensor) -> tuple[int, int, int]:
    batch, tokens, heads, _ = x.shape
    return triton.cdiv(tokens, TOKENS[x.dtype]), heads, batch


def _sizes(x: Tensor, b: Tensor) -> tuple[int, int, int, int]:
    _, tokens, heads, width = x.shape
    return tokens, b.shape[-1], heads, width


def _tiles(x: Tensor, b: Tensor) -> dict[str, int]:
    """Powers of two, of at least 16 for the matrix units."""
    state, width = (max(16, triton.next_power_of_2(each.shape[-1])) for each in (b, x))
    return {"BL": TOKENS[x.dtype], "BS": state, "BP": width}
