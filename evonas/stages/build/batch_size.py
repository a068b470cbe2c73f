"""Images at a time on the holdout split: as many as were asked for, or as memory takes."""

import os
from contextlib import suppress

from omegaconf import DictConfig

from evonas.errors import UserError
from evonas.stages.build.engine import GPU, worker_count
from evonas.stages.build.setup import Setup

# of a worker's memory, for the tensors of one pass; the rest is for weights, images and shared beginnings
SHARE = 0.25
# more gain nothing, and metrics look at a whole batch at once
MOST = 256


def eval_batch_size(setup: Setup, hardware: DictConfig | None = None) -> int:
    """`hardware.eval_batch_size`; where it is null, a power of two that the largest subnet's tensors fit.

    Memory is what the machine or the GPU has, not what is free, so that the answer stays the same when a
    search is resumed: measured numbers belong to their batch size.

    Args:
        setup: says the task and the networks.
        hardware: in place of the config's own.

    Raises:
        UserError: the batch size is less than 1.
    """
    hardware = setup.cfg.hardware if hardware is None else hardware
    if hardware.eval_batch_size is not None:
        if hardware.eval_batch_size < 1:
            raise UserError(
                f"hardware.eval_batch_size is {hardware.eval_batch_size}; it must be at least 1.",
                "Try hardware.eval_batch_size=8, or null for as many as memory takes.",
            )
        return int(hardware.eval_batch_size)
    return fitting(_image_bytes(setup), worker_bytes(hardware))


def _image_bytes(setup: Setup) -> int:
    # searches of tables ask for no network, and start without torch
    import torch

    from evonas.nn.memory import peak_bytes
    from evonas.stages.build import factory

    size, largest = setup.task.input_size, setup.space.largest()
    net = factory.largest_on_meta(setup)
    if net is not None:
        shape = torch.zeros(1, 3, *size, device="meta")
        # a network that looks at values cannot be run there; whatever else is wrong is said below
        with suppress(Exception):
            return peak_bytes(lambda: net(shape))
    supernet, image = factory.supernet(setup).eval(), torch.zeros(1, 3, *size)
    return peak_bytes(lambda: supernet(image, largest))


def fitting(image_bytes: int, memory: float) -> int:
    """The largest power of two of images whose tensors take no more than their share of the memory."""
    number = int(SHARE * memory / max(image_bytes, 1))
    return min(1 << max(number, 1).bit_length() - 1, MOST)


def worker_bytes(hardware: DictConfig) -> float:
    """What a worker may have: `hardware.memory_gb`, or its part of the GPU's or the machine's memory."""
    workers = max(worker_count(hardware), 1)
    if hardware.accelerator in GPU:
        return _gpu_bytes() / max(1, workers / hardware.devices)
    own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / workers
    return float(own if hardware.memory_gb is None else min(own, hardware.memory_gb * 2**30))


def _gpu_bytes() -> float:
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory)
