"""The rasterizers beside one another and beside gsplat's: differences, slopes and seconds.

gsplat's own torch code projects (`gsplat.cuda._torch_impl`), and its formula for the image, written plainly
for every pixel and Gaussian, composes; both in double precision. Speed is the process's own time, forward and
backward, on the Gaussians of two views of a scene: one a pixel, as feed-forward networks place them.

    python benchmarks/splat.py [--height 64] [--width 96] [--repeats 5]
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from evonas.ops import backend, splat
from evonas.ops.splat.projection import BLUR, LEAST_ALPHA
from evonas.ops.splat.reference import MOST_ALPHA

log = logging.getLogger("splat")

FOCAL = 0.83
FEW = 150


def scene(height: int, width: int, number: int | None = None) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gaussians behind the pixels of two views, in blocks of equal depth; view and intrinsics of a third."""
    drawn = torch.Generator().manual_seed(0)
    focal = FOCAL * width
    rows, columns = (torch.arange(side) + 0.5 - side / 2 for side in (height, width))
    parts = []
    for aside in (-0.4, 0.4):
        depth = 3 + 8 * torch.rand(-(-height // 8), -(-width // 8), generator=drawn)
        depth = depth.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width]
        across, down = columns[None] / focal * depth + aside, rows[:, None] / focal * depth
        parts.append(torch.stack([across, down, depth], -1).flatten(0, 1))
    means = torch.cat(parts)
    if number is not None:
        means = means[torch.randperm(len(means), generator=drawn)[:number]]
    count = len(means)
    scales = means[:, 2:] / focal * (0.2 + 0.8 * torch.rand(count, 3, generator=drawn))
    opacities = 0.5 + 0.5 * torch.rand(count, generator=drawn)
    shape = [means, torch.randn(count, 4, generator=drawn), scales, opacities]
    lens = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return [*shape, torch.rand(count, 3, generator=drawn)], torch.eye(4), lens


def published(shape: list[Tensor], view: Tensor, lens: Tensor, height: int, width: int) -> Tensor:
    """gsplat's projection, and front to back what its kernels compose; H W 4."""
    from gsplat.cuda import _torch_impl as gsplat

    means, quats, scales, opacities, colours = shape
    covariances, _ = gsplat._quat_scale_to_covar_preci(quats, scales, True, False, False)
    found = gsplat._fully_fused_projection(
        means, covariances, view[None], lens[None], width, height, eps2d=BLUR
    )
    centres, depths, conics = found[1][0], found[2][0], found[3][0]
    order = depths.argsort(stable=True)
    rows, columns = (torch.arange(side, dtype=means.dtype) + 0.5 for side in (height, width))
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    x, y = (places[:, :, None] - centres[order]).unbind(-1)
    xx, xy, yy = conics[order].unbind(-1)
    alpha = opacities[order] * torch.exp(-(xx * x * x + yy * y * y) / 2 - xy * x * y)
    alpha = torch.where(alpha >= LEAST_ALPHA, alpha.clamp(max=MOST_ALPHA), 0)
    through = (1 - alpha).cumprod(-1)
    light = torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], -1)
    image = (light * alpha) @ colours[order]
    return torch.cat([image, 1 - through[..., -1:]], -1)


def sloped(draw: Callable[[list[Tensor]], Tensor], shape: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """An image and the slopes of the sum of its squares."""
    inputs = [each.clone().requires_grad_() for each in shape]
    image = draw(inputs)
    return image.detach(), list(torch.autograd.grad(image.square().sum(), inputs))


def compare() -> None:
    """Differences from what gsplat says, in double precision, on few Gaussians."""
    shape, view, lens = scene(32, 48, FEW)
    shape, view, lens = [each.double() for each in shape], view.double(), lens.double()
    expected, slopes = sloped(lambda given: published(given, view, lens, 32, 48), shape)
    for name in splat.IMPLEMENTATIONS:
        with backend.use(name):
            image, own = sloped(lambda given: splat.splat(*given, view, lens, 32, 48), shape)
        worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(own, slopes, strict=True))
        difference = float((image - expected).abs().max())
        log.info(
            "%-9s image differs from gsplat's by %.1e, slopes by %.1e of the largest", name, difference, worst
        )


def race(height: int, width: int, repeats: int) -> None:
    """Milliseconds a view, forward and with the backward pass."""
    shape, view, lens = scene(height, width)
    log.info("%d Gaussians, %d x %d pixels", len(shape[0]), height, width)
    for name in ("paired", "tiled"):
        with backend.use(name):
            rows = [_timed(shape, view, lens, height, width) for _ in range(repeats + 1)][1:]
        there, both = (1e3 * statistics.median(column) for column in zip(*rows, strict=True))
        log.info("%-9s %6.1f ms forward, %6.1f ms forward and backward", name, there, both)


def _timed(shape: list[Tensor], view: Tensor, lens: Tensor, height: int, width: int) -> tuple[float, float]:
    inputs = [each.clone().requires_grad_() for each in shape]
    begun = time.process_time()
    image = splat.splat(*inputs, view, lens, height, width)
    there = time.process_time() - begun
    image.square().sum().backward()
    return there, time.process_time() - begun


def main() -> None:
    """Print what was found."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser()
    for name, value in (("height", 64), ("width", 96), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    compare()
    race(asked.height, asked.width, asked.repeats)


if __name__ == "__main__":
    main()
