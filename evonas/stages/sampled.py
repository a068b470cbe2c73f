"""The tensors of a discovery's networks, computed once a run."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas import files
from evonas.config import to_plain
from evonas.data.safe import read_arrays
from evonas.proxies.inputs import random_images
from evonas.proxies.operators import LEAVES, Kind
from evonas.proxies.samples import LayerSamples, join
from evonas.proxies.sampling import sampled
from evonas.proxies.statistics import statistics
from evonas.stages.base import Context
from evonas.stages.subjects import Subjects
from evonas.track.progress import Progress

SAMPLES = "discover/samples.npz"
_KINDS: tuple[Kind, ...] = ("weight", "map")
# places of each activation map that are kept before elements are drawn of them
_POSITIONS = 256


def samples_of(context: Context, found: Subjects) -> LayerSamples:
    """A sample of the tensors of every network, from the run's file where it is of these networks."""
    path = context.run.path(SAMPLES)
    key = _key(context, found)
    if path.exists() and (kept := read_arrays(path))["key"].item() == key:
        return _from_arrays(kept)
    made = _made(context, found)
    counts = {str(kind): made.counts[kind] for kind in _KINDS}
    arrays = {**made.values, **counts, "starts": made.starts, "key": np.array(key)}
    files.write_atomic(path, partial(_write, arrays))
    return made


def _key(context: Context, found: Subjects) -> str:
    settings = context.cfg.discover
    about: dict[str, Any] = {
        **found.origin,
        "networks": [subject.genotype for subject in found.all],
        "cells": to_plain(context.cfg.cells) if context.cfg.cells else None,
        "shape": _shape(context),
        "sample": settings.sample,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _shape(context: Context) -> tuple[int, int, int, int]:
    settings = context.cfg.discover
    return settings.images, 3, settings.size, settings.size


def _made(context: Context, found: Subjects) -> LayerSamples:
    seed, size = context.cfg.seed, context.cfg.discover.sample
    images = random_images(_shape(context), seed)
    parts = []
    with Progress("discover", len(found.all), unit="network") as progress:
        for subject in found.all:
            told = statistics(subject.make(), images, seed, positions=_POSITIONS)
            parts.append(sampled(told, size, seed))
            progress.advance()
    return join(parts)


def _from_arrays(kept: dict[str, NDArray[Any]]) -> LayerSamples:
    values = {leaf: kept[leaf] for leaf in LEAVES}
    return LayerSamples(values, {kind: kept[kind] for kind in _KINDS}, kept["starts"])


def _write(arrays: dict[str, Any], path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
