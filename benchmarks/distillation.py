"""Distillation on against off, at equal steps: trains supernets and prints a Markdown table.

One teacher is trained for all. Every seed trains two supernets that differ in `distill=` alone,
for the same number of steps. What is compared is the error on the holdout split of the fixed
panel (largest, smallest and seeded random subnets) after the last step of the curriculum.

    python benchmarks/distillation.py synthetic
    python benchmarks/distillation.py camvid data.root=/data/camvid
"""

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from evonas.files import read_json, write_text

SEEDS = (0, 1, 2)
CHOICES = ("caddkd", "none")


def main(task: str, *overrides: str, folder: str = "outputs") -> None:
    """Train what is missing below `folder`, then print and write the table."""
    panels = {
        (choice, seed): _supernet(task, choice, seed, overrides, Path(folder))
        for seed in SEEDS
        for choice in CHOICES
    }
    table = _table(task, panels)
    write_text(Path(folder) / f"distillation-{task}.md", table)
    print(table)


def _supernet(task: str, choice: str, seed: int, overrides: tuple[str, ...], folder: Path) -> dict[str, Any]:
    teacher = f"distillation-{task}-teacher"
    run = f"distillation-{task}-{choice}-{seed}"
    common = [f"+task={task}", "network=nano", "train.supernet.lr=2.0e-3", f"outputs={folder}", *overrides]
    if not (folder / teacher / "teacher/result.json").exists():
        _evonas(*common, "stage=teacher", f"run={teacher}")
    if not (folder / run / "supernet/supernet.safetensors").exists():
        student = [*common, f"seed={seed}", f"distill={choice}", f"run={run}"]
        _evonas(*student, "stage=pretrain")
        _evonas(*student, "stage=supernet", f"inputs={teacher}", "resume=true")
    content: dict[str, Any] = read_json(folder / run / "supernet/panel.json")
    return content


def _evonas(*arguments: str) -> None:
    print("python -m evonas", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "evonas", *arguments], check=True)


def _table(task: str, panels: dict[tuple[str, int], dict[str, Any]]) -> str:
    error = next(iter(panels.values()))["error_name"]
    lines = [
        f"Task {task}, holdout {error} (lower is better), seeds {', '.join(map(str, SEEDS))}.",
        "",
        "| distillation | panel mean, per seed | mean +- sd | largest net | smallest net |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(choice, error, [panels[choice, seed] for seed in SEEDS]) for choice in CHOICES]
    return "\n".join(lines) + "\n"


def _row(choice: str, error: str, panels: list[dict[str, Any]]) -> str:
    last = [{row["name"]: row["metrics"][error] for row in panel["steps"][-1]["panel"]} for panel in panels]
    means = [statistics.mean(scores.values()) for scores in last]
    cells = [
        choice,
        ", ".join(f"{mean:.4f}" for mean in means),
        _spread(means),
        _spread([scores["max"] for scores in last]),
        _spread([scores["min"] for scores in last]),
    ]
    return "| " + " | ".join(cells) + " |"


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} +- {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("Say the task: python benchmarks/distillation.py synthetic")
    main(sys.argv[1], *sys.argv[2:])
