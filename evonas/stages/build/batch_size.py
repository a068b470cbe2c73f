"""The batch size of evaluations: the configured one, or as many images as fit into memory."""

import os
from contextlib import suppress

from omegaconf import DictConfig

from evonas.stages.build.engine import GPU, worker_count
from evonas.stages.build.setup import Setup

# of a worker's memory, for the tensors of one pass; the rest is for weights, images and shared prefixes
SHARE = 0.25
# larger batches are no faster, and metrics are computed on a whole batch
MOST = 256


def eval_batch_size(setup: Setup, hardware: DictConfig | None = None) -> int:
    """`hardware.eval_batch_size`; where it is null, a power of two that the largest subnet's tensors fit.

    Memory is what the machine or the GPU has, not what is free, so that the answer stays the same when a
    search is resumed: measured numbers belong to their batch size.

    Args:
        setup: of the task and the networks.
        hardware: in place of the config's own.
    """
    hardware = setup.cfg.hardware if hardware is None else hardware
    if hardware.eval_batch_size is not None:
        return int(hardware.eval_batch_size)
    return fitting(_image_bytes(setup), worker_bytes(hardware))


def _image_bytes(setup: Setup) -> int:
    """Bytes of the tensors of the largest subnet's forward pass on one image."""
    # searches of tables need no network, and start without torch
    import torch

    from evonas.nn.memory import peak_bytes
    from evonas.stages.build import factory

    size, largest = setup.task.input_size, setup.space.largest()
    net = factory.largest_on_meta(setup)
    if net is not None:
        shape = torch.zeros(1, 3, *size, device="meta")
        # a network that depends on values cannot run there; any other error is raised again below
        with suppress(Exception):
            return peak_bytes(lambda: net(shape))
    supernet, image = factory.supernet(setup).eval(), torch.zeros(1, 3, *size)
    return peak_bytes(lambda: supernet(image, largest))


def fitting(image_bytes: int, memory: float) -> int:
    """The largest power of two of images whose tensors fit into `SHARE` of the memory, at most `MOST`."""
    number = int(SHARE * memory / max(image_bytes, 1))
    return min(1 << max(number, 1).bit_length() - 1, MOST)


def worker_bytes(hardware: DictConfig) -> float:
    """Memory of a worker: `hardware.memory_gb`, or its share of the GPU's or the machine's memory."""
    workers = max(worker_count(hardware), 1)
    if hardware.accelerator in GPU:
        import torch

        memory = float(torch.cuda.get_device_properties(0).total_memory)
        return memory / max(1, workers / hardware.devices)
    own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / workers
    return float(own if hardware.memory_gb is None else min(own, hardware.memory_gb * 2**30))
