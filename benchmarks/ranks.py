"""Two ranks against one with the same images: the largest difference of weights, and what was exchanged.

For k subnets a step, a small supernet learns 20 steps on one process and then on two (gloo, CPU),
each with half of every batch, with batch norm over both and the published learning rate. Prints a
Markdown table. AdamW turns the rounding of gradients that ought to be zero into steps of full length. Biases
of patch merges are such, because a batch norm takes them off again (also through a ReLU that does not
switch): in float32 they part by up to learning rate x steps, and are shown apart. float64 shows that
nothing else differs.

    python benchmarks/ranks.py
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from evonas.nn.heads import DenseHead
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet
from evonas.train.fit import Devices, fit
from evonas.train.loop.data import TrainingData
from evonas.train.module import SupernetModule
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.sampling.step import CurriculumStep, StepSampler

STEPS, BATCH, SEED = 20, 8, 0
SUBNETS = (1, 2, 4)
# biases that a batch norm after them takes off; the gradient of some is zero but for rounding
IDLE = ("leave.bias", "halve.bias")
# statistics of batch norm have as many elements as a layer has channels
SMALL = 1000


class Blobs(Dataset[dict[str, Tensor]]):
    """Random images whose smoothed brightness is the target."""

    def __len__(self) -> int:
        return 2 * BATCH

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index))
        return {"image": image, "target": F.avg_pool2d(image.mean(0, keepdim=True), 3, 1, 1)}


class Brightness:
    """The part of a task that a training uses; its loss is a mean over images."""

    def loss(self, output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean squared error."""
        return F.mse_loss(output, batch["target"])


def supernet() -> Supernet:
    """A supernet of some 50 000 weights."""
    space = evonet_space(mlp_ratio=[1, 2], d_state=[4, 8], expand=[1, 2], depths=[1, 1, 2, 1])
    torch.manual_seed(SEED)
    family = EvoNet(space, dims=[8, 16, 16, 16], heads=[2, 2, 2, 2], stem_dim=8)
    return Supernet(family, DenseHead(family.levels, width=8, out_channels=1))


@contextmanager
def counted() -> Iterator[Tensor]:
    """All-reduces of the first rank: [of gradients, of anything smaller], seen from outside its process."""
    counts = torch.zeros(2, dtype=torch.int64).share_memory_()
    real = dist.all_reduce

    def counting(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if dist.get_rank() == 0:
            counts[0 if tensor.numel() > SMALL else 1] += 1
        return real(tensor, *args, **kwargs)

    dist.all_reduce = counting
    try:
        yield counts
    finally:
        dist.all_reduce = real


def trained(devices: int, num_subnets: int, dtype: torch.dtype) -> Supernet:
    """The supernet after 20 steps on some processes."""
    torch.set_default_dtype(dtype)
    net = supernet()
    sampler = StepSampler(net.space, SEED, CurriculumStep("all", num_subnets=num_subnets))
    rates = Schedule(STEPS, warmup_steps=2, peak=5e-5, start=5e-7, minimum=5e-6)
    task: Any = Brightness()
    data = TrainingData(Blobs(), BATCH, SEED)
    module = SupernetModule(net, sampler, task, rates, SEED)
    fit(module, data, STEPS // data.steps_per_epoch, Devices(devices=devices, sync_batchnorm=True))
    return net


def difference(first: Supernet, second: Supernet, idle: bool) -> float:
    """The largest difference of two weights of the same name, of idle biases or of all others."""
    theirs = dict(second.named_parameters())
    mine = first.named_parameters()
    chosen = [(weight, theirs[name]) for name, weight in mine if name.endswith(IDLE) == idle]
    return max(float((one - other).detach().abs().max()) for one, other in chosen)


def row(num_subnets: int, dtype: torch.dtype) -> str:
    """One line of the table."""
    one = trained(1, num_subnets, dtype)
    with counted() as counts:
        two = trained(2, num_subnets, dtype)
    per_step = [f"{int(count) / STEPS:g}" for count in counts]
    name = str(dtype).removeprefix("torch.")
    found = [f"{difference(one, two, idle):.1e}" for idle in (False, True)]
    return " | ".join([f"| {num_subnets}", name, *found, *per_step]) + " |"


def main() -> None:
    """Print the table line by line."""
    torch.set_num_threads(1)
    print(f"{STEPS} steps, {BATCH} images a batch, torch {torch.__version__}, one thread a process.")
    print("| k | dtype | largest difference | of idle biases | gradient all-reduces a step | smaller ones |")
    print("|---|---|---|---|---|---|")
    for dtype in (torch.float64, torch.float32):
        for num_subnets in SUBNETS:
            print(row(num_subnets, dtype), flush=True)


if __name__ == "__main__":
    main()
