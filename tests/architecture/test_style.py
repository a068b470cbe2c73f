"""The house's rules of size, names and signs."""

import ast
import re

import pytest
import source

LONGEST_FILE = 400
LONGEST_FUNCTION = 40
# each with its reason
LONG_FUNCTIONS: dict[str, str] = {}
BANNED = re.compile(r"(?i)(manager|helper|handler|utils?|_v2|final|fixed)$")
LOCAL = re.compile(r"""["'](/(?:home|root|Users|mnt|work)/)""")
TEXT = ("*.py", "*.yaml", "*.toml", "*.md", "*.cff", "Makefile", "*.html", "*.css")


def functions(path: source.Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may be as long as the formula needs."""
    has_text = ast.get_docstring(node) is not None
    first = node.body[0]
    text = (first.end_lineno or 0) - first.lineno + 1 if has_text else 0
    return (node.end_lineno or 0) - node.lineno + 1 - text


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_files_are_short(path: source.Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_functions_are_short(path: source.Path) -> None:
    long = {
        f"{source.relative(path)}:{node.name}" for node in functions(path) if length(node) > LONGEST_FUNCTION
    }
    assert long - LONG_FUNCTIONS.keys() == set()


def test_most_functions_are_very_short() -> None:
    lengths = sorted(length(node) for path in source.files() for node in functions(path))
    assert lengths[len(lengths) // 2] <= 14


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_no_bare_except(path: source.Path) -> None:
    for node in ast.walk(source.tree(path)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}"


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_names_say_something(path: source.Path) -> None:
    classes = [node.name for node in ast.walk(source.tree(path)) if isinstance(node, ast.ClassDef)]
    assert [name for name in [path.stem, *classes] if BANNED.search(name)] == []


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_signatures_are_typed(path: source.Path) -> None:
    for node in functions(path):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        untyped = [each.arg for each in given if each.annotation is None and each.arg not in ("self", "cls")]
        assert not untyped and (node.returns is not None), f"{node.name}: {untyped or 'no return type'}"


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_public_things_have_docstrings(path: source.Path) -> None:
    assert ast.get_docstring(source.tree(path)) or path.name == "__init__.py", "module"
    for node in ast.iter_child_nodes(source.tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


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
