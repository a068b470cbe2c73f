"""From a head's numbers to Gaussians: geometry by hand, whatever the choice of the world."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from evonas.errors import UserError
from evonas.nn.gaussians import NUMBERS, GaussianHead, Layout
from evonas.nn.level import Level
from evonas.nn.unprojection import Cameras, agreement, lift, multiplied, quaternions, render
from evonas.ops.splat.projection import rotations

CELL, ROWS, COLUMNS = 4, 4, 6
HEIGHT, WIDTH = CELL * ROWS, CELL * COLUMNS
LEVELS = (Level(8, CELL), Level(12, 2 * CELL))
NEAR, FAR = 1.0, 50.0


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cameras(aside: float = 0.5) -> Cameras:
    views = torch.eye(4).repeat(2, 1, 1)
    views[1, 0, 3] = -aside
    lens = torch.tensor([[20.0, 0, WIDTH / 2], [0, 20.0, HEIGHT / 2], [0, 0, 1]])
    return Cameras(views, lens.repeat(2, 1, 1))


def cells(layout: Layout, plane: int | None = None, views: int = 2) -> Tensor:
    """A head's answer: small numbers, and one loud plane if it is given."""
    answer = 0.1 * random(layout.channels(CELL), ROWS, views * COLUMNS)
    if plane is not None:
        answer[: layout.planes] = 0
        answer[layout.planes :] = 0
        answer[plane] = 1000
    return answer


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_loud_plane_is_the_depth_of_all(every: int) -> None:
    layout = Layout(planes=9, features=2, every=every)
    images = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    found = lift(layout.read(cells(layout, plane=4), 2), layout, images, cameras(), NEAR, FAR)
    middle = 2 / (1 / NEAR + 1 / FAR)
    assert_close(found.depths, torch.full((2, HEIGHT // every, WIDTH // every), middle))
    assert len(found.means) == 2 * HEIGHT * WIDTH // every**2
    # the first Gaussian lies on the ray through the middle of its square
    place = [(every / 2 - WIDTH / 2) / 20 * middle, (every / 2 - HEIGHT / 2) / 20 * middle, middle]
    assert_close(found.means[0], torch.tensor(place))
    # and the second view's stand half a unit to the right
    assert_close(found.means[len(found.means) // 2], torch.tensor(place) + torch.tensor([0.5, 0, 0]))
    assert_close(found.colours[0], images[0, :, :every, :every].mean((1, 2)))


def test_gaussians_of_a_plane_show_their_own_image() -> None:
    layout = Layout(planes=9, features=2)
    smooth = torch.nn.functional.interpolate(
        torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1)), (HEIGHT, WIDTH), mode="bilinear"
    )
    both = cameras(aside=0.0)
    found = lift(
        layout.read(cells(layout, plane=4), 2), layout, smooth[:1].repeat(2, 1, 1, 1), both, NEAR, FAR
    )
    drawn = render(found, Cameras(both.views[:1], both.lenses[:1]), HEIGHT, WIDTH, torch.zeros(3))
    assert drawn.shape == (1, 3, HEIGHT, WIDTH)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert float((drawn - smooth[:1])[inner].abs().mean()) < 0.06
    assert float((drawn - smooth[1:])[inner].abs().mean()) > 0.15


def test_what_nothing_covers_is_background() -> None:
    layout = Layout(planes=9, features=2)
    found = lift(
        layout.read(cells(layout, 4), 2), layout, torch.zeros(2, 3, HEIGHT, WIDTH), cameras(), NEAR, FAR
    )
    away = torch.diag(torch.tensor([-1.0, 1, -1, 1]))[None]
    drawn = render(found, Cameras(away, cameras().lenses[:1]), HEIGHT, WIDTH, torch.tensor([0.2, 0.4, 0.6]))
    assert_close(drawn, torch.tensor([0.2, 0.4, 0.6])[None, :, None, None].expand_as(drawn))


def test_the_choice_of_the_world_changes_no_image() -> None:
    layout = Layout(planes=9, features=2)
    raw = layout.read(cells(layout), 2)
    images = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    motion = torch.eye(4)
    motion[:3, :3] = rotations(torch.tensor([[0.8, 0.3, -0.4, 0.2]]))[0]
    motion[:3, 3] = torch.tensor([1.0, -2.0, 0.5])
    drawn = []
    for world in (torch.eye(4), motion):
        both = Cameras(cameras().views @ world, cameras().lenses)
        found = lift(raw, layout, images, both, NEAR, FAR)
        drawn.append(render(found, both, HEIGHT, WIDTH, torch.zeros(3)))
    assert_close(drawn[0], drawn[1], rtol=0, atol=1e-3)


def test_features_agree_on_the_plane_where_they_lie() -> None:
    """A texture on a wall at depth 4, seen by both: its own plane agrees best."""
    planes, features, rows, columns = 13, 8, 12, 24
    texture = torch.nn.functional.interpolate(random(1, features, 12, 60), (12, 120), mode="bilinear")[0]
    lens = torch.tensor([[40.0, 0, columns / 2], [0, 40.0, rows / 2], [0, 0, 1]])
    views = torch.eye(4).repeat(2, 1, 1)
    views[1, 0, 3] = -0.5
    # at depth 4 a step of 0.5 is 5 columns
    maps = torch.stack([texture[:, :, 40 : 40 + columns], texture[:, :, 45 : 45 + columns]])
    inverse = torch.linspace(0.05, 0.45, planes)
    scores = agreement(maps, Cameras(views, lens.repeat(2, 1, 1)), inverse, 1.0)
    assert scores.shape == (2, planes, rows, columns)
    # columns 6 and beyond of the first view are seen by the second
    best = inverse[scores[0, :, :, 8:].mean((1, 2)).argmax()]
    assert float(best) == pytest.approx(0.25)


def test_what_lies_outside_the_other_view_says_nothing() -> None:
    features = torch.ones(2, 3, ROWS, COLUMNS)
    scores = agreement(features, cameras(aside=100.0), torch.tensor([0.5, 1.0]), float(CELL))
    assert not scores.any()


def test_quaternions_and_back() -> None:
    quats = torch.nn.functional.normalize(random(20, 4), dim=-1)
    turns = rotations(quats)
    assert_close(rotations(quaternions(turns)), turns)
    # half a turn, where formulas by the trace fail
    half = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))[None]
    assert_close(rotations(quaternions(half)), half)
    other = rotations(random(20, 4, seed=1))
    assert_close(rotations(multiplied(quaternions(other), quats)), other @ turns)


def test_all_numbers_have_a_slope() -> None:
    layout = Layout(planes=9, features=2)
    answer = cells(layout).requires_grad_()
    images = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    found = lift(layout.read(answer, 2), layout, images, cameras(), NEAR, FAR)
    drawn = render(found, cameras(0.3), HEIGHT, WIDTH, torch.zeros(3))
    (slope,) = torch.autograd.grad((drawn * random(*drawn.shape)).sum(), answer)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).abs().amax(1) > 0).all()


def test_views_are_read_from_where_they_are() -> None:
    layout = Layout(planes=3, features=2, every=2)
    answer = torch.zeros(layout.channels(CELL), ROWS, 2 * COLUMNS)
    answer[:, :, COLUMNS:] = 1
    raw = layout.read(answer, 2)
    for part in raw:
        assert not part[0].any() and (part[1] == 1).all()
    assert raw.numbers.shape == (2, NUMBERS, 2 * ROWS, 2 * COLUMNS)


def test_the_head_answers_once_a_cell() -> None:
    head = GaussianHead(LEVELS, out_channels=7, width=8)
    answer = head([random(2, 8, 8, 12), random(2, 12, 4, 6)])
    assert answer.shape == (2, 7, 8, 12)
    again = GaussianHead(LEVELS, **head.settings)
    again.load_state_dict(head.state_dict())


@pytest.mark.parametrize("settings", [{"planes": 1}, {"features": 0}, {"every": 0}])
def test_impossible_layouts_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match="planes must be at least 2"):
        Layout(**settings)
    with pytest.raises(UserError, match=r"task\.every=3 does not divide"):
        Layout(every=3).channels(CELL)
    assert math.isclose(Layout().channels(4), 32 + 16 + 16 * NUMBERS)
