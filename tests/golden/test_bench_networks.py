"""Networks of the benchmarks cost exactly what their tables say.

Figures: parameters and FLOPs of NAS-Bench-201 (Dong and Yang 2020) and of TransNAS-Bench-101 (Duan et al.
2021) as counted by NAS-Bench-Suite-Zero (Krishnakumar et al. 2022).
"""

from collections.abc import Sequence
from itertools import product
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
from evonas.nn.cells.transnas_macro import MODULES
from evonas.nn.count import count

TABLES = Path(__file__).parent.parent.parent.parent / "shared" / "bench"
needs_tables = pytest.mark.skipif(not TABLES.exists(), reason="the tables are not here")


class _Counter(TorchFunctionMode):
    """Operations by the rules of NAS-Bench-Suite-Zero, as its tables show them.

    Convolutions with their biases, norms 2 and activations 1 an element, pools their window an output, linear
    layers without biases, transposed convolutions, sums and Tanh nothing, and the global pool (side + 1)^2 a channel.
    Of the tiles of jigsaw the tables count one, whose channels are pooled with those of all tiles.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

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
            self.total += args[0].shape[:2].numel() * (args[0].shape[-1] + 1) ** 2
        return result


def params(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def flops(net: nn.Module, *shape: int) -> int:
    with torch.device("meta"), torch.no_grad(), _Counter() as counter:
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


# skeleton of TransNAS-Bench-101 macro: halvings, channels, parameters and thousands of FLOPs of segmentsemantic in the
# table, parameters of the encoder, and multiply-adds at 256 x 256 with transposed weights at every place of the output
MACRO_FACTS = [
    ("1114", 1, 128, 8_474_193, 10_340_204.544, 988_960, 11_517_034_496),
    ("2311", 1, 128, 9_819_473, 11_968_643.072, 2_334_240, 13_144_424_448),
    ("1242", 1, 512, 22_210_641, 25_113_985.024, 11_186_464, 26_280_984_576),
    ("1442", 2, 512, 22_210_641, 6_975_586.304, 11_186_464, 8_463_581_184),
    ("2124", 1, 512, 22_653_521, 33_382_531.072, 11_629_344, 34_535_374_848),
    ("2433", 3, 256, 16_164_433, 5_959_663.616, 7_499_552, 7_746_355_200),
    ("4441", 3, 512, 31_503_953, 3_245_768.704, 20_479_776, 5_041_029_120),
    ("43331", 4, 128, 10_443_601, 1_194_723.328, 2_958_368, 3_293_315_072),
    ("22332", 2, 512, 26_917_457, 19_159_777.280, 15_893_280, 20_627_062_784),
    ("42431", 3, 512, 41_208_401, 7_092_338.688, 30_184_224, 8_883_011_584),
    ("112142", 1, 512, 22_949_457, 28_143_321.088, 11_925_280, 29_300_883_456),
    ("314232", 3, 512, 24_790_225, 2_700_673.024, 13_766_048, 4_495_769_600),
    ("242333", 4, 512, 51_176_017, 16_663_519.232, 40_151_840, 18_743_820_288),
]
# parameters and thousands of FLOPs of 1242 for every task
TASKS_OF_1242 = {
    "class_scene": (11_218_783, 13_602_455.552),
    "class_object": (11_237_764, 13_602_474.496),
    "room_layout": (11_191_081, 13_602_427.904),
    "jigsaw": (15_795_464, 855_097.856),
    "segmentsemantic": (22_210_641, 25_113_985.024),
    "normal": (34_058_323, 37_131_714.560),
    "autoencoder": (34_058_323, 37_131_714.560),
}


def macro(digits: str, task: str = "segmentsemantic") -> TransNASNet:
    return TransNASNet([MODULES[int(digit) - 1] for digit in digits], task, seed=None)


def input_of(task: str) -> tuple[int, ...]:
    return (9, 3, 64, 64) if task == "jigsaw" else (3, 256, 256)


@pytest.mark.parametrize(
    ("digits", "halvings", "channels", "parameters", "thousands", "encoder", "macs"), MACRO_FACTS
)
def test_macro_costs_what_is_published(
    digits: str, halvings: int, channels: int, parameters: int, thousands: float, encoder: int, macs: int
) -> None:
    net = macro(digits)
    assert params(net.stem) + params(net.cells) == encoder
    assert flops(net, 3, 256, 256) == round(thousands * 1e3)
    image, sparse = torch.empty(1, 3, 256, 256, device="meta"), list[int]()
    maps = net.to("meta").maps(image)
    side = 256 // (4 * 2**halvings)
    assert net.stride == 256 // side and maps.shape == (1, channels, side, side)
    for layer in net.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(
                lambda of, given, _: sparse.append(given[0][0, 0].numel() * of.weight.numel())
            )
    counted = count(net, image)
    # a quarter of these places have an input, and only there is something to multiply
    assert len(sparse) == 2 + halvings and counted == (parameters, macs - 3 * sum(sparse))
    assert net(image).shape == (1, 17, 256, 256)


@pytest.mark.parametrize(("task", "parameters", "thousands"), [(t, *f) for t, f in TASKS_OF_1242.items()])
def test_each_task_of_macro_costs_what_is_published(task: str, parameters: int, thousands: float) -> None:
    net = macro("1242", task)
    assert (params(net), flops(net, *input_of(task))) == (parameters, round(thousands * 1e3))


@pytest.mark.parametrize(("digits", "thousands"), [("3334", 655_575.040), ("222113", 144_051_339.264)])
def test_the_cheapest_and_the_dearest_of_macro(digits: str, thousands: float) -> None:
    assert flops(macro(digits), 3, 256, 256) == round(thousands * 1e3)


def published_form(digits: str, task: str) -> int:
    """Parameters in closed form: the stem, two blocks a module and the task's head."""
    total, width = 9 * 3 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64, 64
    for digit in digits:
        wide = width * 2 if digit in "24" else width
        total += 9 * width * wide + 9 * wide**2 + 2 * 9 * wide**2 + 4 * 2 * wide
        total += width * wide + 2 * wide if digit != "1" else 0
        width = wide
    heads = {
        "segmentsemantic": 9_216 * width + 6_305_585,
        "normal": 9_216 * width + 18_153_267,
        "autoencoder": 9_216 * width + 18_153_267,
        "jigsaw": 9_000 * width + 1_000,
    }
    return total + heads.get(task, OUTPUTS[task] * (width + 1))


