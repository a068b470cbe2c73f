"""A family is a folder: whatever serves all families names none of them."""

import re

import pytest
import source

from evonas.supernets.families import FAMILIES

# the list of families, and the ids under which archives know them
LISTS = ("supernets/families.py", "identifiers.py")


def test_the_list_names_existing_folders() -> None:
    folders = {path.parent.name for path in (source.PACKAGE / "supernets").glob("*/family.py")}
    assert folders == {target.split(".")[2] for target in FAMILIES.values()}


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_no_file_outside_a_family_names_it(path: source.Path) -> None:
    name = source.relative(path)
    text = path.read_text(encoding="utf-8")
    for family in FAMILIES:
        if name not in LISTS and not name.startswith(f"supernets/{family}/"):
            assert not re.search(rf"\b{family}\b", text), family
