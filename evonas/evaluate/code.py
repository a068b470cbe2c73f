"""Which code measures: a checksum of the modules that an evaluator is built from.

Two machines with different code give results that do not belong together, although their fingerprints are equal.
"""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_OWN = "evonas"
# their versions are part of fingerprints where they matter
_LIBRARIES = frozenset({"torch", "lightning", "torchmetrics", "builtins", "functools", "__main__"})


def code_digest(spec: Any) -> str:
    """The sha256 of the sources of evonas and of every other package that a spec names.

    Args:
        spec: config with `_target_`, or a factory.
    """
    named = set(_targets(spec)) if isinstance(spec, Mapping) else {_module(spec)}
    found = hashlib.sha256()
    for name in sorted({_OWN, *(each.partition(".")[0] for each in named)} - _LIBRARIES):
        for where, path in _sources(name):
            found.update(f"{where}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for child in value.values():
            yield from _targets(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _targets(child)


def _module(factory: Any) -> str:
    return str(getattr(factory, "__module__", None) or type(factory).__module__)


def _sources(name: str) -> list[tuple[str, Path]]:
    """Name and file of each module of a package; none of what is not there, or is no Python source."""
    try:
        found: ModuleSpec | None = find_spec(name)
    except (ValueError, ImportError):
        return []
    if found is None:
        return []
    if found.submodule_search_locations is None:
        path = Path(found.origin or "")
        return [(path.name, path)] if path.suffix == ".py" and path.is_file() else []
    # a namespace package lies at every entry of the import path that has its name, and an entry may come twice
    roots = dict.fromkeys(Path(each).resolve() for each in found.submodule_search_locations)
    return sorted((str(path.relative_to(root)), path) for root in roots for path in root.rglob("*.py"))
