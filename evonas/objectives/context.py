"""Evaluation context of objectives: supernet, task, data and device, loaded lazily.

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
from evonas.data.loading.batches import calibration, decoded, first
from evonas.data.loading.shared_memory import shared_batches
from evonas.errors import UserError
from evonas.nn.count import count_head
from evonas.nn.initialise import initialise
from evonas.ops import native
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import LevelChannels, SupernetFamily, level_channels, levels_of
from evonas.supernets.elastic_head import is_elastic, own_head
from evonas.supernets.families import family_config
from evonas.supernets.resolution import head_size
from evonas.supernets.static_net import StaticNet, static_net
from evonas.supernets.step import Size
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import Task

# autocast dtype of each supported precision, with Lightning's names
_AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class EvaluationContext:
    """Supernet, task, validation batches and device of the objectives of one worker.

    Parts of identities (`data_manifest`, `weights_digest`, `task`) need neither a network nor images.

    Args:
        space: config of the space.
        network: config of the supernet's family, built with `space=`.
        task: config of the task.
        path: weights file of the supernet.
        batch_size: images per batch; part of every identity, since it affects the last bits of results.
        device: torch device.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        shared_dir: folder of decoded images shared by several processes; None keeps them in this process.

    Raises:
        UserError: precision is unknown.
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
        # the space is a separate entry of every identity
        self.network_config = family_config(network)
        self.path = Path(path)
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.precision = precision
        self.shared_dir = None if shared_dir is None else Path(shared_dir)
        self._latest: tuple[Genotype, StaticNet] | None = None
        self._calibration: tuple[int, list[Tensor]] = (0, [])
        # by image size, and by channels of the levels if the head depends on them
        self._head_costs: dict[tuple[Size, LevelChannels | None], tuple[int, int]] = {}

    @cached_property
    def space(self) -> Space:
        """The search space."""
        built: Space = build(self.space_config)
        return built

    @cached_property
    def task(self) -> Task:
        """The task; its data are read on first use."""
        built: Task = build(self._task_config)
        return built

    @cached_property
    def family(self) -> SupernetFamily:
        """The supernet's family: properties of subnets that need no network."""
        built: SupernetFamily = build(self.network_config, space=self.space)
        return built

    @cached_property
    def head(self) -> nn.Module:
        """The task's head on the backbone's levels; its weights are random until `supernet` loads them."""
        return self.task.head(self.family.levels)

    @cached_property
    def supernet(self) -> Supernet:
        """The supernet with loaded weights, in eval mode on the CPU; subnets are extracted from it."""
        supernet = Supernet(self.family, self.head, seed=None)
        supernet.load_state_dict(weights.load(self.path))
        return supernet.eval().requires_grad_(False)

    @cached_property
    def network(self) -> Supernet:
        """The supernet on the device, for running subnets with shared weights."""
        return self.supernet if self.device.type == "cpu" else copy.deepcopy(self.supernet).to(self.device)

    @cached_property
    def batches(self) -> Sequence[Mapping[str, Tensor]]:
        """The whole validation split in order, decoded once and kept on the device.

        With `shared_dir` all processes of the machine share the copy in host memory; each process has its own copy
        in device memory.
        """
        images = self.task.dataset("holdout")
        if self.shared_dir is None:
            found = list(decoded(images, self.batch_size))
        else:
            key = f"{images.manifest()}/{self.batch_size}"
            found = shared_batches(self.shared_dir, key, lambda: decoded(images, self.batch_size))
        return [{key: value.to(self.device) for key, value in batch.items()} for batch in found]

    def some(self, images: int | None) -> Iterable[Mapping[str, Tensor]]:
        """Batches of the first `images` validation images in `loading.batches.order`; None for the whole split.

        Raises:
            UserError: images is below 1.
        """
        return self.batches if images is None else first(self.batches, images, self.batch_size)

    @cached_property
    def data_manifest(self) -> str:
        """Manifest (sha256) of the validation split."""
        return str(self.task.dataset("holdout").manifest())

    @property
    def num_images(self) -> int:
        """Number of images of the validation split; reads lists, but no image."""
        return len(self.task.dataset("holdout"))

    @cached_property
    def weights_digest(self) -> str:
        """The sha256 of the weights file.

        Raises:
            UserError: the file does not exist.
        """
        if not self.path.exists():
            raise UserError(
                f"There are no supernet weights at {self.path}.", "Train them with stage=supernet."
            )
        return files.sha256(self.path)

    @cached_property
    def layer_names(self) -> frozenset[str]:
        """Names of the modules of subnets: of the largest, the smallest and some others, since choices may differ."""
        drawn = generator(0, "layer_names")
        points = [self.space.largest(), self.space.smallest(), *(self.space.sample(drawn) for _ in range(8))]
        nets = (static_net(self.family, self.head, point, seed=None) for point in dict.fromkeys(points))
        return frozenset(name for net in nets for name, _ in net.named_modules() if name)

    def head_params(self, genotype: Genotype) -> int:
        """Number of parameters of a genotype's head, which most heads have in common for all."""
        return self._head_cost(self.input_size, genotype)[0]

    def head_macs(self, size: Size, genotype: Genotype) -> int:
        """Multiply-adds of a genotype's head for one image of `size` (height, width), counted on the meta device."""
        return self._head_cost(size, genotype)[1]

    def _head_cost(self, size: Size, genotype: Genotype) -> tuple[int, int]:
        channels = level_channels(self.family, genotype)
        key = size, channels if is_elastic(self.head) else None
        if key not in self._head_costs:
            levels = levels_of(self.family, genotype)
            self._head_costs[key] = count_head(own_head(self.head, channels), levels, *size)
        return self._head_costs[key]

    def head_size(self, genotype: Genotype) -> Size:
        """The image size (height, width) that the head's maps belong to behind a genotype's backbone."""
        return head_size(self.head, self.input_size, self.family.input_size(genotype, self.input_size))

    @property
    def kernels(self) -> dict[str, str]:
        """Version of the compiled kernels, as part of identities; empty if they are not used."""
        version = native.version() if self.device.type == "cpu" else None
        return {"kernels": version} if version else {}

    @property
    def scoring_config(self) -> dict[str, Any]:
        """The task's evaluation settings, such as crops and flip augmentation, as JSON data."""
        return {key: value for key, value in self._task_config.items() if key not in ("data", "head")}

    @property
    def head_config(self) -> dict[str, Any]:
        """The config of the task's head, as JSON data."""
        return dict(self._task_config.get("head") or {})

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the task's images in pixels."""
        return self.task.input_size

    def subnet(self, genotype: Genotype) -> StaticNet:
        """The extracted subnet with inherited weights, in eval mode on the device; the latest is cached."""
        if self._latest is None or self._latest[0] != genotype:
            subnet = extract(self.supernet, genotype).to(self.device).eval().requires_grad_(False)
            self._latest = genotype, subnet
        return self._latest[1]

    def untrained(self, genotype: Genotype, seed: int) -> StaticNet:
        """The genotype's network on the device; backbone and head have random weights drawn from the seed."""
        # `head` may contain loaded weights, so it is initialised as well
        net = static_net(self.family, self.head, genotype, seed=None)
        initialise(net, seed)
        return net.to(self.device)

    def calibration(self, number: int) -> Sequence[Tensor]:
        """Batches of the first `number` calibration images of the training split, on the device."""
        if self._calibration[0] != number:
            images = calibration(self.task.dataset("train"), number, self.batch_size)
            self._calibration = number, [image.to(self.device) for image in images]
        return self._calibration[1]

    @cached_property
    def calibration_manifest(self) -> str:
        """Manifest (sha256) of the training split."""
        return str(self.task.dataset("train").manifest())

    def autocast(self) -> torch.autocast:
        """Autocast context of the precision; disabled in full precision."""
        dtype = _AUTOCAST[self.precision]
        return torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None)
