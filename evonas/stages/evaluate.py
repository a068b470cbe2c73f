"""stage=evaluate: the only reader of the test split."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import default_collate

from evonas import files
from evonas.metric import metric_of, readable
from evonas.nn.count import count_costs
from evonas.stages.base import Context
from evonas.stages.build import factory, teacher_checkpoint
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.networks import selected
from evonas.stages.networks.initial_weights import load_start, started
from evonas.stages.training.bn_calibration import renewal
from evonas.tasks.base import Task, predict
from evonas.track.console import print_table
from evonas.track.progress import Progress
from evonas.train import validation_panel

TEST = "evaluate/test.json"
NUM_PICTURES = 3

Metrics = dict[str, float | None]


class Evaluate:
    """Scores every chosen network on the test split, beside a baseline and the teacher."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write evaluate/test.json and pictures of three test images."""
        nets, path = selected.chosen(context.run), context.run.path(TEST)
        test = _Test(context)
        with Progress("Test", len(nets) + 2, "predictor") as progress:
            result = test.header()
            progress.advance()
            result["teacher"] = test.teacher()
            progress.advance()
            result["nets"] = [_advanced(progress, test.net(net)) for net in nets]
        result["pictures"] = test.pictures.entries
        files.write_json(path, result)
        _show(result)
        return f"{path}\nNext: {context.run.command('report')}"


class _Test:
    """The test split, and everything that is scored on it."""

    def __init__(self, context: Context) -> None:
        self.context, self.run = context, context.run
        self.task = context.setup.task
        self.supernet = load_start(context)
        self.renewal = renewal(context, self.task)
        self.device = factory.devices(context.cfg).torch_device
        self.batch_size = eval_batch_size(context.setup)
        self.pictures = _Pictures(self.task, context.run.path(TEST).with_name("pictures"), self.device)

    def header(self) -> dict[str, Any]:
        """What the numbers are, and a predictor that looks at no image."""
        name, metrics = self.task.baseline()
        images: Any = self.task.dataset("test")
        baseline = {"name": name, "metrics": finite(metrics)}
        about = {"split": "test", "error_name": self.task.error_name, "num_images": len(images)}
        return {**about, "baseline": baseline}

    def teacher(self) -> Metrics | None:
        """The teacher's metrics, or None in a run without one."""
        if not self.context.cfg.distill or not teacher_checkpoint.has_answers(self.run):
            return None
        net = factory.load_teacher(self.context)
        self.pictures.add("teacher", net.to(self.device))
        return self._score(net)

    def net(self, net: selected.Net) -> dict[str, Any]:
        """One network with inherited weights, and with those that training alone gave it."""
        static = started(self.run, self.supernet, net, self.renewal)
        costs = count_costs(static, self.task.input_size)
        found: dict[str, Any] = {"inherited": self._score(static), "retrained": None, "scratch": None}
        # retrained comes last, so that the pictures are drawn with it
        for kind, path in sorted(selected.trained(self.run, net), reverse=True):
            factory.load_into(static, path)
            found[kind] = self._score(static)
        self.pictures.add(net.name, static)
        return {"name": net.name, "genotype": net.genotype, **costs, **found}

    def _score(self, net: nn.Module) -> Metrics:
        on_device = net.eval().to(self.device)
        return finite(validation_panel.score(on_device, self.task, "test", self.batch_size, self.device))


class _Pictures:
    """The same few test images for everyone who predicts."""

    def __init__(self, task: Task, folder: Path, device: torch.device) -> None:
        self.task, self.folder, self.device = task, folder, device
        dataset: Any = task.dataset("test")
        places = np.unique(np.linspace(0, len(dataset) - 1, NUM_PICTURES).astype(int)).tolist()
        self.batch: Mapping[str, Tensor] = default_collate([dataset[place] for place in places])
        self.entries: list[dict[str, Any]] = [{"teacher": None, "nets": {}} for _ in places]

    @torch.inference_mode()
    def add(self, name: str, net: nn.Module) -> None:
        """Draw what a network predicts; the first call also draws the inputs and the truth."""
        output = predict(self.task, net.eval(), self.batch["image"].to(self.device)).cpu()
        for place, drawn in enumerate(self.task.pictures(output, self.batch)):
            entry = self.entries[place]
            for kind in ("image", "truth"):
                entry.setdefault(kind, self._save(f"{place}-{kind}.png", drawn[kind]))
            file = self._save(f"{place}-{name}.png", drawn["prediction"])
            if name == "teacher":
                entry["teacher"] = file
            else:
                entry["nets"][name] = file

    def _save(self, name: str, picture: np.ndarray) -> str:
        image = Image.fromarray(picture)
        files.write_atomic(self.folder / name, lambda path: image.save(path, format="PNG"))
        return name


def finite(metrics: Mapping[str, float]) -> Metrics:
    """Metrics as JSON can hold them: what has no value on this split becomes None."""
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def _advanced(progress: Progress, row: dict[str, Any]) -> dict[str, Any]:
    progress.advance()
    return row


def _show(result: Mapping[str, Any]) -> None:
    error = result["error_name"]
    metric = metric_of(error, result["baseline"]["metrics"])
    kinds = ("inherited", "retrained", "scratch")
    rows: list[Sequence[str]] = [
        [result["baseline"]["name"], _text(result["baseline"]["metrics"], error), "", ""]
    ]
    if result["teacher"]:
        rows.append(["teacher", _text(result["teacher"], error), "", ""])
    rows += [[net["name"], *(_text(net[kind], error) for kind in kinds)] for net in result["nets"]]
    title = f"{metric.label} on the test split, {result['num_images']} images; {metric.direction}"
    print_table(title, ["network", *kinds], rows)


def _text(metrics: Mapping[str, float | None] | None, error: str) -> str:
    value = readable(error, metrics)[0][1] if metrics else None
    return "-" if value is None else f"{value:.4f}"
