"""Numbers to MLflow, through Lightning's logger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import UserError

# remembers which MLflow run a resumed stage goes on with
MEMORY, DATABASE = "mlflow.json", "mlflow.db"


class MLflowTracker:
    """One MLflow run a stage, tagged with our run; a resumed stage goes on with the same one.

    Args:
        experiment: MLflow's experiment.
        tracking_uri: of a server or of a database; None for one in the stage's folder.
    """

    def __init__(
        self, folder: Path, run: str, stage: str, experiment: str = "evonas", tracking_uri: str | None = None
    ) -> None:
        self._memory = Path(folder) / MEMORY
        uri = tracking_uri or f"sqlite:///{Path(folder).absolute() / DATABASE}"
        known = files.read_json(self._memory)["run_id"] if self._memory.exists() else None
        logger = _logger()
        tags = {"run": run, "stage": stage}
        self._logger: Any = logger(experiment, f"{run}/{stage}", tracking_uri=uri, run_id=known, tags=tags)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers; connects at the first call, because connecting may take long."""
        self._logger.log_metrics({name: float(value) for name, value in values.items()}, step=step)
        if not self._memory.exists():
            files.write_json(self._memory, {"run_id": self._logger.run_id})

    def close(self) -> None:
        """End the MLflow run."""
        self._logger.finalize("success")


def _logger() -> Any:
    try:
        import mlflow  # noqa: F401
        from lightning.pytorch.loggers import MLFlowLogger
    except ImportError as error:
        message = "tracker=mlflow needs the package mlflow, which is not installed."
        raise UserError(message, "Install it with: pip install 'evonas[mlflow]'") from error
    return MLFlowLogger
