"""Gaussians on an image, by hand and by symmetry; parity of the backends is in contract/test_ops.py."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from evonas.ops import backend, splat
from evonas.ops.splat import paired, tiled
from evonas.ops.splat.projection import BLUR, project, rotations

FOCAL, HEIGHT, WIDTH = 20.0, 13, 17
BACKENDS = list(splat.IMPLEMENTATIONS)


def intrinsics() -> Tensor:
    """A camera that looks at the centre of its middle pixel."""
    values = [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]
    return torch.tensor(values, dtype=torch.float64)


def one(depth: float = 2.0, opacity: float = 0.7, scale: float = 0.2, colour: float = 1.0) -> list[Tensor]:
    """A round Gaussian straight ahead."""
    double = {"dtype": torch.float64}
    return [
        torch.tensor([[0.0, 0.0, depth]], **double),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]], **double),
        torch.full((1, 3), scale, **double),
        torch.tensor([opacity], **double),
        torch.tensor([[colour]], **double),
    ]


def several(number: int = 30) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    means = draw(number, 3)
    means[:, 2] = means[:, 2].abs() + 1.5
    scales = 0.1 * draw(number, 3).abs() + 0.03
    return [means, draw(number, 4), scales, draw(number).sigmoid(), draw(number, 2).abs()]


def image(operands: list[Tensor], view: Tensor | None = None) -> Tensor:
    view = torch.eye(4, dtype=torch.float64) if view is None else view
    return splat.splat(*operands, view, intrinsics(), HEIGHT, WIDTH)


@pytest.fixture(params=BACKENDS, autouse=True)
def which(request):
    with backend.use(request.param):
        yield request.param


def test_one_gaussian_by_hand() -> None:
    drawn = image(one())
    variance = (FOCAL * 0.2 / 2) ** 2 + BLUR
    middle = drawn[HEIGHT // 2, WIDTH // 2]
    assert_close(middle, torch.full((2,), 0.7, dtype=torch.float64))
    beside = 0.7 * math.exp(-(3**2) / variance / 2)
    assert drawn[HEIGHT // 2, WIDTH // 2 + 3, 0] == pytest.approx(beside)
    assert drawn[HEIGHT // 2 - 3, WIDTH // 2, 0] == pytest.approx(beside)


def test_the_nearer_one_hides_the_other_whatever_the_order() -> None:
    near, far = one(2.0, 0.6, colour=1.0), one(4.0, 0.5, colour=10.0)
    both = [torch.cat(pair) for pair in zip(far, near, strict=True)]
    middle = image(both)[HEIGHT // 2, WIDTH // 2]
    assert middle[0] == pytest.approx(0.6 * 1 + 0.4 * 0.5 * 10)
    assert middle[1] == pytest.approx(1 - 0.4 * 0.5)
    turned = [x.flip(0) for x in both]
    assert_close(image(turned), image(both))


def test_light_that_is_used_up_shows_nothing_more() -> None:
    parts = [one(2.0 + k, 1.0, colour=k == 3) for k in range(4)]
    wall = [torch.cat(part) for part in zip(*parts, strict=True)]
    assert image(wall)[HEIGHT // 2, WIDTH // 2, 0] == 0


def test_what_is_behind_or_beside_is_not_drawn() -> None:
    assert not image(one(depth=-2.0)).any()
    aside = one()
    aside[0] = aside[0] + torch.tensor([100.0, 0, 0], dtype=torch.float64)
    assert not image(aside).any()


def test_nothing_at_all_is_black() -> None:
    drawn = image([x[:0] for x in several()])
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert not drawn.any()


def test_the_length_of_a_quaternion_means_nothing() -> None:
    operands = several()
    longer = [operands[0], 3 * operands[1], *operands[2:]]
    assert_close(image(longer), image(operands))


def test_moving_world_and_camera_together_changes_nothing() -> None:
    operands = several()
    turn = rotations(torch.tensor([[0.9, 0.1, -0.3, 0.2]], dtype=torch.float64))[0]
    shift = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    view = torch.eye(4, dtype=torch.float64)
    view[:3, :3], view[:3, 3] = turn.T, -turn.T @ shift
    moved = [operands[0] @ turn.T + shift, _turned(turn, operands[1]), *operands[2:]]
    assert_close(image(moved, view), image(operands))


def _turned(turn: Tensor, quats: Tensor) -> Tensor:
    """Quaternions of the turned axes, by the matrices' largest eigenvector."""
    axes = turn @ rotations(quats)
    return torch.stack([_quaternion(each) for each in axes])


