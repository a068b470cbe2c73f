"""What `--help` says: what people do, and the choices for it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

_HEAD = """\
evonas: multi-objective neural architecture search for dense vision.

  python -m evonas +task=synthetic          everything, on embedded data, in about half an hour on two CPU cores
  python -m evonas run=last resume=true     go on after Ctrl-C, a crash or a power cut
  python -m evonas doctor                   what works here, and what to type where it does not

A command is a list of choices, group=option, and of settings: seed=1 budget.evaluations=500 hardware.workers=8.
Add the task with a plus: +task=<option>. A stage may come first as a bare word: evonas report run=last.
"""
_FOOT = """\
run=<name>        work in that run; run=last is the newest
resume=true       continue what was stopped, and no more
inputs=<name>     take results of earlier stages from that run
networks=<names>  take networks instead of searching: networks=run:<run>#knee
dry_run=true      estimate the time of a search
-m                sweep: -m search=nsga2,random seed=0,1,2   (fail_fast=true stops at the first failure)
--cfg job         show the composed config and stop
--info            show how it is composed
-sc install=bash  completion for the Tab key: eval "$(evonas -sc install=bash)"
"""
# what people do -> its stages, and its groups
_PARTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "Start": (("run", "preview", "doctor"), ("debug",)),
    "Choose a task and data": (("convert",), ("task", "data", "head", "head/neck")),
    "Choose a search space and network": (("cost",), ("space", "network")),
    "Train": (
        ("pretrain", "teacher", "supernet", "retrain", "baselines", "rank"),
        ("sampler", "sampler/inplace_distillation", "sampler/merge", "distill", "teacher", "limits"),
    ),
    "Search": (
        ("search", "select", "discover", "cost_levels"),
        (
            "search", "search/proposer", "search/surrogate", "search/analytic_objectives", "objective", "fidelity",
        ),
    ),
    "Look at results": (("evaluate", "report", "show", "list", "compare", "measure"), ("tracker",)),
    "Move networks out": (("export",), ()),
    "Use hardware": (("latency_table", "serve_latency"), ("hardware", "runtime")),
}  # fmt: skip
# options that repeat what a paper published, or belong to one task
_PRESETS = ("experiment",)
_PRESET = re.compile(r".*_(paper|ade20k|cityscapes|coco|kitti|nyu)|(mask2former|depth_anything)_.*")
_WIDTH = 118


def usage(folders: Sequence[Path]) -> str:
    """The text of `--help`; groups are the folders inside `folders`, options their YAML files.

    Hydra can list them too, but needs seconds for it.
    """
    options: dict[str, set[str]] = {}
    for folder in folders:
        for pattern in ("*/*.yaml", "*/*/*.yaml"):
            for path in folder.glob(pattern):
                options.setdefault(path.parent.relative_to(folder).as_posix(), set()).add(path.stem)
    presets = {group: {each for each in names if _is_preset(group, each)} for group, names in options.items()}
    known = {group for _, groups in _PARTS.values() for group in groups} | {"stage", *_PRESETS}
    staged = {stage for stages, _ in _PARTS.values() for stage in stages}
    parts = {title: (list(stages), list(groups)) for title, (stages, groups) in _PARTS.items()}
    # groups and stages of the user
    parts["More"] = (sorted(options.get("stage", set()) - staged), sorted(options.keys() - known))
    texts = [_HEAD]
    for title, (stages, groups) in parts.items():
        lines = [_line("stage", stages)] if stages else []
        lines += [
            _line(group, sorted(options.get(group, set()) - presets.get(group, set()))) for group in groups
        ]
        if any(lines):
            texts.append("\n".join([f"{title}:", *filter(None, lines)]) + "\n")
    texts.append(_FOOT)
    lines = [_line(group, sorted(names)) for group, names in sorted(presets.items())]
    texts.append(
        "\n".join(["Published recipes, and what belongs to one data set:", *filter(None, lines)]) + "\n"
    )
    return "\n".join(texts).rstrip("\n")


def _is_preset(group: str, option: str) -> bool:
    return group in _PRESETS or (group not in ("task", "data") and _PRESET.fullmatch(option) is not None)


def _line(group: str, names: Sequence[str]) -> str:
    """A group and its options; empty without options."""
    first, rest = f"  {group:<12}  ", " " * 16
    return fill(", ".join(names), _WIDTH, initial_indent=first, subsequent_indent=rest) if names else ""
