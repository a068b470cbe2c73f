"""Solids against an oracle that shares no code with them: marching along a distance field."""

import numpy as np
import pytest

from evonas.data.render.camera import Camera
from evonas.data.render.solids import Box, Cylinder, Plane, Solid, Sphere
from evonas.data.render.texture import KINDS, Texture, random_texture

SPHERE = Sphere((0.3, 5.0, 0.6), 0.6)
CYLINDER = Cylinder((-0.4, 4.0), 0.5, 1.7)
BOX = Box((0.2, 4.5), (1.2, 0.8, 1.0), 0.7)


def sphere_distance(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - np.array(SPHERE.centre)[:, None], axis=0) - SPHERE.radius


def cylinder_distance(points: np.ndarray) -> np.ndarray:
    x, y = points[0] - CYLINDER.centre[0], points[1] - CYLINDER.centre[1]
    side = np.hypot(x, y) - CYLINDER.radius
    end = np.abs(points[2] - CYLINDER.height / 2) - CYLINDER.height / 2
    outside = np.hypot(np.maximum(side, 0), np.maximum(end, 0))
    return outside + np.minimum(np.maximum(side, end), 0)


def box_distance(points: np.ndarray) -> np.ndarray:
    turn = np.exp(-1j * BOX.yaw) * ((points[0] - BOX.centre[0]) + 1j * (points[1] - BOX.centre[1]))
    local = np.stack((turn.real, turn.imag, points[2] - BOX.size[2] / 2))
    q = np.abs(local) - np.array(BOX.size)[:, None] / 2
    return np.linalg.norm(np.maximum(q, 0), axis=0) + np.minimum(q.max(axis=0), 0)


def march(distance, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Distances along unit rays to where the field vanishes; infinite after 30 metres."""
    t = np.zeros(rays.shape[1])
    for _ in range(400):
        t = np.minimum(t + distance(origin + t * rays), 40.0)
    return np.where(t < 30, t, np.inf)


CASES = [(SPHERE, sphere_distance), (CYLINDER, cylinder_distance), (BOX, box_distance)]


@pytest.mark.parametrize(("solid", "distance"), CASES, ids=["sphere", "cylinder", "box"])
@pytest.mark.parametrize("height", [0.5, 4.0])
def test_hit_agrees_with_marching(solid: Solid, distance, height: float) -> None:
    random = np.random.default_rng(1)
    origin = np.array([[0.5], [0.0], [height]])
    target = np.stack(
        (random.uniform(-1.5, 1.5, 800), random.uniform(3, 6, 800), random.uniform(0.01, 2, 800))
    )
    rays = (target - origin) / np.linalg.norm(target - origin, axis=0)
    expected = march(distance, origin, rays)
    found = solid.hit(origin.astype(np.float32), rays.astype(np.float32))
    # a ray that touches the rim within a tenth of a millimetre may go either way
    closest = np.min([distance(origin + t * rays) for t in np.linspace(2, 8, 4000)], axis=0)
    clear = np.abs(closest) > 2e-3
    assert np.isfinite(expected[clear]).mean() > 0.1
    np.testing.assert_array_equal(np.isfinite(found[clear]), np.isfinite(expected[clear]))
    both = np.isfinite(found) & np.isfinite(expected) & clear
    np.testing.assert_allclose(found[both], expected[both], atol=2e-4)


@pytest.mark.parametrize(("solid", "distance"), CASES, ids=["sphere", "cylinder", "box"])
def test_normals_are_the_gradient_of_the_distance(solid: Solid, distance) -> None:
    points, rays = surface_points(solid)
    normals = solid.normal(points)
    steps = 1e-3 * np.eye(3)[:, :, None]
    gradient = np.stack([distance(points + s) - distance(points - s) for s in steps]) / 2e-3
    # at an edge the gradient is split between two faces
    smooth = np.abs(np.linalg.norm(gradient, axis=0) - 1) < 1e-3
    assert smooth.mean() > 0.9
    np.testing.assert_allclose(normals[:, smooth], gradient[:, smooth], atol=5e-3)
    assert (np.einsum("in,in->n", normals, rays)[smooth] < 1e-3).all()


@pytest.mark.parametrize(("solid", "distance"), CASES, ids=["sphere", "cylinder", "box"])
def test_bound_holds_every_point(solid: Solid, distance) -> None:  # noqa: ARG001
    points, _ = surface_points(solid)
    centre, radius = solid.bound()
    assert (np.linalg.norm(points - np.array(centre)[:, None], axis=0) <= radius + 1e-4).all()


@pytest.mark.parametrize("solid", [SPHERE, CYLINDER, BOX], ids=["sphere", "cylinder", "box"])
@pytest.mark.parametrize("heading", [-0.6, 0.0, 0.5])
def test_window_holds_every_pixel_of_a_solid(solid: Solid, heading: float) -> None:
    camera = Camera((0.2, 0.5, 1.5), heading, 0.1)
    found = np.isfinite(solid.hit(np.float32([[0.2], [0.5], [1.5]]), camera.rays(64, 96))).reshape(64, 96)
    rows, columns = camera.window(*solid.bound(), (64, 96))
    assert found.sum() > 0
    assert found[rows, columns].sum() == found.sum()


def surface_points(solid: Solid) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    rays = np.stack((random.uniform(-0.3, 0.3, 2000), np.ones(2000), random.uniform(-0.5, -0.1, 2000)))
    origin, rays = np.float32([[0.0], [0.0], [2.2]]), rays.astype(np.float32)
    t = solid.hit(origin, rays)
    hit = np.isfinite(t)
    assert hit.sum() > 100
    return origin + t[hit] * rays[:, hit], rays[:, hit]


def test_rays_that_look_up_miss_the_ground() -> None:
    rays = np.float32([[0, 0, 0], [1, 1, 1], [0.1, 0.0, -0.5]])
    t = Plane().hit(np.float32([[0], [0], [1.5]]), rays)
    assert np.isinf(t[:2]).all()
    assert t[2] == pytest.approx(3.0)


def test_solids_behind_the_origin_are_missed() -> None:
    origin, ray = np.float32([[0], [20], [0.5]]), np.float32([[0], [1], [0]])
    assert all(np.isinf(solid.hit(origin, ray)).all() for solid in (SPHERE, CYLINDER, BOX))


def test_a_checker_has_the_period_it_states() -> None:
    texture = Texture("checker", 0.5, ((0.0,) * 3, (1.0,) * 3), np.zeros((64, 64), dtype=np.float32))
    at = np.float32([[0.1, 0.4, 0.6, 0.9, 1.1, 0.6], [0.1, 0.1, 0.1, 0.1, 0.1, 0.6]])
    painted = texture.paint(at, np.zeros(6, dtype=np.float32))
    assert painted[0].tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_distant_textures_fade_to_their_mean(kind) -> None:
    texture = random_texture(np.random.default_rng(0), 0.25, (kind,))
    surface = np.random.default_rng(1).uniform(-3, 3, (2, 500)).astype(np.float32)
    close = texture.paint(surface, np.full(500, 0.01, dtype=np.float32))
    far = texture.paint(surface, np.full(500, 1.0, dtype=np.float32))
    assert close.std(axis=1).max() > 0.02
    np.testing.assert_allclose(far, np.repeat(np.mean(texture.colours, axis=0)[:, None], 500, 1), atol=1e-6)
