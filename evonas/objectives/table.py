"""A latency table: times of building blocks by signature, what was fitted on whole networks, and how well.

A block's signature is its stage and the choices that shape it, `stage2/m=2/s=16/e=1`; all else that its
time depends on (widths, heads, image size, precision, machine) is the same for the whole table and stands in
its head. The time of a network is `offset + scale * (fixed + sum of its blocks)`, offset and scale fitted on
measured networks, because blocks that run after one another find warmer caches than blocks that run alone.
The learned predictor of the same file adds what a ridge regression on counts of choices knows of the rest.

Torch-free, so that reading a table costs nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from evonas import files
from evonas.errors import DataError
from evonas.space.evonet import Architecture, StageChoice

SCHEMA = 1
KINDS = ("table", "predictor")
Vector = NDArray[np.float64]
_PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How predictions compare with measured networks that no fit has seen; errors are relative."""

    subnets: int
    spearman: float
    kendall: float
    mean_error: float
    worst_error: float

    @property
    def line(self) -> str:
        """One line for people."""
        return (
            f"Spearman {self.spearman:.3f}, Kendall {self.kendall:.3f}, error {self.mean_error:.1%} "
            f"(worst {self.worst_error:.1%}) on {self.subnets} held-out subnets"
        )


@dataclass(frozen=True, slots=True)
class Ridge:
    """Linear weights on standardised features."""

    mean: list[float]
    spread: list[float]
    weights: list[float]
    offset: float


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Everything in `lookup/table.json`; times in ms.

    Args:
        about: machine, space, network, head, image size, precision and threads that it was made with.
        entries: time of each block signature.
        fixed: time of what every network has.
        scale: fitted factor of the sum.
        offset: fitted time beside the sum.
        ridge: the predictor.
        held_out: agreement of each kind with measured networks.
        seconds: what building it took.
    """

    about: Mapping[str, Any]
    entries: Mapping[str, float]
    fixed: float
    scale: float = 1.0
    offset: float = 0.0
    ridge: Ridge | None = None
    held_out: Mapping[str, HeldOut] = field(default_factory=dict)
    seconds: float = 0.0

    def total(self, architecture: Architecture) -> float:
        """The uncorrected sum: fixed parts and blocks.

        Raises:
            DataError: a block is not in the table.
        """
        return self.fixed + sum(self._entry(signature) for signature in signatures(architecture))

    def predict(self, architecture: Architecture, kind: str = "table") -> float:
        """The time of a network in ms, by the corrected sum or by the predictor."""
        total = self.total(architecture)
        corrected_sum = self.offset + self.scale * total
        if kind == "table":
            return corrected_sum
        assert self.ridge is not None, "a finished table has a predictor"
        ridge = self.ridge
        found = (features(architecture, total) - np.array(ridge.mean)) / np.array(ridge.spread)
        return corrected_sum + ridge.offset + float(found @ np.array(ridge.weights))

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        files.write_json(path, {"schema": SCHEMA, **asdict(self)})

    def _entry(self, signature: str) -> float:
        if signature not in self.entries:
            raise DataError(
                f"The latency table has no block '{signature}'.", "Build one for this space: stage=lookup"
            )
        return self.entries[signature]


def load(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        DataError: there is none, or it is damaged or from another version.
    """
    if not path.is_file():
        raise DataError(f"There is no latency table at {path}.", "Build one with: stage=lookup")
    try:
        found = dict(files.read_json(path))
        if found.pop("schema") != SCHEMA:
            raise DataError(f"{path} was written by another version.", "Build it anew with: stage=lookup")
        found["held_out"] = {kind: HeldOut(**each) for kind, each in found["held_out"].items()}
        found["ridge"] = Ridge(**found["ridge"])
        return LatencyTable(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no latency table: {error}", "Build one with: stage=lookup") from error


def signature(stage: int, choice: StageChoice) -> str:
    """The name of a block; stages count from 1."""
    mixer = "" if choice.d_state is None else f"/s={choice.d_state}/e={choice.expand:g}"
    return f"stage{stage}/m={choice.mlp_ratio:g}{mixer}"


def signatures(architecture: Architecture) -> Iterator[str]:
    """The signature of every block that runs, in order."""
    for stage, choice in enumerate(architecture.stages, start=1):
        for on in choice.blocks:
            if on:
                yield signature(stage, choice)


def features(architecture: Architecture, total: float) -> Vector:
    """What the predictor sees: the table's sum, and per stage the blocks n with n m, n s, n e and n s e."""
    found = [total]
    for choice in architecture.stages:
        count = float(sum(choice.blocks))
        found += [count, count * choice.mlp_ratio]
        if choice.d_state is not None and choice.expand is not None:
            found += [count * choice.d_state, count * choice.expand, count * choice.d_state * choice.expand]
    return np.array(found)


def corrected(table: LatencyTable, architectures: Sequence[Architecture], times: Vector) -> LatencyTable:
    """The table with scale, offset and predictor fitted on measured networks.

    Args:
        times: in ms, one for each architecture.
    """
    totals = np.array([table.total(each) for each in architectures])
    # relative errors count, not absolute ones
    scale, offset = np.polyfit(totals, times, 1, w=1.0 / times)
    rows = np.stack([features(each, total) for each, total in zip(architectures, totals, strict=True)])
    # few networks teach little: where they teach nothing, the predictor is the corrected sum
    ridge = fit_ridge(rows, times - (offset + scale * totals))
    return LatencyTable(table.about, table.entries, table.fixed, float(scale), float(offset), ridge)


def fit_ridge(rows: Vector, times: Vector, penalties: Sequence[float] = _PENALTIES) -> Ridge:
    """Ridge regression, with the penalty that leave-one-out errors choose.

    With H = X (X'X + c I)^-1 X', the residual of a left-out row is its residual over 1 - h_ii (Hastie,
    Tibshirani, Friedman, The Elements of Statistical Learning, 2009, eq. 7.64).

    Args:
        rows: networks by features.
        times: in ms.
    """
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    X, offset = (rows - mean) / spread, float(times.mean())
    y = times - offset
    fits = [_solved(X, y, penalty) for penalty in penalties]
    _, weights = min(fits, key=lambda fit: fit[0])
    return Ridge(mean.tolist(), spread.tolist(), weights.tolist(), offset)


def _solved(X: Vector, y: Vector, penalty: float) -> tuple[float, Vector]:
    inverse = np.linalg.inv(X.T @ X + penalty * np.eye(X.shape[1]))
    weights = inverse @ X.T @ y
    leverage = np.einsum("ij,jk,ik->i", X, inverse, X) + 1.0 / len(X)
    left_out = (y - X @ weights) / np.maximum(1.0 - leverage, 1e-6)
    return float(np.mean(left_out**2)), weights


def compare(predicted: Vector, measured: Vector) -> HeldOut:
    """Agreement of predictions with measured times, both in ms."""
    errors = np.abs(predicted - measured) / measured
    return HeldOut(
        len(measured),
        float(spearmanr(predicted, measured).statistic),
        float(kendalltau(predicted, measured).statistic),
        float(errors.mean()),
        float(errors.max()),
    )
