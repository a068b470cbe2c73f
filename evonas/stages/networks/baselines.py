"""The networks that `baselines=` names, built for the task; no search chooses them.

    timm:resnet10t                          a timm model with the task's head, from random weights
    timm:mobilenetv2_100@weights.pth        the same, its backbone from a file; or {timm: name, weights: file}
    uniform:4                               the largest network, width and depth scaled alike, four times
    resolution:4                            the largest network, shown smaller images, four times

The networks of `uniform` and `resolution` are spread over the multiply-adds of the search's front, evenly in their
logarithm, and start from the weights that the supernet started from: those of a file, or random ones.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import timm
from omegaconf import OmegaConf
from torch import nn

from evonas import weights
from evonas.config import to_plain
from evonas.errors import UserError
from evonas.nn.initialise import initialise, initialise_foreign
from evonas.nn.timm_weights import check_file
from evonas.randomness import derive
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.space.genes import Bits
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.pretrain import PRETRAINED
from evonas.stages.searching.reuse import ARCHIVE
from evonas.supernets.base import cost
from evonas.supernets.step import Size
from evonas.supernets.supernet import extract
from evonas.train.loop.data import seeded
from evonas.train.teachers.base import Origin, Teacher, TimmBackbone

_TIMM = re.compile(r"timm:(?P<name>[\w.-]+?)(?:@(?P<file>.+))?")
_SCALED = re.compile(r"(?P<kind>uniform|resolution):(?P<count>[1-9]\d?)")
# steps of the scale from the smallest network to the largest
_FRACTIONS = np.linspace(0.0, 1.0, 65)
# sides of smaller images are multiples of this, in pixels
_GRAIN = 8
HOW = "Try: 'baselines=[timm:resnet10t, uniform:4, resolution:4]'"


@dataclass(frozen=True, slots=True)
class Built:
    """A network and where its weights come from.

    Args:
        origin: of weights that somebody trained; None for random ones.
        matched: one line on what was loaded; empty for random weights.
    """

    net: nn.Module
    origin: Origin | None = None
    matched: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """One network beside the front.

    Args:
        name: folder below baselines/.
        kind: `timm`, `uniform` or `resolution`.
        about: what it is, as JSON data; part of the identity of its training.
        build: makes it, its random weights drawn from a purpose.
    """

    name: str
    kind: str
    about: Mapping[str, Any]
    build: Callable[[str], Built] = field(compare=False)


def parse(entries: Any) -> list[Mapping[str, Any]]:
    """The entries of `baselines=` as {timm, weights} or {kind, count}; nothing is built or read.

    Raises:
        UserError: an entry is none of these, or one is named twice.
    """
    plain = to_plain(entries) if OmegaConf.is_config(entries) else entries
    if not isinstance(plain, Sequence) or isinstance(plain, str):
        raise UserError(f"baselines must be a list, got {plain!r}.", HOW)
    found = [_parsed(each) for each in plain]
    for place, each in enumerate(found):
        if each in found[:place]:
            raise UserError(f"baselines names {plain[place]!r} twice.", "Leave one of them out.")
    return found


def baselines(context: Context) -> Iterator[Baseline]:
    """The baselines of the config, in its order.

    Raises:
        UserError: an entry is not understood, timm has no such model, or a file is missing.
    """
    for each in parse(context.cfg.get("baselines") or []):
        if "timm" in each:
            yield _timm(context.setup, each["timm"], each["weights"])
        elif each["kind"] == "uniform":
            yield from _uniform(context, each["count"])
        else:
            yield from _resolution(context, each["count"])


def check(setup: Setup) -> None:
    """Build the timm baselines of the config, so that what is wrong with them is said before hours of training.

    Raises:
        UserError, DataError: as `baselines`; or a model has no fitting levels, or a file is another network's.
    """
    for each in parse(setup.cfg.get("baselines") or []):
        if "timm" in each:
            _timm(setup, each["timm"], each["weights"]).build("check")


def uniform(space: Space, fraction: float) -> Genotype | None:
    """The largest network with every gene at the same fraction of its range; None where that is not a network.

    Images stay as large as they are: to show smaller ones is another baseline.

    Args:
        fraction: 0 for the smallest choices, 1 for the largest. Of a row of bits the first ones are on.
    """
    vector: list[int] = []
    fixed = space.members.get("resolution", ())
    for gene in space.genes:
        if isinstance(gene, Bits):
            on = round(fraction * gene.width)
            vector += [1] * on + [0] * (gene.width - on)
        else:
            part = 1.0 if gene.name in fixed else fraction
            vector.append(round(part * (gene.cardinality - 1)))
    try:
        return space.canonical(space.from_vector(vector))
    except UserError:
        return None


def spread(costs: Sequence[float], low: float, high: float, count: int) -> list[int]:
    """Indices of distinct costs nearest to `count` targets from low to high, evenly spaced in their logarithm."""
    logs = np.log(np.asarray(costs, dtype=float))
    chosen: list[int] = []
    for target in np.linspace(np.log(low), np.log(high), count):
        left = [index for index in np.argsort(np.abs(logs - target), kind="stable") if index not in chosen]
        if left:
            chosen.append(int(left[0]))
    return sorted(chosen, key=lambda index: costs[index])


def _parsed(entry: Any) -> Mapping[str, Any]:
    if isinstance(entry, Mapping):
        if set(entry) <= {"timm", "weights"} and isinstance(entry.get("timm"), str):
            return {"timm": entry["timm"], "weights": entry.get("weights")}
    elif isinstance(entry, str):
        model, scaled = _TIMM.fullmatch(entry), _SCALED.fullmatch(entry)
        if model:
            return {"timm": model["name"], "weights": model["file"]}
        if scaled:
            return {"kind": scaled["kind"], "count": int(scaled["count"])}
    raise UserError(
        f"baselines={entry!r} is not understood.",
        "An entry is timm:<name>, timm:<name>@<weights file>, uniform:<count> or resolution:<count>.",
    )


def _timm(setup: Setup, model: str, file: str | None) -> Baseline:
    """A timm model with the task's head, on levels of the strides that the searched networks have."""
    if not timm.is_model(model):
        near = get_close_matches(model.partition(".")[0], timm.list_models(), n=4)
        hint = f"Similar names: {', '.join(near)}." if near else "See timm.list_models()."
        raise UserError(f"baselines names timm:{model}, which timm {timm.__version__} does not have.", hint)
    if file is not None:
        check_file(Path(file), f"timm:{model}", "weights")

    def build(purpose: str) -> Built:
        with seeded(setup.cfg.seed, purpose):
            body = TimmBackbone(model, _indices(setup, model), weights=file)
            head = setup.task.head(body.levels)
        # the rules of the searched networks: timm's own random weights learn more slowly in few steps
        initialise_foreign(body, derive(setup.cfg.seed, f"{purpose}/body"))
        initialise(head, derive(setup.cfg.seed, f"{purpose}/head"))
        matched = body.load_start("weights")
        if matched is None:
            return Built(Teacher(body, head))
        return Built(Teacher(body, head), Origin(matched.file, matched.sha256), matched.text())

    about = {"timm": model, "version": timm.__version__}
    return Baseline(model if file is None else f"{model}-pretrained", "timm", about, build)


