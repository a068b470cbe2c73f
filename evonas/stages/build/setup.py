"""What a run works on: its mode, space, task and supernet family."""

import logging
from dataclasses import asdict
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from evonas.config import allowed, build, to_plain
from evonas.errors import UserError
from evonas.identifiers import identifier
from evonas.run import Run
from evonas.space.space import Space
from evonas.stages.build.devices import expect_devices, on_devices
from evonas.supernets.base import SupernetFamily
from evonas.supernets.families import family_config

if TYPE_CHECKING:
    from evonas.tasks.base import Task


log = logging.getLogger(__name__)

LATENCY_TABLE = "lookup/table.json"
# networks that were converted for a runtime
CONVERSIONS = "conversions"
# objectives that convert networks
_CONVERTING = ("objective/latency", "objective/peak_memory", "objective/energy")
# groups whose option `none` is empty: what other files or a person set below them then has nothing to be set of
MAY_BE_NONE = ("distill", "sampler")
# options of spaces that identities name only where they are used, since runs were recorded before they were there
LATER_SPACE_OPTIONS = ("streams",)


class RunMode(Enum):
    """What a run works on; see `mode_of`."""

    SUPERNET = "supernet"
    # `evaluator=` measures genotypes, as a table does; no network is trained
    TABLE = "table"
    # `multi_task_runs=` names runs whose supernets are searched together
    JOINT = "joint"
    # `networks=` names networks, and nothing is searched
    NAMED = "named"

    @property
    def has_network(self) -> bool:
        """Whether the run trains networks itself."""
        return self in (RunMode.SUPERNET, RunMode.NAMED)


def mode_of(cfg: DictConfig) -> RunMode:
    """The mode of a config: `evaluator` comes before `multi_task_runs`, and that before `networks`."""
    if cfg.get("evaluator"):
        return RunMode.TABLE
    if cfg.get("multi_task_runs") is not None:
        return RunMode.JOINT
    return RunMode.SUPERNET if cfg.get("networks") is None else RunMode.NAMED


def complete(cfg: DictConfig) -> None:
    """Fills in what only code knows, in place, so that identities have it.

    Groups with the option `none` become empty, whatever a task or an experiment sets below them, options of spaces that
    were not there when runs began go where they are not used, and the network gets the digest of what its family finds
    out for itself.

    Raises:
        UserError: the network has no name, or the family cannot use it.
    """
    for group in MAY_BE_NONE:
        node = cfg.get(group)
        if node and "_target_" not in node:
            cfg[group] = {}
    space, network = cfg.get("space"), cfg.get("network")
    for key in LATER_SPACE_OPTIONS:
        if space and key in space and not space[key]:
            with open_dict(space):
                del space[key]
    if not mode_of(cfg).has_network or not network or network.get("structure", "") is not None:
        return
    if OmegaConf.is_missing(network, "name"):
        raise UserError("network.name is missing: which model?", "Try network.name=resnet18.")
    settings = {key: network[key] for key in ("name", "order") if key in network}
    settings["space"] = space
    network.structure = allowed(network["_target_"]).structure_digest(**settings)  # type: ignore[attr-defined]


class Setup:
    """Builds each part of a config once, when it is first needed.

    Args:
        cfg: must not change afterwards.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._checked: set[bool] = set()

    @property
    def mode(self) -> RunMode:
        return mode_of(self.cfg)

    @cached_property
    def space(self) -> Space:
        built: Space = build(self.cfg.space)
        return built

    @cached_property
    def task(self) -> "Task":
        """The task; its data is read at the first `dataset(...)`."""
        built: Task = build(self.cfg.task)
        return built

    def check_data(self, needs_test: bool = False) -> None:
        """Checks the files and classes of the data once, before anything is trained, and logs warnings.

        Args:
            needs_test: whether the test split will be read, so that it must be complete.

        Raises:
            DataError: see `check_splits`.
        """
        if needs_test not in self._checked:
            # searches of tables must not wait for torch
            from evonas.data.statement import check_splits

            warnings = check_splits(self.task.dataset, needs_test)
            # what holds with the test split holds without it
            self._checked |= {needs_test, False}
            for warning in warnings:
                log.warning("%s", warning)

    @cached_property
    def family(self) -> SupernetFamily:
        """The supernet family over the searched space."""
        built: SupernetFamily = build(family_config(to_plain(self.cfg.network)), space=self.space)
        return built

    @cached_property
    def table_evaluator(self) -> Any:
        """The evaluator of a run that searches a table, which is read once."""
        return build(to_plain(self.cfg.evaluator))

    @property
    def cells(self) -> dict[str, Any] | None:
        """Config of what builds the networks of a table; None where nothing does."""
        return to_plain(self.cfg.cells) if self.cfg.get("cells") else None

    def objectives(self, run: Run) -> dict[str, dict[str, Any]]:
        """Configs of the objectives; latencies take tables and converted networks of the run, and devices are asked.

        Raises:
            UserError: the run has no latency table; the hint says which command builds it. Or devices are wrong; see
                `on_devices`.
            EngineError: a device elsewhere does not answer.
        """
        found = {name: dict(each) for name, each in to_plain(self.cfg.objective).items()}
        found = on_devices(found, to_plain(self.cfg.get("devices") or {}))
        expect_devices(found)
        for each in found.values():
            if identifier(each.get("_target_")) == "objective/latency_lookup" and each.get("table") is None:
                each["table"] = str(run.need(LATENCY_TABLE, made_by="latency_table"))
            elif identifier(each.get("_target_")) in _CONVERTING:
                each["conversions"] = str(run.directory / CONVERSIONS)
            elif identifier(each.get("_target_")) == "objective/finetuned_error":
                from evonas.stages.training.recipe import read_recipe

                each["recipe"] = asdict(read_recipe(self.cfg, "finetune"))
        return found
