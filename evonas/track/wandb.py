"""Metrics and results in Weights & Biases, online or offline; the API key comes from the environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas.errors import UserError
from evonas.track.base import Results


class WandbTracker:
    """One W&B run per stage, grouped by the run's name; respects `WANDB_MODE=offline`.

    The W&B id consists of the names of run and stage, so a resumed stage continues its W&B run. Metrics, the command's
    settings without secrets, and the configured results are sent: no code, no host statistics.

    Args:
        project: W&B project.
        entity: team or user; None for the default of the account.
        artifacts: kinds of files to upload: archive, genotypes, checkpoint, report.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        stage: str,
        project: str = "evonas",
        entity: str | None = None,
        artifacts: Sequence[str] = (),
    ) -> None:
        self._folder, self._run_name, self._stage = Path(folder), run, stage
        self._project, self._entity = project, entity
        self._kinds = frozenset(artifacts)
        self._wandb = _library()
        self._session: Any = None

    @staticmethod
    def require() -> None:
        """Raise a UserError if the package is not installed."""
        _library()

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Connect, and record the settings as the config of the W&B run."""
        self._connected().config.update(dict(settings), allow_val_change=True)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values; connects at the first call, since connecting may be slow."""
        self._connected().log({name: float(value) for name, value in values.items()}, step=step)

    def table(self, results: Results) -> None:
        """Log a table and its charts as W&B panels."""
        table = self._wandb.Table(columns=list(results.columns), data=[list(row) for row in results.rows])
        plot = self._wandb.plot
        panels = {
            f"{results.name}/{chart.title}": (plot.line if chart.is_line else plot.scatter)(
                table, chart.x, chart.y, title=chart.title
            )
            for chart in results.charts
        }
        self._connected().log({results.name: table, **panels})

    def artifact(self, kind: str, files: Sequence[Path]) -> None:
        """Upload files as a new version of an artifact, if its kind is configured."""
        if kind not in self._kinds:
            return
        found = self._wandb.Artifact(f"{self._run_name}-{kind}", type=kind)
        for path in files:
            found.add_file(str(path), name=f"{path.parent.name}/{path.name}")
        self._connected().log_artifact(found)

    def close(self) -> None:
        """Finish the W&B run."""
        if self._session is not None:
            self._session.finish()
            self._session = None

    def _connected(self) -> Any:
        if self._session is None:
            self._session = self._connect()
        return self._session

    def _connect(self) -> Any:
        settings = self._wandb.Settings(
            disable_code=True, disable_git=True, x_disable_stats=True, x_disable_meta=True, silent=True
        )
        return self._wandb.init(
            project=self._project,
            entity=self._entity,
            group=self._run_name,
            job_type=self._stage,
            name=f"{self._run_name}/{self._stage}",
            id=f"{self._run_name}-{self._stage}",
            dir=str(self._folder),
            resume="allow",
            settings=settings,
        )


def _library() -> Any:
    try:
        import wandb
    except ImportError as error:
        message = "tracker=wandb needs the package wandb, which is not installed."
        raise UserError(message, "Install it with: pip install 'evonas[wandb]'") from error
    return wandb
