"""Formulas of proxies, such as `sum(less(softmax(W), relu(G)))`.

Leaves are tensors of a convolution or linear layer: its weight W and the gradient G of the loss by it, its output A and
the gradient D of the loss by it. The outermost operator, sum or mean, reduces to one number per layer; the score of a
network is the sum over its layers, and higher is better. The example is rho_minus of SasWOT (Dong et al., AAAI 2024).
Formulas are parsed and never executed as code.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.proxies.operators import LEAVES, OPERATORS, REDUCE, Kind, Rows, Tensors, kind_of
from evonas.proxies.samples import LayerSamples

MAX_LENGTH = 400
MAX_DEPTH = 10
# number of cached intermediate results; each has the size of one sampled tensor of all layers
_KEPT = 16
_TOKEN = re.compile(r"\s*([A-Za-z_0-9]+|[(),])")


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its arguments, or a leaf; `str` returns the formula."""

    name: str
    children: tuple["Node", ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(str(child) for child in self.children)
        return f"{self.name}({inside})" if self.children else self.name

    @property
    def depth(self) -> int:
        """The depth of the tree; 1 for a leaf."""
        return 1 + max((child.depth for child in self.children), default=0)

    def walk(self) -> Iterator["Node"]:
        """All nodes of the tree in pre-order."""
        yield self
        for child in self.children:
            yield from child.walk()


def kind(node: Node) -> Kind | None:
    """The kind of a tree's result, or None if shapes or numbers of arguments are inconsistent."""
    if not node.children:
        return LEAVES.get(node.name)
    kinds = tuple(kind(child) for child in node.children)
    operator = OPERATORS.get(node.name)
    if operator is None or None in kinds:
        return None
    return kind_of(operator, tuple(found for found in kinds if found is not None))


def is_formula(node: Node) -> bool:
    """Whether the tree is consistent, has sum or mean outermost and nowhere else, and is not too deep."""
    inner = [part.name for child in node.children for part in child.walk()]
    fits = node.name in REDUCE and not any(name in REDUCE for name in inner)
    return fits and node.depth <= MAX_DEPTH and kind(node) is not None


def parse(text: str) -> Node:
    """Parses a formula.

    Raises:
        UserError: the text is not a formula.
    """
    if len(text) > MAX_LENGTH:
        raise UserError(
            f"The formula has {len(text)} characters.", f"A formula has at most {MAX_LENGTH} characters."
        )
    node = _Reader(text).read()
    if not is_formula(node):
        raise UserError(
            f"'{text}' is not a formula with one number per layer.",
            "It needs sum(...) or mean(...) outermost, and tensors of one shape in it: W with G, A with D.",
        )
    return node


class _Reader:
    """Recursive-descent parser of `name` or `name(argument, ...)`."""

    def __init__(self, text: str) -> None:
        self._text = text
        found = list(_TOKEN.finditer(text))
        if sum(match.end() - match.start() for match in found) != len(text.rstrip()):
            raise self._wrong("a character that has no meaning")
        self._tokens = [match.group(1) for match in found]

    def read(self) -> Node:
        node = self._node(1)
        if self._tokens:
            raise self._wrong(f"'{self._tokens[0]}' after its end")
        return node

    def _node(self, depth: int) -> Node:
        name = self._take()
        if depth > MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} levels")
        if name in LEAVES:
            return Node(name)
        if name not in OPERATORS:
            known = ", ".join([*LEAVES, *OPERATORS])
            raise UserError(f"'{name}' in the formula '{self._text}' is unknown.", f"Choose among {known}.")
        self._expect("(")
        children = [self._node(depth + 1)]
        while self._tokens and self._tokens[0] == ",":
            self._take()
            children.append(self._node(depth + 1))
        self._expect(")")
        return Node(name, tuple(children))

    def _take(self) -> str:
        if not self._tokens:
            raise self._wrong("an end where more must come")
        return self._tokens.pop(0)

    def _expect(self, token: str) -> None:
        if (found := self._take()) != token:
            raise self._wrong(f"'{found}' instead of '{token}'")

    def _wrong(self, found: str) -> UserError:
        return UserError(
            f"The formula '{self._text}' has {found}.", "Write it like sum(less(softmax(W), relu(G)))."
        )


class NotFiniteError(ValueError):
    """A formula is not finite on some layer."""


@dataclass
class Calculator:
    """Scores networks by formulas and caches shared subexpressions.

    Args:
        samples: layer samples of all networks.
    """

    samples: LayerSamples
    _kept: OrderedDict[Node, Tensors] = field(default_factory=OrderedDict)

    def score(self, node: Node) -> NDArray[np.float64]:
        """The score of each network; higher is better.

        Raises:
            NotFiniteError: the formula is not finite on some layer.
        """
        assert is_formula(node), node
        with np.errstate(all="ignore"):
            rows = self._tensors(node).values
        return self.samples.over_layers(rows[:, 0])

    def _tensors(self, node: Node) -> Tensors:
        if node in self._kept:
            self._kept.move_to_end(node)
            return self._kept[node]
        if not node.children:
            return self.samples.tensors(node.name)
        found = _finite(node, [self._tensors(child) for child in node.children])
        self._kept[node] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found


def _finite(node: Node, arguments: list[Tensors]) -> Tensors:
    values: Rows = OPERATORS[node.name].apply(*arguments)
    if not np.isfinite(values).all():
        raise NotFiniteError(f"{node} is not finite")
    is_scalar = values.shape[1] == 1
    widest = max(arguments, key=lambda each: each.values.shape[1])
    counts = np.ones((len(values), 1)) if is_scalar else widest.counts
    return Tensors(values, counts)
