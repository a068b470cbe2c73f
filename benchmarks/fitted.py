"""How well fitted tables know networks they were not fitted to.

    python benchmarks/fitted.py accel <archive or folder> --columns error zcu102_latency a100_throughput

A tenth of the trained networks, drawn from the seed, is left out of the fit. Printed are the share of the
variance that is explained, Kendall's tau and the root mean square error on them.
"""

import argparse
import time

import numpy as np
import trials
from scipy.stats import kendalltau

from evonas import config
from evonas.data.nas_bench.surrogate_table import FittedTable, fitted
from evonas.randomness import generator


def agreement(table: FittedTable, column: str, seed: int) -> list[str]:
    """The row of a column."""
    began = time.monotonic()
    described = np.array([table.features(words) for words in table.rows])
    values = table.column(column)[[rows[0] for rows in table.rows.values()]]
    drawn = generator(seed, "benchmarks.fitted").permutation(np.flatnonzero(np.isfinite(values)))
    left_out, kept = np.split(drawn, [len(drawn) // 10])
    found = fitted(described[kept], values[kept], table.is_ordered).predict(described[left_out])
    true = values[left_out]
    explained = 1 - np.sum((found - true) ** 2) / np.sum((true - true.mean()) ** 2)
    tau, error = kendalltau(found, true).statistic, np.sqrt(np.mean((found - true) ** 2))
    numbers = (f"{explained:.4f}", f"{tau:.4f}", f"{error:.4g}", f"{time.monotonic() - began:.1f}")
    return [column, str(len(left_out)), *numbers]


def main() -> None:
    """Print a row for each column."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("task", choices=["accel", "nb301"])
    parser.add_argument("root")
    parser.add_argument("--columns", nargs="+", default=["error", "params"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cfg = trials.composed(f"+task={given.task}", f"data.root={given.root}")
    table: FittedTable = config.build(cfg.data)
    rows = [agreement(table, column, given.seed) for column in given.columns]
    print(trials.markdown(["column", "left out", "R2", "tau", "RMSE", "s"], rows))


if __name__ == "__main__":
    main()
