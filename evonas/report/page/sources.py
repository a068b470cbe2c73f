"""Inputs of a report, and the content of its sections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evonas.report.analysis.baseline_gain import Gain, gain_of
from evonas.report.analysis.gene_matrix import GeneMatrix
from evonas.report.analysis.verdicts import fine_tuning_harm, losing_to_trivial
from evonas.report.charts import plots
from evonas.report.page.tables import Table
from evonas.report.results import SearchResults
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Sources:
    """Inputs of a report; what a run does not have yet is None or empty.

    Args:
        run: name of the run.
        task: name of the task.
        command: maps a stage to the command that runs it in this run.
        results: results of the search.
        selected: content of the selection's file.
        retrained: network name -> metrics after retraining.
        test: content of the test results' file.
        panel: content of the validation panel's file.
        rank: content of the ranking check's file.
        discovery: content of the discovered proxy's file.
        pictures: folder of the images that `test` names.
        has_network: whether networks can be built; a table benchmark has none.
        attempts: the commands of this run, oldest first.
        environment: names and values, such as versions.
        times: (command, formatted time).
        space: search space of the networks, if it can be built.
        family: supernet family of the networks, if there is one.
        baselines: content of the baselines' file.
        damaged: sentences about files that cannot be shown.
        shortened: why the numbers mean nothing, in a debug run; else empty.
    """

    run: str
    task: str
    command: Callable[[str], str]
    results: SearchResults | None = None
    selected: Json | None = None
    retrained: Mapping[str, Json] = field(default_factory=dict)
    test: Json | None = None
    panel: Json | None = None
    rank: Json | None = None
    discovery: Json | None = None
    pictures: Path | None = None
    has_network: bool = True
    attempts: Sequence[str] = ()
    environment: Sequence[tuple[str, str]] = ()
    times: Sequence[tuple[str, str]] = ()
    space: Space | None = None
    family: SupernetFamily | None = None
    baselines: Json | None = None
    damaged: Sequence[str] = ()
    shortened: str = ""

    @cached_property
    def gain(self) -> Gain | None:
        """What the selected networks gained over the baselines; None without them."""
        units = self.results.units if self.results is not None else {}
        return gain_of(self.selected, self.retrained, self.baselines, units)

    @property
    def verdicts(self) -> Sequence[str]:
        """Sentences about training that harmed and about networks that lose to a predictor without images."""
        pairs = [(name, each["inherited"], each["retrained"]) for name, each in self.retrained.items()]
        told = [fine_tuning_harm(self.error_name, pairs), losing_to_trivial(self.test) if self.test else ""]
        return [sentence for sentence in told if sentence]

    @property
    def rivals(self) -> Sequence[Json]:
        """The baselines, each with its objectives by name and its metrics after the longest training."""
        if not self.baselines:
            return []
        return [
            {
                **each,
                "objectives": {**each["costs"], **each["objectives"]},
                "metrics": each["trained"][self.baselines["budget"]]["metrics"],
            }
            for each in self.baselines["networks"]
        ]

    @cached_property
    def gene_matrix(self) -> GeneMatrix | None:
        """Genes of all results; None without a search, or if the space cannot parse the genotypes."""
        if self.results is None or self.space is None:
            return None
        return GeneMatrix.of(self.space, self.results.genotypes)

    @property
    def nets(self) -> Sequence[Json]:
        """Selected networks."""
        return self.selected["nets"] if self.selected else []

    @property
    def is_given(self) -> bool:
        """Whether networks were given without a search."""
        return self.results is None and bool(self.nets)

    @property
    def error_name(self) -> str:
        """Key of the metric that the task minimises."""
        parts = (self.test, self.selected, self.panel, self.rank, self.discovery)
        known = [part["error_name"] for part in parts if part]
        return known[0] if known else "error"

    @cached_property
    def metric_keys(self) -> set[str]:
        """Keys of the task's metrics, as far as the run recorded any."""
        recorded: list[Mapping[str, Any]] = [result["inherited"] for result in self.retrained.values()]
        recorded += [
            row["metrics"] for step in (self.panel or {"steps": ()})["steps"] for row in step["panel"]
        ]
        recorded += [self.test["baseline"]["metrics"]] if self.test else []
        return {key for metrics in recorded for key in metrics}


@dataclass(frozen=True)
class Picture:
    """An inline image with its caption and the cost of the network."""

    caption: str
    data: str
    cost: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page; the template shows the non-empty fields in this order.

    Args:
        missing: sentence about a result that is not available yet.
        command: command that produces the missing result.
        slider: labels of the layers of all figures.
        genotypes: (name, genotype, reason).
    """

    title: str
    texts: Sequence[str] = ()
    missing: str = ""
    command: str = ""
    legend: plots.Legend = field(default_factory=list)
    slider: Sequence[str] = ()
    figures: Sequence[plots.Figure] = ()
    tables: Sequence[Table] = ()
    genotypes: Sequence[tuple[str, str, str]] = ()
    pictures: Sequence[Sequence[Picture]] = ()
    commands: Sequence[str] = ()
