"""Objective `latency_lookup`: predicted latency of a subnet from a lookup table, possibly of another machine."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import DataError, UserError
from evonas.evaluate.engine import Part
from evonas.identifiers import identified
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency import lookup_table as tables
from evonas.space.genotype import Genotype

VERSION = 1
# properties of a table that must equal those of the search; its machine may differ
SAME = ("space", "network", "head", "input_size")


class LookupLatency:
    """Latency in ms by a table of `stage=latency_table`, with the table's held-out error.

    Several machines need one objective each, with distinct names.

    Args:
        table: path of a `table.json`; null for the one of the run, which `stage=search` sets.
        kind: `table` (corrected sum of blocks) or `predictor` (with ridge regression).
        name: name of the objective.

    Raises:
        UserError: kind is unknown, or table is missing.
    """

    unit = "ms"
    part: Part = "shared"

    def __init__(self, table: str | None = None, kind: str = "table", name: str = "latency") -> None:
        if kind not in tables.KINDS:
            raise UserError(
                f"objective.latency_lookup.kind={kind} is unknown.",
                f"Choose among {', '.join(tables.KINDS)}.",
            )
        if table is None:
            raise UserError("latency_lookup has no table.", "objective.latency_lookup.table=<table.json>")
        self.path, self.kind, self.name = Path(table), kind, name

    @cached_property
    def table(self) -> tables.LatencyTable:
        """The table, read on first use."""
        return tables.load(self.path)

    def prepare(self, context: EvaluationContext) -> None:
        """Reads the table.

        Raises:
            DataError: the table is for another space, network, head or image size.
        """
        self._context = context
        known, wanted = identified(self.table.about), identified(about(context))
        for key in SAME:
            if known.get(key) != wanted[key]:
                raise DataError(
                    f"{self.path} is for another {key}: {known.get(key)}.",
                    "Build one for this search with: stage=latency_table",
                )

    @property
    def source(self) -> str:
        """Machine of the table, its held-out errors, and how many of its timings are doubtful, as one line."""
        about = self.table.about["machine"]["name"]
        # tables of earlier releases do not say it
        doubtful, total = self.table.about.get("doubtful", (0, 0))
        noted = f", {doubtful} of {total} timings doubtful" if doubtful else ""
        return f"{self.kind} of {about}, {self.table.held_out[self.kind].line}{noted}"

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The predicted latency in ms, with the table's machine and held-out errors."""
        network = tables.Network.of(self._context.family, genotype, self._context.input_size)
        value = self.table.predict(network, self.kind)
        held_out = self.table.held_out[self.kind]
        source = {
            "kind": self.kind,
            "machine": self.table.about["machine"]["name"],
            "spearman": held_out.spearman,
            "mean_error": held_out.mean_error,
        }
        return value, {f"{self.name}_source": source}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Kind and digest of the table, independent of its path.

        Raises:
            DataError: the table does not exist.
        """
        del context
        if not self.path.is_file():
            raise DataError(
                f"There is no latency table at {self.path}.", "Build one with: stage=latency_table"
            )
        return {"version": VERSION, "kind": self.kind, "table": files.sha256(self.path)}


def about(context: EvaluationContext) -> dict[str, Any]:
    """Everything a table's times depend on besides the machine and the step labels, as JSON data."""
    return {
        "space": dict(context.space_config),
        "network": dict(context.network_config),
        "head": context.head_config,
        "input_size": list(context.input_size),
        "precision": context.precision,
    }
