"""Fit Gaussians to one scene of photographs, and say how well they show views that were held out.

A check of `evonas.ops.splat` on real images: every eighth photograph is held out. The recipe is that of
Kerbl et al. 2023 (3D Gaussian Splatting, sections 4 and 5): Adam, a learning rate for each kind of parameter,
that of positions falling exponentially a hundredfold; L1 and 0.2 of 1 - SSIM; Gaussians whose place on the
image has a steep slope are cloned where small and split where large, and transparent ones are removed.
Colours are constant (no spherical harmonics), steps and Gaussians are few, images small: a check, no record.

    python benchmarks/scene.py <folder> [--scale 0.25] [--steps 1500] [--points 8000] [--seconds 540]

The folder holds transforms.json or a COLMAP model; without COLMAP's points Gaussians start at random depths
along the photographs' own rays.
"""

import argparse
import logging
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from evonas.data.io.pictures import picture_size
from evonas.data.views.cameras import PosedImage, opened
from evonas.data.views.colmap import read_colmap, read_points
from evonas.data.views.nerf import NAME, read_transforms
from evonas.ops.splat import splat
from evonas.ops.splat.projection import rotations
from evonas.randomness import derive, generator
from evonas.tasks.view_metrics import similarity, view_metrics

log = logging.getLogger("scene")

# learning rates by kind of parameter; positions in units of the scene's size (paper: 1.6e-4 falling to 1.6e-6
# over 30 000 steps; with twenty times fewer steps they start five times faster)
RATES = {"means": 8e-4, "scales": 1e-2, "quats": 2e-3, "opacities": 5e-2, "colours": 1e-2}
FALL = 0.01
HELD_OUT_EVERY = 8
START_OPACITY = 0.1
# of Gaussians at random, in sizes of the scene: depths, and the largest deviation
DEPTHS, WIDEST = (0.4, 2.5), 0.02
SSIM_WEIGHT = 0.2
# densification: every so many steps, above which slope (in halves of the image), what is large (of the scene)
DENSIFY_EVERY, STEEP, LARGE = 100, 2e-4, 0.01
FAINT = 0.005
# so many Gaussians are enough for two cores
MOST = 40_000
SHRINK = 1.6


class Shot(NamedTuple):
    """A photograph as tensors: H W 3, 4 4, 3 3."""

    image: Tensor
    view: Tensor
    lens: Tensor


class Scene(torch.nn.Module):
    """Gaussians whose parameters are free: logarithms of scales, logits of opacities and colours."""

    def __init__(self, means: Tensor, colours: Tensor, scales: Tensor) -> None:
        super().__init__()
        count = len(means)
        upright = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1)
        self.values = torch.nn.ParameterDict(
            {
                "means": means,
                "scales": scales.log()[:, None].repeat(1, 3),
                "quats": upright,
                "opacities": torch.full((count,), START_OPACITY).logit(),
                "colours": colours.clamp(0.02, 0.98).logit(),
            }
        )

    def draw(self, shot: Shot, nudge: Tensor | None = None) -> Tensor:
        """H W 3; `nudge` (N 2, zero) moves Gaussians across the image, in pixels, to get their slopes."""
        v = self.values
        means = v["means"]
        if nudge is not None:
            means = means + _across(means, shot, nudge)
        shape = means, v["quats"], v["scales"].exp(), v["opacities"].sigmoid(), v["colours"].sigmoid()
        height, width = shot.image.shape[:2]
        return splat(*shape, shot.view, shot.lens, height, width)[..., :3]


def _across(means: Tensor, shot: Shot, nudge: Tensor) -> Tensor:
    """What moves Gaussians so many pixels across the image, in the world."""
    with torch.no_grad():
        depth = (means @ shot.view[2, :3] + shot.view[2, 3]).clamp(min=0.01)
    across = nudge * (depth / shot.lens[0, 0])[:, None]
    return across @ shot.view[:2, :3]


def read(folder: Path, scale: float) -> list[Shot]:
    """The photographs of a scene, scaled; frames that are listed and not there are left out."""
    reading = read_transforms if (folder / NAME).exists() else read_colmap
    images = reading(folder, missing="skip")
    log.info("%d photographs", len(images))
    return [_shot(image, scale) for image in images]


