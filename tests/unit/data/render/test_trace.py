"""Whole views: depth, masks, boxes and shadows agree with geometry computed another way."""

import numpy as np
import pytest

from evonas.data.render import trace
from evonas.data.render.camera import Camera, intrinsics
from evonas.data.render.scene import BOX, CLASSES, CYLINDER, GROUND, SKY, SPHERE, Part, Scene, make_scene
from evonas.data.render.solids import Plane, Sphere, column
from evonas.data.render.texture import random_texture
from evonas.data.render.trace import render, tight_boxes
from evonas.data.synthetic.scenes import RENDERER

HEIGHT, WIDTH = 64, 96
SCENES = [(0, 0), (0, 7), (3, 1_000_002), (5, 2_000_000)]


def view_of(seed: int, index: int, number: int = 0) -> trace.View:
    scene = make_scene(seed, index)
    return render(scene, scene.view(number), HEIGHT, WIDTH)


def exact_rays(view: trace.View) -> np.ndarray:
    """World directions with camera z = 1, in double precision, from the view's own matrices."""
    return view.pose[:3, :3] @ np.linalg.inv(view.intrinsics) @ _pixels(*view.depth.shape)


def world_points(view: trace.View) -> np.ndarray:
    return view.pose[:3, 3:] + exact_rays(view) * view.depth.ravel().astype(np.float64)


def lone_sphere() -> Scene:
    texture = random_texture(np.random.default_rng(0), 0.25)
    parts = (Part(Plane(), GROUND, 0, texture), Part(Sphere((0.0, 5.0, 1.5), 0.6), SPHERE, 1, texture))
    return Scene(0, 0, parts, (0.0, -0.6, 0.8), Camera((0.0, 0.0, 1.5), 0.0, 0.0))


def test_sphere_depth_is_the_analytic_one() -> None:
    scene = lone_sphere()
    view = render(scene, scene.camera, 65, 97)
    # the middle ray of an image of odd size runs through the sphere's centre
    assert view.depth[32, 48] == pytest.approx(5.0 - 0.6, abs=1e-5)
    focal = intrinsics(65, 97)[0, 0]
    v, u = np.mgrid[:65, :97]
    x, y = (u + 0.5 - 48.5) / focal, (v + 0.5 - 32.5) / focal
    a, b, c = x * x + y * y + 1, -5.0, 25 - 0.36
    discriminant = b * b - a * c
    on_sphere = view.classes == SPHERE
    np.testing.assert_array_equal(on_sphere, discriminant > 0)
    expected = (-b - np.sqrt(discriminant[on_sphere])) / a[on_sphere]
    np.testing.assert_allclose(view.depth[on_sphere], expected, rtol=2e-5)


def test_ground_depth_follows_from_the_camera_height() -> None:
    view = view_of(0, 3)
    rays = exact_rays(view)
    ground = (view.classes == GROUND).ravel()
    np.testing.assert_allclose(view.depth.ravel()[ground], -view.pose[2, 3] / rays[2, ground], rtol=1e-4)


@pytest.mark.parametrize(("seed", "index"), SCENES)
def test_views_of_a_scene_agree_on_every_point(seed: int, index: int) -> None:
    """A point seen in one view is either seen at the same place in another, or hidden there."""
    scene = make_scene(seed, index)
    first, second = scene.view(0), scene.view(2)
    view = render(scene, first, HEIGHT, WIDTH)
    points = world_points(view)[:, view.depth.ravel() > 0]
    pose = second.pose()
    camera = pose[:3, :3].T @ (points - pose[:3, 3:])
    points, camera = points[:, camera[2] > 0.5], camera[:, camera[2] > 0.5]
    rays = ((points - pose[:3, 3:]) / camera[2]).astype(np.float32)
    origin = column(*second.position)
    seen = np.min([part.solid.hit(origin, rays) for part in scene.parts], axis=0)
    # a ray towards a surface cannot pass it; grazing rays on far ground lose a few millimetres
    assert np.quantile(seen - camera[2], 0.99) < 2e-3 * 20
    assert np.mean(seen > camera[2] * 1.01) < 1e-3
    assert np.mean(np.abs(seen - camera[2]) < 0.01 * camera[2]) > 0.75


