"""The data that a run has read: manifests, recorded by the first stage that reads a split and compared by the others.

The place of the data may change during a run, the data may not: a supernet trained on other images than a search
measures it on gives errors that mean nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from evonas import files
from evonas.errors import DataError
from evonas.run import DATA, Run
from evonas.stages.build.setup import Setup

if TYPE_CHECKING:
    from evonas.data.base import Split


class DataRecord:
    """Compares splits with those that the run has read before; each split is looked at once.

    Args:
        setup: of the run's config.
        run: holds the record, `data.json`: for each split its manifest and the folder it was read from.
    """

    def __init__(self, setup: Setup, run: Run) -> None:
        self._setup, self._run = setup, run
        self._known = set[str]()

    def check(self, *splits: "Split", task: Any = None) -> None:
        """Records splits that the run has not read before; reads names and sizes of files, but no image.

        Args:
            splits: of the task.
            task: that of the config, if it was built before.

        Raises:
            DataError: a split has other files, names or sizes than before, or the record is damaged.
        """
        path = self._run.directory / DATA
        record = _read(path) if path.exists() else {}
        root = OmegaConf.select(self._setup.cfg, "data.root")
        place = None if root is None else str(Path.cwd() / root)
        for split in splits:
            if split in self._known:
                continue
            self._known.add(split)
            present = {"manifest": (task or self._setup.task).dataset(split).manifest(), "root": place}
            before = record.get(split)
            if before is None:
                record[split] = present
                files.write_json(path, record)
            elif before["manifest"] != present["manifest"]:
                raise _changed(self._run.name, split, before["root"], place)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(each, dict) and {"manifest", "root"} <= each.keys() for each in found.values()
    ):
        raise DataError(f"{path} is damaged.", "Remove it, if the data is that which the run began with.")
    return found


def _changed(run: str, split: "Split", before: str | None, now: str | None) -> DataError:
    name = {"holdout": "validation", "train": "training"}.get(split, split)
    if before == now:
        what = f"The {name} split in {now} has changed since run '{run}' first read it"
        return DataError(
            f"{what}: it has other files, names or sizes.", "Restore the data, or start another run."
        )
    return DataError(
        f"Run '{run}' read its {name} split from {before}, and {now} has other files, names or sizes.",
        f"Add data.root={before}, or start another run by leaving out run={run}.",
    )
