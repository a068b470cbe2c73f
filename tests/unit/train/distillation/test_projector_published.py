"""The published distillation: its presets, its sizes, and the identities that pin its terms down."""

from pathlib import Path
from typing import Any

import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from evonas.config import build
from evonas.errors import UserError
from evonas.train.distillation import cross_architecture
from evonas.train.distillation.cross_architecture import (
    Distiller,
    distilled_level,
    frequency_term,
    spatial_term,
)
from evonas.train.distillation.projector import Projector

PRESETS = Path(__file__).resolve().parents[4] / "conf" / "distill"
# spec 4.2 to 4.4: ratio, alpha 1, alpha 2, reduction, query grid, position grid
PUBLISHED = {
    "caddkd_kitti": (0.1, 0.08, 0.06, "sum", (14, 19), (11, 38)),
    "caddkd_nyu": (0.1, 0.08, 0.06, "sum", (14, 19), (15, 20)),
    "caddkd_coco": (0.5, 150.0, 100.0, "mean", (58, 96), (25, 42)),
    "caddkd_ade20k": (0.5, 3e-5, 2e-5, "sum", (48, 48), (32, 32)),
}
# of the projector with 512 student and 1024 teacher channels, without its two grids
WITHOUT_GRIDS = 14_952_960


def preset(name: str) -> Any:
    return OmegaConf.load(PRESETS / f"{name}.yaml")


def made(name: str) -> Distiller:
    with torch.device("meta"):
        return build(preset(name), student_channels=512, teacher_channels=1024)


def maps(seed: int = 0, channels: int = 6, size: tuple[int, int] = (5, 8)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, channels, *size, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_hold_the_published_numbers(name: str) -> None:
    distiller = made(name)
    ratio, spatial, frequency, reduction, query, position = PUBLISHED[name]
    assert (distiller.ratio, distiller.spatial_weight, distiller.frequency_weight) == (
        ratio,
        spatial,
        frequency,
    )
    assert (distiller.reduction, distiller.frequency, distiller.level) == (reduction, "dc_removed", -1)
    for projector in (distiller.spatial_projector, distiller.frequency_projector):
        assert tuple(projector.query_grid.shape) == (1, 1024, *query)
        assert tuple(projector.positions.shape) == (1, 512, *position)
        assert projector.heads == 16 and projector.scale == pytest.approx(5.0 / 8.0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_projector_has_fifteen_million_parameters(name: str) -> None:
    """About 15 M each (spec 4.2); the learnt grids differ between tasks."""
    query, position = PUBLISHED[name][4:]
    counted = sum(p.numel() for p in made(name).spatial_projector.parameters())
    assert counted == WITHOUT_GRIDS + 1024 * query[0] * query[1] + 512 * position[0] * position[1]


def test_the_projector_of_kitti_to_the_unit() -> None:
    assert sum(p.numel() for p in made("caddkd_kitti").spatial_projector.parameters()) == 15_439_360


@pytest.mark.parametrize("student", [(11, 38), (15, 20)])
def test_projections_lie_on_the_teachers_grid(student: tuple[int, int]) -> None:
    net = Projector(16, 32, heads=2, head_dim=4, query_grid=(14, 19), position_grid=student).eval()
    assert net(torch.randn(2, 16, *student), (14, 19)).shape == (2, 32, 14, 19)


@pytest.mark.parametrize(("grid", "size"), [((58, 96), (57, 91)), ((48, 48), (36, 36))])
def test_learnt_grids_follow_the_teachers_map(grid: tuple[int, int], size: tuple[int, int]) -> None:
    net = Projector(8, 8, heads=1, head_dim=4, expansion=1.0, query_grid=grid, position_grid=(4, 4)).eval()
    assert net(torch.randn(1, 8, 5, 6), size).shape == (1, 8, *size)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize(("sign", "share"), [(-1.0, 4.0), (0.0, 2.0)])
def test_bounds_of_the_spatial_term(images: int, sign: float, share: float) -> None:
    """cos = -1: 4 Ht Wt; cos = 0: 2 Ht Wt; per image, before the weight (spec 12, oracle 6)."""
    teacher = torch.zeros(images, 2, 14, 19)
    teacher[:, 0] = 3.0
    student = sign * teacher if sign else teacher.flip(1)
    assert spatial_term(student, teacher).item() == pytest.approx(share * 14 * 19, rel=1e-6)
    if not sign:
        assert 0.08 * spatial_term(student, teacher).item() == pytest.approx(42.56, rel=1e-6)


def test_the_spatial_term_is_two_minus_twice_the_cosine() -> None:
    student, teacher = maps()
    cosine = F.cosine_similarity(student, teacher, dim=1)
    assert spatial_term(student, teacher).item() == pytest.approx((2 - 2 * cosine).sum().item() / 3, rel=1e-5)


def by_scipy(x: torch.Tensor, norm: str | None, keep: torch.Tensor | None = None) -> torch.Tensor:
    """Coefficients of scipy's DCT-II, with the constant one, or all but `keep`, set to zero."""
    coefficients = scipy.fft.dctn(x.double().numpy(), type=2, axes=(-2, -1), norm=norm)
    if keep is None:
        coefficients[..., 0, 0] = 0
    else:
        coefficients *= keep.numpy()
    return torch.from_numpy(coefficients)


def back(coefficients: torch.Tensor, norm: str | None) -> torch.Tensor:
    return torch.from_numpy(scipy.fft.idctn(coefficients.numpy(), type=2, axes=(-2, -1), norm=norm))


@pytest.mark.parametrize("norm", [None, "ortho"])
def test_dc_removed_is_what_the_published_transform_gives(norm: str | None) -> None:
    """Un-normalised DCT, constant coefficient to zero, inverse: the mean is gone (spec 4.3)."""
    student, teacher = maps()
    filtered = [back(by_scipy(x, norm), norm) for x in (student, teacher)]
    means = [x.double() - x.double().mean((-2, -1), keepdim=True) for x in (student, teacher)]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(filtered, means, strict=True))
    expected = spatial_term(*filtered).item()
    assert frequency_term(student, teacher, "dc_removed").item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cutoff", [0.2, 0.45])
def test_highpass_and_coefficients_agree_with_scipy(cutoff: float) -> None:
    student, teacher = maps(1)
    keep = cross_architecture.high_frequencies(5, 8, cutoff)
    spectra = [by_scipy(x, "ortho", keep) for x in (student, teacher)]
    assert frequency_term(student, teacher, "coefficients", cutoff).item() == pytest.approx(
        spatial_term(*spectra).item(), rel=1e-4
    )
    filtered = [back(x, "ortho") for x in spectra]
    assert frequency_term(student, teacher, "highpass", cutoff).item() == pytest.approx(
        spatial_term(*filtered).item(), rel=1e-4
    )


def test_three_modes_are_three_losses() -> None:
    pair = maps(2)
    values = {mode: frequency_term(*pair, mode).item() for mode in ("dc_removed", "highpass", "coefficients")}
    assert len({round(value, 3) for value in values.values()}) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["dc_removed", "highpass", "coefficients"])
