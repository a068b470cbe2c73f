"""CA-DDKD: the projector and the two terms."""

import pytest
import torch
import torch.nn.functional as F

from evonas.errors import UserError
from evonas.ops import dct
from evonas.train.distillation.cross_architecture import (
    Distiller,
    frequency_term,
    high_coefficients,
    high_frequencies,
    spatial_term,
)
from evonas.train.distillation.projector import Projector


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 8, 5, 7, generator=generator), torch.randn(2, 8, 5, 7, generator=generator)


def test_spatial_term_of_opposite_and_orthogonal_maps_at_paper_size() -> None:
    teacher = torch.zeros(3, 4, 14, 19)
    teacher[:, 0] = 2.0
    orthogonal = torch.roll(teacher, 1, dims=1)
    assert 0.08 * spatial_term(orthogonal, teacher).item() == pytest.approx(42.56, rel=1e-5)
    assert spatial_term(-teacher, teacher).item() == pytest.approx(4 * 14 * 19, rel=1e-5)
    assert spatial_term(3 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)


def test_reductions_differ_by_their_counts(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    batch, channels, height, width = pair[0].shape
    whole = spatial_term(*pair, reduction="sum").item()
    assert spatial_term(*pair, reduction="mean").item() * batch * channels * height * width == pytest.approx(
        whole, rel=1e-5
    )
    assert spatial_term(*pair, reduction="position").item() * height * width == pytest.approx(whole, rel=1e-5)


def test_removing_the_constant_coefficient_is_removing_the_mean(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """What the published high-pass computes (spec 4.3)."""
    x = pair[0].double()
    coefficients = dct.dct2(x, norm="backward")
    coefficients[..., 0, 0] = 0
    centred = x - x.mean((-2, -1), keepdim=True)
    assert torch.allclose(dct.idct2(coefficients, norm="backward"), centred, atol=1e-12)
    assert torch.allclose(dct.idct2(high_coefficients(x, 0.0)), centred, atol=1e-12)


def test_highpass_without_cutoff_equals_dc_removed(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert frequency_term(*pair, "highpass", 0.0).item() == pytest.approx(
        frequency_term(*pair, "dc_removed").item(), rel=1e-4
    )


def test_highpass_ignores_what_is_slow(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    slow = torch.cos(torch.pi * (2 * torch.arange(7) + 1) / 14) * 5.0
    x = pair[0]
    assert frequency_term(x + slow, x, "highpass", 0.2).item() == pytest.approx(0.0, abs=1e-3)
    assert frequency_term(x + slow, x, "dc_removed").item() > 1.0


def test_high_frequencies_count_and_corners() -> None:
    kept = high_frequencies(8, 8, 0.5)
    assert not kept[0, 0] and kept[7, 7] and not kept[5, 0] and kept[6, 4]
    assert high_frequencies(4, 4, 0.0).sum() == 15
    assert not high_frequencies(1, 1, 0.0).any()


def test_coefficient_mode_compares_only_kept_coefficients() -> None:
    spectrum = torch.zeros(1, 2, 4, 4)
    spectrum[0, 0, 3, 3] = 1.0
    other = spectrum.roll(1, dims=1)
    low = torch.zeros_like(spectrum)
    low[0, 1, 0, 1] = 0.5
    a, b = dct.idct2(spectrum + low), dct.idct2(other)
    assert frequency_term(a, b, "coefficients", 0.4).item() == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("mode", ["highpass", "dc_removed", "coefficients"])
def test_equal_maps_cost_nothing_and_gradients_are_finite(
    mode: str, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    student = pair[0].clone().requires_grad_()
    assert frequency_term(pair[0], pair[0], mode).item() == pytest.approx(0.0, abs=1e-6)
    frequency_term(student, pair[1], mode).backward()
    assert student.grad is not None and torch.isfinite(student.grad).all() and student.grad.abs().sum() > 0


def test_projector_matches_its_formula_step_by_step() -> None:
    torch.manual_seed(0)
    net = Projector(6, 10, heads=2, head_dim=4, query_grid=(2, 3), position_grid=(4, 5)).eval()
    student = torch.randn(2, 6, 4, 5)
    tokens = (net.keys(student) + net.positions).flatten(2).transpose(1, 2)
    queries = net.query(net.query_grid.flatten(2).transpose(1, 2)).expand(2, -1, -1)
    q = net.to_q(queries).reshape(2, 6, 2, 4)
    k, v = (part.reshape(2, 20, 2, 4) for part in net.to_kv(tokens).split(8, dim=-1))
    scores = torch.einsum("bqnp,bknp->bnqk", q, k) * 4**-0.5 * 5.0
    mixed = torch.einsum("bnqk,bknp->bqnp", scores.softmax(-1), v).reshape(2, 6, 8)
    normed = net.norm(net.to_out(mixed))
    expected = normed + net.feed_forward[2](F.relu(net.feed_forward[0](normed)))
    assert torch.allclose(net(student, (2, 3)), expected.transpose(1, 2).reshape(2, 10, 2, 3), atol=1e-5)


def test_projector_has_the_published_size() -> None:
    with torch.device("meta"):
        net = Projector(512, 1024, query_grid=(14, 19), position_grid=(11, 38))
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(15.4, abs=0.3)


def test_any_resolution_is_answered_at_the_teachers_size() -> None:
    distiller = Distiller(6, 10, heads=2, head_dim=4, expansion=1.0, query_grid=[3, 3], position_grid=[2, 2])
    terms = distiller(torch.randn(2, 6, 5, 3), torch.randn(2, 10, 4, 7))
    assert terms.total.shape == () and terms.total.item() > 0
    terms.total.backward()
    assert all(p.grad is not None for p in distiller.parameters())


def test_projectors_share_nothing() -> None:
    distiller = Distiller(6, 10, heads=2, head_dim=4, query_grid=[2, 2], position_grid=[2, 2])
    spatial = {p.data_ptr() for p in distiller.spatial_projector.parameters()}
    assert spatial.isdisjoint({p.data_ptr() for p in distiller.frequency_projector.parameters()})


@pytest.mark.parametrize("wrong", [{"frequency": "low"}, {"reduction": "max"}])
def test_unknown_modes_are_named(wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong.values()))):
        Distiller(6, 10, **wrong)
