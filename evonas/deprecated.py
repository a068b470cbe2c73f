"""Names of settings, groups and options that were renamed, and that work for one more release.

What a user types, or has in YAML files, is rewritten to the present names with one line on stderr; what the runs of
an earlier release recorded is rewritten silently. Identities never see the difference (`evonas/identifiers.py`).
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

UNTIL = "0.3"
# group -> its present name; a group of one word is a setting too
GROUPS: Mapping[str, str] = {
    "evaluate": "fidelity",
    "trainer": "limits",
    "sampler/lesson": "sampler/inplace_distillation",
    "search/cheap": "search/analytic_objectives",
}
# present group -> option -> its present name
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "data": {"pictures": "public_images"},
    "limits": {"full": "none"},
    "sampler": {"banks": "performance_aware", "level_walk": "complexity_aware"},
    "sampler/inplace_distillation": {"start": "previous_step"},
    "sampler/merge": {"watched": "monitored_sum"},
    "search": {
        "composed": "model_based",
        "expected": "ehvi",
        "near": "neighbourhood",
        "pool": "ranked_pool",
    },
    "search/proposer": {"surroundings": "neighbourhood"},
    "search/surrogate": {
        "blended": "multi_view_gp",
        "process": "gp_posterior",
        "scores": "rank_transform",
        "steady": "adaptive_rbf",
        "switching": "adaptive_switching",
    },
    "stage": {"levels": "cost_levels", "lookup": "latency_table"},
    "task": {"joint": "multi_task", "pictures": "image_classification"},
}
# setting -> its present name; all but the last part of both are present names
KEYS: Mapping[str, str] = {
    "confirm_over": "notice_after_hours",
    "evaluate": "fidelity",
    "genotype": "networks",
    "joint": "multi_task_runs",
    "trainer": "limits",
    "data.holdout": "data.validation",
    "data.holdout_images": "data.validation_images",
    "data.holdout_seed": "data.validation_seed",
    "data.holdout_sequences": "data.validation_sequences",
    "hardware.deadline_s": "hardware.timeout_s",
    "hardware.recompute": "hardware.activation_checkpointing",
    "hardware.tries": "hardware.max_attempts",
    "network.slice": "network.width_slicing",
    "objective.error.recalibrate": "objective.error.bn_calibration_images",
    "sampler.chain": "sampler.continue_from",
    "sampler.draw": "sampler.strategy",
    "sampler.lesson": "sampler.inplace_distillation",
    "sampler.strategy.tries": "sampler.strategy.candidates",
    "search.alarm": "search.min_rank_correlation",
    "search.cheap": "search.analytic_objectives",
    "search.choice": "search.acquisition",
    "search.memory": "search.rank_correlation_window",
    "search.whole": "search.exhaustive_up_to",
    "select.noise": "select.noise_aware",
    "train.recalibrate": "train.bn_calibration_images",
}
Say = Callable[[str, str], None]
_OVERRIDE = re.compile(r"(?P<sign>\+\+|\+|~|)(?P<key>[\w./]+)(?P<package>@[^=]*|)(?P<value>=.*|)", re.DOTALL)
_DEFAULT = re.compile(r"(?P<words>(?:override |optional )*)(?P<slash>/?)(?P<group>[\w/]+)(?P<package>@.*|)")
_REFERENCE = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")
_said: set[str] = set()


def say(old: str, new: str) -> None:
    """Tell on stderr, once in a process, what a name is called now."""
    line = f"{old} is now {new}; the old name works until {UNTIL}."
    if line not in _said:
        _said.add(line)
        print(line, file=sys.stderr, flush=True)


def silent(_old: str, _new: str) -> None:
    """Print nothing, since a recorded config cannot be edited."""


def key(dotted: str) -> str:
    """The present name of a setting."""
    path = ""
    for part in dotted.split("."):
        path = f"{path}.{part}" if path else part
        path = KEYS.get(path, path)
    return path


def override(word: str, tell: Say = say, folders: tuple[Path, ...] = ()) -> str:
    """A setting or choice as it was typed, in present names.

    Args:
        word: `key=value`, `group=option`, a sweep over several, or `~key`.
        tell: called with what is old in it and what it is called now.
        folders: config folders of the user, whose own options may be called as ours were.
    """
    match = _OVERRIDE.fullmatch(word)
    if match is None:
        return word
    name, value = match["key"], match["value"]
    group = GROUPS.get(name, name)
    if "{" not in value and (name in GROUPS or group in OPTIONS):
        renamed, new = group, re.sub(r"[\w-]+", lambda each: _option(group, name, each[0], folders), value)
        if (renamed, new) != (name, value):
            tell(f"{name}{value}", f"{renamed}{new}")
    else:
        renamed, new = key(name), _referenced(value, tell)
        if renamed != name:
            tell(name, renamed)
    return f"{match['sign']}{renamed}{match['package']}{new}"


def option(group: str, name: str) -> str:
    """The present name of an option of a group."""
    return OPTIONS.get(group, {}).get(name, name)


def tree(plain: Any, package: str, tell: Say) -> Any:
    """A copy of plain config in present names.

    Args:
        plain: dicts, lists and scalars, interpolations as they are.
        package: the dotted key that `plain` stands under; empty for the root.
        tell: as in `override`.
    """
    if isinstance(plain, str):
        return _referenced(plain, tell)
    if isinstance(plain, list):
        return [tree(each, f"{package}[]", tell) for each in plain]
    if not isinstance(plain, dict):
        return plain
    found = {}
    for name, child in plain.items():
        old = f"{package}.{name}" if package else str(name)
        new = KEYS.get(old, old)
        if new != old:
            tell(old, new)
        found[name if new == old else new.rpartition(".")[2]] = tree(child, new, tell)
    return found


def file(plain: dict[str, Any], option_path: str, package: str | None, folder: Path) -> dict[str, Any]:
    """A config file of the user in present names, its defaults list included.

    Args:
        plain: its content.
        option_path: group and option, such as `search/mine`.
        package: what its header says, `_global_`, or None for its group.
        folder: the config folder that holds it.
    """
    group = option_path.strip("/").rpartition("/")[0]
    group = GROUPS.get(group, group)
    place = key(group.replace("/", ".") if package in (None, "_group_") else str(package))
    content = {name: child for name, child in plain.items() if name != "defaults"}
    found = tree(content, "" if place == "_global_" else place, say)
    if isinstance(plain.get("defaults"), list):
        found = {"defaults": [_default(each, group, folder) for each in plain["defaults"]], **found}
    return dict(found)


def _default(entry: Any, group: str, folder: Path) -> Any:
    """An entry of a defaults list: `{override /group@package: option}`, or the path of an option."""
    if isinstance(entry, str):
        above, slash, name = entry.rpartition("/")
        full = above.strip("/") if entry.startswith("/") else f"{group}/{above}".strip("/")
        if entry == "_self_" or (folder / full / f"{name}.yaml").exists():
            return entry
        renamed = option(GROUPS.get(full, full), name)
        if renamed != name:
            say(f"{full}={name}", f"{full}={renamed}")
        return f"{above}{slash}{renamed}"
    if not isinstance(entry, dict) or len(entry) != 1:
        return entry
    [(text, chosen)] = entry.items()
    match = _DEFAULT.fullmatch(str(text))
    if match is None:
        return entry
    full = match["group"] if match["slash"] or not group else f"{group}/{match['group']}"
    present = GROUPS.get(full, full)
    shown = (
        match["group"] if present == full else present.removeprefix(f"{group}/" if not match["slash"] else "")
    )
    typed = chosen if isinstance(chosen, list) else [chosen]
    options = [_option(present, full, each, (folder,)) if isinstance(each, str) else each for each in typed]
    for before, after in zip(typed, options, strict=True):
        if (full, before) != (present, after):
            say(f"{full}={before}", f"{present}={after}")
    new = options if isinstance(chosen, list) else options[0]
    return {f"{match['words']}{match['slash']}{shown}{match['package']}": new}


def _option(group: str, typed: str, name: str, folders: tuple[Path, ...]) -> str:
    """The present name of an option, unless a folder of the user has one of this name."""
    is_own = any((folder / each / f"{name}.yaml").exists() for folder in folders for each in (group, typed))
    return name if is_own else option(group, name)


def _referenced(text: str, tell: Say) -> str:
    """Text in which `${...}` refers to settings by their present names."""

    def renamed(match: re.Match[str]) -> str:
        new = key(match[1])
        if new != match[1]:
            tell(match[1], new)
        return f"${{{new}}}"

    return _REFERENCE.sub(renamed, text)