def _shot(image: PosedImage, scale: float) -> Shot:
    height, width = (round(side * scale) for side in picture_size(image.path))
    colours, lens = opened(image, (height, width))
    return Shot(*(torch.from_numpy(each).float() for each in (colours, image.view, lens)))


def middle(shots: list[Shot]) -> tuple[Tensor, float]:
    """The point nearest to all axes of view, and the mean distance of the cameras from it."""
    turns = torch.stack([shot.view[:3, :3] for shot in shots])
    places = -(turns.mT @ torch.stack([shot.view[:3, 3] for shot in shots])[..., None])[..., 0]
    axes = turns[:, 2]
    across = torch.eye(3) - axes[:, :, None] * axes[:, None]
    centre = torch.linalg.solve(across.sum(0), (across @ places[..., None]).sum(0)[:, 0])
    return centre, float((places - centre).norm(dim=1).mean())


def start(folder: Path, shots: list[Shot], points: int, seed: int) -> tuple[Scene, float]:
    """Gaussians at COLMAP's points or at random, as large as they are far apart; the scene's size."""
    _, size = middle(shots)
    random = generator(seed, "scene")
    if (folder / NAME).exists():
        places, colours = _along_rays(shots, size, points, random)
    else:
        found = read_points(folder)
        chosen = random.permutation(len(found.places))[:points]
        places, colours = found.places[chosen], found.colours[chosen] / 255
    near, _ = cKDTree(places).query(places, k=4)
    scales = np.clip(np.sqrt((near[:, 1:] ** 2).mean(1)), 1e-4 * size, WIDEST * size)
    return Scene(*(torch.from_numpy(np.float32(each)) for each in (places, colours, scales))), size


