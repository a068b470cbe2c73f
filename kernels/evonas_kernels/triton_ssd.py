"""Non-causal state space duality in Triton: one visit of the tokens for the global state, one for the output.

Tensors are contiguous: x B L N P, a B L N, b and c B L S, d N. Products are of the type of x, of float32 in
three pieces (tf32x3), and sums are float32.
With TRITON_INTERPRET=1 in the environment, set before Triton is imported, the kernels run on the CPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# tokens of a tile; tokens that one program folds into a state before the states of all programs are added
TOKENS, SPAN = 64, 1024


@triton.jit
def _fold(
    x,
    a,
    b,
    states,
    L,
    S,
    N: tl.constexpr,
    P: tl.constexpr,
    HAS_A: tl.constexpr,
    SPAN: tl.constexpr,
    BL: tl.constexpr,
    BS: tl.constexpr,
    BP: tl.constexpr,
):
    """states[part, item, head] = sum over the part's tokens of b_l (a_l x_l)^T, S x P."""
    item, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    items = tl.num_programs(0)
    s, p = tl.arange(0, BS), tl.arange(0, BP)
    state = tl.zeros((BS, BP), dtype=tl.float32)
    for start in range(part * SPAN, min(part * SPAN + SPAN, L), BL):
        token = start + tl.arange(0, BL)
        row = item * L + token
        is_token = token < L
        values = tl.load(
            x + (row[:, None] * N + head) * P + p[None, :],
            mask=is_token[:, None] & (p[None, :] < P),
            other=0.0,
        )
        if HAS_A:
            weight = tl.load(a + row * N + head, mask=is_token, other=0.0)
            values = (values.to(tl.float32) * weight[:, None].to(tl.float32)).to(x.dtype.element_ty)
        keys = tl.load(
            b + row[None, :] * S + s[:, None], mask=is_token[None, :] & (s[:, None] < S), other=0.0
        )
        state += tl.dot(keys, values, input_precision="tf32x3")
    place = (part * items + item) * N + head
    tl.store(
        states + (place * S + s[:, None]) * P + p[None, :], state, mask=(s[:, None] < S) & (p[None, :] < P)
    )


@triton.jit
def _read(
    x,
    c,
    d,
    states,
    y,
    L,
    S,
    N: tl.constexpr,
    P: tl.constexpr,
    BL: tl.constexpr,
    BS: tl.constexpr,
    BP: tl.constexpr,
):
    """y_l = c_l state + d x_l for a tile of tokens of one head."""
    item, head, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    s, p = tl.arange(0, BS), tl.arange(0, BP)
    token = tile * BL + tl.arange(0, BL)
    row = item * L + token
    is_token = token < L
    is_value = is_token[:, None] & (p[None, :] < P)
    at = (row[:, None] * N + head) * P + p[None, :]
    queries = tl.load(c + row[:, None] * S + s[None, :], mask=is_token[:, None] & (s[None, :] < S), other=0.0)
    state = tl.load(
        states + ((item * N + head) * S + s[:, None]) * P + p[None, :],
        mask=(s[:, None] < S) & (p[None, :] < P),
        other=0.0,
    )
    values = tl.load(x + at, mask=is_value, other=0.0)
    found = tl.dot(queries, state.to(queries.dtype), input_precision="tf32x3")
    found += values.to(tl.float32) * tl.load(d + head).to(tl.float32)
    tl.store(y + at, found.to(y.dtype.element_ty), mask=is_value)


