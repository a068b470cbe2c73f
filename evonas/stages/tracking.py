"""The trackers of a stage: `metrics.csv` in its folder, and those of `tracker=` and `more_trackers`, each guarded."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from evonas.config import allowed, build, redact
from evonas.identifiers import identifier
from evonas.stages.base import Context
from evonas.track.base import GuardedTracker, TrackerGroup

_LOG = logging.getLogger(__name__)
_CSV, _NONE = "tracker/csv", "tracker/none"
# what describes the command and not the question that it works on
_NOT_DESCRIBED = ("tracker", "more_trackers", "stage", "paths", "hydra")


@contextmanager
def trackers(context: Context, stage: str, folder: Path) -> Iterator[TrackerGroup]:
    """Opens the trackers of a stage, tells them its settings, and closes them.

    One that cannot be opened is told at once and left out. With `tracker=none` there is none at all; else
    `metrics.csv` is written beside whatever is chosen.

    Args:
        stage: name of the stage.
        folder: the stage's folder in the run.

    Raises:
        UserError: a tracker needs a package that is not installed.
    """
    cfg = context.cfg
    patience = float(cfg.get("tracker_patience_s") or 60.0)
    settings = described(cfg, context.run.name, stage)
    opened = []
    for node in chosen(cfg):
        try:
            built = build(node, folder=folder, run=context.run.name, stage=stage)
        except OSError as error:
            _LOG.warning("%s is switched off: it cannot write: %s", _name(node), error)
            continue
        opened.append(GuardedTracker(built, patience, settings))
    group = TrackerGroup(opened)
    try:
        yield group
    finally:
        group.close()


def chosen(cfg: DictConfig) -> list[DictConfig]:
    """The configs of all trackers, `metrics.csv` first unless there is none."""
    named = [cfg.get("tracker"), *(cfg.get("more_trackers") or {}).values()]
    nodes = [node for node in named if node]
    targets = [str(identifier(node.get("_target_"))) for node in nodes]
    real = [node for node, target in zip(nodes, targets, strict=True) if target not in (_CSV, _NONE)]
    if not real and _CSV not in targets:
        return []
    return [OmegaConf.create({"_target_": _CSV}), *real]


def check_trackers(cfg: DictConfig) -> None:
    """Raise a UserError if a tracker needs a package that is not installed, before any stage has run."""
    for node in chosen(cfg):
        if "_target_" not in node:
            # of a tracker of the user's own; it is refused where it is built
            continue
        require = getattr(allowed(node["_target_"]), "require", None)
        if require is not None:
            require()


def described(cfg: DictConfig, run: str, stage: str) -> dict[str, Any]:
    """What trackers record of a command: its settings by dotted key, without secrets, and which run and stage it is."""
    plain: Any = redact(OmegaConf.to_container(cfg, resolve=False))
    kept = {key: value for key, value in plain.items() if key not in _NOT_DESCRIBED}
    return {**dict(_flat(kept)), "run": run, "stage": stage}


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from _flat(child, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix("."), node


def _name(node: DictConfig) -> str:
    return str(node["_target_"]).rpartition(".")[2]
