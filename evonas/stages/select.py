"""stage=select: choose networks from the front that the search found, or name them."""

from typing import Any

import numpy as np

from evonas import files
from evonas.report.archive_reader import read
from evonas.report.results import SearchResults, predictions
from evonas.report.selection.rules import Choice, choose
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.run_mode import RunMode
from evonas.stages.networks.references import Given, given
from evonas.stages.networks.selected import SELECTED
from evonas.stages.searching.artifacts import keep
from evonas.stages.searching.reuse import ARCHIVE
from evonas.track.console import print_table

MAX = "max"
NOTHING = SearchResults((), (), np.empty((0, 0)))


class Select:
    """Applies `select.rules` to the front; what it writes names the networks for all later stages.

    `select.genotypes` are taken as they are typed, first; without rules no archive is read. With `genotype=`
    the networks that it means are kept, and the rules do not count.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Write selected.json and print it as a table."""
        cfg, run = context.cfg, context.run
        space = context.setup.space
        is_given = context.setup.mode is RunMode.GIVEN
        rules = [] if is_given else list(cfg.select.rules)
        nets = [_typed(name, text, space) for name, text in cfg.select.genotypes.items()]
        nets += [_kept(context, each) for each in given(context)] if is_given else []
        facts = read(run.need(ARCHIVE, made_by="search")) if rules else NOTHING
        found = choose(facts, rules, cfg.select.get("noise", False)) if rules else []
        nets += [_entry(facts, choice) for choice in found]
        if cfg.select.include_max and not is_given:
            _add_largest(nets, facts, space)
        error_name = str(context.setup.task.error_name)
        path = run.path(SELECTED)
        rows = {net["name"]: facts.rows[net["genotype"]] for net in nets if net["genotype"] in facts.rows}
        metrics = {name: facts.readings(row) for name, row in rows.items()}
        files.write_json(path, {"error_name": error_name, "nets": nets, "metrics": metrics})
        keep(context, "select", "genotypes", [path])
        _show(nets, facts)
        return f"{path}\nNext: {_next(context, nets)}"


def _next(context: Context, nets: list[dict[str, Any]]) -> str:
    """What to type next: the networks of a joint search are trained by runs of the tasks."""
    mode = context.setup.mode
    if mode is not RunMode.JOINT:
        return context.run.command("report" if mode is RunMode.TABLE else "retrain")
    from evonas.stages.build.joint import following

    return (
        f"{context.run.command('report')}\nor train {nets[0]['name']}:\n{following(context, nets[0]['name'])}"
    )


def _typed(name: str, text: str, space: Space) -> dict[str, Any]:
    genotype = space.format(space.parse(text))
    return {"name": name, "genotype": genotype, "objectives": {}, "reason": "named in select.genotypes"}


def _kept(context: Context, each: Given) -> dict[str, Any]:
    entry = {"name": each.name, "genotype": each.genotype, "objectives": {}, "reason": each.reason}
    # a choice from a table must not wait for torch
    from evonas.stages.networks.initial_weights import transfer

    transferred = transfer(context, each)
    if not transferred:
        return entry
    return {
        **entry,
        "reason": f"{each.reason}, with the backbone retrained there",
        "transferred": transferred,
    }


def _entry(facts: SearchResults, choice: Choice) -> dict[str, Any]:
    return {
        "name": choice.name,
        "genotype": facts.genotypes[choice.row],
        "objectives": facts.objectives(choice.row),
        "reason": choice.reason,
    }


def _add_largest(nets: list[dict[str, Any]], facts: SearchResults, space: Space) -> None:
    """Add the space's largest network, so that every choice stands beside what it gave up."""
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
        rows.append(
            [net["name"], *("-" if value is None else f"{value:.4g}" for value in found), net["genotype"]]
        )
    print_table("Chosen networks", columns, rows)
    for net in nets:
        print(f"{net['name']}: {net['reason']}")
    for line in predictions(facts.identity):
        print(line)
