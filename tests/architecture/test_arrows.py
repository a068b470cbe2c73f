"""Imports follow the table in docs/design.md."""

import re

import pytest
import source


def table() -> dict[str, set[str] | None]:
    """Module to what it may import, from the design page; None stands for everything."""
    rows: dict[str, set[str] | None] = {}
    for line in (source.ROOT / "docs" / "design.md").read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"\| `([a-z_]+)(?:\.py|/)` \|.*\| ([^|]+) \|", line)
        if match:
            named = re.sub(r"\([^)]*\)", "", match[2])
            words = {word.strip() for word in named.split(",")} - {"nothing", ""}
            rows[match[1]] = None if words == {"everything above"} else words
    return rows


ROWS = table()
OUTSIDE = {"__init__", "__main__"}


def part(name: str) -> str:
    """The row of a dotted module name; the package itself is no row."""
    words = name.split(".")
    return words[1] if len(words) > 1 else ""


def test_the_table_is_read() -> None:
    assert len(ROWS) >= 19
    assert ROWS["errors"] == set()
    assert ROWS["search"] == {"errors", "randomness", "fault_injection", "space", "archive", "evaluate"}
    assert ROWS["stages"] is None


def test_the_table_names_existing_parts_only() -> None:
    existing = {part(source.module(path)) for path in source.files()}
    assert {name for name in ROWS if name not in existing} == set()


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_imports_follow_the_table(path: source.Path) -> None:
    own = part(source.module(path))
    if not own or own in OUTSIDE:
        return
    assert own in ROWS, f"docs/design.md has no row for {own}"
    allowed = ROWS[own]
    above = set(list(ROWS)[: list(ROWS).index(own)])
    for name in source.imports(path):
        target = part(name) if name.split(".")[0] == "evonas" else ""
        if target and target in ROWS and target != own:
            permitted = above if allowed is None else allowed
            assert target in permitted, f"{own} may not import {target} ({name})"


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_lightning_lives_in_training_only(path: source.Path) -> None:
    if not source.relative(path).startswith("train/"):
        assert not [
            name for name in source.imports(path) if name.startswith(("lightning", "pytorch_lightning"))
        ]


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_config_stays_in_stages(path: source.Path) -> None:
    names = set(source.imports(path))
    allowed = {"schema.py", "config.py", "run.py", "cli.py", "cli_errors.py"}
    if source.relative(path) not in allowed and not source.relative(path).startswith("stages/"):
        assert not [name for name in names if name.startswith(("omegaconf", "hydra"))]
