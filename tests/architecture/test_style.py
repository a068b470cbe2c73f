"""What every file of the package keeps to: typed signatures, plain signs, no bare except, no local paths."""

import ast
import re

import pytest
import source

LOCAL = re.compile(r"""["'](/(?:home|root|Users|mnt|work)/)""")
TEXT = ("*.py", "*.yaml", "*.toml", "*.md", "*.cff", "Makefile", "*.html", "*.css")


def functions(path: source.Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_no_bare_except(path: source.Path) -> None:
    for node in ast.walk(source.tree(path)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}"


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_signatures_are_typed(path: source.Path) -> None:
    for node in functions(path):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        untyped = [each.arg for each in given if each.annotation is None and each.arg not in ("self", "cls")]
        assert not untyped and (node.returns is not None), f"{node.name}: {untyped or 'no return type'}"


def text_files() -> list[source.Path]:
    skip = {".venv", ".git", "outputs", "dist", "build"}
    found = [path for pattern in TEXT for path in source.ROOT.rglob(pattern)]
    return [path for path in sorted(found) if not skip & set(path.relative_to(source.ROOT).parts)]


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_code_is_ascii(path: source.Path) -> None:
    assert path.read_text(encoding="utf-8").isascii()


@pytest.mark.parametrize("path", text_files(), ids=lambda path: path.relative_to(source.ROOT).as_posix())
def test_no_path_of_somebodys_machine(path: source.Path) -> None:
    if "tests" not in path.parts:
        assert LOCAL.search(path.read_text(encoding="utf-8")) is None