def _indices(setup: Setup, model: str) -> list[int]:
    """Indices of the model's levels of the strides that the family has, so that the head does the same work."""
    strides = TimmBackbone(model).levels
    wanted = {level.stride for level in setup.family.levels}
    found = {level.stride: index for index, level in enumerate(strides) if level.stride in wanted}
    if not found:
        raise UserError(
            f"timm:{model} has levels of strides {[level.stride for level in strides]}, and the task's head wants "
            f"some of {sorted(wanted)}.",
            "Take another model for baselines=.",
        )
    return sorted(found.values())


def _uniform(context: Context, count: int) -> Iterator[Baseline]:
    setup = context.setup
    space, size = setup.space, setup.task.input_size
    scaled = (uniform(space, float(each)) for each in _FRACTIONS)
    points = list(dict.fromkeys(each for each in scaled if each is not None))
    costs = [cost(setup.family, each, size).macs for each in points]
    for place, index in enumerate(spread(costs, *_range(context, min(costs), max(costs)), count), start=1):
        about = {"genotype": space.format(points[index])}
        yield Baseline(f"uniform{place}", "uniform", about, _of_space(context, points[index]))


def _resolution(context: Context, count: int) -> Iterator[Baseline]:
    setup = context.setup
    largest, full = setup.space.largest(), setup.task.input_size
    steps = max(full) // _GRAIN
    sizes = list(dict.fromkeys(_scaled(full, each / steps) for each in range(2, steps + 1)))
    costs = [cost(setup.family, largest, each).macs for each in sizes]
    for place, index in enumerate(spread(costs, *_range(context, min(costs), max(costs)), count), start=1):
        about = {"genotype": setup.space.format(largest), "size": list(sizes[index])}
        scale = sizes[index][0] / full[0], sizes[index][1] / full[1]
        yield Baseline(f"resolution{place}", "resolution", about, _of_space(context, largest, scale))


def _of_space(
    context: Context, genotype: Genotype, scale: tuple[float, float] | None = None
) -> Callable[[str], Built]:
    """A network of the supernet's family with the supernet's starting weights, which reads images scaled by `scale`."""

    def build(purpose: str) -> Built:
        supernet, start = factory.supernet(context.setup, purpose), context.run.find(PRETRAINED)
        origin, matched = None, ""
        if start is not None and weights.load_meta(start).get("source") != "seed":
            factory.load_into(supernet, start)
            origin = Origin(str(start), weights.digest(start))
            matched = f"starts from {start.name} of stage pretrain"
        net = extract(supernet, genotype)
        if scale is not None:
            own, (high, wide) = net.backbone.input_size, scale
            net.backbone.input_size = lambda size: own((_rounded(size[0] * high), _rounded(size[1] * wide)))
        return Built(net, origin, matched)

    return build


def _scaled(size: Size, scale: float) -> Size:
    return _rounded(size[0] * scale), _rounded(size[1] * scale)


def _rounded(side: float) -> int:
    """A side of an image in whole grains, two at least."""
    return max(2, round(side / _GRAIN)) * _GRAIN


def _range(context: Context, low: float, high: float) -> tuple[float, float]:
    """Multiply-adds of the cheapest and the dearest backbone on the search's front, within low and high."""
    path = context.run.find(ARCHIVE)
    results = read(path) if path is not None else None
    if results is None or not len(results.values):
        return low, high
    setup = context.setup
    texts = [results.genotypes[row] for row in front(results.values)]
    costs = [cost(setup.family, setup.space.parse(text), setup.task.input_size).macs for text in texts]
    return max(low, min(costs)), min(high, max(costs))
