"""Random formulas, mutation and crossover for proxy discovery.

A formula has the form of the paper: two branches, each a tensor with at most two unary operators, joined by a binary
operator (Dong et al., SasWOT, AAAI 2024), or a single branch. Inconsistent formulas are rejected and sampled again, a
bounded number of times.
"""

from collections.abc import Iterable

import numpy as np

from evonas.proxies.expression import Node, is_formula
from evonas.proxies.operators import BINARY, LEAVES, REDUCE, UNARY

_TRIES = 100
_SINGLE = 0.2


def random_formula(rng: np.random.Generator) -> Node:
    """A random consistent formula."""
    for _ in range(_TRIES):
        node = Node(_one(rng, REDUCE), (_joined(rng),))
        if is_formula(node):
            return node
    return Node("sum", (Node("abs", (Node("G"),)),))


def mutated(rng: np.random.Generator, parent: Node) -> Node:
    """Mutates a formula: replaces an operator, leaf or branch, or inserts or removes an operator."""
    changes = (_exchanged, _regrown, _wrapped, _unwrapped)
    for _ in range(_TRIES):
        change = changes[rng.integers(len(changes))]
        child = change(rng, parent)
        if child != parent and is_formula(child):
            return child
    return random_formula(rng)


def crossed(rng: np.random.Generator, mother: Node, father: Node) -> Node:
    """The mother with one of her parts replaced by one of the father's."""
    for _ in range(_TRIES):
        child = _replaced(mother, _inner(rng, mother), _part(father, _inner(rng, father)))
        if child != mother and is_formula(child):
            return child
    return mutated(rng, mother)


def _joined(rng: np.random.Generator) -> Node:
    if rng.random() < _SINGLE:
        return _branch(rng)
    return Node(_one(rng, BINARY), (_branch(rng), _branch(rng)))


def _branch(rng: np.random.Generator) -> Node:
    node = Node(_one(rng, LEAVES))
    for _ in range(rng.integers(3)):
        node = Node(_one(rng, UNARY), (node,))
    return node


def _exchanged(rng: np.random.Generator, parent: Node) -> Node:
    place = int(rng.integers(_size(parent)))
    old = _part(parent, place)
    like = (
        LEAVES if not old.children else next(names for names in (REDUCE, UNARY, BINARY) if old.name in names)
    )
    return _replaced(parent, place, Node(_one(rng, like), old.children))


def _regrown(rng: np.random.Generator, parent: Node) -> Node:
    return _replaced(parent, _inner(rng, parent), _branch(rng))


def _wrapped(rng: np.random.Generator, parent: Node) -> Node:
    place = _inner(rng, parent)
    return _replaced(parent, place, Node(_one(rng, UNARY), (_part(parent, place),)))


def _unwrapped(rng: np.random.Generator, parent: Node) -> Node:
    place = _inner(rng, parent)
    old = _part(parent, place)
    return _replaced(parent, place, old.children[0]) if old.children else parent


def _one(rng: np.random.Generator, names: Iterable[str]) -> str:
    known = list(names)
    return str(known[rng.integers(len(known))])


def _size(node: Node) -> int:
    return sum(1 for _ in node.walk())


def _inner(rng: np.random.Generator, node: Node) -> int:
    """A random node index below the outermost operator, in the order of `walk`."""
    return int(rng.integers(1, _size(node)))


def _part(node: Node, place: int) -> Node:
    for index, part in enumerate(node.walk()):
        if index == place:
            return part
    raise AssertionError(f"{node} has no place {place}")


def _replaced(node: Node, place: int, by: Node) -> Node:
    if place == 0:
        return by
    children, first = list(node.children), 1
    for index, child in enumerate(children):
        size = _size(child)
        if first <= place < first + size:
            children[index] = _replaced(child, place - first, by)
        first += size
    return Node(node.name, tuple(children))
