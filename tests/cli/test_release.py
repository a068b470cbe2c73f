"""What must agree before a release goes out."""

import re
from importlib.util import find_spec
from pathlib import Path
from subprocess import run
from sys import executable

import pytest
import yaml

import evonas


def newest_entry(root: Path) -> str:
    """The title of the newest entry of the list of changes."""
    found = re.search(r"^## \[?([^\]\s]+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_list_of_changes_begins_with_this_version(root: Path) -> None:
    expected = "Unreleased" if ".dev" in evonas.__version__ else evonas.__version__
    assert newest_entry(root) == expected


def test_what_others_cite_is_this_version(root: Path) -> None:
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == evonas.__version__
    assert citation["license"] == "Apache-2.0" and "Apache License" in (root / "LICENSE").read_text()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs pip install 'evonas[docs]'")
def test_the_site_is_built_without_a_warning(root: Path, tmp_path: Path) -> None:
    words = [executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    reference = (tmp_path / "api/search.html").read_text()
    assert "evonas.search.base.Searcher" in reference
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', reference)
    assert not [each for each in loaded if "canonical" not in each], loaded
