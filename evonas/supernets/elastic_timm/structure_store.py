"""Where structures are kept: read where one was found before, else found by tracing and stored for later processes."""

import json
import os
from functools import lru_cache
from pathlib import Path

from evonas import files
from evonas.errors import DataError, UserError
from evonas.supernets.elastic_timm.structure import (
    FORMAT,
    Structure,
    centred,
    check_model_name,
    structure_from,
)

# orders of channels and heads that need layers of their own: structures that follow from the traced one
VARIANTS = ("centred", "rotated")
# what is traced with the channels that pass between blocks
STREAMS = "streams"


def structure_of(model: str, digest: str | None = None, variant: str = "") -> Structure:
    """The structure of a timm model: read where it was found before, else found now, which takes seconds.

    Args:
        model: timm's name of it.
        digest: of the structure that is wanted; None for the one that the installed timm gives.
        variant: one of VARIANTS, STREAMS, both with a dash between them (`streams-centred`), or empty for the model's
            own layers without streams; a digest says which one by itself.

    Raises:
        UserError: timm has no such model, or it cannot be made elastic, or not in this variant.
        DataError: the structure with this digest is not here, and the installed timm gives another one.
    """
    return _read(check_model_name(model), digest, "" if digest else variant)


@lru_cache(maxsize=32)
def _read(model: str, digest: str | None, variant: str) -> Structure:
    wanted = digest or _known_digest(model, variant)
    if wanted is not None and (found := _stored(model, wanted)) is not None:
        return found
    with_streams, own = variant.startswith(STREAMS), variant.removeprefix(STREAMS).removeprefix("-")
    if own:
        found = _varied(_read(model, None, STREAMS if with_streams else ""), own)
        _store(found, variant)
        return found
    # an installed timm is asked only once per machine
    from evonas.supernets.elastic_timm.trace import trace

    found = trace(model, with_streams)
    _store(found, variant)
    if digest is not None and found.digest != digest:
        for each in (*VARIANTS, STREAMS, *(f"{STREAMS}-{own}" for own in VARIANTS)):
            try:
                varied = _read(model, None, each)
            except UserError:
                continue
            if varied.digest == digest:
                return varied
        raise DataError(
            f"timm {found.timm} gives {model} another structure ({found.digest[:12]}) than the recorded one "
            f"({digest[:12]}).",
            "Use the timm version that the run was made with, or start another run.",
        )
    return found


def _varied(found: Structure, variant: str) -> Structure:
    if variant == "centred":
        return centred(found)
    # which attentions can be rotated is asked of timm
    from evonas.supernets.elastic_timm.rotation import rotated

    return rotated(found)


def _folder() -> Path:
    base = os.environ.get("EVONAS_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "evonas" / "structures"


def _name(model: str, version: str, variant: str) -> str:
    """Of the file that says which structure a version of timm gives."""
    return "-".join([model, f"timm{version}", str(FORMAT), *([variant] if variant else [])]) + ".json"


def _known_digest(model: str, variant: str) -> str | None:
    """Of the structure that the installed timm gave before."""
    path = _folder() / _name(model, _timm_version(), variant)
    try:
        return str(files.read_json(path)["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _timm_version() -> str:
    # timm itself imports torch
    from importlib.metadata import version

    return version("timm")


def _stored(model: str, digest: str) -> Structure | None:
    """The stored structure, if its bytes are what its name says."""
    try:
        found = structure_from(json.loads((_folder() / f"{digest}.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.digest == digest and found.model == model else None


def _store(found: Structure, variant: str = "") -> None:
    """Keep it for later processes; where nothing can be written they find it again."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / f"{found.digest}.json", found.text())
        name = _name(found.model, found.timm, variant)
        files.write_json(folder / name, {"digest": found.digest, "model": found.model})
    except OSError:
        return
