"""Metrics in MLflow, by its own client, since Lightning's logger imports torch."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import UserError

# file with the id of the MLflow run for resuming, and the default database
RUN_ID_FILE, DATABASE = "mlflow.json", "mlflow.db"
# limits of MLflow: characters of a parameter's value, and parameters in one request
MAX_VALUE, BATCH = 6000, 100
_RUN = "run.json"


class MLflowTracker:
    """One MLflow run per stage, tagged with the run's name; a resumed stage continues the same MLflow run.

    Args:
        experiment: name of the MLflow experiment.
        tracking_uri: URI of a server or database; None for one database beside all runs, in the folder `outputs`.
    """

    def __init__(
        self, folder: Path, run: str, stage: str, experiment: str = "evonas", tracking_uri: str | None = None
    ) -> None:
        self._run_id_file = Path(folder) / RUN_ID_FILE
        self._uri = tracking_uri or f"sqlite:///{_store(Path(folder).absolute()) / DATABASE}"
        self._experiment = experiment
        self._tags = {"run": run, "stage": stage, "mlflow.runName": f"{run}/{stage}"}
        self._mlflow = _library()
        self._client: Any = None
        self._run_id = ""

    @staticmethod
    def require() -> None:
        """Raise a UserError if the package is not installed."""
        _library()

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Connect, and log the settings as parameters; those of a resumed run that changed become tags.

        MLflow keeps the first value of a parameter for ever.
        """
        if self._client is None:
            self._connect()
        known = self._client.get_run(self._run_id).data.params
        texts = {key: str(value)[:MAX_VALUE] for key, value in settings.items()}
        new = [self._mlflow.entities.Param(key, text) for key, text in texts.items() if key not in known]
        for first in range(0, len(new), BATCH):
            self._client.log_batch(self._run_id, params=new[first : first + BATCH])
        for key, text in texts.items():
            if known.get(key, text) != text:
                self._client.set_tag(self._run_id, f"resumed.{key}", text)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values; connects at the first call, since connecting may be slow."""
        if self._client is None:
            self._connect()
        now, metric = int(time.time() * 1000), self._mlflow.entities.Metric
        metrics = [metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self) -> None:
        """End the MLflow run."""
        if self._client is not None:
            self._client.set_terminated(self._run_id)
            self._client = None

    def _connect(self) -> None:
        self._client = self._mlflow.MlflowClient(self._uri)
        if self._run_id_file.exists():
            self._run_id = files.read_json(self._run_id_file)["run_id"]
            self._client.update_run(self._run_id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self._experiment)
        number = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._run_id = self._client.create_run(number, tags=self._tags).info.run_id
        files.write_json(self._run_id_file, {"run_id": self._run_id})


def _store(folder: Path) -> Path:
    """The folder that holds the run of a stage's folder; the folder itself outside of runs."""
    runs = [each for each in (folder, *folder.parents) if (each / _RUN).exists()]
    return runs[0].parent if runs else folder


def _library() -> Any:
    try:
        import mlflow
    except ImportError as error:
        message = "tracker=mlflow needs the package mlflow, which is not installed."
        raise UserError(message, "Install it with: pip install 'evonas[mlflow]'") from error
    return mlflow