def test_the_closed_form_holds_for_every_shape_of_module_and_task() -> None:
    rng = np.random.default_rng(0)
    names = macro_names()
    for digits in [*rng.choice(names, 8), "222333", "43331", "3334"]:
        task = list(OUTPUTS)[rng.integers(len(OUTPUTS))]
        assert params(macro(digits, task)) == published_form(digits, task), (digits, task)


def macro_names() -> list[str]:
    """All names, by the benchmark's rule."""
    every = ("".join(digits) for length in (4, 5, 6) for digits in product("1234", repeat=length))
    return [
        name
        for name in every
        if 1 <= sum(digit in "34" for digit in name) <= 4 and 1 <= sum(digit in "24" for digit in name) <= 3
    ]


def test_the_smallest_and_the_largest_of_macro() -> None:
    sizes = {name: published_form(name, "segmentsemantic") for name in macro_names()}
    assert len(sizes) == 3256
    assert [name for name, size in sizes.items() if size == min(sizes.values())] == ["1114"]
    largest = [name for name, size in sizes.items() if size == max(sizes.values()) == 51_176_017]
    assert largest == ["222333", "224333", "242333", "422333"]


@needs_tables
@pytest.mark.parametrize("dataset", CLASSES)
def test_nb201_equals_the_table(dataset: str) -> None:
    with np.load(TABLES / "nb201_tables.npz", allow_pickle=False) as table:
        rows = np.random.default_rng(0).choice(len(table["enc"]), 4, replace=False)
        side = 16 if dataset == "in16" else 32
        for row in rows:
            net = NB201Net(words(table["enc"][row], NB201), dataset, seed=None)
            assert params(net) == round(table[f"params_{dataset}"][row] * 1e6)
            assert flops(net, 3, side, side) == round(table[f"flops_{dataset}"][row] * 1e6)


@needs_tables
@pytest.mark.parametrize("task", OUTPUTS)
def test_transnas_equals_the_table(task: str) -> None:
    with np.load(TABLES / "transnas101_micro.npz", allow_pickle=False) as table:
        place = [str(name) for name in table["tasks"]].index(task)
        for row in np.random.default_rng(1).choice(len(table["enc"]), 4, replace=False):
            net = transnas(table["enc"][row], task)
            assert params(net) == round(table["params"][row, place] * 1e6)
            assert flops(net, *input_of(task)) == round(table["flops"][row, place] * 1e6)
