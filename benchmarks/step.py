"""Where the time of one training step goes: images a second, peak memory, and shares of the parts.

The step is the last one of the published curriculum: the teacher once, four random subnets of the whole
space, one update. Weights and images are random, which changes no shape and no work.

    python benchmarks/step.py +experiment=evonas_kitti train.supernet.batch_size=4 hardware=gpu
    python benchmarks/step.py +task=synthetic
"""

import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn

from evonas import schema
from evonas.cli import conf_dir
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.training.recipe import read_recipe
from evonas.supernets.evonet.mixers import Attention, SSDMixer
from evonas.train.module import SupernetModule
from evonas.train.optim.lr_schedule import Duration
from evonas.train.recipe import schedule

WARMUP, REPEATS = 2, 5
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Stopwatch:
    """Seconds by name of part; on a GPU the queue is drained at both ends of every part.

    Draining costs overlap, so shares are taken in passes of their own, apart from the rate.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, defaultdict[str, float](float)
        self._begun: dict[str, float] = {}

    def start(self, name: str) -> None:
        """Begin a part."""
        self._begun[name] = self.now()

    def stop(self, name: str) -> None:
        """End a part that was begun; otherwise nothing."""
        if name in self._begun:
            self.seconds[name] += self.now() - self._begun.pop(name)

    def now(self) -> float:
        """The monotonic clock, after the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Time the block."""
        self.start(name)
        yield
        self.stop(name)

    def watch(self, name: str, modules: Sequence[nn.Module]) -> list[Any]:
        """Time forward and backward of modules that do not contain one another."""
        hooks: list[Any] = []
        for module in modules:
            hooks.append(module.register_forward_pre_hook(lambda *_: self.start(name)))
            hooks.append(module.register_forward_hook(lambda *_: self.stop(name)))
            hooks.append(module.register_full_backward_pre_hook(lambda *_: self.start(name)))
            hooks.append(module.register_full_backward_hook(lambda *_: self.stop(name)))
        return hooks

    def watch_head(self, name: str, head: nn.Module) -> list[Any]:
        """Time forward and backward of a head, whose input is a list, which module hooks cannot see.

        The coarsest level enters first, so its gradient is the head's last.
        """

        def enter(_: nn.Module, inputs: tuple[list[Tensor]]) -> tuple[list[Tensor]]:
            own = [level.view_as(level) for level in inputs[0]]
            own[-1].register_hook(lambda _: self.stop(name))
            self.start(name)
            return (own,)

        def leave(_: nn.Module, __: Any, output: Tensor) -> None:
            self.stop(name)
            output.register_hook(lambda _: self.start(name))

        return [head.register_forward_pre_hook(enter), head.register_forward_hook(leave)]


class Step:
    """One optimizer step of a supernet outside of any trainer."""

    def __init__(self, cfg: DictConfig) -> None:
        setup = Setup(cfg)
        self.task = setup.task
        self.device = factory.devices(cfg).torch_device
        self.net = factory.supernet(setup)
        self.recipe = read_recipe(cfg, "supernet")
        self.curriculum = factory.curriculum(cfg, self.net.space)
        self.teacher: Any = factory.teacher(setup) if cfg.distill else None
        self.precision = PRECISIONS[str(cfg.hardware.precision)]
        self.module = self._module(cfg).to(self.device)
        self.module.train()
        self.optimizer: Any = self.module.configure_optimizers()
        self.batch = self._batch()

    def run(self, index: int, watch: Stopwatch | None = None) -> None:
        """The whole step; with a stopwatch, its outer parts are timed too."""
        watch = watch or Stopwatch(torch.device("cpu"))
        self.optimizer.zero_grad()
        with self._autocast(), watch.measured("teacher"):
            taught = self.module._teacher_outputs(self.batch)
        passes = self.module.passes(index)
        for one in passes:
            with self._autocast():
                loss = self.module.loss(one(self.batch["image"]), self.batch, taught) / len(passes)
            loss.backward()
        with watch.measured("optimizer"):
            self.optimizer.step()

    def parts(self) -> dict[str, list[nn.Module]]:
        """The watched modules by name; none of them contains another."""
        mixers = [each for each in self.net.backbone.modules() if isinstance(each, SSDMixer | Attention)]
        found: dict[str, list[nn.Module]] = {"mixers": mixers}
        if self.module.distiller is not None:
            found["projectors"] = list(self.module.distiller.children())
        return found

    def _module(self, cfg: DictConfig) -> SupernetModule:
        last = self.curriculum.steps[-1]
        rates = schedule(self.recipe, Duration(1, None, 0, 0), steps_per_epoch=1000)
        taught: dict[str, Any] = {}
        if self.teacher is not None:
            levels = self.teacher.body.levels
            made = factory.distiller(cfg, self.net.backbone.levels, levels, "step")
            taught = {"teacher": self.teacher.to(self.device), "distiller": made}
        return SupernetModule(self.net, self.curriculum.sampler(last), self.task, rates, 0, **taught)

    def _batch(self) -> dict[str, Tensor]:
        height, width = self.task.input_size
        size = (self.recipe.batch_size, 1, height, width)
        depth = torch.rand(size) * 10 + 1
        image = torch.randn(self.recipe.batch_size, 3, height, width)
        batch = {"image": image, "depth": depth, "valid": depth > 0}
        return {name: value.to(self.device) for name, value in batch.items()}

    def _autocast(self) -> torch.autocast:
        on = self.precision is not None
        return torch.autocast(self.device.type, self.precision or torch.bfloat16, enabled=on)


def main(*overrides: str) -> None:
    """Time the step that the overrides describe and print a Markdown table."""
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides))
    step = Step(cfg)
    for index in range(WARMUP):
        step.run(index)
    seconds = [_timed(step, index) for index in range(REPEATS)]
    shares, whole = _shares(step)
    print(_table(step, seconds, shares, whole))


def _timed(step: Step, index: int) -> float:
    clock = Stopwatch(step.device)
    begin = clock.now()
    step.run(index)
    return clock.now() - begin


def _shares(step: Step) -> tuple[dict[str, float], float]:
    clock = Stopwatch(step.device)
    hooks = [hook for name, modules in step.parts().items() for hook in clock.watch(name, modules)]
    hooks += clock.watch_head("decoder", step.net.head)
    begin = clock.now()
    for index in range(REPEATS):
        step.run(index, clock)
    whole = clock.now() - begin
    for hook in hooks:
        hook.remove()
    return dict(clock.seconds), whole


def _table(step: Step, seconds: Sequence[float], shares: dict[str, float], whole: float) -> str:
    images, middle = step.recipe.batch_size, statistics.median(seconds)
    height, width = step.task.input_size
    rest = whole - sum(shares.values())
    where = f"{_machine(step.device)}, torch {torch.__version__}"
    spread = f"{min(seconds):.3f}-{max(seconds):.3f}"
    lines = [
        f"{where}: {step.task.name}, {height} x {width}, batch {images}",
        "",
        "| what | value |",
        "|---|---|",
        f"| step, median of {len(seconds)} (spread) | {middle:.3f} s ({spread}) |",
        f"| images a second | {images / middle:.2f} |",
        f"| peak memory | {_memory(step.device)} |",
    ]
    lines += [f"| share of {name} | {100 * part / whole:.1f} % |" for name, part in shares.items()]
    return "\n".join([*lines, f"| share of the rest | {100 * rest / whole:.1f} % |"])


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the device"
    import resource

    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of the process"


if __name__ == "__main__":
    main(*sys.argv[1:])
