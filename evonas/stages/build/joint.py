"""multi_task_runs=: one multi-task search over the trained supernets of several runs."""

import re
from collections import Counter
from typing import Any

from omegaconf import DictConfig

from evonas.command_text import command, setting
from evonas.config import to_plain
from evonas.errors import UserError
from evonas.identifiers import identified
from evonas.run import Run, find_run, recorded_config, recorded_overrides
from evonas.stages.base import Context
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.build.factory import SUPERNET
from evonas.stages.build.setup import Setup


def joint_config(context: Context, device: str) -> dict[str, Any]:
    """The evaluator of a multi-task search, as plain data that every worker builds it from.

    Raises:
        UserError: there are fewer than two runs, or one is unknown, has no supernet or has another space.
    """
    runs = _runs(context)
    hardware = context.cfg.hardware
    common = {"device": device, "precision": hardware.precision}
    return {
        "_target_": "evonas.objectives.multi_task.JointEvaluator",
        "_recursive_": False,
        "members": {
            name: {**_member(context, run, recorded_config(run.directory)), **common}
            for name, run in runs.items()
        },
        "objectives": context.setup.objectives(next(iter(runs.values()))),
    }


def training_commands(context: Context, net: str) -> str:
    """The commands that train a network of the search on every task, from that task's supernet."""
    own = context.run
    lines = []
    for run in _runs(context).values():
        overrides = [each for each in recorded_overrides(run.directory) if not each.startswith("networks=")]
        words = [*overrides, setting("networks", f"run:{own.name}#{net}"), setting("inputs", run.name)]
        lines.append(command(*words, outputs=own.directory.parent))
    return "\n".join(lines)


def _runs(context: Context) -> dict[str, Run]:
    """The runs by the names of their tasks; runs of equal tasks by their own names."""
    outputs = context.run.directory.parent
    names = [str(each) for each in context.cfg.multi_task_runs]
    if len(set(names)) < max(len(names), 2):
        raise UserError(
            "A multi-task search needs the runs of two tasks or more, each once.",
            "Try: 'multi_task_runs=[<run>,<run>]'",
        )
    found = []
    for name in names:
        directory = find_run(outputs, name)
        cfg = recorded_config(directory)
        if cfg.get("task") is None or not Setup(cfg).mode.has_network:
            raise UserError(f"Run '{name}' has no network of its own.", "Name runs that trained a supernet.")
        inputs = find_run(outputs, cfg.inputs) if cfg.get("inputs") else None
        found.append(Run(directory, str(cfg.task.name), inputs=inputs))
    counts = Counter(run.task for run in found)
    tasks = {run.task if counts[run.task] == 1 else run.name: run for run in found}
    # selection rules such as best:error_<name> read words
    return {re.sub(r"\W", "_", name): run for name, run in tasks.items()}


def _member(context: Context, run: Run, cfg: DictConfig) -> dict[str, Any]:
    space = to_plain(cfg.space)
    if identified(space) != identified(to_plain(context.cfg.space)):
        hint = f"Choose the space that all runs have, such as: space={space.get('name', '<space>')}"
        raise UserError(f"Run '{run.name}' was trained over another space than this search has.", hint)
    return {
        "space": space,
        "network": to_plain(cfg.network),
        "task": to_plain(cfg.task),
        "batch_size": eval_batch_size(Setup(cfg), context.cfg.hardware),
        "weights": str(run.need(SUPERNET, made_by="supernet")),
    }
