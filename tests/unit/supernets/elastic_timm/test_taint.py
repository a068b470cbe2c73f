"""Which channels belong together, on blocks whose answer is known."""

import torch
from torch import Tensor, nn

from evonas.supernets.elastic_timm.taint import GROUP, MAKES, READS, channels_of, channels_of_chain


class _Ghost(nn.Module):
    """Half of the channels are made of the other half, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.primary = nn.Conv2d(3, 4, 1)
        self.cheap = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.end = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return x + self.end(torch.cat([y, self.cheap(y)], 1))


class _Gated(nn.Module):
    """A squeeze-and-excitation gate, and a gated half."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Conv2d(3, 8, 1)
        self.reduce, self.expand = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.narrow = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.widen(x)
        y = y * self.expand(self.reduce(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        gate, value = y.chunk(2, 1)
        return self.narrow(gate.relu() * value)


class _Attention(nn.Module):
    """Two heads of three channels, with a table of numbers for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(6, 18), nn.Linear(6, 6)
        self.bias = nn.Parameter(torch.zeros(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 3).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) + self.bias[2].view(2, 1, 1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


def _classes(block, shape):
    modules = {name: module for name, module in block.named_modules() if name}
    found = channels_of(block.eval(), {**modules, "own": block}, torch.randn(1, *shape)).classes()
    return [set(nodes) for nodes in found]


def test_concatenated_channels_belong_to_what_they_are_made_of():
    classes = _classes(_Ghost(), (3, 4, 5))
    for at in range(4):
        owned = {("primary", MAKES, at), ("cheap", GROUP, at), ("end", READS, at), ("end", READS, at + 4)}
        assert owned in classes
    # what leaves the block, or is given to it, is nobody's
    assert not any(("end", MAKES, 0) in each or ("primary", READS, 0) in each for each in classes)


def test_gates_belong_to_what_they_multiply():
    classes = _classes(_Gated(), (3, 4, 5))
    for at in range(4):
        [owner] = [each for each in classes if ("widen", MAKES, at) in each]
        assert {("widen", MAKES, at + 4), ("expand", MAKES, at), ("expand", MAKES, at + 4)} <= owner
        assert {("reduce", READS, at), ("reduce", READS, at + 4), ("narrow", READS, at)} <= owner
        assert len(owner) == 7
    assert {("reduce", MAKES, 1), ("expand", READS, 1)} in classes


def test_a_head_is_one_unit_with_its_numbers():
    classes = _classes(_Attention(), (4, 6))
    for head in range(2):
        channels = range(3 * head, 3 * head + 3)
        [owner] = [each for each in classes if ("proj", READS, 3 * head) in each]
        rows = {("qkv", MAKES, 6 * part + at) for part in range(3) for at in channels}
        assert rows | {("proj", READS, at) for at in channels} <= owner
        assert ("own.bias", "scales1", head) in owner and len(owner) == 13


def test_weights_are_left_as_they_were():
    block = _Attention()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    _classes(block, (4, 6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in block.modules())


def test_channels_are_followed_through_the_blocks_behind_their_own():
    """A residual block, a pooling without tensors and a layer that reads: one stream, and the image outside."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gamma = nn.Conv2d(4, 4, 1), nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x + self.gamma[:, None, None] * self.conv(x)

    model = nn.ModuleDict(
        {"stem": nn.Conv2d(3, 4, 1), "block": Residual(), "pool": nn.MaxPool2d(2), "end": nn.Conv2d(4, 2, 1)}
    )
    x, given = torch.randn(1, 3, 4, 4), []
    for module in model.values():
        given.append(x)
        x = module(x).detach()
    own = dict(model.named_parameters())
    makers = [(0, "stem"), (1, "block.conv"), (1, "block.gamma"), (3, "end")]
    of, reached = channels_of_chain(
        list(model.values()),
        dict(model.named_modules()),
        given,
        {2: (":level", 1), 3: (":last", 1)},
        makers,
        {"block.gamma": own["block.gamma"]},
    )
    classes = of.classes()
    for at in range(4):
        stream = {("stem", MAKES, at), ("block.conv", READS, at), ("block.conv", MAKES, at)}
        assert {*stream, ("block.gamma", "scales0", at), (":level", "scales", at), ("end", READS, at)} in map(
            set, classes
        )
    assert [{("end", MAKES, at), (":last", "scales", at)} in map(set, classes) for at in range(2)] == [
        True
    ] * 2
    assert not any(("stem", READS, 0) in each for each in classes)
    # the pooling is given what the stem and the block make
    assert reached["stem"] == {1, 2, 3} and reached["block.conv"] == {2, 3} and reached["end"] == {4}
