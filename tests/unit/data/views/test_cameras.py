"""Cameras of every layout put a known point where the convention says, and broken files get one sentence."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, exif
from PIL import Image
from trees import posed as tree

from evonas.data.views.cameras import PosedImage, distorted, lens_of, opened, view_of
from evonas.data.views.colmap import read_colmap, read_points
from evonas.data.views.nerf import read_transforms
from evonas.data.views.realestate import read_video
from evonas.errors import DataError

FOX = Path(__file__).parents[5] / "shared/images/fox_quarter"


def transforms(folder: Path) -> list[PosedImage]:
    tree.write_transforms(folder)
    return read_transforms(folder)


def colmap_text(folder: Path) -> list[PosedImage]:
    tree.write_colmap_text(folder)
    return read_colmap(folder)


def colmap_binary(folder: Path) -> list[PosedImage]:
    tree.write_colmap_binary(folder)
    return read_colmap(folder)


def realestate(folder: Path) -> list[PosedImage]:
    tree.write_realestate(folder, "train", "video", 6)
    return read_video(folder / "train/video.txt", folder / "frames/train/video")


LAYOUTS = [transforms, colmap_text, colmap_binary, realestate]


def pixel(image: PosedImage, point: np.ndarray) -> np.ndarray:
    """Where a point of the world is seen, in pixels of the whole photograph."""
    x, y, z = (image.view @ [*point, 1])[:3]
    return (np.diag([tree.WIDTH, tree.HEIGHT, 1]) @ image.lens @ [x / z, y / z, 1])[:2]


@pytest.mark.parametrize("read", LAYOUTS)
def test_a_known_point_is_seen_where_it_is(read: Callable[[Path], list[PosedImage]], tmp_path: Path) -> None:
    images = read(tmp_path / "scene")
    assert len(images) == 6
    # the first camera stands at the origin and looks along z: straight arithmetic
    x, y, z = tree.POINT
    expected = [tree.FOCAL * x / z + tree.WIDTH / 2, tree.FOCAL * y / z + tree.HEIGHT / 2]
    np.testing.assert_allclose(pixel(images[0], tree.POINT), expected, atol=1e-6)
    # above the axis is up in the image, and a camera that walks to the right sees it move to the left
    assert pixel(images[0], tree.POINT)[1] < tree.HEIGHT / 2
    for image, view in zip(images, tree.views(6), strict=True):
        np.testing.assert_allclose(image.view, view, atol=1e-6)
        assert image.path.is_file()


def test_opengl_poses_are_turned() -> None:
    # a NeRF camera at z = 2 without rotation looks along -z: the origin lies two ahead
    pose = np.eye(4)
    pose[2, 3] = 2
    view = view_of(pose, "here", opengl=True, to_world=True)
    np.testing.assert_allclose(view @ [0, 0, 0, 1], [0, 0, 2, 1])
    # and what is above it is up, where y is negative
    assert (view @ [0, 1, 0, 1])[1] == -1


def test_points_of_both_formats(tmp_path: Path) -> None:
    tree.write_colmap_text(tmp_path / "text")
    tree.write_colmap_binary(tmp_path / "binary")
    for folder in ("text", "binary"):
        points = read_points(tmp_path / folder)
        np.testing.assert_allclose(points.places, [tree.POINT], rtol=1e-6)
        assert points.colours.tolist() == [[255, 128, 0]]


def test_images_are_scaled_and_cut_with_their_cameras(tmp_path: Path) -> None:
    # one bright pixel, and a camera for which it lies on a known ray
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[40:44, 68:72] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    image = PosedImage(tmp_path / "image.png", np.eye(4), lens_of(80, 80, 50, 30, 100, 60))
    ray = np.array([(70 - 50) / 80, (42 - 30) / 80, 1])
    for size in ((32, 32), (32, 64), (96, 96)):
        colours, lens = opened(image, size)
        assert colours.shape == (*size, 3) and colours.dtype == np.float32 and colours.max() <= 1
        rows, columns = np.indices(size) + 0.5
        weight = colours[..., 0] / colours[..., 0].sum()
        seen = (lens @ ray)[:2]
        np.testing.assert_allclose([(weight * columns).sum(), (weight * rows).sum()], seen, atol=0.2)


def test_distortion_is_taken_out(tmp_path: Path) -> None:
    bent = (0.2, -0.1, 0.003, -0.002)
    pixels = np.zeros((60, 100, 3), np.uint8)
    x, y = distorted(np.array(0.4), np.array(-0.2), bent)
    column, row = int(80 * x + 50), int(80 * y + 30)
    pixels[row - 1 : row + 2, column - 1 : column + 2] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    image = PosedImage(tmp_path / "image.png", np.eye(4), lens_of(80, 80, 50, 30, 100, 60), bent)
    colours, lens = opened(image, (60, 100))
    rows, columns = np.indices((60, 100)) + 0.5
    weight = colours[..., 0] / colours[..., 0].sum()
    seen = (lens @ [0.4, -0.2, 1])[:2]
    np.testing.assert_allclose([(weight * columns).sum(), (weight * rows).sum()], seen, atol=1.0)


def test_distortion_is_opencvs() -> None:
    # k1 alone pushes outward by k1 r^3; p1 acts as 2 p1 x y on x and p1 (r^2 + 2 y^2) on y
    x, y = distorted(np.array(0.3), np.array(0.4), (0.1, 0, 0, 0))
    np.testing.assert_allclose([x, y], [0.3 * 1.025, 0.4 * 1.025])
    x, y = distorted(np.array(0.3), np.array(0.4), (0, 0, 0.1, 0))
    np.testing.assert_allclose([x, y], [0.3 + 0.2 * 0.12, 0.4 + 0.1 * (0.25 + 0.32)])


def test_missing_images_are_refused_or_left_out(tmp_path: Path) -> None:
    tree.write_transforms(tmp_path)
    (tmp_path / "images/002.png").unlink()
    with pytest.raises(DataError, match=r"lists 6 images, of which 1 are missing.*002") as caught:
        read_transforms(tmp_path)
    assert "data.missing=skip" in str(caught.value.hint)
    assert len(read_transforms(tmp_path, missing="skip")) == 5


def broken(folder: Path, **changes: object) -> Path:
    tree.write_transforms(folder)
    path = folder / "transforms.json"
    document = json.loads(path.read_text())
    for key, value in changes.items():
        if key in document["frames"][0]:
            document["frames"][0][key] = value
        else:
            document[key] = value
    path.write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"frames": []}, "must have a list of"),
        ({"frames": 3}, "must have a list of"),
        ({"file_path": "../../secret.png"}, "leaves the data folder"),
        ({"file_path": 7}, "must have a file_path"),
        ({"transform_matrix": [[1, 0], [0, 1]]}, "must be a finite 3x4 or 4x4"),
        ({"transform_matrix": [[1, 0, 0, 0], [0, 1, 0], [0, 0, 1, 0]]}, "must be a matrix of numbers"),
        ({"file_path": "a" * 5000}, "lists 6 images, of which 1 are missing"),
        ({"transform_matrix": "none"}, "must be a matrix of numbers"),
        ({"transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}, "must be a rotation and translation"),
        ({"transform_matrix": np.diag([-1.0, 1, 1, 1]).tolist()}, "must be a rotation and translation"),
        ({"fl_x": "wide"}, "must be a finite number"),
        ({"fl_x": -3.0}, "must be positive"),
        ({"fl_x": None}, "must have fl_x, or camera_angle_x"),
        ({"fl_x": 10**400}, "fl_x must be a finite number, got 1000"),
        ({"fl_x": None, "camera_angle_x": 4.0}, r"camera_angle_x must be in \(0, pi\), got 4.0"),
        ({"transform_matrix": [[10**400] * 4] * 3}, "must be a matrix of numbers"),
        # a transposed matrix has its translation in the last row
        ({"transform_matrix": [*np.eye(4)[:3].tolist(), [3, 2, 1, 1]]}, "last row .* 0 0 0 1, got 3 2 1 1"),
        ({"transform_matrix": np.diag([1.0, 1, 1, 2]).tolist()}, "last row .* 0 0 0 1, got 0 0 0 2"),
        # millimetres in place of pixels, and other numbers that no photograph has
        ({"fl_x": 1.5}, r"a focal length of 0\.\d+ times the image's width is not that of a photograph"),
        ({"fl_y": 1e300}, "a focal length of .* times the image's height is not"),
        ({"cx": 5000.0}, "a principal point at .* times the image's width lies far outside"),
        ({"k1": 50.0, "k2": -1e5}, "the lens distortion 50 -100000 0 0 folds the image"),
        ({"h": None}, "has w alone"),
        # lenses that bend rays otherwise than the five models which are understood
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.05}, "camera_model 'OPENCV_FISHEYE' is not understood"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model 'EQUIRECTANGULAR' is not understood"),
        ({"camera_model": "FULL_OPENCV"}, "camera_model 'FULL_OPENCV' is not understood"),
        ({"camera_model": 5}, "camera_model 5 is not understood"),
        ({"camera_model": "OPENCV", "k1": 0.05, "k3": -0.2}, "k3 -0.2 of a camera_model OPENCV is not"),
        ({"k4": 0.003}, "k4 0.003 of a camera_model OPENCV is not understood"),
        ({"camera_model": "PINHOLE", "k1": 0.1}, "k1 0.1 of a camera_model PINHOLE is not understood"),
        ({"camera_model": "SIMPLE_RADIAL", "k2": 0.1}, "k2 0.1 of a camera_model SIMPLE_RADIAL is not"),
        ({"is_fisheye": True}, "is_fisheye True is not understood"),
        ({"ftheta_p1": 0.2}, "ftheta_p1 0.2 of a camera_model OPENCV is not understood"),
        ({"distortion_params": [0, 0, 0.1, 0]}, "distortion_params .* is not understood"),
        ({"rolling_shutter": [0, 0, 0.02, 0]}, "rolling_shutter .* is not understood"),
    ],
)
def test_broken_transforms_are_data_errors(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_transforms(broken(tmp_path / "scene", **changes))


@pytest.mark.parametrize(
    "told",
    [
        {"camera_model": "OPENCV", "k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4, "k3": 0.0, "k4": 0},
        {"is_fisheye": False, "k1": "0.1", "k2": 0.2, "p1": 0.3, "p2": 0.4, "rolling_shutter": [0.0, 0.0]},
    ],
)
def test_the_parameters_of_an_understood_lens_are_read(tmp_path: Path, told: dict) -> None:
    assert read_transforms(broken(tmp_path, **told))[0].distortion == (0.1, 0.2, 0.3, 0.4)


def test_a_frames_own_angle_comes_before_the_length_of_the_scene(tmp_path: Path) -> None:
    tree.write_transforms(tmp_path)
    path = tmp_path / "transforms.json"
    document = json.loads(path.read_text())
    del document["fl_y"]
    document["frames"][1] |= {"camera_angle_x": 2 * np.arctan(tree.WIDTH / 2 / 20)}
    document["frames"][2] |= {"camera_angle_y": 2 * np.arctan(tree.HEIGHT / 2 / 30)}
    path.write_text(json.dumps(document))
    focals = [np.diag(image.lens)[:2] * (tree.WIDTH, tree.HEIGHT) for image in read_transforms(tmp_path)]
    np.testing.assert_allclose(focals[:3], [[tree.FOCAL] * 2, [20, 20], [tree.FOCAL, 30]])


def test_a_photograph_of_another_shape_is_refused(tmp_path: Path) -> None:
    def read(**sides: int) -> PosedImage:
        path = tmp_path / "transforms.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **sides}))
        return read_transforms(tmp_path)[0]

    tree.write_transforms(tmp_path)
    # a scaled copy, and one whose sides were rounded
    for sides in ((tree.WIDTH * 4, tree.HEIGHT * 4), (tree.WIDTH * 4 + 3, tree.HEIGHT * 4)):
        assert opened(read(w=sides[0], h=sides[1]), (32, 32))[0].shape == (32, 32, 3)
    with pytest.raises(DataError, match=r"000.png is 72 wide and 40 high, but its camera is for 40 by 72"):
        opened(read(w=tree.HEIGHT, h=tree.WIDTH), (32, 32))


def test_photographs_of_colmap_have_the_shape_of_their_camera(tmp_path: Path) -> None:
    tree.write_colmap_text(tmp_path)
    cameras = tmp_path / "sparse/0/cameras.txt"
    cameras.write_text(cameras.read_text().replace(f"{tree.WIDTH} {tree.HEIGHT}", "40 72"))
    with pytest.raises(DataError, match="its camera is for 40 by 72"):
        opened(read_colmap(tmp_path)[0], (32, 32))


def rename(folder: Path, file: str) -> None:
    """Names without leading zeros, of which `sorted` puts 10 before 2, in a file of cameras and on the disk."""
    text = (folder / file).read_text()
    for number in range(12):
        (folder / f"images/{number:03}.png").rename(folder / f"images/r_{number}.png")
        text = text.replace(f"{number:03}.png", f"r_{number}.png").replace(f"/{number:03}", f"/r_{number}")
    (folder / file).write_text(text)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    tree.write_transforms(tmp_path / "nerf", 12)
    tree.write_colmap_text(tmp_path / "colmap", 12)
    rename(tmp_path / "nerf", "transforms.json")
    rename(tmp_path / "colmap", "sparse/0/images.txt")
    expected = [f"r_{number}.png" for number in range(12)]
    assert [image.path.name for image in read_transforms(tmp_path / "nerf")] == expected
    assert [image.path.name for image in read_colmap(tmp_path / "colmap")] == expected


def test_what_occurs_twice_is_refused(tmp_path: Path) -> None:
    tree.write_transforms(tmp_path / "nerf")
    path = tmp_path / "nerf/transforms.json"
    document = json.loads(path.read_text())
    document["frames"][1]["file_path"] = "images/000.png"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"names the photograph .*000\.png twice"):
        read_transforms(tmp_path / "nerf")
    tree.write_colmap_text(tmp_path / "colmap")
    model = tmp_path / "colmap/sparse/0"
    for file, sentence in (("images.txt", "000.png twice"), ("cameras.txt", "has two cameras 1")):
        text = (model / file).read_text()
        first = next(line for line in text.splitlines() if not line.startswith("#"))
        (model / file).write_text(f"{text}\n\n{first}\n" if file == "images.txt" else f"{text}{first}\n")
        with pytest.raises(DataError, match=sentence):
            read_colmap(tmp_path / "colmap")
        (model / file).write_text(text)
    tree.write_realestate(tmp_path, "train", "video")
    path = tmp_path / "train/video.txt"
    path.write_text(path.read_text() + "\n" + path.read_text().splitlines()[1])
    with pytest.raises(DataError, match=r"33000\.png twice"):
        read_video(path, tmp_path / "frames/train/video")


def test_omitted_frames_need_no_sides(tmp_path: Path) -> None:
    folder = broken(tmp_path, w=None, h=None)
    (folder / "images/003.png").unlink()
    assert len(read_transforms(folder, missing="skip")) == 5


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("cameras.bin", b"", "is truncated"),
        ("cameras.bin", struct.pack("<QiiQQ", 1, 1, 9, 8, 8), "model RADIAL_FISHEYE is not understood"),
        ("cameras.bin", struct.pack("<QiiQQ", 1, 1, 5, 8, 8), "camera 1: the camera model OPENCV_FISHEYE"),
        ("cameras.bin", struct.pack("<QiiQQ", 1, 1, -2, 8, 8), "the camera model -2 is not understood"),
        ("cameras.bin", struct.pack("<Q", 2**60), "is truncated"),
        ("images.bin", struct.pack("<Qi7di", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"name", "unterminated name"),
        ("images.bin", struct.pack("<Q", 0), "contains no image"),
        (
            "images.bin",
            struct.pack("<Qi7di", 1, 1, 1, 0, 0, 0, 0, 0, 0, 5) + b"a\0" + bytes(8),
            "no camera 5",
        ),
        ("images.bin", struct.pack("<Qi7di", 1, 1, *[0] * 7, 1) + b"a\0" + bytes(8), "finite quaternion"),
        ("images.bin", struct.pack("<Qi7di", 1, 1, 1, *[0] * 6, 1) + b"../a\0" + bytes(8), "leaves the data"),
    ],
)
def test_broken_binary_models_are_data_errors(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    tree.write_colmap_binary(tmp_path)
    (tmp_path / "sparse/0" / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read_colmap(tmp_path)


def test_broken_text_models_are_data_errors(tmp_path: Path) -> None:
    tree.write_colmap_text(tmp_path)
    cameras = tmp_path / "sparse/0/cameras.txt"
    for line, sentence in (
        ("1 FISHEYE 8 8 1 2 3 4", "model FISHEYE"),
        ("1 PINHOLE 8 8 x", "could not convert"),
        ("1 PINHOLE 8 8 0 1 2 3", "must be positive"),
        ("nan PINHOLE 8 8 1 1 2 3", "the id of a camera must be an integer, got nan"),
        ("1 PINHOLE inf 8 1 1 2 3", "must be positive"),
    ):
        cameras.write_text(line)
        with pytest.raises(DataError, match=sentence):
            read_colmap(tmp_path)
    images = tmp_path / "sparse/0/images.txt"
    text = images.read_text()
    images.write_text("\n".join(line for line in text.splitlines() if line.endswith("png")))
    cameras.write_text("1 PINHOLE 72 40 40 40 36 20")
    with pytest.raises(DataError, match=r"images.txt, line 2 is not the points of the image before it"):
        read_colmap(tmp_path)
    images.write_text(text)
    cameras.unlink()
    with pytest.raises(DataError, match=r"no cameras\.bin or cameras\.txt"):
        read_colmap(tmp_path)


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("1000 0.5 0.5 0.5", "4 of 19 columns"),
        ("1000 " + "x " * 18, "could not convert"),
        ("1000 0 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0", "must be positive"),
        ("1000 0.9 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 9 0", "must be a rotation"),
        (
            "1000 0.9 0.9 0.5 0.5 -0.1 0 1 0 0 0 0 1 0 0 0 0 1 0",
            "line 2: distortion -0.1 0 .* not understood",
        ),
        ("../x 0.9 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0", "of 19 columns"),
    ],
)
def test_broken_videos_are_data_errors(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "v.txt").write_text(f"https://address\n{line}\n")
    with pytest.raises(DataError, match=sentence):
        read_video(tmp_path / "v.txt", tmp_path)


@pytest.mark.skipif(not FOX.is_dir(), reason="the sample is not here")
def test_the_fox_has_fifty_of_its_images() -> None:
    with pytest.raises(DataError, match="lists 67 images, of which 17 are missing"):
        read_transforms(FOX)
    images = read_transforms(FOX, missing="skip")
    assert len(images) == 50
    # all cameras look at the fox: the point nearest to all their axes lies before each of them
    places = np.array([-image.view[:3, :3].T @ image.view[:3, 3] for image in images])
    axes = np.array([image.view[2, :3] for image in images])
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    middle = np.linalg.solve(across.sum(0), (across @ places[..., None]).sum(0)[:, 0])
    assert all((image.view @ [*middle, 1])[2] > 0.5 for image in images)


def test_transparent_backgrounds_are_white(tmp_path: Path) -> None:
    """As in NeRF's synthetic scenes; the colours hidden below never show."""
    tree.write_transforms(tmp_path)
    pixels = np.zeros((tree.HEIGHT, tree.WIDTH, 4), np.uint8)
    pixels[..., :3] = (200, 30, 90)
    pixels[20:, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "images/000.png")
    image = opened(read_transforms(tmp_path)[0], (tree.HEIGHT, tree.WIDTH))[0]
    assert image[0, 0].tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_allclose(image[-1, -1], np.array([200, 30, 90]) / 255, atol=1e-6)


