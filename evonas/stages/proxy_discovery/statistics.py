"""Statistics of networks for proxy discovery, computed once for a run: layer samples and known proxies."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas import files
from evonas.data.io.safe import read_arrays
from evonas.errors import UserError
from evonas.identifiers import as_first_release, identified
from evonas.proxies.catalogue import proxy
from evonas.proxies.formula import SAMPLE, sampled
from evonas.proxies.inputs import image_shape, random_images
from evonas.proxies.operators import LEAVES, Kind
from evonas.proxies.probe import Probe
from evonas.proxies.samples import LayerSamples, join
from evonas.stages.base import Context
from evonas.stages.proxy_discovery.networks import TrainedNetworks
from evonas.track.progress import Progress

SAMPLES = "discover/samples.npz"
_KINDS: tuple[Kind, ...] = ("weight", "map")


@dataclass(frozen=True, slots=True)
class NetworkStatistics:
    """Statistics of some networks.

    Args:
        samples: of the tensors of their layers.
        scores: (N) of each known proxy, NaN where a network has none.
    """

    samples: LayerSamples
    scores: dict[str, NDArray[np.float64]]


def network_statistics(context: Context, found: TrainedNetworks) -> NetworkStatistics:
    """Statistics of networks, from the run's file if it is about the same networks."""
    path = context.run.path(SAMPLES)
    about = {
        **found.origin,
        "networks": [network.genotype for network in found.all],
        "cells": context.setup.cells,
        "shape": _shape(context),
        "beside": list(context.cfg.discover.beside),
    }
    key = _key(identified(about))
    known = {key, _key(as_first_release(about))}
    if path.exists() and (kept := read_arrays(path))["key"].item() in known:
        return _from_arrays(kept)
    made = _made(context, found)
    arrays: dict[str, Any] = {**made.samples.values, "starts": made.samples.starts, "key": np.array(key)}
    arrays |= {kind: made.samples.counts[kind] for kind in _KINDS}
    arrays |= {f"score_{name}": scores for name, scores in made.scores.items()}

    def write(target: Path) -> None:
        with target.open("wb") as stream:
            np.savez(stream, **arrays)

    files.write_atomic(path, write)
    return made


def _key(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _shape(context: Context) -> tuple[int, int, int, int]:
    settings = context.cfg.discover
    return settings.images, 3, settings.size, settings.size


def _made(context: Context, found: TrainedNetworks) -> NetworkStatistics:
    seed, names = context.cfg.seed, list(context.cfg.discover.beside)
    number, _, *size = _shape(context)
    images = random_images(image_shape(found.all[0].make(), number, size), seed)
    parts, scores = [], []
    with Progress("discover", len(found.all), unit="network") as progress:
        for subject in found.all:
            probe = Probe(subject.make(), images, seed)
            parts.append(sampled(probe.statistics, SAMPLE, seed))
            scores.append([_score(name, probe) for name in names])
            progress.advance()
    columns = np.array(scores, dtype=float).reshape(len(parts), len(names))
    return NetworkStatistics(join(parts), {name: columns[:, place] for place, name in enumerate(names)})


def _score(name: str, probe: Probe) -> float:
    try:
        return proxy(name).parts(probe)[name]
    except (ValueError, UserError):
        # such as a network whose output does not depend on its input
        return float("nan")


def _from_arrays(kept: dict[str, NDArray[Any]]) -> NetworkStatistics:
    values = {leaf: kept[leaf] for leaf in LEAVES}
    samples = LayerSamples(values, {kind: kept[kind] for kind in _KINDS}, kept["starts"])
    names = [name for name in kept if name.startswith("score_")]
    return NetworkStatistics(samples, {name.removeprefix("score_"): kept[name] for name in names})
