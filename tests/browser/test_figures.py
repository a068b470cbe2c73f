"""The pictures of the documents: what they are drawn from is small, and gives the same page each time."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from evonas.report.page.html import render
from evonas.stages.report import gather

MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def draw(pytestconfig: pytest.Config) -> ModuleType:
    """docs/figures/draw.py, which is no part of a package."""
    path = pytestconfig.rootpath / "docs/figures/draw.py"
    spec = importlib.util.spec_from_file_location("draw", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_run_gives_the_same_whole_page_each_time(draw: ModuleType, tmp_path: Path) -> None:
    first, second = (gather(draw.restored(tmp_path / name / "demo")) for name in ("one", "two"))
    assert first.results is not None and len(first.results.values) == 96 and first.gene_matrix is not None
    assert sum(cost.measured for cost in first.results.costs) == 192
    page = render(first)
    # the commands that a page prints name the folder of the run
    assert page.replace(str(tmp_path / "one"), "") == render(second).replace(str(tmp_path / "two"), "")
    for part in ("pareto-front-over-the-search", "architectures", "predictions", "gene-importance"):
        assert f'<section id="{part}">' in page
    assert {view.part for view in draw.PICTURES.values()} <= {
        "",
        "pareto-front-over-the-search",
        "architectures",
    }


def test_the_archive_is_small_text(root: Path) -> None:
    archive = root / "docs/figures/demo/archive.json"
    assert archive.stat().st_size < 100_000 and archive.read_text(encoding="ascii").count("\n") > 190


def test_every_picture_is_there_and_small(draw: ModuleType, root: Path) -> None:
    for name, view in draw.PICTURES.items():
        path = root / "docs/images" / name
        assert path.stat().st_size < MOST_BYTES
        with Image.open(path) as image:
            assert image.size == view.size
