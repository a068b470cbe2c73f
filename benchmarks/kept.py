"""Trials that are kept in a folder, so that a stopped command goes on and a changed searcher is run anew."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from trials import Trial

import evonas
from evonas.config import to_plain
from evonas.files import read_json, write_json

# what a trial's points depend on, besides its config and the facts
_SOURCES = ("search", "space")


@cache
def sources() -> str:
    """The sha256 of the code that asks for points."""
    package = Path(evonas.__file__).parent
    found = sorted(path for part in _SOURCES for path in (package / part).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def identity(about: tuple[str, str, int], search: Any, fingerprint: str) -> dict[str, Any]:
    """What makes two trials the same trial.

    Args:
        about: problem, method and seed.
        search: config of the searcher.
        fingerprint: of the facts.
    """
    return {"about": list(about), "search": to_plain(search), "facts": fingerprint, "sources": sources()}


def kept(folder: Path, of: Mapping[str, Any], make: Callable[[], Trial]) -> Trial:
    """The trial of an identity: read from the folder, or made now and written there."""
    name = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{name}.json"
    if path.exists():
        found = read_json(path)["trial"]
        width = int(found.pop("width"))
        return Trial(**{**found, "values": np.array(found["values"], dtype=float).reshape(-1, width)})
    trial = make()
    plain = {**asdict(trial), "values": trial.values.tolist(), "width": trial.values.shape[1]}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"identity": dict(of), "trial": {**plain, "numbers": list(trial.numbers)}})
    return trial