def _along_rays(
    shots: list[Shot], size: float, points: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places at random depths behind random pixels of random photographs, and the pixels' colours."""
    places, colours = [], []
    for _ in range(points):
        shot = shots[random.integers(len(shots))]
        height, width = shot.image.shape[:2]
        row, column = int(random.integers(height)), int(random.integers(width))
        ray = np.linalg.solve(shot.lens.numpy(), [column + 0.5, row + 0.5, 1.0])
        depth = size * np.exp(random.uniform(*np.log(DEPTHS)))
        view = shot.view.numpy()
        places.append(view[:3, :3].T @ (depth * ray - view[:3, 3]))
        colours.append(shot.image[row, column].numpy())
    return np.array(places), np.array(colours)


class Fit:
    """One scene while it is fitted: Adam, and the slopes that say where Gaussians are too few."""

    def __init__(self, scene: Scene, size: float, steps: int, seed: int) -> None:
        self.scene, self.size, self.steps, self.seed = scene, size, steps, seed
        groups = [
            {"params": [value], "name": name, "lr": RATES[name] * (size if name == "means" else 1.0)}
            for name, value in scene.values.items()
        ]
        self.adam = torch.optim.Adam(groups, eps=1e-15)
        self._forget()

    def step(self, number: int, shot: Shot) -> float:
        """One photograph; the loss."""
        for group in self.adam.param_groups:
            if group["name"] == "means":
                group["lr"] = RATES["means"] * self.size * FALL ** (number / self.steps)
        nudge = torch.zeros(len(self.slopes), 2, requires_grad=True)
        drawn = self.scene.draw(shot, nudge)
        loss = (1 - SSIM_WEIGHT) * (drawn - shot.image).abs().mean()
        planes = [each.permute(2, 0, 1)[None] for each in (drawn, shot.image)]
        loss = loss + SSIM_WEIGHT * (1 - similarity(*planes).mean())
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self._watch(nudge.grad, shot)
        if 0 < number < self.steps // 2 and number % DENSIFY_EVERY == 0 and len(self.slopes) < MOST:
            self.densify(number)
        return loss.item()

    def _forget(self) -> None:
        self.slopes = torch.zeros(len(self.scene.values["means"]))
        self.seen = torch.zeros_like(self.slopes)

    def _watch(self, slope: Tensor | None, shot: Shot) -> None:
        assert slope is not None
        # the paper's threshold is for coordinates that run from -1 to 1 over the image
        steep = (slope * slope.new_tensor(shot.image.shape[1::-1]) / 2).norm(dim=1)
        self.slopes += steep
        self.seen += steep > 0

    def densify(self, number: int) -> None:
        """Clone what is small, split what is large, where slopes are steep; remove what is faint."""
        values = {name: value.detach() for name, value in self.scene.values.items()}
        steep = self.slopes / self.seen.clamp(min=1) > STEEP
        large = values["scales"].exp().amax(1) > LARGE * self.size
        faint = values["opacities"].sigmoid() < FAINT
        cloned, split, kept = steep & ~large & ~faint, steep & large & ~faint, ~faint & ~(steep & large)
        parts = [{name: value[kept] for name, value in values.items()}]
        parts.append({name: value[cloned] for name, value in values.items()})
        parts += [self._split(values, split, number, half) for half in range(2)]
        self._replace({name: torch.cat([part[name] for part in parts]) for name in values}, kept)

    def _split(self, values: dict[str, Tensor], split: Tensor, number: int, half: int) -> dict[str, Tensor]:
        """Smaller ones, placed as their Gaussian says."""
        drawn = torch.Generator().manual_seed(derive(self.seed, f"split/{half}", number))
        part = {name: value[split].clone() for name, value in values.items()}
        offset = part["scales"].exp() * torch.randn(part["scales"].shape, generator=drawn)
        part["means"] += (rotations(part["quats"]) @ offset[..., None])[..., 0]
        part["scales"] -= math.log(SHRINK)
        return part

    def _replace(self, values: dict[str, Tensor], kept: Tensor) -> None:
        """New parameters; Adam's memory goes on for those that were kept, the others have none yet."""
        for group in self.adam.param_groups:
            name = group["name"]
            old = self.scene.values[name]
            state = self.adam.state.pop(old)
            new = torch.nn.Parameter(values[name])
            for key in ("exp_avg", "exp_avg_sq"):
                memory = torch.zeros_like(new)
                memory[: int(kept.sum())] = state[key][kept]
                state[key] = memory
            self.scene.values[name], group["params"] = new, [new]
            self.adam.state[new] = state
        self._forget()


def score(scene: Scene, shots: list[Shot]) -> dict[str, float]:
    """Means of the metrics over photographs."""
    with torch.no_grad():
        rows = [
            view_metrics(*(x.permute(2, 0, 1)[None] for x in (scene.draw(shot), shot.image)))
            for shot in shots
        ]
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def main() -> None:
    """Fit, and print what was reached."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, value in (("scale", 0.25), ("steps", 1500), ("points", 8000), ("seed", 0), ("seconds", 540)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    asked = parser.parse_args()
    shots = read(asked.folder, asked.scale)
    held = shots[::HELD_OUT_EVERY]
    trained = [shot for number, shot in enumerate(shots) if number % HELD_OUT_EVERY]
    scene, size = start(asked.folder, trained, asked.points, asked.seed)
    fit, begun = Fit(scene, size, asked.steps, asked.seed), time.monotonic()
    for number in range(asked.steps):
        if number % 250 == 0:
            _tell(number, scene, held, begun)
        place = int(generator(asked.seed, "shot", number).integers(len(trained)))
        fit.step(number, trained[place])
        if time.monotonic() - begun > asked.seconds:
            log.info("out of time at step %d", number)
            break
    _tell(asked.steps, scene, held, begun)
    log.info("on the photographs it was fitted to: %s", score(scene, trained[::4]))


def _tell(number: int, scene: Scene, held: list[Shot], begun: float) -> None:
    found = score(scene, held)
    log.info(
        "step %d: %d Gaussians, held-out PSNR %.2f dB, SSIM %.3f, %.0f s",
        number,
        len(scene.values["means"]),
        found["psnr"],
        found["ssim"],
        time.monotonic() - begun,
    )


if __name__ == "__main__":
    main()
