"""Two ways to mix the tokens of a map, of the same weights."""

import numpy as np
import pytest
import torch

from evonas.errors import UserError
from evonas.nn.heads import DenseHead
from evonas.nn.initialise import initialise
from evonas.ops.causal_ssd import reference
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.mixers import SSDMixer
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet, extract

SPACE = evonet_space(expand=[1, 2], d_state=[4, 6], mlp_ratio=[1], depths=[1, 2])


def _mixer(which):
    mixer = SSDMixer(4, heads=2, width=8, d_state=3, mixer=which).eval()
    initialise(mixer, 0)
    return mixer


def _family(mixer):
    return EvoNet(SPACE, (8, 16), (2, 2), stem_dim=4, mixer=mixer)


def test_walks_read_what_two_recurrences_say(monkeypatch):
    mixer, x = _mixer("bidirectional"), torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = []
    monkeypatch.setattr(
        "evonas.supernets.evonet.mixers.causal_ssd",
        lambda *given: seen.append(given) or reference.causal_ssd(*given),
    )
    mixer(x)
    (value, dt, rate, key, query, skip), back = seen
    expected = torch.zeros_like(value)
    for to in range(12):
        for by in range(12):
            between = dt[:, to + 1 : by + 1] if by >= to else dt[:, by:to]
            decay = torch.exp(between.sum(dim=1) * rate)
            weight = decay * dt[:, to] * (key[:, to] * query[:, by]).sum(-1, keepdim=True)
            # a token meets itself in both walks
            expected[:, by] += (2 if by == to else 1) * weight.unsqueeze(-1) * value[:, to]
    found = reference.causal_ssd(value, dt, rate, key, query, torch.zeros_like(skip))
    torch.testing.assert_close(found + reference.causal_ssd(*back).flip(1), expected)
    assert back[-1].count_nonzero() == 0 and skip.count_nonzero() == 2


@pytest.mark.parametrize("which, is_far_alike", [("noncausal", True), ("bidirectional", False)])
def test_distance_counts_for_walks_alone(which, is_far_alike):
    """Two tokens change places; a third one that is far from both notices it if distance counts."""
    mixer = _mixer(which)
    with torch.no_grad():
        # a convolution that moves nothing, no skip, and a decay that shows
        mixer.conv.weight.zero_()
        mixer.conv.weight[:, 0, 1, 1] = 1
        mixer.D.zero_()
        mixer.dt_bias.zero_()
        mixer.A_log.fill_(-2)
    x = torch.randn(1, 1, 9, 4, generator=torch.Generator().manual_seed(1))
    y = x.clone()
    y[:, :, [5, 7]] = x[:, :, [7, 5]]
    with torch.no_grad():
        first, second = mixer(x)[0, 0, 0], mixer(y)[0, 0, 0]
    assert torch.allclose(first, second, rtol=1e-4, atol=1e-9) == is_far_alike


def test_both_have_the_same_tensors():
    one, other = (_family(which).build(None, 0).state_dict() for which in ("noncausal", "bidirectional"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())


def test_an_extracted_subnet_computes_the_bits_of_its_supernet():
    family = _family("bidirectional")
    net = Supernet(family, DenseHead(list(family.levels), out_channels=1, width=8)).eval()
    x = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    genotype = SPACE.sample(np.random.default_rng(0))
    with torch.no_grad():
        assert torch.equal(extract(net, genotype)(x), net(x, genotype))


def test_an_unknown_mixer_is_named():
    with pytest.raises(UserError, match="mixer=mamba3") as caught:
        _family("mamba3")
    assert "network.mixer=noncausal or bidirectional" in str(caught.value.hint)
