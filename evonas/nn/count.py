"""Cost of a network, counted by running it; a family's `cost` computes it analytically.

This is the only counter: costs of supernets, heads, baselines, teachers, exports and proxies come from here, so that
they agree in one report.

Legend: B batch, C channels, H W space.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from evonas.nn.level import Level


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Counts multiply-adds of convolutions and matrix products of all that runs inside, without gradients.

    Attention runs as plain matrix products: torch's counter knows no operation count of the kernels in which a CPU
    fuses `scaled_dot_product_attention`, nor of the fast path of `nn.MultiheadAttention`, and counts zero for them.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(network: nn.Module, *inputs: Any) -> tuple[int, int]:
    """Number of parameters, and multiply-adds of convolutions and matrix products for these inputs.

    The network runs once in eval mode without gradients; its modes are restored.
    """
    params = sum(parameter.numel() for parameter in network.parameters())
    modes = {module: module.training for module in network.modules()}
    network.eval()
    with counting() as counter:
        network(*inputs)
    for module, mode in modes.items():
        module.training = mode
    return params, counter.get_total_flops() // 2


def count_costs(network: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """`params` and `macs` of a network with its head, for one image of `size` (height, width) in pixels."""
    some = next(network.parameters())
    params, macs = count(network, torch.zeros(1, 3, *size, device=some.device, dtype=some.dtype))
    return {"params": params, "macs": macs}


def count_head(head: nn.Module, levels: Sequence[Level], height: int, width: int) -> tuple[int, int]:
    """Parameters and multiply-adds of a head for one image of height x width pixels, on the meta device."""
    sizes = [(level.channels, -(-height // level.stride), -(-width // level.stride)) for level in levels]
    maps = [torch.empty(1, *size, device="meta") for size in sizes]
    return count(copy.deepcopy(head).to("meta"), maps)
