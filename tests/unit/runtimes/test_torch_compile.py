"""Compiled networks of one class do not disturb one another."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from evonas.errors import UserError
from evonas.runtimes.torch_compile import TorchCompile


@pytest.fixture
def two_variants() -> Iterator[None]:
    """torch keeps no more than two variants of one piece of code."""
    import torch._dynamo.config

    with torch._dynamo.config.patch(recompile_limit=2):
        yield


@pytest.mark.usefixtures("two_variants")
def test_every_network_is_compiled_and_stays_so() -> None:
    runtime = TorchCompile(precision="fp32")
    try:
        runtime.check(torch.device("cpu"))
    except UserError as error:
        pytest.skip(str(error))
    nets = [nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU()).eval() for width in range(1, 5)]
    images = torch.rand(1, 3, 4, 4)
    prepared = [runtime.prepare(net, images) for net in nets]
    prepared.pop(0).close()
    with torch.compiler.set_stance("fail_on_recompile"):
        for net, each in zip(nets[1:], prepared, strict=True):
            with torch.no_grad():
                torch.testing.assert_close(each.run(images), [net(images)])
            each.once()
