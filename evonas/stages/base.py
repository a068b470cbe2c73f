"""The Protocol of a stage: one verb of the command line.

A stage reads its config and the results of earlier stages in the run, writes its own results atomically, and returns
the line that ends a successful command: a path or the next command. It may be repeated; with `run.resume` it continues
where it was stopped. A missing input is a UserError that names the command which makes it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from omegaconf import DictConfig

from evonas.run import Run
from evonas.stages.build.data_record import DataRecord
from evonas.stages.build.setup import Setup


@dataclass(frozen=True)
class Context:
    """The composed config and the run of a stage."""

    cfg: DictConfig
    run: Run

    @cached_property
    def setup(self) -> Setup:
        """Space, task and family of the config, each built once."""
        return Setup(self.cfg)

    @cached_property
    def data(self) -> DataRecord:
        """What the run has read of its data before."""
        return DataRecord(self.setup, self.run)


@runtime_checkable
class Stage(Protocol):
    """See the module's contract."""

    needs_task: bool

    def run(self, context: Context) -> str: ...
