"""Rows of the table of speed about single operations: products, walks, convolutions, mixers."""

from collections.abc import Iterator
from typing import Any

import torch
from paired import Row, at_least, exponent, least, ratios
from torch import Tensor

from evonas.ops import backend, causal_ssd, depthwise_silu, dilated, native, scan, ssd
from evonas.supernets.evonet.mixers import Attention, SSDMixer

# B L N P S of a stage of nano and of two stages of the published network on 352x1216 images
PRODUCTS = {
    "nano": (8, 384, 2, 32, 16),
    "stage 1": (1, 26_752, 2, 128, 64),
    "stage 3": (1, 1_672, 8, 128, 64),
}
LENGTHS = (1_024, 4_096, 16_384)
WIDTH, HEADS, STATES = 64, 2, 64


def rows(repeats: int, is_small: bool) -> Iterator[Row]:
    """All rows; with `is_small` the smallest sizes alone."""
    with torch.inference_mode():
        for name in list(PRODUCTS)[: 1 if is_small else None]:
            yield from _products(name, repeats)
        yield from _scans(repeats, 1_024 if is_small else 26_752)
        yield from _walks(repeats, 384 if is_small else 1_672)
        yield from _local(repeats, (16, 24) if is_small else (44, 152))
        yield from _dilations(repeats, (24, 32) if is_small else (88, 304))
        yield from _mixers(repeats, LENGTHS[:2] if is_small else LENGTHS)


def _best() -> str:
    return "native" if native.is_built() else "reference"


def _products(name: str, repeats: int) -> Iterator[Row]:
    batch, tokens, heads, width, states = PRODUCTS[name]
    inner = heads * width
    draw = torch.Generator().manual_seed(0)
    joined = torch.randn(batch, tokens, inner + 2 * states, generator=draw)
    values, keys, queries = joined.split([inner, states, states], dim=-1)
    weights = torch.rand(batch, tokens, heads, generator=draw)
    operands = (values.unflatten(-1, (heads, width)), weights, keys, queries, torch.ones(heads))

    def by(which: str) -> Any:
        with backend.use(which):
            return ssd.ssd(*operands)

    found = ratios(lambda: _as_written(*operands), lambda: by(_best()), repeats, calls=3)
    yield at_least(f"state space product, {name}: as it is written / best", found, 1.5)
    if native.is_built():
        found = ratios(lambda: by("reference"), lambda: by("native"), repeats, calls=3)
        yield Row(f"state space product, {name}: torch, heads folded / native", found)
    work, moved = 4 * batch * tokens * states * inner, 4 * batch * tokens * (2 * inner + 2 * states + heads)
    flops, bandwidth = _peaks()
    limit = max(work / flops, moved / bandwidth)
    shares = [limit / least(lambda: by(_best()), 3) for _ in range(repeats)]
    yield Row(f"state space product, {name}: share of the limit of arithmetic and memory", shares)


def _as_written(x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """y_l = c_l sum_k b_k (a_k x_k)^T + d x_l, head by head as the formula has it."""
    state = torch.einsum("bls,bln,blnp->bnsp", b, a, x)
    return torch.einsum("bls,bnsp->blnp", c, state) + x * d.unsqueeze(-1)


def _peaks() -> tuple[float, float]:
    """What this machine reaches: operations a second of a large product, bytes a second of a large copy."""
    side = torch.randn(1_024, 1_024)
    source = torch.randn(2**24)
    target = torch.empty_like(source)
    flops = 2 * 1_024**3 / least(lambda: side @ side, 5)
    return flops, 2 * 4 * 2**24 / least(lambda: target.copy_(source), 5)


def _scans(repeats: int, tokens: int) -> Iterator[Row]:
    draw = torch.Generator().manual_seed(0)
    x, steps = (torch.rand(1, tokens, 128, generator=draw) for _ in range(2))
    operands = (x, steps, -torch.rand(128, generator=draw), torch.randn(1, tokens, generator=draw))
    yield from _against("scan", "associative", scan.scan, operands, repeats)


def _walks(repeats: int, tokens: int) -> Iterator[Row]:
    draw = torch.Generator().manual_seed(0)
    x, keys, queries = (torch.randn(1, tokens, *rest, generator=draw) for rest in ((8, 64), (64,), (64,)))
    steps, rates = 0.1 * torch.rand(1, tokens, 8, generator=draw), -torch.rand(8, generator=draw)
    operands = (x, steps, rates, keys, queries, torch.ones(8))
    yield from _against("causal state space product", "chunked", causal_ssd.causal_ssd, operands, repeats)


def _local(repeats: int, size: tuple[int, int]) -> Iterator[Row]:
    draw = torch.Generator().manual_seed(0)
    x, taps = torch.randn(1, *size, 384, generator=draw), torch.randn(384, 1, 3, 3, generator=draw)
    operands = (x, taps, torch.zeros(384))
    act = depthwise_silu.depthwise_silu
    yield from _against("convolution and activation", "reference", act, operands, repeats)


def _dilations(repeats: int, size: tuple[int, int]) -> Iterator[Row]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, *size, 128, generator=draw).permute(0, 3, 1, 2)
    operands = (x, torch.randn(3, 128, 3, 3, generator=draw), torch.ones(3))
    yield from _against("dilations", "reference", dilated.dilated, operands, repeats)


def _against(
    name: str, plain: str, primitive: Any, operands: tuple[Tensor, ...], repeats: int
) -> Iterator[Row]:
    """The best implementation of torch alone against the compiled one, where there is one."""
    if not native.is_built():
        return

    def by(which: str) -> Any:
        with backend.use(which):
            return primitive(*operands)

    found = ratios(lambda: by(plain), lambda: by("native"), repeats)
    yield at_least(f"{name}, {tuple(operands[0].shape)}: {plain} / native", found, 1.5)


def _mixers(repeats: int, lengths: tuple[int, ...]) -> Iterator[Row]:
    torch.manual_seed(0)
    mixer, attention = SSDMixer(WIDTH, HEADS, 2 * WIDTH, STATES).eval(), Attention(WIDTH, HEADS).eval()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    times: dict[str, list[float]] = {"state space": [], "attention": []}
    for length in lengths:
        x = torch.randn(1, length // 32, 32, WIDTH)
        for name, act in (
            ("state space", lambda x=x: mixer(x)),
            ("attention", lambda x=x: attention(x)),
        ):
            times[name].append(least(act, repeats))
        ratio = [times["attention"][-1] / times["state space"][-1]]
        yield Row(f"attention / state space mixer, width {WIDTH}, {length} tokens", ratio)
    for name, found in times.items():
        yield Row(f"{name} mixer: exponent of its time in tokens", [exponent(lengths, found)])
