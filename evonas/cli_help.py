"""What `--help` says: the first commands, and every choice there is."""

from collections.abc import Sequence
from pathlib import Path

_TEXT = """\
evonas: multi-objective neural architecture search for dense vision.

Start here:
  python -m evonas +task=synthetic          everything, on embedded data, in minutes on a laptop
  python -m evonas run=last resume=true     go on after Ctrl-C, a crash or a power cut
  python -m evonas doctor                   what works here, and what to type where it does not

A command is a list of choices, group=option. The groups and their options:

{groups}

Add the task with a plus: +task=<option>. The stage may come first as a bare word: evonas report run=last.
Any number is a setting: seed=1 budget.evaluations=500 hardware.workers=8.

run=<name>        work in that run; run=last is the newest
resume=true       continue what was stopped
inputs=<name>     take results of earlier stages from that run
-m                sweep: -m search=nsga2,random seed=0,1,2   (fail_fast=true stops at the first failure)
--cfg job         show the composed config and stop
--info            show how it is composed
-sc install=bash  completion for the Tab key: eval "$(evonas -sc install=bash)"
"""


def usage(folders: Sequence[Path]) -> str:
    """The text of `--help`; groups are the folders inside `folders`, options their YAML files.

    Hydra can list them too, but needs seconds for it.
    """
    options: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.glob("*/*.yaml")):
        options.setdefault(path.parent.name, set()).add(path.stem)
    width = max(map(len, options), default=0)
    lines = [f"  {group:<{width}}  {', '.join(sorted(options[group]))}" for group in sorted(options)]
    return _TEXT.format(groups="\n".join(lines))
