"""The table of speed: ratios of two things timed in one run, with the spread over repetitions.

    python benchmarks/speed.py                        # a quarter of an hour on an idle machine
    python benchmarks/speed.py --small                # a minute; says little, but crashes as the whole would
    python benchmarks/speed.py --out outputs/speed    # speed.json, a line of history.jsonl, history.svg

`--plot` alone draws the history again. A figure is comparable with others of its row and machine alone.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import speed_ops
import speed_search
import speed_train
import torch
from paired import Row

import evonas
from evonas import files
from evonas.objectives.latency.machine import machine
from evonas.ops import native

HISTORY = "history.jsonl"
PARTS = {"operations": speed_ops, "training": speed_train, "search": speed_search}


def main() -> None:
    """Measure, print, write down."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.plot:
        torch.set_num_threads(1)
        about = _about()
        print(", ".join(f"{key} {value}" for key, value in about.items() if value))
        print("\n| what | median (least to most) | goal |\n|---|---|---|", flush=True)
        found = _measured(options.parts, options.repeats, options.small)
        entry = {
            "machine": about,
            "small": options.small,
            "rows": {row.what: list(row.values) for row in found},
        }
        files.write_json(options.out / "speed.json", entry)
        with (options.out / HISTORY).open("a", encoding="utf-8") as history:
            history.write(json.dumps(entry) + "\n")
    plot(options.out / HISTORY)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--plot", action="store_true", help="measure nothing")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/speed"))
    return parser.parse_args()


def _about() -> dict[str, Any]:
    return {
        **machine(torch.device("cpu")),
        "evonas": evonas.__version__,
        "kernels": native.version(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _measured(parts: Sequence[str], repeats: int, is_small: bool) -> list[Row]:
    found = []
    for part in parts:
        for row in PARTS[part].rows(repeats, is_small):
            print(row.line(), flush=True)
            found.append(row)
    return found


def plot(history: Path) -> None:
    """Draw the median of every row over the entries of one machine, that of the newest entry."""
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    key = [entries[-1]["machine"].get(each) for each in ("name", "cores")]
    alike = [each for each in entries if [each["machine"].get(name) for name in ("name", "cores")] == key]
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for index, entry in enumerate(alike):
        for what, values in entry["rows"].items():
            series[what].append((index, sorted(values)[len(values) // 2]))
    figure = Figure(figsize=(10, 0.9 * max(4, len(series))), layout="constrained")
    for number, (what, points) in enumerate(series.items()):
        axis = figure.add_subplot(len(series), 1, number + 1)
        axis.plot(*_columns(points), marker="o")
        axis.set_title(what, fontsize=8, loc="left")
        axis.tick_params(labelsize=6)
    figure.savefig(history.with_suffix(".svg"))


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [index for index, _ in points], [value for _, value in points]


if __name__ == "__main__":
    main()
