"""Latency lookup table: times of steps by label, with a correction fitted on measured networks.

Steps are identified by the labels of their family, such as `stage2/m=2/s=16/e=1`. Everything else their time depends
on (widths, heads, image size, precision, machine) is fixed for the whole table and stored in its header. The latency
of a network is `offset + scale * (fixed + sum of its steps)`; offset and scale are fitted on measured networks, since
consecutive steps have warmer caches than isolated ones. The predictor of the same file adds a ridge regression of the
residual on the family's features.

Torch-free.
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
    """Inputs of a table for one network: labels of its steps, and its family's features."""

    labels: Sequence[str]
    features: Sequence[float]

    @classmethod
    def of(cls, family: SupernetFamily, genotype: Genotype, size: Size) -> "Network":
        """The inputs of a genotype for images of `size` (height, width)."""
        return cls(labels(family, genotype, size), family.features(genotype))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Agreement of predictions with measurements of held-out networks; errors are relative."""

    subnets: int
    spearman: float
    kendall: float
    mean_error: float
    worst_error: float

    @property
    def line(self) -> str:
        """A one-line summary."""
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
    """Content of `lookup/table.json`; times in ms.

    Args:
        about: machine, space, network, head, image size, precision and threads of the table.
        entries: time of each label.
        fixed: time of the parts common to all networks.
        scale: fitted factor of the sum.
        offset: fitted constant.
        ridge: the predictor of the residual.
        held_out: agreement of each kind with held-out networks.
        seconds: duration of building the table.
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
        """The uncorrected sum of the common parts and the steps, in ms.

        Raises:
            DataError: the table has no entry for a step.
        """
        for label in network.labels:
            if label not in self.entries:
                raise DataError(
                    f"The latency table has no entry for step '{label}'.",
                    "Build one for this space: stage=latency_table",
                )
        return self.fixed + sum(self.entries[label] for label in network.labels)

    def predict(self, network: Network, kind: str = "table") -> float:
        """The latency of a network in ms: the corrected sum (`table`), or with the regression (`predictor`)."""
        total = self.total(network)
        corrected_sum = self.offset + self.scale * total
        if kind == "table":
            return corrected_sum
        assert self.ridge is not None, "a finished table has a predictor"
        ridge = self.ridge
        found = (np.array([total, *network.features]) - np.array(ridge.mean)) / np.array(ridge.spread)
        return corrected_sum + ridge.offset + float(found @ np.array(ridge.weights))

    def save(self, path: Path) -> None:
        """Writes the table as JSON, atomically."""
        files.write_json(path, {"schema": SCHEMA, **asdict(self)})


def load(path: Path) -> LatencyTable:
    """Reads a table.

    Raises:
        DataError: the file is missing, damaged or has another version.
    """
    if not path.is_file():
        raise DataError(f"There is no latency table at {path}.", "Build one with: stage=latency_table")
    try:
        found = dict(files.read_json(path))
        if found.pop("schema") != SCHEMA:
            raise DataError(
                f"{path} was written by another version.", "Build it anew with: stage=latency_table"
            )
        found["held_out"] = {kind: HeldOut(**each) for kind, each in found["held_out"].items()}
        found["ridge"] = Ridge(**found["ridge"])
        return LatencyTable(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is not a latency table: {error}", "Build one with: stage=latency_table"
        ) from error


def corrected(table: LatencyTable, networks: Sequence[Network], times: Vector) -> LatencyTable:
    """The table with scale, offset and predictor fitted on measured networks.

    Args:
        table: the table.
        networks: measured networks.
        times: time of each network in ms.
    """
    totals = np.array([table.total(each) for each in networks])
    # weights 1 / t minimise relative errors
    scale, offset = np.polyfit(totals, times, 1, w=1.0 / times)
    rows = np.array([[total, *each.features] for each, total in zip(networks, totals.tolist(), strict=True)])
    # with few networks the regression shrinks to the corrected sum
    ridge = fit_ridge(rows, times - (offset + scale * totals))
    return LatencyTable(table.about, table.entries, table.fixed, float(scale), float(offset), ridge)


def fit_ridge(rows: Vector, times: Vector, penalties: Sequence[float] = _PENALTIES) -> Ridge:
    """Ridge regression with the penalty of the lowest leave-one-out error.

    With H = X (X'X + c I)^-1 X', the residual of a left-out row is its residual over 1 - h_ii (Hastie,
    Tibshirani, Friedman, The Elements of Statistical Learning, 2009, eq. 7.64).

    Args:
        rows: features, one row per network.
        times: targets in ms.
        penalties: candidate penalties c.
    """
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    X, offset = (rows - mean) / spread, float(times.mean())
    y = times - offset
    fits = [_fit_with_penalty(X, y, penalty) for penalty in penalties]
    _, weights = min(fits, key=lambda fit: fit[0])
    return Ridge(mean.tolist(), spread.tolist(), weights.tolist(), offset)


def _fit_with_penalty(X: Vector, y: Vector, penalty: float) -> tuple[float, Vector]:
    inverse = np.linalg.inv(X.T @ X + penalty * np.eye(X.shape[1]))
    weights = inverse @ X.T @ y
    leverage = np.einsum("ij,jk,ik->i", X, inverse, X) + 1.0 / len(X)
    left_out = (y - X @ weights) / np.maximum(1.0 - leverage, 1e-6)
    return float(np.mean(left_out**2)), weights


def compare(predicted: Vector, measured: Vector) -> HeldOut:
    """Agreement of predicted and measured times, both in ms."""
    errors = np.abs(predicted - measured) / measured
    return HeldOut(
        len(measured),
        float(spearmanr(predicted, measured).statistic),
        float(kendalltau(predicted, measured).statistic),
        float(errors.mean()),
        float(errors.max()),
    )
