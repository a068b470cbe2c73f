"""The run: one directory that holds everything one search is and was.

Creating, locking and finding runs never imports torch.
"""

from dataclasses import dataclass
from pathlib import Path

from evonas.errors import UserError


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run directory.

    Args:
        directory: absolute path.
        task: name of the task, for the commands that messages print.
        resume: whether stages may continue earlier work.
        inputs: another run whose results stand in for missing ones, or None.
    """

    directory: Path
    task: str
    resume: bool = False
    inputs: Path | None = None

    @property
    def name(self) -> str:
        """The name to type after `run=`."""
        return self.directory.name

    def path(self, relative: str) -> Path:
        """A path inside the run; its folder exists afterwards."""
        target = self.directory / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def find(self, relative: str) -> Path | None:
        """A result of this run, else of the run named by `inputs=`, else None."""
        for base in (self.directory, self.inputs):
            if base is not None and (base / relative).exists():
                return base / relative
        return None

    def need(self, relative: str, made_by: str) -> Path:
        """Like `find`, but a missing result is a UserError that says which command makes it."""
        found = self.find(relative)
        if found is None:
            raise UserError(
                f"Run '{self.name}' has no {relative}.",
                f"Make it with: {self.command(made_by)}",
            )
        return found

    def command(self, stage: str) -> str:
        """The command that runs a stage in this run."""
        task = f" +task={self.task}" if self.task else ""
        return f"python -m evonas{task} stage={stage} run={self.name}"
