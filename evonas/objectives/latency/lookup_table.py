"""A latency table: times of steps by label, what was fitted on whole networks, and how well.

Steps are filed by the label that their family gives them, `stage2/m=2/s=16/e=1`; all else that their time
depends on (widths, heads, image size, precision, machine) is the same for the whole table and stands in
its head. The time of a network is `offset + scale * (fixed + sum of its steps)`, offset and scale fitted on
measured networks, because steps that run after one another find warmer caches than steps that run alone.
The learned predictor of the same file adds what a ridge regression on the family's features knows of the rest.

Torch-free, so that reading a table costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from evonas import files
from evonas.errors import DataError
from evonas.space.genotype import Genotype
from evonas.supernets.base import SupernetFamily, labels
from evonas.supernets.step import Size

SCHEMA = 1
KINDS = ("table", "predictor")
Vector = NDArray[np.float64]
_PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Network:
    """A network as a table sees it: the labels of its steps, and its family's features."""

    labels: Sequence[str]
    features: Sequence[float]

    @classmethod
    def of(cls, family: SupernetFamily, genotype: Genotype, size: Size) -> "Network":
        """Of a genotype, for images of `size`."""
        return cls(labels(family, genotype, size), family.features(genotype))


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
        entries: time of each label.
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

    def total(self, network: Network) -> float:
        """The uncorrected sum: what every network has, and the steps.

        Raises:
            DataError: a step is not in the table.
        """
        return self.fixed + sum(self._entry(label) for label in network.labels)

    def predict(self, network: Network, kind: str = "table") -> float:
        """The time of a network in ms, by the corrected sum or by the predictor."""
        total = self.total(network)
        corrected_sum = self.offset + self.scale * total
        if kind == "table":
            return corrected_sum
        assert self.ridge is not None, "a finished table has a predictor"
        ridge = self.ridge
        found = (np.array([total, *network.features]) - np.array(ridge.mean)) / np.array(ridge.spread)
        return corrected_sum + ridge.offset + float(found @ np.array(ridge.weights))

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        files.write_json(path, {"schema": SCHEMA, **asdict(self)})

    def _entry(self, label: str) -> float:
        if label not in self.entries:
            raise DataError(
                f"The latency table has no step '{label}'.", "Build one for this space: stage=lookup"
            )
        return self.entries[label]


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


def corrected(table: LatencyTable, networks: Sequence[Network], times: Vector) -> LatencyTable:
    """The table with scale, offset and predictor fitted on measured networks.

    Args:
        times: in ms, one for each network.
    """
    totals = np.array([table.total(each) for each in networks])
    # relative errors count, not absolute ones
    scale, offset = np.polyfit(totals, times, 1, w=1.0 / times)
    rows = np.array([[total, *each.features] for each, total in zip(networks, totals.tolist(), strict=True)])
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
