"""Small scenes in the layouts of NeRF, COLMAP and RealEstate10K, all of the same cameras."""

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from evonas.data.views.cameras import TURNED, inverse

FOCAL, HEIGHT, WIDTH = 40.0, 40, 72
# a point of the world, which tests project
POINT = np.array([0.3, -0.2, 4.0])


def views(count: int) -> list[np.ndarray]:
    """World to camera, x right and y down: cameras that walk to the right and turn a little."""
    found = []
    for number in range(count):
        angle = 0.02 * number
        motion = np.eye(4)
        motion[:3, :3] = [
            [np.cos(angle), 0, -np.sin(angle)],
            [0, 1, 0],
            [np.sin(angle), 0, np.cos(angle)],
        ]
        motion[:3, 3] = -motion[:3, :3] @ [0.1 * number, 0.02 * number, 0]
        found.append(motion)
    return found


def picture(number: int) -> Image.Image:
    """A photograph that is like no other."""
    noise = np.random.default_rng(number).integers(0, 255, (5, 9, 3), np.uint8)
    return Image.fromarray(np.kron(noise, np.ones((HEIGHT // 5, WIDTH // 9, 1), np.uint8)))


def quaternion(turn: np.ndarray) -> np.ndarray:
    """w x y z of a rotation about the y axis, as `views` has them."""
    angle = np.arctan2(turn[2, 0], turn[0, 0])
    return np.array([np.cos(angle / 2), 0, -np.sin(angle / 2), 0])


def write_transforms(folder: Path, count: int = 6, seed: int = 0) -> None:
    """A NeRF scene; paths without their suffix, as in the synthetic scenes of NeRF."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for number, view in enumerate(views(count)):
        picture(100 * seed + number).save(folder / f"images/{number:03}.png")
        pose = inverse(view) @ TURNED
        frames.append({"file_path": f"./images/{number:03}", "transform_matrix": pose.tolist()})
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))


def write_colmap_text(folder: Path, count: int = 6) -> None:
    """A COLMAP scene as text; the first image's line of points is empty, as COLMAP writes it."""
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    (folder / "images").mkdir()
    (model / "cameras.txt").write_text(
        f"# c\n1 PINHOLE {WIDTH} {HEIGHT} {FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}\n"
    )
    lines = ["# images"]
    for number, view in enumerate(views(count)):
        picture(number).save(folder / f"images/{number:03}.png")
        numbers = " ".join(map(repr, map(float, [*quaternion(view[:3, :3]), *view[:3, 3]])))
        lines += [f"{number + 1} {numbers} 1 {number:03}.png", "" if number == 0 else "1.5 2.5 -1 3.0 4.0 7"]
    (model / "images.txt").write_text("\n".join(lines))
    (model / "points3D.txt").write_text("7 0.3 -0.2 4.0 255 128 0 0.5 1 0 2 0\n")


def write_colmap_binary(folder: Path, count: int = 6) -> None:
    """The same scene in binary files."""
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    (folder / "images").mkdir()
    lens = FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, WIDTH, HEIGHT, *lens))
    content = struct.pack("<Q", count)
    for number, view in enumerate(views(count)):
        picture(number).save(folder / f"images/{number:03}.png")
        content += struct.pack("<i7di", number + 1, *quaternion(view[:3, :3]), *view[:3, 3], 1)
        content += f"{number:03}.png".encode() + b"\0" + struct.pack("<Qddq", 1, 1.5, 2.5, -1)
    (model / "images.bin").write_bytes(content)
    point = struct.pack("<Q3d3BdQii", 7, *POINT, 255, 128, 0, 0.5, 1, 1, 0)
    (model / "points3D.bin").write_bytes(struct.pack("<Q", 1) + point)


def write_realestate(root: Path, part: str, name: str, count: int = 8) -> None:
    """A video: camera file and frames."""
    frames = root / "frames" / part / name
    frames.mkdir(parents=True)
    (root / part).mkdir(exist_ok=True)
    lines = ["https://www.youtube.com/watch?v=none"]
    seed = sum(map(ord, part + name))
    for number, view in enumerate(views(count)):
        time = 33_000 * (number + 1)
        picture(100 * seed + number).save(frames / f"{time}.png")
        lens = FOCAL / WIDTH, FOCAL / HEIGHT, 0.5, 0.5, 0, 0
        lines.append(" ".join(map(str, [time, *lens, *view[:3].ravel().tolist()])))
    (root / part / f"{name}.txt").write_text("\n".join(lines))