@pytest.mark.parametrize(("seed", "index"), SCENES)
def test_images_reproject_onto_each_other(seed: int, index: int) -> None:
    """Pixels of view 0, moved by depth and pose into view 1, find their depth, class and colour."""
    scene = make_scene(seed, index)
    one, two = (render(scene, scene.view(k), 2 * HEIGHT, 2 * WIDTH) for k in (0, 1))
    v, u = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH] + 0.5
    pixels = np.stack((u.ravel(), v.ravel(), np.ones(u.size)))
    camera = np.linalg.inv(one.intrinsics) @ pixels * one.depth.ravel()
    world = one.pose @ np.vstack((camera, np.ones(camera.shape[1])))
    moved = (np.linalg.inv(two.pose) @ world)[:3]
    moved_at = two.intrinsics @ moved / np.maximum(moved[2], 1e-6)
    column_of, row_of = np.floor(moved_at[0]).astype(int), np.floor(moved_at[1]).astype(int)
    near = (one.depth.ravel() > 0) & (one.depth.ravel() < 12) & (moved[2] > 0.5)
    near &= (column_of >= 0) & (column_of < 2 * WIDTH) & (row_of >= 0) & (row_of < 2 * HEIGHT)
    there = row_of[near], column_of[near]
    visible = np.abs(two.depth[there] / moved[2][near] - 1) < 0.03
    assert visible.mean() > 0.7
    assert np.mean(two.classes[there][visible] == one.classes.ravel()[near][visible]) > 0.98
    colours = one.rgb.reshape(-1, 3)[near][visible].astype(float), two.rgb[there][visible].astype(float)
    assert np.median(np.abs(colours[0] - colours[1])) < 10


@pytest.mark.parametrize(("seed", "index"), SCENES)
def test_masks_and_boxes_are_consistent(seed: int, index: int) -> None:
    view = view_of(seed, index)
    np.testing.assert_array_equal(view.instances > 0, np.isin(view.classes, (SPHERE, BOX, CYLINDER)))
    np.testing.assert_array_equal(view.depth == 0, view.classes == SKY)
    assert sorted(np.unique(view.instances[view.instances > 0])) == view.box_instances.tolist()
    for box, number, label in zip(view.boxes, view.box_instances, view.box_classes, strict=True):
        mask = view.instances == number
        assert set(np.unique(view.classes[mask])) == {label}
        left, top, right, bottom = box
        assert mask[top:bottom, left:right].sum() == mask.sum()
        edges = mask[top, :], mask[bottom - 1, :], mask[:, left], mask[:, right - 1]
        assert all(edge.any() for edge in edges)


def test_no_box_without_an_instance() -> None:
    boxes, present = tight_boxes(np.zeros((4, 5), dtype=np.uint8))
    assert boxes.shape == (0, 4)
    assert len(present) == 0


