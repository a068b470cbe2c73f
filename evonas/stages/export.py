"""stage=export: every retrained network as files that need no evonas run."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import evonas
from evonas import files, weights
from evonas.nn.extract import StaticNet, extract
from evonas.randomness import derive
from evonas.stages import assembly, chosen
from evonas.stages.base import Context
from evonas.stages.card import card
from evonas.stages.evaluate import TEST, count_costs
from evonas.stages.exported import CARD, CONFIG, FORMAT, MODEL, ONNX, describe
from evonas.stages.starting import load_start
from evonas.track.progress import Progress

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
GOAL = 1e-4


class Export:
    """Writes safetensors, config.json, ONNX and a card for each retrained network."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write export/<net>/ for each network of selected.json."""
        nets = chosen.chosen(context.run)
        files_of = {net.name: chosen.need_trained(context.run, net) for net in nets}
        task = assembly.task(context.cfg)
        supernet = load_start(context, task)
        lines = []
        with Progress("Export", len(nets), "network") as progress:
            for net in nets:
                static = extract(supernet, supernet.space.parse(net.genotype))
                assembly.load_into(static, files_of[net.name])
                about = _about(context, net, task.name, task.input_size, task.error_name)
                folder = context.run.path(f"export/{net.name}/{MODEL}").parent
                lines.append(export(static.eval(), folder, about, context.cfg.seed))
                progress.advance()
        return "\n".join([*lines, f"Exported: {context.run.path('export/.')}"])


def export(net: StaticNet, folder: Path, about: dict[str, Any], seed: int = 0) -> str:
    """Write one network; returns a line that says how exact its ONNX form is.

    Args:
        net: in eval mode, on the CPU.
        folder: made when needed.
        about: facts for config.json and the card; `input_size` among them.
        seed: of the images that the ONNX check uses.
    """
    digest = weights.save(folder / MODEL, net.state_dict(), {"genotype": about["genotype"]})
    images = torch.randn(
        2, 3, *about["input_size"], generator=torch.Generator().manual_seed(derive(seed, "export"))
    )
    difference = _write_onnx(net, folder / ONNX, images)
    costs = count_costs(net, tuple(about["input_size"]))
    config = {
        **about,
        **costs,
        **describe(net),
        "format": FORMAT,
        "sha256": digest,
        "onnx_difference": difference,
    }
    files.write_json(folder / CONFIG, {**config, "evonas": evonas.__version__})
    files.write_text(folder / CARD, card(config))
    return f"{about['name']}: {_onnx_line(difference)}"


def _onnx_line(difference: float | None) -> str:
    if difference is None:
        return "no ONNX file, because a package is missing; install it with: pip install 'evonas[export]'"
    verdict = "" if difference <= GOAL else f", which is more than {GOAL:g}"
    return f"ONNX differs from torch by at most {difference:.1e}{verdict}"


def _write_onnx(net: StaticNet, path: Path, images: Tensor) -> float | None:
    """Write the ONNX file and return its largest difference from torch, None without the packages."""
    if not all(find_spec(package) for package in ONNX_PACKAGES):
        return None
    with torch.no_grad():
        # the batch is free, the size of the image is the one the network was made for
        program = torch.onnx.export(
            net,
            (images,),
            dynamo=True,
            input_names=["image"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
        expected = net(images).numpy()
    assert program is not None
    files.write_atomic(path, lambda target: program.save(str(target)))
    return _difference(path, images, expected)


def _difference(path: Path, images: Tensor, expected: np.ndarray) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return float(np.abs(found - expected).max())


def _about(
    context: Context, net: chosen.Net, task: str, size: tuple[int, int], error_name: str
) -> dict[str, Any]:
    """Facts about a network from the run's files."""
    result = chosen.result(context.run, net) or {}
    tested = context.run.find(TEST)
    rows = json.loads(tested.read_text(encoding="utf-8"))["nets"] if tested else []
    mine = [row for row in rows if row["name"] == net.name and row["genotype"] == net.genotype]
    return {
        "name": net.name,
        "run": context.run.name,
        "task": task,
        "input_size": list(size),
        "genotype": net.genotype,
        "error_name": error_name,
        "objectives": net.objectives,
        "holdout": result.get("retrained"),
        "test": mine[0]["retrained"] if mine else None,
    }
