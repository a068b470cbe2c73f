"""What a discovery knows of its networks, computed once a run: tensors of their layers, and known proxies."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas import files
from evonas.config import to_plain
from evonas.data.io.safe import read_arrays
from evonas.errors import UserError
from evonas.identifiers import as_first_release, identified
from evonas.proxies.catalogue import proxy
from evonas.proxies.formula import SAMPLE, sampled
from evonas.proxies.inputs import random_images
from evonas.proxies.operators import LEAVES, Kind
from evonas.proxies.probe import Probe
from evonas.proxies.samples import LayerSamples, join
from evonas.stages.base import Context
from evonas.stages.proxy_discovery.networks import Subjects
from evonas.track.progress import Progress

SAMPLES = "discover/samples.npz"
_KINDS: tuple[Kind, ...] = ("weight", "map")


@dataclass(frozen=True, slots=True)
class Measured:
    """Some networks as a discovery sees them.

    Args:
        samples: of the tensors of their layers.
        scores: (N) of each known proxy, NaN where a network has none.
    """

    samples: LayerSamples
    scores: dict[str, NDArray[np.float64]]


def measured(context: Context, found: Subjects) -> Measured:
    """The networks, measured or read from the run's file where it is about these."""
    path = context.run.path(SAMPLES)
    about = _about(context, found)
    key = _key(identified(about))
    known = {key, _key(as_first_release(about))}
    if path.exists() and (kept := read_arrays(path))["key"].item() in known:
        return _from_arrays(kept)
    made = _made(context, found)
    arrays: dict[str, Any] = {**made.samples.values, "starts": made.samples.starts, "key": np.array(key)}
    arrays |= {kind: made.samples.counts[kind] for kind in _KINDS}
    arrays |= {f"score_{name}": scores for name, scores in made.scores.items()}
    files.write_atomic(path, partial(_write, arrays))
    return made


def _about(context: Context, found: Subjects) -> dict[str, Any]:
    settings = context.cfg.discover
    return {
        **found.origin,
        "networks": [subject.genotype for subject in found.all],
        "cells": to_plain(context.cfg.cells) if context.cfg.cells else None,
        "shape": _shape(context),
        "beside": list(settings.beside),
    }


def _key(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _shape(context: Context) -> tuple[int, int, int, int]:
    settings = context.cfg.discover
    return settings.images, 3, settings.size, settings.size


def _made(context: Context, found: Subjects) -> Measured:
    seed, names = context.cfg.seed, list(context.cfg.discover.beside)
    images = random_images(_shape(context), seed)
    parts, scores = [], []
    with Progress("discover", len(found.all), unit="network") as progress:
        for subject in found.all:
            probe = Probe(subject.make(), images, seed)
            parts.append(sampled(probe.statistics, SAMPLE, seed))
            scores.append([_score(name, probe) for name in names])
            progress.advance()
    columns = np.array(scores, dtype=float).reshape(len(parts), len(names))
    return Measured(join(parts), {name: columns[:, place] for place, name in enumerate(names)})


def _score(name: str, probe: Probe) -> float:
    try:
        return proxy(name).parts(probe)[name]
    except (ValueError, UserError):
        # such as a network whose output does not depend on its input
        return float("nan")


def _from_arrays(kept: dict[str, NDArray[Any]]) -> Measured:
    values = {leaf: kept[leaf] for leaf in LEAVES}
    samples = LayerSamples(values, {kind: kept[kind] for kind in _KINDS}, kept["starts"])
    names = [name for name in kept if name.startswith("score_")]
    return Measured(samples, {name.removeprefix("score_"): kept[name] for name in names})


def _write(arrays: dict[str, Any], path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
