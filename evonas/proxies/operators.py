"""Operators of discovered proxies on sampled tensors of layers.

Legend: L layers (of all networks, one row each), m sampled elements.

A tensor is a row of m sampled elements and the number n of its elements; sums are estimated as n times the mean of the
sample. A scalar is a row of one element with n = 1. SasWOT (Dong et al., AAAI 2024) does not publish its list of
operators; these are common to EZNAS (Akhauri et al. 2022) and LPZero (Dong et al. 2024).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Kind = Literal["weight", "map", "scalar"]


@dataclass(frozen=True, slots=True)
class Tensors:
    """One tensor of each layer: values (L m) and counts (L 1)."""

    values: Rows
    counts: Rows

    @property
    def total(self) -> Rows:
        """The estimated sum of each tensor (L 1)."""
        return self.values.mean(1, keepdims=True) * self.counts


@dataclass(frozen=True, slots=True)
class Operator:
    """A function of tensors.

    `is_scalar` marks operators with one number per layer; `needs_many` operators are constant on scalars and refuse
    them.
    """

    arity: int
    apply: Callable[..., Rows]
    is_scalar: bool = False
    needs_many: bool = False


def kind_of(operator: Operator, kinds: tuple[Kind, ...]) -> Kind | None:
    """The kind of the operator's result for arguments of these kinds, or None if they are inconsistent."""
    if len(kinds) != operator.arity or (operator.needs_many and "scalar" in kinds):
        return None
    shapes = {kind for kind in kinds if kind != "scalar"}
    if len(shapes) > 1:
        return None
    return "scalar" if operator.is_scalar or not shapes else shapes.pop()


def _softmax(x: Tensors) -> Rows:
    return np.exp(_log_softmax(x))


def _log_softmax(x: Tensors) -> Rows:
    shifted = x.values - x.values.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).mean(1, keepdims=True) * x.counts)


def _normalize(x: Tensors) -> Rows:
    return (x.values - x.values.mean(1, keepdims=True)) / x.values.std(1, keepdims=True)


def _minmax(x: Tensors) -> Rows:
    low, high = x.values.min(1, keepdims=True), x.values.max(1, keepdims=True)
    return (x.values - low) / (high - low)


def _sigmoid(x: Tensors) -> Rows:
    return 0.5 * (1 + np.tanh(0.5 * x.values))


def _norm(x: Tensors) -> Rows:
    return np.sqrt((x.values**2).mean(1, keepdims=True) * x.counts)


def _mean(x: Tensors) -> Rows:
    return x.values.mean(1, keepdims=True)


def _cosine(x: Tensors, y: Tensors) -> Rows:
    product = (x.values * y.values).mean(1, keepdims=True)
    sizes = (x.values**2).mean(1, keepdims=True) * (y.values**2).mean(1, keepdims=True)
    return product / np.sqrt(sizes)


def _kl(x: Tensors, y: Tensors) -> Rows:
    logs = _log_softmax(x)
    parts = np.exp(logs) * (logs - _log_softmax(y))
    return Tensors(parts, x.counts).total


UNARY: Mapping[str, Operator] = {
    "abs": Operator(1, lambda x: np.abs(x.values)),
    "neg": Operator(1, lambda x: -x.values),
    "square": Operator(1, lambda x: x.values**2),
    "sqrt": Operator(1, lambda x: np.sqrt(np.abs(x.values))),
    "log": Operator(1, lambda x: np.log(np.abs(x.values) + 1e-12)),
    "exp": Operator(1, lambda x: np.exp(x.values)),
    "invert": Operator(1, lambda x: 1 / (x.values + 1e-12)),
    "relu": Operator(1, lambda x: np.maximum(x.values, 0)),
    "sign": Operator(1, lambda x: np.sign(x.values)),
    "heaviside": Operator(1, lambda x: (x.values > 0).astype(float)),
    "sigmoid": Operator(1, _sigmoid),
    "softmax": Operator(1, _softmax, needs_many=True),
    "log_softmax": Operator(1, _log_softmax, needs_many=True),
    "normalize": Operator(1, _normalize, needs_many=True),
    "minmax": Operator(1, _minmax, needs_many=True),
    "average": Operator(1, _mean, is_scalar=True, needs_many=True),
    "std": Operator(1, lambda x: x.values.std(1, keepdims=True), is_scalar=True, needs_many=True),
    "l1": Operator(1, lambda x: Tensors(np.abs(x.values), x.counts).total, is_scalar=True, needs_many=True),
    "l2": Operator(1, _norm, is_scalar=True, needs_many=True),
}
BINARY: Mapping[str, Operator] = {
    "add": Operator(2, lambda x, y: x.values + y.values),
    "sub": Operator(2, lambda x, y: x.values - y.values),
    "mul": Operator(2, lambda x, y: x.values * y.values),
    "less": Operator(2, lambda x, y: (x.values < y.values).astype(float)),
    "cosine": Operator(2, _cosine, is_scalar=True, needs_many=True),
    "hamming": Operator(
        2,
        lambda x, y: ((x.values > 0) != (y.values > 0)).mean(1, keepdims=True),
        is_scalar=True,
        needs_many=True,
    ),
    "mse": Operator(
        2, lambda x, y: ((x.values - y.values) ** 2).mean(1, keepdims=True), is_scalar=True, needs_many=True
    ),
    "distance": Operator(
        2, lambda x, y: np.abs(x.values - y.values).mean(1, keepdims=True), is_scalar=True, needs_many=True
    ),
    "kl": Operator(2, _kl, is_scalar=True, needs_many=True),
}
# reductions of a tensor to one number per layer; scalars are unchanged
REDUCE: Mapping[str, Operator] = {
    "sum": Operator(1, lambda x: x.total, is_scalar=True),
    "mean": Operator(1, _mean, is_scalar=True),
}
LEAVES: Mapping[str, Kind] = {"W": "weight", "G": "weight", "A": "map", "D": "map"}
OPERATORS: Mapping[str, Operator] = {**UNARY, **BINARY, **REDUCE}
