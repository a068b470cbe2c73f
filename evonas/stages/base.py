"""What a stage is: one verb the user types.

The contract. A stage reads its config and what earlier stages left in the run, writes
its own results atomically, and returns the line that ends a successful command: a path
or the next command. It may be repeated; with `run.resume` it continues where it was
stopped. A missing input is a UserError that names the command which makes it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from omegaconf import DictConfig

from evonas.run import Run
from evonas.stages.build.setup import Setup


@dataclass(frozen=True)
class Context:
    """What a stage works with: the composed config and the run's directory."""

    cfg: DictConfig
    run: Run

    @cached_property
    def setup(self) -> Setup:
        """What the config is about, built once for all who ask."""
        return Setup(self.cfg)


@runtime_checkable
class Stage(Protocol):
    """See the module's contract."""

    needs_task: bool

    def run(self, context: Context) -> str: ...
