"""What every runtime promises, where its packages are installed."""

import time

import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.base import PRECISIONS, Runtime
from evonas.runtimes.choice import RUNTIMES

CPU = torch.device("cpu")
# largest difference from torch in fp32, as a part of the largest output
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.3}
SHAPE = (2, 3, 32, 48)


class Net(nn.Module):
    """Convolutions, a norm, a residual, and resizing with and without antialiasing; outputs of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 16, 1), nn.ReLU())
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        small = nn.functional.interpolate(x, (24, 40), mode="bilinear", antialias=True)
        found = self.stem(small)
        found = found + self.body(found)
        large = nn.functional.interpolate(self.head(found), scale_factor=2.0, mode="bilinear")
        return large, found.mean((2, 3))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = Net().eval()
    for each in made.parameters():
        nn.init.normal_(each, std=0.3, generator=generator)
    return made


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def usable(name: str, precision: str) -> Runtime:
    """The runtime, or a skipped test with the reason why it cannot be used here."""
    if (name, precision) == ("torch_compile", "fp16"):
        pytest.skip("bf16 is compiled in the same way, and compiling takes seconds")
    runtime = RUNTIMES[name](precision=precision, batch=SHAPE[0])
    try:
        runtime.check(CPU)
    except UserError as error:
        pytest.skip(str(error))
    return runtime


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", RUNTIMES)
class TestRuntime:
    def test_it_computes_what_torch_does(
        self, name: str, precision: str, net: nn.Module, images: Tensor
    ) -> None:
        runtime = usable(name, precision)
        before = {key: each.clone() for key, each in net.state_dict().items()}
        prepared = runtime.prepare(net, images, [images])
        # other images than those that it was converted with
        given = images.flip(-1)
        with torch.no_grad():
            expected = net(given)
        found = prepared.run(given)
        assert [each.shape for each in found] == [each.shape for each in expected]
        for one, other in zip(found, expected, strict=True):
            limit = TOLERANCE[precision] * float(other.abs().max())
            assert float((one.float() - other).abs().max()) <= limit
        # outputs are not overwritten by the next pass
        kept = [each.clone() for each in found]
        prepared.run(images)
        assert all(torch.equal(one, other) for one, other in zip(found, kept, strict=True))
        assert all(torch.equal(each, before[key]) for key, each in net.state_dict().items())
        prepared.close()

    def test_a_pass_is_timed(self, name: str, precision: str, net: nn.Module, images: Tensor) -> None:
        prepared = usable(name, precision).prepare(net, images, [images])
        began = time.perf_counter()
        times = [prepared.once() for _ in range(5)]
        spent = 1000.0 * (time.perf_counter() - began)
        assert min(times) > 0 and sum(times) <= spent
        assert prepared.size is None or prepared.size > 1000
        prepared.close()
        prepared.close()

    def test_it_says_what_it_is(self, name: str, precision: str) -> None:
        runtime = usable(name, precision)
        assert runtime.version() and runtime.version()[0].isdigit()
        assert (runtime.name, runtime.precision) == (name, precision)
        assert isinstance(dict(runtime.identity()), dict)


@pytest.mark.parametrize("name", RUNTIMES)
class TestRefusals:
    def test_another_device_is_refused(self, name: str) -> None:
        runtime = usable(name, "fp32")
        with pytest.raises(UserError, match=f"runtime={name} does not run on xpu"):
            runtime.check(torch.device("xpu"))

    def test_a_network_that_it_cannot_convert_is_refused(self, name: str) -> None:
        if name == "torch":
            pytest.skip("it runs whatever torch runs")
        runtime = usable(name, "fp32")

        class Sorted(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.tensor(sorted(x.flatten().tolist()))

        if name == "torch_compile":
            pytest.skip("it leaves to torch what it does not compile")
        with pytest.raises(UserError, match="cannot be converted"):
            runtime.prepare(nn.Sequential(Sorted()).eval(), torch.rand(1, 3, 2, 2))
