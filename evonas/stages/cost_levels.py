"""stage=cost_levels: the cost levels of a space, as complexity-aware samplers use them."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from evonas import files
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable

RESULT = "levels/levels.json"


class CostLevels:
    """Writes `levels/levels.json`: cost levels of the whole space, and distinct subnets of each.

    Needs neither weights nor data. With equal settings the rows are those that `sampler=complexity_aware` and
    `sampler=performance_aware` sample from in a curriculum step that opens everything; these build their own.

    Args:
        levels: their number, or the multiply-adds of each in 10^6.
        window: a level F holds F to F (1 + window); null for levels without gaps.
        size: most subnets of a level.
        groups: number of smallest subnets that the levels share.
        span, least, spread, tables: see `LevelPlan`; as in the sampler.
    """

    needs_task = True

    def __init__(
        self,
        levels: int | Sequence[float] = 8,
        window: float | None = 0.1,
        size: int = 16000,
        groups: int = 3,
        span: float | None = None,
        least: Mapping[Any, str] | None = None,
        spread: bool = True,
        tables: str | None = None,
    ) -> None:
        self.plan = LevelPlan(levels, window, size, groups, span, least, spread, tables)

    def run(self, context: Context) -> str:
        """Build the table and print one line for each level; returns the path of the file."""
        began = time.monotonic()
        costs = factory.costs(context.setup)
        table = LevelTable(costs, {}, self.plan, context.cfg.seed)
        for level in table.levels:
            top = table.upper_end(level.macs)
            print(
                f"  {level.macs / 1e6:10.4g} to {top / 1e6:10.4g} M: {len(level.rows):6d} subnets, "
                f"smallest {costs.space.format(level.smallest)}"
            )
        path = context.run.path(RESULT)
        content = {
            "space": costs.space.name,
            "genes": list(costs.space.spans),
            "input_size": list(costs.size),
            "seed": context.cfg.seed,
            **table.plain(),
        }
        # without indents, because there are many rows
        files.write_text(path, json.dumps(content, allow_nan=False) + "\n")
        total = sum(len(level.rows) for level in table.levels)
        print(f"{total} subnets in {time.monotonic() - began:.1f} s", flush=True)
        return str(path)
