"""stage=evaluate: the only reader of the test split."""

import logging
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
from evonas.report.analysis.baseline_gain import BASELINES
from evonas.report.analysis.verdicts import losing_to_trivial
from evonas.report.page.tables import shipped_rows
from evonas.stages.base import Context
from evonas.stages.baselines import network_costs, network_evaluator
from evonas.stages.build import factory, teacher_checkpoint
from evonas.stages.networks import selected
from evonas.stages.networks.baselines import baselines
from evonas.stages.networks.initial_weights import initial_network, load_initial_supernet
from evonas.stages.networks.shipped import Shipped, check_precisions
from evonas.stages.training.setup import EvaluationSetup
from evonas.tasks.base import Task, predict
from evonas.track.console import print_table
from evonas.track.progress import Progress

log = logging.getLogger(__name__)

TEST = "evaluate/test.json"
NUM_PICTURES = 3

Metrics = dict[str, float | None]


class Evaluate:
    """Scores every selected network on the test split, beside a baseline and the teacher.

    Args:
        precisions: `fp32`, `fp16`, `bf16`, `int8`: every network is measured once more as a runtime computes it in
            each of them, on the CPU; none for no such table.
        runtimes: names of runtimes for that, or `all`; none for the one of the config group `runtime`.

    Raises:
        UserError: a precision is unknown.
    """

    needs_task = True

    def __init__(self, precisions: Sequence[str] = (), runtimes: Sequence[str] = ()) -> None:
        check_precisions(precisions)
        self.precisions, self.runtimes = list(precisions), list(runtimes)

    def run(self, context: Context) -> str:
        """Write evaluate/test.json and pictures of three test images."""
        networks, path = selected.selected_networks(context.run), context.run.path(TEST)
        test = _Test(context)
        shipped = Shipped(test.setup, self.precisions, self.runtimes)
        with Progress("Test", len(networks) + 2, "predictor") as progress:
            result = test.baseline()
            progress.advance()
            result["teacher"], result["teacher_costs"] = test.teacher()
            progress.advance()
            result["baselines"] = test.baselines()
            result["nets"], rows = [], list[dict[str, Any]]()
            for each in networks:
                row, net = test.network(each)
                result["nets"].append(row)
                rows += shipped.rows(each.name, net)
                progress.advance()
        if rows:
            result["shipped"] = [
                {**row, "metrics": finite(row["metrics"])} if "metrics" in row else row for row in rows
            ]
        result["pictures"] = test.pictures.entries
        files.write_json(path, result)
        _show(result)
        return f"{path}\nNext: {context.run.command('report')}"


class _Test:
    """Scores predictors on the test split and draws what they predict."""

    def __init__(self, context: Context) -> None:
        self.setup = EvaluationSetup(context)
        context.data.check("test")
        self.task = self.setup.task
        self.supernet = load_initial_supernet(context)
        folder = context.run.path(TEST).with_name("pictures")
        self.pictures = _Pictures(self.task, folder, self.setup.devices.torch_device)

    def baseline(self) -> dict[str, Any]:
        """Facts about the split, and the metrics of a predictor that looks at no image."""
        name, metrics = self.task.baseline()
        images: Any = self.task.dataset("test")
        baseline = {"name": name, "metrics": finite(metrics)}
        about = {"split": "test", "error_name": self.task.error_name, "num_images": len(images)}
        return {**about, "baseline": baseline}

    def score(self, name: str, net: nn.Module) -> Metrics:
        """A network's metrics, with a warning if it has no score; `name` says which network it is."""
        metrics = finite(self.setup.score(net, "test"))
        if metrics[self.task.error_name] is None:
            log.warning("%s has no score: its outputs on the test split are not finite.", name)
        return metrics

    def teacher(self) -> tuple[Metrics | None, dict[str, Any] | None]:
        """The teacher's metrics and costs, or None in a run without one."""
        setup = self.setup
        if not setup.cfg.distill or not teacher_checkpoint.has_output(setup.run):
            return None, None
        net = factory.load_teacher(setup.context)
        self.pictures.add("teacher", net.to(setup.devices.torch_device))
        metrics = self.score("teacher", net)
        costs = network_costs(network_evaluator(setup.context), net, self.task.input_size)
        return metrics, {"params": net.num_params, "macs": costs["macs"], "objectives": costs["objectives"]}

    def baselines(self) -> list[dict[str, Any]]:
        """Every baseline that stage=baselines trained, after each of its trainings."""
        run = self.setup.run
        known = run.find(BASELINES)
        trained = {each["name"]: each for each in files.read_json(known).get("networks", [])} if known else {}
        rows = []
        for baseline in baselines(self.setup.context) if trained else ():
            result = trained.get(baseline.name, {})
            if any(result.get(key) != value for key, value in baseline.about.items()):
                # of an earlier list, or of a search that went on
                continue
            net, scores = baseline.build("test").net, {}
            for budget, training in result["trained"].items():
                path = run.need(f"baselines/{baseline.name}/{training['file']}", made_by="baselines")
                factory.load_into(net, path)
                scores[budget] = self.score(f"{baseline.name} ({budget})", net)
            costs = {key: result[key] for key in ("params", "macs", "objectives")}
            rows.append({"name": baseline.name, "kind": baseline.kind, **costs, "trained": scores})
        return rows

    def network(self, network: selected.SelectedNetwork) -> tuple[dict[str, Any], nn.Module]:
        """One network's metrics with inherited and with trained weights, and the network with the last of them."""
        run = self.setup.run
        net = initial_network(run, self.supernet, network, self.setup.bn_calibration)
        costs = count_costs(net, self.task.input_size)
        inherited = self.score(f"{network.name} (inherited)", net)
        found: dict[str, Any] = {"inherited": inherited, "retrained": None, "scratch": None}
        # retrained comes last, so that the pictures are drawn with it
        for kind, path in sorted(selected.trained_weights(run, network), reverse=True):
            factory.load_into(net, path)
            found[kind] = self.score(f"{network.name} ({kind})", net)
        self.pictures.add(network.name, net)
        about = {"name": network.name, "genotype": network.genotype, "objectives": network.objectives}
        return {**about, **costs, **found}, net


class _Pictures:
    """Draws the predictions of all networks on the same few test images."""

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
    """Metrics as JSON can hold them: those without a value on this split become None."""
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def _show(result: Mapping[str, Any]) -> None:
    error = result["error_name"]
    metric = metric_of(error, result["baseline"]["metrics"])
    kinds = ("inherited", "retrained", "scratch")
    rows: list[Sequence[str]] = [
        [result["baseline"]["name"], _text(result["baseline"]["metrics"], error), "", ""]
    ]
    if result["teacher"]:
        rows.append(["teacher", _text(result["teacher"], error), "", ""])
    for each in result["baselines"]:
        for budget, metrics in each["trained"].items():
            rows.append([f"{each['name']} (baseline, {budget})", "", _text(metrics, error), ""])
    rows += [[net["name"], *(_text(net[kind], error) for kind in kinds)] for net in result["nets"]]
    title = f"{metric.label} on the test split, {result['num_images']} images; {metric.direction}"
    print_table(title, ["network", *kinds], rows)
    if result.get("shipped"):
        print_table("As shipped, on the test split", *shipped_rows(result["shipped"], error))
    losing = losing_to_trivial(result)
    if losing:
        print(losing, flush=True)


def _text(metrics: Mapping[str, float | None] | None, error: str) -> str:
    value = readable(error, metrics)[0][1] if metrics else None
    return "-" if value is None else f"{value:.4f}"