@triton.jit
def _slopes(
    x,
    a,
    b,
    d,
    of_y,
    states,
    of_states,
    of_x,
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
    """All slopes of a tile of tokens: heads share b and c, so one program walks over the heads."""
    item, tile = tl.program_id(0), tl.program_id(1)
    tiles = tl.num_programs(1)
    s, p = tl.arange(0, BS), tl.arange(0, BP)
    token = tile * BL + tl.arange(0, BL)
    row = item * L + token
    is_token = token < L
    is_value = is_token[:, None] & (p[None, :] < P)
    is_key = is_token[:, None] & (s[None, :] < S)
    is_state = (s[:, None] < S) & (p[None, :] < P)
    keys = tl.load(b + row[:, None] * S + s[None, :], mask=is_key, other=0.0)
    slope_b = tl.zeros((BL, BS), dtype=tl.float32)
    slope_c = tl.zeros((BL, BS), dtype=tl.float32)
    for head in range(N):
        at = (row[:, None] * N + head) * P + p[None, :]
        there = ((item * N + head) * S + s[:, None]) * P + p[None, :]
        values = tl.load(x + at, mask=is_value, other=0.0)
        slope = tl.load(of_y + at, mask=is_value, other=0.0)
        weight = tl.load(a + row * N + head, mask=is_token, other=0.0)
        state = tl.load(states + there, mask=is_state, other=0.0).to(keys.dtype)
        of_state = tl.load(of_states + there, mask=is_state, other=0.0).to(keys.dtype)
        wide, steep = values.to(tl.float32), slope.to(tl.float32)
        weighted = (wide * weight[:, None].to(tl.float32)).to(keys.dtype)
        slope_c += tl.dot(slope, tl.trans(state), input_precision="tf32x3")
        slope_b += tl.dot(weighted, tl.trans(of_state), input_precision="tf32x3")
        of_weighted = tl.dot(keys, of_state, input_precision="tf32x3")
        slope_x = of_weighted * weight[:, None].to(tl.float32) + steep * tl.load(d + head).to(tl.float32)
        tl.store(of_x + at, slope_x.to(of_x.dtype.element_ty), mask=is_value)
        tl.store(
            of_a + row * N + head, tl.sum(of_weighted * wide, 1).to(of_a.dtype.element_ty), mask=is_token
        )
        tl.store(of_d + (item * tiles + tile) * N + head, tl.sum(tl.sum(steep * wide, 1), 0))
    tl.store(of_b + row[:, None] * S + s[None, :], slope_b.to(of_b.dtype.element_ty), mask=is_key)
    tl.store(of_c + row[:, None] * S + s[None, :], slope_c.to(of_c.dtype.element_ty), mask=is_key)


def forward(x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """y, as x."""
    (batch, tokens, heads, width), y = x.shape, torch.empty_like(x)
    sizes = _sizes(b.shape[-1], width)
    grid = (batch, heads, triton.cdiv(tokens, TOKENS))
    _read[grid](x, c, d, fold(x, a, b), y, tokens, b.shape[-1], heads, width, **sizes)
    return y


def fold(x: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """The global state, B N S P in float32; without `a` every token weighs one."""
    (batch, tokens, heads, width), states = x.shape, b.shape[-1]
    parts = triton.cdiv(tokens, SPAN)
    found = x.new_empty(parts, batch, heads, states, width, dtype=torch.float32)
    _fold[(batch, heads, parts)](
        x,
        x if a is None else a,
        b,
        found,
        tokens,
        states,
        heads,
        width,
        HAS_A=a is not None,
        SPAN=SPAN,
        **_sizes(states, width),
    )
    return found[0] if parts == 1 else found.sum(dim=0)


def backward(x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, of_y: Tensor) -> tuple[Tensor, ...]:
    """Slopes of all operands, by the slope of y; the state is made again."""
    (batch, tokens, heads, width), states = x.shape, b.shape[-1]
    tiles = triton.cdiv(tokens, TOKENS)
    of_x, of_a, of_b, of_c = (torch.empty_like(each) for each in (x, a, b, c))
    of_d = x.new_empty(batch, tiles, heads, dtype=torch.float32)
    _slopes[(batch, tiles)](
        x,
        a,
        b,
        d,
        of_y,
        fold(x, a, b),
        fold(of_y, None, c),
        of_x,
        of_a,
        of_b,
        of_c,
        of_d,
        tokens,
        states,
        heads,
        width,
        **_sizes(states, width),
    )
    return of_x, of_a, of_b, of_c, of_d.sum(dim=(0, 1)).to(d.dtype)


def _sizes(states: int, width: int) -> dict[str, int]:
    """Tiles are powers of two, of at least 16 for the matrix units."""
    return {"BL": TOKENS, "BS": _power(states), "BP": _power(width)}


def _power(size: int) -> int:
    return max(16, triton.next_power_of_2(size))
