"""The context: what objectives measure with, each part made when first needed.

Legend: B batch, C channels, H W space.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evonas import files, weights
from evonas.config import build
from evonas.data.loading import holdout
from evonas.data.loading.calibration import calibration
from evonas.data.loading.shared_memory import shared_batches
from evonas.errors import UserError
from evonas.nn.count import count_head
from evonas.nn.initialise import initialise
from evonas.ops import native
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Size, SupernetFamily
from evonas.supernets.extract import StaticNet, extract, static_net
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Task

# the reduced precisions of Lightning's vocabulary; anything else that is not full precision is refused
_AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class EvaluationContext:
    """Supernet, task, holdout batches and device for the objectives of one worker.

    Facts that identities need (`data_manifest`, `weights_digest`, `task`) cost no network and no image.

    Args:
        space: config of the space.
        network: config of the supernet's family, which gets `space=`.
        task: config of the task.
        path: the supernet's weights.
        batch_size: images at a time; it changes the last bits of results, so it is part of every identity.
        device: torch's name of a device.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        shared_dir: folder for decoded images that several processes share, or None to keep them here.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        network: Mapping[str, Any],
        task: Mapping[str, Any],
        path: str | Path,
        batch_size: int = 8,
        device: str = "cpu",
        precision: str = "32-true",
        shared_dir: str | Path | None = None,
    ) -> None:
        if precision not in _AUTOCAST:
            known = ", ".join(_AUTOCAST)
            raise UserError(
                f"Objectives cannot measure in precision '{precision}'.", f"Choose among {known}."
            )
        self.space_config, self._task_config = space, task
        # a network's config may repeat the space, which has a place of its own in every identity
        self.network_config = {key: value for key, value in network.items() if key != "space"}
        self.path = Path(path)
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.precision = precision
        self.shared_dir = None if shared_dir is None else Path(shared_dir)
        self._latest: tuple[Genotype, StaticNet] | None = None
        self._calibration: tuple[int, list[Tensor]] = (0, [])
        self._head_macs: dict[Size, int] = {}

    @cached_property
    def space(self) -> Space:
        """All genotypes."""
        built: Space = build(self.space_config)
        return built

    @cached_property
    def task(self) -> Task:
        """The task; it reads no data before it is asked for some."""
        built: Task = build(self._task_config)
        return built

    @cached_property
    def family(self) -> SupernetFamily:
        """The supernet's family: all facts about subnets that need no network."""
        built: SupernetFamily = build(self.network_config, space=self.space)
        return built

    @cached_property
    def head(self) -> nn.Module:
        """The task's head on the backbone's levels; random until `supernet` loads it."""
        return self.task.head(self.family.levels)

    @cached_property
    def supernet(self) -> Supernet:
        """The supernet with its weights, in eval mode on the CPU, where subnets are extracted."""
        supernet = Supernet(self.family, self.head, seed=None)
        supernet.load_state_dict(weights.load(self.path))
        return supernet.eval().requires_grad_(False)

    @cached_property
    def network(self) -> Supernet:
        """The supernet on the device, where subnets that share their weights are run."""
        return self.supernet if self.device.type == "cpu" else copy.deepcopy(self.supernet).to(self.device)

    @cached_property
    def batches(self) -> Sequence[Mapping[str, Tensor]]:
        """The whole holdout split in order, decoded once and kept on the device.

        With `shared_dir` the CPU's copy is that of all processes of this machine. A device's memory is
        not shared: each process keeps a copy of its own there.
        """
        images = self.task.dataset("holdout")
        if self.shared_dir is None:
            decoded = list(holdout.decoded(images, self.batch_size))
        else:
            key = f"{images.manifest()}/{self.batch_size}"
            decoded = shared_batches(self.shared_dir, key, lambda: holdout.decoded(images, self.batch_size))
        return [{key: value.to(self.device) for key, value in batch.items()} for batch in decoded]

    def some(self, images: int | None) -> Iterable[Mapping[str, Tensor]]:
        """Batches of the first so many holdout images in `holdout.order`; None is the whole split as it lies.

        Raises:
            UserError: for less than one image.
        """
        return self.batches if images is None else holdout.first(self.batches, images, self.batch_size)

    @cached_property
    def data_manifest(self) -> str:
        """The sha256 of what defines the holdout split."""
        return str(self.task.dataset("holdout").manifest())

    @property
    def num_images(self) -> int:
        """How many images the holdout split has; lists are read, but no image."""
        return len(self.task.dataset("holdout"))

    @cached_property
    def weights_digest(self) -> str:
        """The sha256 of the weights file."""
        if not self.path.exists():
            raise UserError(
                f"There are no supernet weights at {self.path}.", "Make them with stage=supernet."
            )
        return files.sha256(self.path)

    @cached_property
    def head_params(self) -> int:
        """Trainable numbers of the head, the same for every subnet."""
        return sum(parameter.numel() for parameter in self.head.parameters())

    def head_macs(self, size: Size) -> int:
        """Multiply-adds of the head for one image that the backbone reads at `size`, counted without memory."""
        if size not in self._head_macs:
            self._head_macs[size] = count_head(self.head, self.family.levels, *size)[1]
        return self._head_macs[size]

    @property
    def kernels(self) -> dict[str, str]:
        """Which compiled kernels measurements go through, as part of their identity; or nothing."""
        version = native.version() if self.device.type == "cpu" else None
        return {"kernels": version} if version else {}

    @property
    def scoring_config(self) -> dict[str, Any]:
        """The task's own settings, such as crops and flip tests, as plain data."""
        return {key: value for key, value in self._task_config.items() if key not in ("data", "head")}

    @property
    def head_config(self) -> dict[str, Any]:
        """How the task's head is configured, as plain data."""
        return dict(self._task_config.get("head") or {})

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of one image, in pixels."""
        return self.task.input_size

    def subnet(self, genotype: Genotype) -> StaticNet:
        """The genotype's network with inherited weights, in eval mode on the device; the last is kept."""
        if self._latest is None or self._latest[0] != genotype:
            subnet = extract(self.supernet, genotype).to(self.device).eval().requires_grad_(False)
            self._latest = genotype, subnet
        return self._latest[1]

    def untrained(self, genotype: Genotype, seed: int) -> StaticNet:
        """The genotype's network on the device, backbone and head with random weights drawn from the seed."""
        # the context's head may have been loaded with trained weights meanwhile, so it is drawn anew as well
        net = static_net(self.family, self.head, genotype, seed=None)
        initialise(net, seed)
        return net.to(self.device)

    def calibration(self, number: int) -> Sequence[Tensor]:
        """Batches of the same `number` training images at every call, on the device."""
        if self._calibration[0] != number:
            images = calibration(self.task.dataset("train"), number, self.batch_size)
            self._calibration = number, [image.to(self.device) for image in images]
        return self._calibration[1]

    @cached_property
    def calibration_manifest(self) -> str:
        """The sha256 of what defines the training split."""
        return str(self.task.dataset("train").manifest())

    def autocast(self) -> torch.autocast:
        """The precision as a context; it does nothing in full precision."""
        dtype = _AUTOCAST[self.precision]
        return torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None)
