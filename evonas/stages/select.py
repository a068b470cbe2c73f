"""stage=select: select networks from the front that the search found, or name them."""

from typing import Any

import numpy as np

from evonas import files
from evonas.report.archive_reader import read
from evonas.report.results import SearchResults, doubts, measured_with, predictions
from evonas.report.selection.rules import Choice, choose
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.setup import RunMode
from evonas.stages.networks.references import NetworkRef, referenced_networks
from evonas.stages.networks.selected import SELECTED
from evonas.stages.searching.artifacts import log_artifacts
from evonas.stages.searching.reuse import ARCHIVE
from evonas.track.console import print_table

MAX = "max"
NO_RESULTS = SearchResults((), (), np.empty((0, 0)))


class Select:
    """Applies `select.rules` to the front and writes selected.json, which all later stages read.

    `select.genotypes` come first; without rules no archive is read. With `networks=` its networks are taken, and the
    rules do not apply.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Write selected.json and print it as a table."""
        cfg, run = context.cfg, context.run
        space = context.setup.space
        is_named = context.setup.mode is RunMode.NAMED
        rules = [] if is_named else list(cfg.select.rules)
        nets = [_typed(name, text, space) for name, text in cfg.select.genotypes.items()]
        nets += [_named_entry(context, each) for each in referenced_networks(context)] if is_named else []
        facts = read(run.need(ARCHIVE, made_by="search")) if rules else NO_RESULTS
        found = choose(facts, rules, cfg.select.get("noise_aware", False)) if rules else []
        nets += [_entry(facts, choice) for choice in found]
        if cfg.select.include_max and not is_named:
            _add_largest(nets, facts, space)
        error_name = str(context.setup.task.error_name)
        path = run.path(SELECTED)
        rows = {net["name"]: facts.rows[net["genotype"]] for net in nets if net["genotype"] in facts.rows}
        metrics = {name: facts.readings(row) for name, row in rows.items()}
        files.write_json(path, {"error_name": error_name, "nets": nets, "metrics": metrics})
        log_artifacts(context, "select", "genotypes", [path])
        _show(nets, facts)
        return f"{path}\nNext: {_next(context, nets)}"


def _next(context: Context, nets: list[dict[str, Any]]) -> str:
    """The next command; networks of a multi-task search are trained by runs of the single tasks."""
    mode = context.setup.mode
    if mode is not RunMode.JOINT:
        return context.run.command("report" if mode is RunMode.TABLE else "retrain")
    from evonas.stages.build.joint import training_commands

    name = nets[0]["name"]
    return f"{context.run.command('report')}\nor train {name}:\n{training_commands(context, name)}"


def _typed(name: str, text: str, space: Space) -> dict[str, Any]:
    genotype = space.format(space.parse(text))
    return {"name": name, "genotype": genotype, "objectives": {}, "reason": "named in select.genotypes"}


def _named_entry(context: Context, network: NetworkRef) -> dict[str, Any]:
    entry = {"name": network.name, "genotype": network.genotype, "objectives": {}, "reason": network.reason}
    # a selection from a table must not wait for torch
    from evonas.stages.networks.initial_weights import transfer_backbone

    transferred = transfer_backbone(context, network)
    if not transferred:
        return entry
    what = "its weights" if network.is_foreign else "the backbone retrained there"
    return {**entry, "reason": f"{network.reason}, with {what}", "transferred": transferred}


def _entry(facts: SearchResults, choice: Choice) -> dict[str, Any]:
    return {
        "name": choice.name,
        "genotype": facts.genotypes[choice.row],
        "objectives": facts.objectives(choice.row),
        "reason": choice.reason,
    }


def _add_largest(nets: list[dict[str, Any]], facts: SearchResults, space: Space) -> None:
    """Add the space's largest network, for comparison with every selected one."""
    text = space.format(space.largest())
    reason = "the largest network of the space"
    for net in nets:
        if net["genotype"] == text:
            net["reason"] += f"; also {reason}"
            return
    known = facts.objectives(facts.rows[text]) if text in facts.rows else {}
    nets.append({"name": MAX, "genotype": text, "objectives": known, "reason": reason})


def _show(nets: list[dict[str, Any]], facts: SearchResults) -> None:
    columns = ["network", *(metric.label for metric in facts.metrics), "genotype"]
    rows = []
    for net in nets:
        found = facts.read(net["objectives"], net["genotype"])
        marks = [facts.mark(name, net["genotype"]) for name in facts.names]
        cells = [
            "-" if value is None else f"{value:.4g}{mark}" for value, mark in zip(found, marks, strict=True)
        ]
        rows.append([net["name"], *cells, net["genotype"]])
    print_table("Chosen networks", columns, rows)
    for net in nets:
        print(f"{net['name']}: {net['reason']}")
    for line in [*predictions(facts.identity), *doubts(facts), *measured_with(facts)]:
        print(line)
