"""What a report is made of, and what one part of its page holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evonas.report.analysis.gene_matrix import Genome
from evonas.report.charts import plots
from evonas.report.page.tables import Table
from evonas.report.results import Facts
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Sources:
    """Everything a report is made of; what a run does not have yet is None or empty.

    Args:
        run: name of the run.
        task: name of the task.
        command: gives the command that runs a stage in this run.
        pictures: folder of the pictures that `test` names.
        has_network: whether the networks exist; those of a table were trained by others.
        attempts: the commands that worked on this run, oldest first.
        environment: names and values, such as versions.
        times: seconds by what took them.
        space: which the networks belong to, where it could be made.
        family: of the supernet whose networks they are, where there is one.
    """

    run: str
    task: str
    command: Callable[[str], str]
    facts: Facts | None = None
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

    @cached_property
    def genome(self) -> Genome | None:
        """The genes of all facts; None without a search, or where the space cannot read them."""
        if self.facts is None or self.space is None:
            return None
        return Genome.of(self.space, self.facts.genotypes)

    @property
    def nets(self) -> Sequence[Json]:
        """The chosen networks."""
        return self.selected["nets"] if self.selected else []

    @property
    def is_given(self) -> bool:
        """Whether networks were chosen without a search."""
        return self.facts is None and bool(self.nets)

    @property
    def error_name(self) -> str:
        """The task's metric that everything minimises."""
        known = [part["error_name"] for part in (self.test, self.selected, self.panel, self.rank) if part]
        return known[0] if known else "error"


@dataclass(frozen=True)
class Picture:
    """An image inside the page, what it shows, and what that cost."""

    caption: str
    data: str
    cost: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the page; the template shows what is there, in the order of these fields.

    With a `slider` the figures have layers, one for each of its labels.
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