def _quaternion(m: Tensor) -> Tensor:
    k = torch.zeros(4, 4, dtype=m.dtype)
    k[0, 0] = m.trace()
    k[1:, 1:] = m + m.T - m.trace() * torch.eye(3, dtype=m.dtype)
    k[0, 1:] = k[1:, 0] = torch.stack([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    return torch.linalg.eigh(k).eigenvectors[:, -1]


def test_gradients_are_those_of_the_values() -> None:
    operands = several(4)
    operands = [x.requires_grad_() for x in operands]
    assert torch.autograd.gradcheck(lambda *x: image(list(x))[3:6, 4:9], operands, atol=1e-4)


def test_colours_are_linear() -> None:
    operands = several()
    doubled = [*operands[:4], 2 * operands[4]]
    assert_close(image(doubled)[..., :2], 2 * image(operands)[..., :2])


def test_portions_change_nothing(monkeypatch) -> None:
    operands = several()
    whole = image(operands)
    for module in (tiled, paired):
        monkeypatch.setattr(module, "PORTION", 1)
    assert_close(image(operands), whole, rtol=0, atol=1e-12)


def test_portions_change_no_slope(monkeypatch) -> None:
    def slopes() -> list[Tensor]:
        operands = [x.requires_grad_() for x in several()]
        return list(torch.autograd.grad(image(operands).square().sum(), operands))

    whole = slopes()
    for module in (tiled, paired):
        monkeypatch.setattr(module, "PORTION", 1)
    assert_close(slopes(), whole)


def test_what_is_saturated_has_no_slope_by_opacity() -> None:
    operands = [x.requires_grad_() for x in one(opacity=1.0, scale=3.0)]
    (slope,) = torch.autograd.grad(image(operands)[HEIGHT // 2, WIDTH // 2, 0], operands[3])
    assert slope == 0


def test_a_radius_leaves_out_only_what_does_not_show() -> None:
    seen = project(*several(), torch.eye(4, dtype=torch.float64), intrinsics(), HEIGHT, WIDTH)
    conics = torch.stack([seen.conics[:, [0, 1]], seen.conics[:, [1, 2]]], 1)
    widest = 1 / torch.linalg.eigvalsh(conics)[:, 0]
    at_radius = seen.opacities * torch.exp(-(seen.radii**2) / widest / 2)
    shown = seen.radii > 0
    assert_close(at_radius[shown], torch.full_like(at_radius[shown], 1 / 255))


def test_agrees_with_gsplat_where_it_is_installed() -> None:
    reference = pytest.importorskip("gsplat.cuda._torch_impl")
    operands = several()
    view = torch.eye(4, dtype=torch.float64)[None]
    covariances, _ = reference._quat_scale_to_covar_preci(operands[1], operands[2], True, False, False)
    _, centres, depths, conics, _ = reference._fully_fused_projection(
        operands[0], covariances, view, intrinsics()[None], WIDTH, HEIGHT
    )
    ours = project(*operands, view[0], intrinsics(), HEIGHT, WIDTH)
    for centre, conic in zip(ours.centres, ours.conics, strict=True):
        nearest = (centres[0] - centre).norm(dim=-1).argmin()
        assert_close(centres[0, nearest], centre)
        assert_close(conics[0, nearest], conic)
    assert depths.shape[-1] == len(operands[0])
