"""Does a dry run tell the truth? Small real searches, each with its dry run first, and how far off that was.

The supernet of the demo has random weights here, because weights do not change the work. Each row is a search
as `stage=search` runs it: its dry run, then the search itself, the expected time beside the one that passed.

    python benchmarks/dryrun.py             # three searches, about four minutes when nothing else runs
    python benchmarks/dryrun.py lookup      # one of them
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from evonas import weights
from evonas.cli import conf_dir
from evonas.config import build
from evonas.run import Run
from evonas.schema import register
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.evaluator import evaluator_config, parts_of
from evonas.stages.build.setup import Setup
from evonas.stages.latency_table import BuildLatencyTable
from evonas.stages.search import Search, build_searcher
from evonas.stages.searching.dry_run import probe

SEARCHES = {
    "latency": ["objective=[error,latency]", "budget.evaluations=64"],
    "lookup": ["objective=[error,latency_lookup]", "budget.evaluations=160"],
    "macs": ["objective=[error,macs]", "hardware.workers=2", "budget.evaluations=160"],
}
TOLERANCE = 0.3


def main(names: Sequence[str]) -> None:
    """Print one row for each search."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    register()
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            _row(name, _context(Path(folder), SEARCHES[name]))


def _context(folder: Path, overrides: Sequence[str]) -> Context:
    """A run that has a supernet, and a latency table if the search asks for one."""
    cfg = _composed(overrides)
    made = Context(cfg, Run(folder, "synthetic"))
    weights.save(made.run.path(factory.SUPERNET), factory.supernet(Setup(cfg)).state_dict())
    if "latency_lookup" in cfg.objective:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            BuildLatencyTable(fit=10, held_out=5).run(made)
    return made


def _composed(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(
            "config",
            overrides=["+task=synthetic", "network=nano", "stage=search", "tracker=none", *overrides],
        )


def _row(name: str, made: Context) -> None:
    spec = evaluator_config(made)
    begin = time.monotonic()
    objectives = build(spec).objectives
    names = [objective.name for objective in objectives]
    asking = build_searcher(made.cfg.search, build(made.cfg.space), made.cfg.seed, names)
    found = probe(made.setup, spec, parts_of(objectives), asking)
    probed = time.monotonic()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        Search().run(made)
    real = time.monotonic() - probed
    low, expected, high = found.wall_s
    off = expected / real - 1
    verdict = "within" if abs(off) <= TOLERANCE else "BEYOND"
    print(
        f"{name:<8} {found.load.evaluations} points: expected {expected:4.0f} s ({low:.0f} to {high:.0f}), "
        f"took {real:4.0f} s, off by {off:+.0%}, {verdict} {TOLERANCE:.0%}; the dry run took "
        f"{probed - begin:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(SEARCHES))
