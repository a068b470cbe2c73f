"""No two modules import each other, however many others lie between them.

Imports inside functions and for type checking count: either half of a circle cannot be read, tested or moved
without the other.
"""

from collections.abc import Iterator, Mapping, Set

import source

# circles that stay, as sorted names, each with its reason
EXCUSED: dict[tuple[str, ...], str] = {}


def graph() -> dict[str, set[str]]:
    """Each module with those that it imports anywhere in its file."""
    modules = {source.module(path): path for path in source.files()}
    return {
        name: {
            found for each in source.imports(path) if (found := longest(each, modules)) not in (None, name)
        }
        for name, path in modules.items()
    }


def longest(name: str, modules: Mapping[str, source.Path]) -> str | None:
    """The module that a dotted name lies in; packages around it are not meant by the statement."""
    words = name.split(".")
    prefixes = (".".join(words[:count]) for count in range(len(words), 0, -1))
    return next((each for each in prefixes if each in modules), None)


def circles(edges: Mapping[str, Set[str]]) -> Iterator[tuple[str, ...]]:
    """Sets of modules each of which reaches the others (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[tuple[str, ...]]:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in order:
                yield from visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            found = tuple(sorted(stack[at:]))
            del stack[at:]
            if len(found) > 1:
                yield found

    for node in sorted(edges):
        if node not in order:
            yield from visit(node)


def test_nothing_imports_itself_by_way_of_others() -> None:
    edges = graph()
    found = [each for each in circles(edges) if each not in EXCUSED]
    for each in found:
        for name in each:
            print(f"{name} imports {', '.join(sorted(edges[name] & set(each)))}")
    assert found == []


def test_no_excuse_is_left_over() -> None:
    assert set(EXCUSED) <= set(circles(graph()))


def test_circles_are_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a", "e"}}
    assert set(circles(edges)) == {("a", "b", "c"), ("d", "e")}


def test_imports_of_all_kinds_count(tmp_path: source.Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nimport a.b\nif TYPE_CHECKING:\n    from c import d\n"
        "def late() -> None:\n    from e import f\n"
    )
    assert set(source.imports(path)) == {"typing.TYPE_CHECKING", "a.b", "c.d", "e.f"}
