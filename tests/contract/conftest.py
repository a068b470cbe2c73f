"""Kernels as `make kernels` would build them, for the contract of the primitives."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evonas.ops import native

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The library, compiled from the sources for this processor."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler here")
    path = tmp_path_factory.mktemp("kernels") / "library.so"
    flags = ["-O3", "-march=native", "-std=gnu++17", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC"]
    sources = [str(each) for each in sorted((KERNELS / "src").glob("*.cpp"))]
    subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Werror", *sources, "-o", str(path)], check=True)
    described = importlib.util.spec_from_file_location(
        "kernels_under_test", KERNELS / "evonas_kernels/__init__.py"
    )
    assert described is not None and described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module.opened(path)


@pytest.fixture
def compiled_kernels(built: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the compiled kernels be chosen."""
    monkeypatch.setattr(native, "is_built", lambda: True)
    monkeypatch.setattr(native, "library", lambda: built)
    yield
