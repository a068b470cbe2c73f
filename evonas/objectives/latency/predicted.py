"""The latency of a subnet by a table: no network runs, so it may be of a machine that is not here."""

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
# what a table must share with the search that uses it; its machine may be any
SAME = ("space", "network", "head", "input_size")


class LookupLatency:
    """Milliseconds by a table of `stage=lookup`, with the table's held-out error beside every value.

    Several machines at once are several of these with names of their own.

    Args:
        table: path of a `table.json`; null for the one of the run, which `stage=search` fills in.
        kind: table (corrected sum of blocks) or predictor (ridge regression).
        name: of the objective.
    """

    unit = "ms"
    part: Part = "shared"

    def __init__(self, table: str | None = None, kind: str = "table", name: str = "latency") -> None:
        if kind not in tables.KINDS:
            raise UserError(
                f"There is no kind '{kind}' of table.", f"Choose among {', '.join(tables.KINDS)}."
            )
        if table is None:
            raise UserError("latency_lookup has no table.", "objective.latency_lookup.table=<table.json>")
        self.path, self.kind, self.name = Path(table), kind, name

    @cached_property
    def table(self) -> tables.LatencyTable:
        """The table, read when first needed."""
        return tables.load(self.path)

    def prepare(self, context: EvaluationContext) -> None:
        """Read the table.

        Raises:
            DataError: it was made for another space, network or image size.
        """
        self._context = context
        known, wanted = identified(self.table.about), identified(about(context))
        for key in SAME:
            if known.get(key) != wanted[key]:
                raise DataError(
                    f"{self.path} was made for another {key}: {known.get(key)}.",
                    "Build one for this search with: stage=lookup",
                )

    @property
    def source(self) -> str:
        """Where the numbers come from and how far they were off, for people."""
        about = self.table.about["machine"]["name"]
        return f"{self.kind} of {about}, {self.table.held_out[self.kind].line}"

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The predicted time in ms; where it comes from and how far it was off on held-out subnets."""
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
        """The table's content; not where it lies."""
        del context
        if not self.path.is_file():
            raise DataError(f"There is no latency table at {self.path}.", "Build one with: stage=lookup")
        return {"version": VERSION, "kind": self.kind, "table": files.sha256(self.path)}


def about(context: EvaluationContext) -> dict[str, Any]:
    """What a table's times depend on besides machine and choices, as plain JSON data."""
    return {
        "space": dict(context.space_config),
        "network": dict(context.network_config),
        "head": context.head_config,
        "input_size": list(context.input_size),
        "precision": context.precision,
    }
