"""Causal state space duality in Triton: matrix products within a tile of tokens, one state between tiles.

With the state h_l = exp(dt_l a) h_(l-1) + b_l (dt_l x_l)^T of a head, y_l = c_l h_l + d x_l (Mamba-2, arXiv
2405.21060). All tiles make their states from zero at once, then what enters each is known
(`triton_carry.py`), then all tiles read at once. Logarithms of decays are added up from one token to
another, and such sums are never subtracted from each other: so a strong decay takes no digits from its
neighbours.

Tensors are contiguous: x B L N P, dt B L N, a and d N, b and c B L S. Products are of the type of x, of
float32 in three pieces (tf32x3), and sums are float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from evonas_kernels.triton_carry import carry

# tokens of a tile
TOKENS = 64


@triton.jit
def _rows(x, row, is_token, width, BW: tl.constexpr):
    """The rows of a tile, BW wide, zero beyond the last token and the width."""
    at = tl.arange(0, BW)[None, :]
    return tl.load(x + row[:, None] * width + at, mask=is_token[:, None] & (at < width), other=0.0)


@triton.jit
def _exponents(dt, rate, row, token, L, N, BL: tl.constexpr):
    """Steps, logarithms of decays, and what those of later tokens of the tile add up to."""
    is_last = tl.arange(0, BL) == BL - 1
    step = tl.load(dt + row * N, mask=token < L, other=0.0).to(tl.float32)
    after = tl.load(dt + (row + 1) * N, mask=(token + 1 < L) & ~is_last, other=0.0).to(tl.float32)
    return step, step * rate, tl.cumsum(after * rate, 0, reverse=True)


@triton.jit
def _is_reached(BL: tl.constexpr):
    """is_reached[i, j]: token j is token i or comes before it."""
    k = tl.arange(0, BL)
    return k[:, None] >= k[None, :]


@triton.jit
def _fades(log, BL: tl.constexpr):
    """fades[i, j]: what token i still has of what token j wrote; zero where j comes after i."""
    is_reached = _is_reached(BL)
    later = tl.where(tl.trans(is_reached), 0.0, log[:, None])
    # the matrix units add up the logarithms after j up to i
    sums = tl.dot(is_reached.to(tl.float32), later, input_precision="tf32x3")
    return tl.where(is_reached, tl.exp(sums), 0.0)


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
    token = part * BL + tl.arange(0, BL)
    row, is_token = item * L + token, token < L
    rate = tl.load(a + head).to(tl.float32)
    step, log, left = _exponents(dt + head, rate, row, token, L, N, BL)
    weight = tl.exp(tl.cumsum(log, 0)) if IS_REVERSED else step * tl.exp(left)
    values = _rows(x, row * N + head, is_token, P, BP)
    keys = _rows(b, row, is_token, S, BS)
    weighted = (values.to(tl.float32) * weight[:, None]).to(values.dtype)
    state = tl.dot(tl.trans(keys), weighted, input_precision="tf32x3")
    place = (item * N + head) * tl.num_programs(0) + part
    s, p = tl.arange(0, BS)[:, None], tl.arange(0, BP)[None, :]
    tl.store(states + (place * S + s) * P + p, state, mask=(s < S) & (p < P))
    tl.store(decays + place, tl.exp(tl.sum(log, 0)))


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
    token = part * BL + tl.arange(0, BL)
    row, is_token = item * L + token, token < L
    rate = tl.load(a + head).to(tl.float32)
    step, log, _ = _exponents(dt + head, rate, row, token, L, N, BL)
    values = _rows(x, row * N + head, is_token, P, BP)
    queries = _rows(c, row, is_token, S, BS)
    keys = _rows(b, row, is_token, S, BS)
    place = (item * N + head) * tl.num_programs(0) + part
    s = tl.arange(0, BS)
    state = _rows(entering, place * S + s, s < S, P, BP).to(queries.dtype)
    scores = tl.dot(queries, tl.trans(keys), input_precision="tf32x3") * _fades(log, BL)
    weighted = (values.to(tl.float32) * step[:, None]).to(values.dtype)
    found = tl.dot(queries, state, input_precision="tf32x3") * tl.exp(tl.cumsum(log, 0))[:, None]
    found += tl.dot(scores.to(values.dtype), weighted, input_precision="tf32x3")
    found += values.to(tl.float32) * tl.load(d + head).to(tl.float32)
    p = tl.arange(0, BP)[None, :]
    at = (row * N + head)[:, None] * P + p
    tl.store(y + at, found.to(y.dtype.element_ty), mask=is_token[:, None] & (p < P))


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
    parts = tl.num_programs(0)
    k, s, p = tl.arange(0, BL), tl.arange(0, BS), tl.arange(0, BP)
    token = part * BL + k
    row, is_token = item * L + token, token < L
    rate = tl.load(a + head).to(tl.float32)
    step, log, left = _exponents(dt + head, rate, row, token, L, N, BL)
    fades, since_start, to_end = _fades(log, BL), tl.exp(tl.cumsum(log, 0)), tl.exp(left)
    values = _rows(x, row * N + head, is_token, P, BP)
    slope = _rows(of_y, row * N + head, is_token, P, BP)
    keys = _rows(b, row, is_token, S, BS)
    queries = _rows(c, row, is_token, S, BS)
    place = (item * N + head) * parts + part
    state = _rows(entering, place * S + s, s < S, P, BP)
    of_state = _rows(of_leaving, place * S + s, s < S, P, BP)
    of_log = tl.zeros((BL,), dtype=tl.float32) + tl.exp(tl.sum(log, 0)) * tl.sum(
        tl.sum(state * of_state, 1), 0
    )
    weighted = (values.to(tl.float32) * step[:, None]).to(values.dtype)
    # through the states between tiles
    of_key = to_end[:, None] * tl.dot(weighted, tl.trans(of_state.to(keys.dtype)), input_precision="tf32x3")
    of_query = since_start[:, None] * tl.dot(slope, tl.trans(state.to(keys.dtype)), input_precision="tf32x3")
    by_key, by_query = tl.sum(of_key * keys.to(tl.float32), 1), tl.sum(of_query * queries.to(tl.float32), 1)
    of_log += tl.cumsum(by_query, 0, reverse=True) + tl.cumsum(by_key, 0) - by_key
    of_weighted = to_end[:, None] * tl.dot(keys, of_state.to(keys.dtype), input_precision="tf32x3")
    # within the tile
    scores = tl.dot(queries, tl.trans(keys), input_precision="tf32x3")
    of_scores = tl.dot(slope, tl.trans(weighted), input_precision="tf32x3") * fades
    is_reached = _is_reached(BL)
    passed = tl.dot(tl.trans(is_reached).to(tl.float32), of_scores * scores, input_precision="tf32x3")
    of_log += tl.sum(tl.where(tl.trans(is_reached), 0.0, passed), 1)
    of_weighted += tl.dot(tl.trans(scores * fades).to(slope.dtype), slope, input_precision="tf32x3")
    of_query += tl.dot(of_scores.to(keys.dtype), keys, input_precision="tf32x3")
    of_key += tl.dot(tl.trans(of_scores).to(keys.dtype), queries, input_precision="tf32x3")
    wide, steep = values.to(tl.float32), slope.to(tl.float32)
    of_value = of_weighted * step[:, None] + steep * tl.load(d + head).to(tl.float32)
    of_step = of_log * rate + tl.sum(of_weighted * wide, 1)
    at = (row * N + head)[:, None] * P + p[None, :]
    tl.store(of_x + at, of_value.to(of_x.dtype.element_ty), mask=is_token[:, None] & (p[None, :] < P))
    tl.store(of_dt + row * N + head, of_step.to(of_dt.dtype.element_ty), mask=is_token)
    at = ((item * N + head) * L + token)[:, None] * S + s[None, :]
    is_key = is_token[:, None] & (s[None, :] < S)
    tl.store(of_b + at, of_key, mask=is_key)
    tl.store(of_c + at, of_query, mask=is_key)
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
    _slopes[grid](*given, of_x, of_dt, of_a, of_b, of_c, of_d, *_sizes(x, b), **_tiles(x, b))
    sums = [each.sum(dim=(0, 2)) for each in (of_a, of_d)], [each.sum(dim=1) for each in (of_b, of_c)]
    (sum_a, sum_d), (sum_b, sum_c) = sums
    return of_x, of_dt, sum_a.to(a.dtype), sum_b.to(b.dtype), sum_c.to(c.dtype), sum_d.to(d.dtype)


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
    return triton.cdiv(tokens, TOKENS), heads, batch


def _sizes(x: Tensor, b: Tensor) -> tuple[int, int, int, int]:
    _, tokens, heads, width = x.shape
    return tokens, b.shape[-1], heads, width


def _tiles(x: Tensor, b: Tensor) -> dict[str, int]:
    """Powers of two, of at least 16 for the matrix units."""
    state, width = (max(16, triton.next_power_of_2(each.shape[-1])) for each in (b, x))
    return {"BL": TOKENS, "BS": state, "BP": width}
