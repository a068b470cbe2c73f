"""Which OpenMMLab packages are here, and whether they fit; nothing of them is imported.

Each package comes from one of two families with the same import names: the maintained forks
(`onedl-*`) and the originals, whose last releases are of 2024.
"""

import importlib.machinery
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

INSTALL = "make openmm, or pip install 'evonas[det-mm,seg-mm]'"
_DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
}
# what each distribution asserts at import (the originals) or asks for in its metadata (the forks)
_NEEDS: Mapping[str, Mapping[str, str]] = {
    "mmdet": {"mmcv": ">=2.0.0rc4,<2.2.0", "mmengine": ">=0.7.1,<1"},
    "mmsegmentation": {"mmcv": ">=2.0.0rc4,<2.2.0", "mmengine": ">=0.5.0,<1"},
    "onedl-mmdetection": {"mmcv": ">=2.0.0", "mmengine": ">=0.10.8rc1"},
    "onedl-mmsegmentation": {"mmcv": ">=2.0.0", "mmengine": ">=0.10.8rc1"},
}


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package: how it is imported, what was installed, which release."""

    module: str
    distribution: str
    version: str


def packages() -> dict[str, Package]:
    """What is here, by import name; nothing is imported."""
    found = {}
    for module, names in _DISTRIBUTIONS.items():
        for name in names:
            try:
                found[module] = Package(module, name, importlib.metadata.version(name))
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def misfits(found: Mapping[str, Package]) -> Iterator[str]:
    """One sentence for each package that lacks another one, or a release of it that it accepts."""
    for package in found.values():
        for module, specifier in _NEEDS.get(package.distribution, {}).items():
            other, shown = found.get(module), f"{package.distribution} {package.version}"
            if other is None:
                yield f"{shown} needs {module}, which is not installed"
            elif not SpecifierSet(specifier).contains(other.version, prereleases=True):
                yield f"{shown} needs {module} {specifier}, not {other.distribution} {other.version}"


def has_compiled_ops() -> bool:
    """Whether mmcv came with its extension."""
    folder = importlib.util.find_spec("mmcv")
    if folder is None or folder.submodule_search_locations is None:
        return False
    places = list(folder.submodule_search_locations)
    return importlib.machinery.PathFinder.find_spec("mmcv._ext", places) is not None
