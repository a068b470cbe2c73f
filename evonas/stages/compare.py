"""stage=compare: two or more searches side by side."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from evonas import files
from evonas.command_text import command, setting
from evonas.errors import DamagedError, UserError
from evonas.report.analysis.baseline_gain import Gain, gain_in
from evonas.report.analysis.comparison import Comparison, compared, differences
from evonas.report.archive_reader import read
from evonas.report.results import DOUBT
from evonas.run import find_run, recorded_config
from evonas.stages.base import Context
from evonas.stages.searching.reuse import ARCHIVE
from evonas.stages.stage_times import searching_commands
from evonas.track.console import print_table

log = logging.getLogger(__name__)

MOST_ROWS = 16
# names and attempts of a run do not change its results
_ABOUT_THE_RUN = (
    "run", "resume", "outputs", "stage", "inputs", "fail_fast", "dry_run", "networks", "reuse", "tracker",
    "more_trackers", "tracker_patience_s",
)  # fmt: skip


class Compare:
    """Compares the archives of runs; changes nothing and may be used while they are written.

    All hypervolumes use one box. If the runs recorded different boxes it is the smallest one around them all, and
    the numbers differ from those of the runs' own reports.

    Args:
        runs: names, each as after `run=`.
        json: true prints JSON; a path writes it to a file.
    """

    needs_task = False

    def __init__(self, runs: str | Sequence[str] = (), json: bool | str | None = None) -> None:
        self.runs, self.json = [runs] if isinstance(runs, str) else list(map(str, runs)), json

    def run(self, context: Context) -> str:
        """Print the comparison or write it.

        Raises:
            UserError: there are fewer than two runs, one is unknown or has no search, or they are not
                comparable.
        """
        outputs = Path(context.cfg.outputs)
        folders = self._folders(outputs)
        configs = {name: _config(folder) for name, folder in folders.items()}
        runtimes = {
            name: OmegaConf.select(cfg, "objective.latency.runtime", default="")
            for name, cfg in configs.items()
        }
        # archives tell it since the setting is more than a word
        runtimes = {name: word for name, word in runtimes.items() if isinstance(word, str)}
        found = compared({name: read(folder / ARCHIVE) for name, folder in folders.items()}, runtimes)
        differs = differences({name: _settings(cfg) for name, cfg in configs.items()})
        gains = {name: _gain(folder) for name, folder in folders.items()}
        if self.json is True:
            return json.dumps(as_json(found, differs, gains), indent=2)
        _show(found, differs, gains)
        if not self.json:
            best = max(found.sides, key=lambda side: side.hypervolume)
            return f"Next: {command('report', setting('run', best.run), outputs=outputs)}"
        files.write_json(Path(self.json), as_json(found, differs, gains))
        return f"Comparison: {self.json}"

    def _folders(self, outputs: Path) -> dict[str, Path]:
        found = {folder.name: folder for folder in (find_run(outputs, name) for name in self.runs)}
        if len(found) < 2:
            raise UserError(
                f"Compare needs two different runs, not {self.runs}.",
                f"Try: {command('compare', 'runs=[first,second]', outputs=outputs)}   "
                f"(see them with: {command('list', outputs=outputs)})",
            )
        return found


def as_json(
    found: Comparison,
    differs: Mapping[str, Mapping[str, Any]],
    gains: Mapping[str, Gain | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """Everything that is printed, as plain data at full precision."""
    return {
        "box": {"ideal": _named(found, found.box.ideal), "reference": _named(found, found.box.reference)},
        "is_own_box": found.is_own_box,
        "runs": [asdict(side) for side in found.sides],
        "front": [asdict(point) for point in found.front],
        "coverage": [
            {"of": other, "by": one, "share": share} for (one, other), share in found.coverage.items()
        ],
        "budgets": [{**asdict(each), "better": each.better} for each in found.budgets],
        "baselines": {run: gain.facts() for run, gain in gains.items() if gain is not None},
        "differences": differs,
        "warnings": list(found.warnings),
    }


def _named(found: Comparison, values: Sequence[float]) -> dict[str, float]:
    return dict(zip(found.box.names, values, strict=True))


def _gain(folder: Path) -> Gain | None:
    """The gain of a run over its baselines; None, with a warning, where its files are damaged."""
    try:
        return gain_in(folder)
    except DamagedError as error:
        log.warning("The comparison leaves out the baselines of %s: %s", folder.name, error.message)
        return None


def _config(folder: Path) -> DictConfig:
    """The config of the newest command that searched: words of later commands did not make the results."""
    searching = searching_commands(folder)
    return recorded_config(folder, searching or None)


def _settings(cfg: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return {str(key): value for key, value in plain.items() if key not in _ABOUT_THE_RUN}


def _show(
    found: Comparison, differs: Mapping[str, Mapping[str, Any]], gains: Mapping[str, Gain | None]
) -> None:
    known = {run: gain for run, gain in gains.items() if gain is not None}
    over = ["better than baselines"] if known else []
    names, runs = [metric.name for metric in found.metrics], [side.run for side in found.sides]
    rows = [
        [side.run, str(side.points), str(side.front_size), str(side.common), f"{side.hypervolume:.4f}"]
        + [f"{side.best_metrics[name]:.5g}" for name in names]
        + [known[side.run].short if side.run in known else "-" for _ in over]
        for side in found.sides
    ]
    best = [f"best {metric.label}" for metric in found.metrics]
    print_table(
        "", ["run", "points", "on its front", "on the common front", "hypervolume", *best, *over], rows
    )
    own = "as each run recorded it" if found.is_own_box else "the smallest that holds those of all runs"
    sides = zip(found.metrics, found.box.ideal, found.box.reference, strict=True)
    box = ", ".join(
        f"{metric.label} {metric.from_error(low):.6g} to {metric.from_error(high):.6g}"
        for metric, low, high in sides
    )
    print(f"hypervolume is a share of one box, {own}: {box}")
    for run, gain in known.items():
        print(f"{run}: {gain.sentence()}")
    for (one, other), share in found.coverage.items():
        print(f"{one} dominates {share:.0%} of the front of {other}")
    _show_budgets(found, runs)
    _show_front(found, names)
    _show_differences(differs, runs)
    for warning in found.warnings:
        print(f"note: {warning}")


def _show_budgets(found: Comparison, runs: Sequence[str]) -> None:
    metric = found.metrics[0]
    labels = {name: each.label for name, each in zip(found.box.names, found.metrics, strict=True)}
    rows = [
        [
            f"{labels[each.cost]} <= {each.limit:.5g}",
            *["-" if (value := each.metrics[run]) is None else f"{value:.5g}" for run in runs],
            each.better or "equal",
        ]
        for each in found.budgets
    ]
    if rows:
        print_table(
            f"best {metric.name} within a cost ({metric.direction})", ["within", *runs, "better"], rows
        )


def _show_front(found: Comparison, names: Sequence[str]) -> None:
    rows = [
        [
            ", ".join(point.runs),
            *[
                f"{point.metrics[metric]:.5g}{DOUBT if name in point.doubtful else ''}"
                for metric, name in zip(names, found.box.names, strict=True)
            ],
            point.genotype,
        ]
        for point in found.front[:MOST_ROWS]
    ]
    more = f" (the first {MOST_ROWS})" if len(found.front) > MOST_ROWS else ""
    columns = ["found by", *(metric.label for metric in found.metrics), "genotype"]
    print_table(f"common front, {len(found.front)} points{more}", columns, rows)


def _show_differences(differs: Mapping[str, Mapping[str, Any]], runs: Sequence[str]) -> None:
    rows = [[key, *[str(row[run]) for run in runs]] for key, row in list(differs.items())[:MOST_ROWS]]
    more = f" (the first {MOST_ROWS} of {len(differs)})" if len(differs) > MOST_ROWS else ""
    if rows:
        print_table(f"settings that differ{more}", ["setting", *runs], rows)
    else:
        print("Their recorded settings are the same.")