def test_half_precision_maps_are_compared_in_float32(dtype: torch.dtype, mode: str) -> None:
    """Sums of squares of 300 overflow float16, which ends at 65504."""
    student, teacher = (300 * x.to(dtype) for x in maps(3))
    term = frequency_term(student, teacher, mode)
    exact = frequency_term(student.float(), teacher.float(), mode)
    assert term.dtype == torch.float32 and term.item() == pytest.approx(exact.item(), rel=1e-6)
    assert spatial_term(student, teacher).dtype == torch.float32


def test_autocast_leaves_terms_and_gradients_finite() -> None:
    distiller = Distiller(6, 10, heads=2, head_dim=4, query_grid=[3, 3], position_grid=[2, 2])
    student = torch.randn(2, 6, 5, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = distiller(student, torch.randn(2, 10, 4, 7).bfloat16() * 1000)
    assert terms.total.dtype == torch.float32
    terms.total.backward()
    assert torch.isfinite(terms.total) and student.grad is not None and torch.isfinite(student.grad).all()


def test_maps_without_any_signal_cost_next_to_nothing_and_give_no_nan() -> None:
    """What rounding leaves of a constant is not blown up to unit vectors."""
    flat = torch.full((2, 4, 3, 5), 7.0, requires_grad=True)
    for mode in ("dc_removed", "highpass", "coefficients"):
        term = frequency_term(flat, torch.ones(2, 4, 3, 5), mode)
        term.backward()
        # 15 unit vectors would cost about 30; how much rounding leaves is a matter of the processor
        assert 0 <= term.item() < 0.1
    assert torch.isfinite(flat.grad).all()


def test_the_compared_level() -> None:
    assert distilled_level(["a", "b", "c"], -1) == "c" and distilled_level(["a", "b", "c"], 1) == "b"
    assert distilled_level(["only"], 2) == "only"
    with pytest.raises(UserError, match=r"level=3.*3 levels"):
        distilled_level(["a", "b", "c"], 3)


def test_the_papers_preset_differs_in_the_filter_alone() -> None:
    paper = preset("caddkd_paper")
    assert paper.pop("frequency") == "highpass" and list(paper.pop("defaults")) == ["caddkd_kitti", "_self_"]
    assert not paper
