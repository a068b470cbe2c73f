"""Which OpenMMLab packages are here, whether they fit, and the one way to load them.

Each package comes from one of two families with the same import names: the maintained forks
(`onedl-*`) and the originals, whose last releases are of 2024.
"""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from evonas.errors import UserError

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


def installed() -> dict[str, Package]:
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


def misfits(packages: Mapping[str, Package]) -> Iterator[str]:
    """One sentence for each package that lacks another one, or a release of it that it accepts."""
    for package in packages.values():
        for module, specifier in _NEEDS.get(package.distribution, {}).items():
            other, shown = packages.get(module), f"{package.distribution} {package.version}"
            if other is None:
                yield f"{shown} needs {module}, which is not installed"
            elif not SpecifierSet(specifier).contains(other.version, prereleases=True):
                yield f"{shown} needs {module} {specifier}, not {other.distribution} {other.version}"


def load(module: str, asked_by: str) -> None:
    """Import mmdet or mmseg with all that they register; a stand-in takes the place of absent compiled ops.

    Args:
        module: import name.
        asked_by: what the user typed, for the message.

    Raises:
        UserError: it is not there, or what is there does not fit.
    """
    packages = installed()
    if module not in packages:
        raise UserError(f"{asked_by} needs {module}, which is not installed.", INSTALL)
    wrong = list(misfits(packages))
    if wrong:
        raise UserError(f"The OpenMMLab packages here do not fit: {wrong[0]}.", INSTALL)
    from evonas.mm.extension import stand_in

    stand_in()
    importlib.import_module(f"{module}.models")


def has_compiled_ops() -> bool:
    """Whether mmcv came with its extension."""
    folder = importlib.util.find_spec("mmcv")
    if folder is None or folder.submodule_search_locations is None:
        return False
    places = list(folder.submodule_search_locations)
    return importlib.machinery.PathFinder.find_spec("mmcv._ext", places) is not None
