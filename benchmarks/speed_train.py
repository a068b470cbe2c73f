"""Rows of the table of speed about training steps, on the demo's networks."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from paired import Act, Row, at_most, ratios
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from trials import composed

from evonas.nn.checkpointing import recomputing
from evonas.nn.initialise import initialise
from evonas.randomness import generator
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.supernets.evonet.block import Block
from evonas.supernets.evonet.space import StageChoice
from evonas.supernets.supernet import extract
from evonas.tasks.base import Batch, Task

# width, heads, images and tokens along a side: the second stage of nano, the third of the published network
BLOCKS = {"nano": (48, 4, 8, 16), "published": (256, 8, 1, 40)}
CHOICE = StageChoice(2.0, 32, 2.0, (True,))
NETWORKS = ("nano", "nano_cnn")
# height and width of the images, and how many
SIZES = ((64, 96, 16), (128, 160, 8))


def rows(repeats: int, is_small: bool) -> Iterator[Row]:
    """All rows; with `is_small` nothing is compiled."""
    for network in NETWORKS[:1] if is_small else NETWORKS:
        for height, width, images in SIZES[:1] if is_small else SIZES:
            own, static = _steps(network, height, width, images)
            name = (
                f"training step of a sampled subnet / static network, {network}, {images} x {height}x{width}"
            )
            yield at_most(name, ratios(own, static, repeats, calls=3), 1.05)
    own, _ = _steps("nano", 64, 96, 8)
    again = ratios(_recomputing(own), own, repeats, calls=3)
    yield Row("training step with blocks computed again / kept", again)
    kept = [_kept(_recomputing(own)) / _kept(own)]
    yield Row("numbers kept for gradients, blocks computed again / kept", kept)
    for name in [] if is_small else BLOCKS:
        yield from _compiled(name, repeats)


def _steps(network: str, height: int, width: int, images: int) -> tuple[Act, Act]:
    """The step of a sampled subnet, and that of the same network extracted."""
    words = (f"network={network}", f"data.height={height}", f"data.width={width}", f"data.train={images}")
    cfg: Any = composed("+task=synthetic", *words)
    task = Setup(cfg).task
    supernet = factory.supernet(Setup(cfg)).train()
    point = supernet.space.sample(generator(0, "speed"))
    batch = next(iter(torch.utils.data.DataLoader(task.dataset("train"), batch_size=images)))  # type: ignore[arg-type]
    return _step(supernet, task, batch, point), _step(extract(supernet, point).train(), task, batch)


def _step(net: nn.Module, task: Task, batch: Batch, *chosen: Any) -> Act:
    """One optimizer step of a network, or of a subnet of a supernet."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        task.loss(net(batch["image"], *chosen), batch).backward()
        optimizer.step()

    return step


def _recomputing(act: Act) -> Act:
    def again() -> None:
        with recomputing():
            act()

    return again


def _kept(act: Act) -> int:
    """How many numbers are put aside for gradients."""
    sizes: list[int] = []

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        act()
    return sum(sizes)


def _compiled(name: str, repeats: int) -> Iterator[Row]:
    """One block of the largest widths, forward and backward, as it is and by torch.compile."""
    width, heads, images, side = BLOCKS[name]
    block = Block(width, heads, CHOICE)
    initialise(block, 0)
    x = torch.randn(images, side, side, width, generator=torch.Generator().manual_seed(0))
    compiled: Any = torch.compile(block, dynamic=True)

    def act(of: Any) -> Act:
        return lambda: of(x.clone().requires_grad_()).square().mean().backward()

    begin = time.perf_counter()
    act(compiled)()
    yield Row(f"compiling one block, {name}", [time.perf_counter() - begin], unit=" s")
    yield Row(
        f"block, {name}, forward and backward: as it is / compiled",
        ratios(act(block), act(compiled), repeats),
    )
