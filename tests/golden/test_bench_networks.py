"""Networks of the benchmarks cost exactly what their tables say.

Figures: parameters and FLOPs of NAS-Bench-201 (Dong and Yang 2020) and of TransNAS-Bench-101 (Duan et al.
2021) as counted by NAS-Bench-Suite-Zero (Krishnakumar et al. 2022).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from evonas.nn.cells.nb201 import CLASSES, NB201Net
from evonas.nn.cells.nb201 import WORDS as NB201
from evonas.nn.cells.transnas import OUTPUTS, TransNASNet
from evonas.nn.cells.transnas import WORDS as TRANSNAS
from evonas.nn.count import count

TABLES = Path(__file__).parent.parent.parent.parent / "shared" / "bench"
needs_tables = pytest.mark.skipif(not TABLES.exists(), reason="the tables are not here")


class _Counter(TorchFunctionMode):
    """Operations by the rules of NAS-Bench-Suite-Zero, as its tables show them.

    Convolutions with their biases, norms 2 and activations 1 an element, pools their window an output, linear
    layers without biases, transposed convolutions nothing, and the global pool a fixed number a channel.
    """

    def __init__(self, pooled: int) -> None:
        super().__init__()
        self.total, self.pooled = 0, pooled

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.conv2d:
            weight, bias = args[1], args[2]
            self.total += result[0].numel() * (weight[0].numel() + (bias is not None))
        elif func is F.linear:
            self.total += args[1].numel()
        elif func is F.batch_norm:
            self.total += 2 * result[0].numel()
        elif func in (F.relu, F.leaky_relu):
            self.total += result[0].numel()
        elif func is F.avg_pool2d:
            self.total += result[0].numel() * args[1] ** 2
        elif func is F.adaptive_avg_pool2d or func is torch.Tensor.mean:
            self.total += self.pooled * args[0].shape[1]
        return result


def params(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def flops(net: nn.Module, *shape: int, pooled: int = 81) -> int:
    with torch.device("meta"), torch.no_grad(), _Counter(pooled) as counter:
        net.to("meta").eval()(torch.empty(1, *shape))
    return counter.total


def words(codes: Sequence[int], known: Sequence[str]) -> list[str]:
    return [known[code] for code in codes]


# architecture of NAS-Bench-201, parameters, official FLOPs (CIFAR-10)
NB201_FACTS = [
    ((4, 2, 1, 2, 1, 1), 129_306, 15_647_370),
    ((3, 3, 4, 1, 3, 1), 802_426, 113_951_370),
    ((4, 3, 3, 4, 4, 4), 559_386, 78_561_930),
    ((4, 1, 0, 0, 0, 1), 73_306, 7_783_050),
]


@pytest.mark.parametrize(("codes", "parameters", "operations"), NB201_FACTS)
def test_nb201_costs_what_is_published(codes: tuple[int, ...], parameters: int, operations: int) -> None:
    net = NB201Net(words(codes, NB201), seed=None).to("meta")
    # the benchmark counts the biases of its classifier
    assert count(net, torch.empty(1, 3, 32, 32, device="meta")) == (parameters, operations - 10)


# architecture of TransNAS-Bench-101 micro, millions of parameters in the order of OUTPUTS
TRANSNAS_FACTS = [
    ((0, 0, 0, 0, 0, 0), (0.051807, 0.070788, 0.024105, 4.628488, 11.043665, 22.891347, 22.891347)),
    ((0, 3, 3, 2, 2, 0), (15.391327, 15.410308, 15.363625, 19.968008, 26.383185, 38.230867, 38.230867)),
    ((3, 3, 3, 3, 3, 3), (41.443935, 41.462916, 41.416233, 46.020616, 52.435793, 64.283475, 64.283475)),
]


@pytest.mark.parametrize(("codes", "millions"), TRANSNAS_FACTS)
def test_transnas_costs_what_is_published(codes: tuple[int, ...], millions: tuple[float, ...]) -> None:
    for task, expected in zip(OUTPUTS, millions, strict=True):
        assert params(transnas(codes, task)) == round(expected * 1e6), task


def transnas(codes: Sequence[int], task: str) -> TransNASNet:
    """Without memory, since only its sizes are of interest."""
    return TransNASNet(words(codes, TRANSNAS), task, seed=None)


@needs_tables
@pytest.mark.parametrize("dataset", CLASSES)
def test_nb201_equals_the_table(dataset: str) -> None:
    with np.load(TABLES / "nb201_tables.npz", allow_pickle=False) as table:
        rows = np.random.default_rng(0).choice(len(table["enc"]), 4, replace=False)
        side, pooled = (16, 25) if dataset == "in16" else (32, 81)
        for row in rows:
            net = NB201Net(words(table["enc"][row], NB201), dataset, seed=None)
            assert params(net) == round(table[f"params_{dataset}"][row] * 1e6)
            assert flops(net, 3, side, side, pooled=pooled) == round(table[f"flops_{dataset}"][row] * 1e6)


@needs_tables
@pytest.mark.parametrize("task", OUTPUTS)
def test_transnas_equals_the_table(task: str) -> None:
    with np.load(TABLES / "transnas101_micro.npz", allow_pickle=False) as table:
        place = [str(name) for name in table["tasks"]].index(task)
        shape = (9, 3, 64, 64) if task == "jigsaw" else (3, 256, 256)
        for row in np.random.default_rng(1).choice(len(table["enc"]), 4, replace=False):
            net = transnas(table["enc"][row], task)
            assert params(net) == round(table["params"][row, place] * 1e6)
            # of the tiles of jigsaw the table counts one
            assert flops(net, *shape) == round(table["flops"][row, place] * 1e6)