@pytest.mark.parametrize(("seed", "index"), SCENES)
def test_skipping_what_cannot_be_hit_changes_nothing(
    seed: int, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = [view_of(seed, index, k) for k in (0, 1)]
    everything = slice(None), slice(None)
    monkeypatch.setattr(Camera, "window", lambda *_: everything)
    monkeypatch.setattr(trace, "_shadowed", shadowed_the_slow_way)
    for number, view in enumerate(quick):
        slow = view_of(seed, index, number)
        np.testing.assert_array_equal(view.depth, slow.depth)
        np.testing.assert_array_equal(view.instances, slow.instances)
        # rounding differs at the rim of a shadow, where a ray just touches a solid
        assert np.mean(view.rgb != slow.rgb) < 1e-3


def shadowed_the_slow_way(scene: Scene, points: np.ndarray) -> np.ndarray:
    sun = column(*scene.sun)
    return np.any([np.isfinite(part.solid.hit(points, sun)) for part in scene.parts], axis=0)


def test_a_sphere_throws_a_shadow_where_the_sun_is_hidden() -> None:
    scene = lone_sphere()
    under = np.array([[0.0], [5.0 + 1.5 * 0.6 / 0.8], [0.002]], dtype=np.float32)
    beside = under + column(2.0, 0.0, 0.0)
    assert trace._shadowed(scene, under).tolist() == [True]
    assert trace._shadowed(scene, beside).tolist() == [False]


def test_a_view_is_a_function_of_seed_and_index() -> None:
    again = view_of(0, 7), view_of(0, 7)
    np.testing.assert_array_equal(again[0].rgb, again[1].rgb)
    np.testing.assert_array_equal(again[0].depth, again[1].depth)
    assert (view_of(0, 8).rgb != again[0].rgb).any()
    assert (view_of(1, 7).rgb != again[0].rgb).any()


def test_scenes_keep_their_promises() -> None:
    labels = set()
    for index in range(40):
        scene = make_scene(0, index)
        objects = [part for part in scene.parts if part.instance]
        assert 3 <= len(objects) <= 7
        assert [part.instance for part in objects] == list(range(1, len(objects) + 1))
        assert np.linalg.norm(scene.sun) == pytest.approx(1)
        labels |= {part.label for part in scene.parts}
        for part in objects:
            (_, y, z), radius = part.solid.bound() or ((0, 0, 0), 0)
            assert z > 0
            assert y - radius > 1.0
    assert labels == set(range(1, len(CLASSES)))


def test_poses_are_rigid_and_differ_between_views() -> None:
    scene = make_scene(0, 0)
    poses = [scene.view(k).pose() for k in range(4)]
    for pose in poses:
        np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
        # the camera's y axis points down, its z axis ahead
        assert pose[2, 1] < -0.9
        assert pose[1, 2] > 0.9
    assert len({pose.tobytes() for pose in poses}) == 4


def test_pictures_have_not_changed_without_a_new_version() -> None:
    """If this fails on purpose, raise `RENDERER` in evonas/data/synthetic/scenes.py and update the numbers."""
    views = [view_of(0, index) for index in range(8)]
    depth = np.mean([view.depth.mean() for view in views])
    colour = np.mean([view.rgb.mean() for view in views])
    assert RENDERER == 1
    assert depth == pytest.approx(7.18109, abs=2e-3)
    assert colour == pytest.approx(106.563, abs=0.05)


def test_normals_of_a_sphere_are_the_analytic_ones() -> None:
    scene = lone_sphere()
    view = render(scene, scene.camera, 65, 97)
    on_sphere = (view.classes == SPHERE).ravel()
    world = (world_points(view)[:, on_sphere].T - np.array([0.0, 5.0, 1.5])) / 0.6
    # this camera looks along y: its right is x, its down is -z
    expected = np.stack((world[:, 0], -world[:, 2], world[:, 1]), axis=1)
    np.testing.assert_allclose(view.normals.reshape(-1, 3)[on_sphere], expected, atol=2e-4)
    np.testing.assert_allclose(view.normals[32, 48], [0, 0, -1], atol=2e-2)


@pytest.mark.parametrize(("seed", "index"), SCENES)
def test_normals_are_those_of_the_surface_that_depth_describes(seed: int, index: int) -> None:
    """Neighbouring points of one part span its tangent plane; ground, walls and boxes are flat."""
    view = view_of(seed, index)
    camera = np.linalg.inv(view.intrinsics) @ _pixels() * view.depth.ravel().astype(np.float64)
    points = camera.T.reshape(HEIGHT, WIDTH, 3)
    across, down = points[:-1, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, :-1]
    normal = np.cross(down, across)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    labels, flat = view.normals, np.isin(view.classes, (GROUND, BOX))[:-1, :-1] & (view.depth[:-1, :-1] < 15)
    for other in (labels[:-1, 1:], labels[1:, :-1]):
        flat &= np.abs(other - labels[:-1, :-1]).max(axis=-1) < 1e-6
    for other in (view.instances[:-1, 1:], view.instances[1:, :-1]):
        flat &= other == view.instances[:-1, :-1]
    assert flat.mean() > 0.2
    cosine = (normal * labels[:-1, :-1]).sum(axis=-1)[flat]
    assert np.quantile(cosine, 0.01) > 0.999


@pytest.mark.parametrize(("seed", "index"), SCENES)
def test_normals_have_length_one_and_face_the_camera(seed: int, index: int) -> None:
    view = view_of(seed, index)
    seen = view.depth > 0
    np.testing.assert_allclose(np.linalg.norm(view.normals[seen], axis=-1), 1, atol=1e-3)
    assert not view.normals[~seen].any()
    rays = (np.linalg.inv(view.intrinsics) @ _pixels()).T.reshape(HEIGHT, WIDTH, 3)
    assert (view.normals * rays).sum(axis=-1)[seen].max() < 1e-3


def _pixels(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    v, u = np.mgrid[:height, :width] + 0.5
    return np.stack((u.ravel(), v.ravel(), np.ones(u.size)))
