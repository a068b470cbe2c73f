"""stage=export: every retrained network as files that need no evonas run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evonas import files, weights
from evonas.nn.count import count_costs
from evonas.randomness import derive
from evonas.report.archive_reader import read
from evonas.runtimes.quantisation import arrays, check_kept, quantised
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.evaluate import TEST
from evonas.stages.networks import selected
from evonas.stages.networks.export_formats import capture, write_graph, write_onnx, write_tensorrt
from evonas.stages.networks.exported import (
    CARD,
    CONFIG,
    FORMAT,
    GRAPH,
    MODEL,
    ONNX,
    ONNX_INT8,
    TENSORRT,
    describe,
)
from evonas.stages.networks.initial_weights import initial_network, load_initial_supernet
from evonas.stages.networks.model_card import card
from evonas.stages.networks.network_files import network_files, network_weights
from evonas.stages.networks.shipped import calibration_images, check_precisions, quantisation
from evonas.stages.search import write_search_file
from evonas.stages.searching.reuse import ARCHIVE
from evonas.stages.shortened import shortened_in
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract
from evonas.track.progress import Progress
from evonas.version import __version__

GOAL = 1e-4


class Export:
    """Writes safetensors, config.json, torch's graph, ONNX and a model card for each retrained network.

    Families that other projects have files for add these: of NSGANetV2 net.subnet, net.config, net.inherited (the
    supernet's weights) and net.init (retrained ones), and the archive of the search as iter_<t>.stats.

    Args:
        precisions: `int8` writes model.int8.onnx beside model.onnx, quantised as `runtime.int8` says.

    Raises:
        UserError: another precision than `fp32` and `int8`.
    """

    needs_task = True

    def __init__(self, precisions: Sequence[str] = ()) -> None:
        check_precisions(precisions, ("fp32", "int8"))
        self.precisions = list(precisions)

    def run(self, context: Context) -> str:
        """Write export/<net>/ for each network of selected.json."""
        nets = selected.selected_networks(context.run)
        files_of = {net.name: selected.need_retrained(context.run, net) for net in nets}
        task = context.setup.task
        supernet = load_initial_supernet(context)
        lines = []
        with Progress("Export", len(nets), "network") as progress:
            for net in nets:
                genotype = supernet.space.parse(net.genotype)
                static = extract(supernet, genotype)
                factory.load_into(static, files_of[net.name])
                about = _about(context, net, task.name, task.input_size, task.error_name)
                folder = context.run.path(f"export/{net.name}/{MODEL}").parent
                lines.append(export(static.eval(), folder, about, context.cfg.seed))
                if "int8" in self.precisions:
                    lines.append(write_int8(context, net.name, static, folder))
                write_foreign(context, supernet, net, static, folder)
                progress.advance()
        write_search_file(context, context.run.path("export/."))
        return "\n".join([*lines, f"Exported: {context.run.path('export/.')}"])


def write_foreign(
    context: Context, supernet: Supernet, net: selected.SelectedNetwork, static: StaticNet, folder: Path
) -> None:
    """Write the files in which other projects keep such a network, if there are any.

    Args:
        context: config and run.
        supernet: with the weights that the network inherits.
        net: the network.
        static: with its retrained weights.
        folder: of the files.
    """
    genotype = supernet.space.parse(net.genotype)
    described = network_files(supernet.family, genotype, static.head)
    for name, content in described.items():
        files.write_json(folder / name, content)
    if "net.config" not in described:
        return
    inherited = initial_network(context.run, supernet, net)
    for name, each in (("net.inherited", inherited), ("net.init", static)):
        weights.save_pickled(folder / name, network_weights(supernet.family, each.state_dict()))


def write_int8(context: Context, name: str, net: StaticNet, folder: Path) -> str:
    """Quantise the ONNX file of an export into another one; returns a line about it.

    Args:
        context: of the training images and `runtime.int8`.
        name: of the network.
        net: the network, which has the layers that may be kept in float.
        folder: of the export.

    Raises:
        UserError: the network has no such layer, or cannot be quantised.
    """
    if not (folder / ONNX).exists():
        return f"{name}: no int8 file without an ONNX file"
    settings = quantisation(context)
    check_kept(settings.keep_float, [each for each, _ in net.named_modules()])
    images = arrays(
        calibration_images(context, settings), (1, 3, *context.setup.task.input_size), settings.images
    )
    model = quantised((folder / ONNX).read_bytes(), images, settings)
    files.write_atomic(folder / ONNX_INT8, lambda target: _fill(target, model))
    files.write_json(folder / CONFIG, {**files.read_json(folder / CONFIG), "int8": settings.identity()})
    before, after = ((folder / each).stat().st_size / 1e6 for each in (ONNX, ONNX_INT8))
    return f"{name}: {ONNX_INT8} has {after:.3g} MB, {ONNX} {before:.3g} MB"


def _fill(target: Path, content: bytes) -> None:
    target.write_bytes(content)


def export(net: StaticNet, folder: Path, about: dict[str, Any], seed: int = 0) -> str:
    """Write one network in all formats; returns a line about the accuracy of its ONNX file.

    Args:
        net: in eval mode, on the CPU.
        folder: created if needed.
        about: entries of config.json and the card; `input_size` is among them.
        seed: of the images that the ONNX check uses.
    """
    digest = weights.save(folder / MODEL, net.state_dict(), {"genotype": about["genotype"]})
    differences = _write_graphs(net, folder, tuple(about["input_size"]), seed)
    costs = count_costs(net, tuple(about["input_size"]))
    config = {
        **about,
        **costs,
        **describe(net),
        "format": FORMAT,
        "sha256": digest,
        **differences,
    }
    files.write_json(folder / CONFIG, {**config, "evonas": __version__})
    files.write_text(folder / CARD, card(config))
    difference = differences["onnx_difference"]
    if difference is None:
        return (
            f"{about['name']}: no ONNX file, because a package is missing; "
            "install it with: pip install 'evonas[export]'"
        )
    verdict = "" if difference <= GOAL else f", which is more than {GOAL:g}"
    return f"{about['name']}: ONNX differs from torch by at most {difference:.1e}{verdict}"


def _write_graphs(net: StaticNet, folder: Path, size: tuple[int, int], seed: int) -> dict[str, float | None]:
    """Write the graphs that run without evonas; returns their differences from the network by key of config.json."""
    random = torch.Generator().manual_seed(derive(seed, "export"))
    images = torch.randn(2, 3, *size, generator=random)
    with torch.no_grad():
        expected = net(images)
    program = capture(net, images)
    graph = write_graph(program, folder / GRAPH, images, expected)
    onnx = write_onnx(program, folder / ONNX, images, expected)
    if onnx is not None:
        write_tensorrt(folder / TENSORRT, ONNX, size)
    return {"graph_difference": graph, "onnx_difference": onnx}


def _about(
    context: Context, net: selected.SelectedNetwork, task: str, size: tuple[int, int], error_name: str
) -> dict[str, Any]:
    """The entries of config.json from the run's files."""
    result = selected.retraining_result(context.run, net) or {}
    tested = context.run.find(TEST)
    rows = files.read_json(tested, needs=("nets",))["nets"] if tested else []
    mine = [row for row in rows if row["name"] == net.name and row["genotype"] == net.genotype]
    return {
        "name": net.name,
        "run": context.run.name,
        "task": task,
        "input_size": list(size),
        "genotype": net.genotype,
        "error_name": error_name,
        "objectives": net.objectives,
        "latency": _latency(context, net),
        "shortened": shortened_in(context.run.directory),
        "holdout": result.get("retrained"),
        "test": mine[0]["retrained"] if mine else None,
    }


def _latency(context: Context, net: selected.SelectedNetwork) -> dict[str, Any] | None:
    """The latency that the search measured or predicted, with what it depends on; None without one."""
    value, archive = net.objectives.get("latency"), context.run.find(ARCHIVE)
    if value is None:
        return None
    found: dict[str, Any] = {"ms": float(value)}
    results = read(archive) if archive else None
    if results is not None and net.genotype in results.rows and results.extras:
        extra = results.extras[results.rows[net.genotype]]
        timed, device, source = extra.get("latency"), extra.get("device"), extra.get("latency_source")
        if isinstance(timed, dict):
            runtime = timed.get("runtime")
            found["runtime"] = runtime[0] if isinstance(runtime, list) else runtime
            found |= {key: timed.get(key) for key in ("threads", "precision", "batch")}
        if isinstance(device, dict):
            found["device"] = device.get("name")
        if isinstance(source, dict):
            found |= {"runtime": "predicted", "device": source.get("machine")}
    return found