def stored(folder: Path, orientation: int, shape: tuple[int, int], **changes: object) -> PosedImage:
    """The first view of a scene, white above and black below as it is stored."""
    broken(folder, **changes)
    pixels = np.zeros(shape, np.uint8)
    pixels[: shape[0] // 2] = 255
    file = encoded(Image.fromarray(pixels), exif=exif(orientation))
    (folder / "images/000.png").write_bytes(file.content)
    return read_transforms(folder)[0]


def test_the_sides_of_a_camera_decide_whether_exif_turns_a_photograph(tmp_path: Path) -> None:
    # half as large as the camera says, and stored lying: turned upright, white is at the right
    shape = tree.WIDTH // 2, tree.HEIGHT // 2
    turned = opened(stored(tmp_path / "a", 6, shape), (20, 36))[0]
    assert turned[:, -1].min() == 1.0 and turned[:, 0].max() == 0.0
    # the camera saw the stored photograph
    kept = opened(stored(tmp_path / "b", 6, (tree.HEIGHT, tree.WIDTH)), (tree.HEIGHT, tree.WIDTH))[0]
    assert kept[0].min() == 1.0 and kept[-1].max() == 0.0


@pytest.mark.parametrize(
    ("orientation", "shape", "changes"),
    [
        (3, (tree.HEIGHT, tree.WIDTH), {}),
        (6, (32, 32), {"w": 32, "h": 32}),
        (6, (tree.HEIGHT, tree.WIDTH), {"w": None, "h": None}),
    ],
)
def test_a_photograph_whose_turn_nothing_tells_is_refused(
    tmp_path: Path, orientation: int, shape: tuple[int, int], changes: dict[str, object]
) -> None:
    with pytest.raises(DataError, match=rf"000\.png has EXIF orientation {orientation}, and the sides"):
        opened(stored(tmp_path / "a", orientation, shape, **changes), (20, 36))


def test_suffixes_may_be_in_capitals(tmp_path: Path) -> None:
    tree.write_transforms(tmp_path / "a")
    (tmp_path / "a/images/000.png").rename(tmp_path / "a/images/000.PNG")
    assert read_transforms(tmp_path / "a")[0].path.name == "000.PNG"
    tree.write_realestate(tmp_path, "train", "video", 6)
    for frame in (tmp_path / "frames/train/video").iterdir():
        frame.rename(frame.with_suffix(".JPG"))
    read = read_video(tmp_path / "train/video.txt", tmp_path / "frames/train/video")
    assert [image.path.suffix for image in read] == [".JPG"] * 6


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_a_byte_order_mark_is_no_part_of_a_model(tmp_path: Path, name: str) -> None:
    tree.write_colmap_text(tmp_path)
    path = tmp_path / f"sparse/0/{name}.txt"
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    assert len(read_colmap(tmp_path)) == 6 and len(read_points(tmp_path).places) == 1


def test_a_missing_frame_may_be_skipped_without_sides(tmp_path: Path) -> None:
    broken(tmp_path, w=None, h=None)
    (tmp_path / "images/003.png").unlink()
    assert len(read_transforms(tmp_path, "skip")) == 5
