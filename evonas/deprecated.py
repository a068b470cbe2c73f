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
# setting -> where it stands now, in another part of the config; files may have it where it stood
MOVED_KEYS: Mapping[str, str] = {
    "objective.latency.runtime": "runtime",
    "objective.latency.threads": "runtime.threads",
}
# settings with another default since the first release: a run that was begun then goes on with its recorded value
CHANGED_DEFAULTS = ("objective.latency.runtime", "search.corners")
_PHOTOGRAPHS = (
    "network=nano",
    "distill=caddkd",
    "train.supernet.epochs=10",
    "train.retrain.warmup_epochs=0.25",
    "train.retrain.lr=1.0e-3",
)
# task -> what it meant in the first release, likewise
FORMER_DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "synthetic": (
        "network=nano",
        "distill=caddkd",
        "train.supernet.epochs=10",
        "train.supernet.lr=2.0e-3",
        "train.retrain.epochs=2",
        "train.retrain.warmup_epochs=0.25",
        "train.retrain.lr=1.0e-3",
    ),
    "camvid": (*_PHOTOGRAPHS, "train.scratch=true", "train.retrain.epochs=3"),
    "masks": (*_PHOTOGRAPHS, "train.retrain.epochs=4"),
}
_FIRST = "0.1."
Say = Callable[[str, str], None]
_OVERRIDE = re.compile(
    r"(?P<sign>\+\+|\+|~|)(?P<key>[\w./$-]+)(?P<package>@[^=]*|)(?P<value>=.*|)", re.DOTALL
)
_DEFAULT = re.compile(r"(?P<words>(?:override |optional )*)(?P<slash>/?)(?P<group>[\w/-]+)(?P<package>@.*|)")
_REFERENCE = re.compile(
    r"(?P<before>\$\{\s*(?:oc\.select:\s*)?)(?P<dots>\.*)(?P<path>[\w-]+(?:\.[\w-]+|\[[\w-]+\])*)(?=\s*[},])"
)
# brackets, quoted texts and what stands between, of a value as Hydra reads it
_PIECE = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\$\{|[{}\[\](),:]|[^'\"${}\[\](),:]+|.", re.DOTALL
)
_GLOBAL = "_global_"
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


def first_difference(path: str, before: Any, now: Any) -> tuple[str, Any, Any] | None:
    """The first setting, by its present name, that two identities differ in, and both values; None if equal.

    Args:
        path: what identities call that which is compared.
        before: plain data of one of them.
        now: plain data of the other.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            # a class is what its group has chosen
            place = path if name == "_target_" else f"{path}.{name}"
            found = first_difference(place, before.get(name), now.get(name))
            if found:
                return found
        return None
    return None if before == now else (_in_config(path), before, now)


def _in_config(path: str) -> str:
    """Where the config has what an identity has at a path; a task may repeat parts of the root."""
    parts = path.split(".")
    if parts[0] == "searcher":
        return key(".".join(["search", *parts[1:]]))
    if parts[0] == "task" and parts[1:2] in (["name"], ["settings"]):
        parts = ["task", *parts[2:]]
    return key(".".join(parts[1:] if parts[1:2] in (["data"], ["network"], ["space"]) else parts))


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
    name, value, package = match["key"], match["value"], match["package"]
    group, placed = GROUPS.get(name, name), package and f"@{package_of(package[1:])}"
    if "{" not in value and (name in GROUPS or group in OPTIONS):
        renamed, new = group, re.sub(r"[\w/-]+", lambda each: _option(group, each[0], folders), value)
        if (renamed, placed, new) != (name, package, value):
            tell(f"{name}{package}{value}", f"{renamed}{placed}{new}")
    elif (moved := MOVED_KEYS.get(name)) and not package and value and "{" not in value:
        tell(name, moved)
        # it is there in any case, so that no sign is needed
        return f"{moved}{value}"
    else:
        renamed = key(name)
        if (renamed, placed) != (name, package):
            tell(f"{name}{package}", f"{renamed}{placed}")
        new = _keyed(renamed, _referenced(value, tell, renamed), tell)
    return f"{match['sign']}{renamed}{placed}{new}"


def package_of(dotted: str, tell: Say = silent) -> str:
    """The present name of a package, such as that of a file's header."""
    rest = dotted.removeprefix(f"{_GLOBAL}.")
    new = f"{dotted.removesuffix(rest)}{key(rest)}"
    if new != dotted:
        tell(dotted, new)
    return new


def former_defaults(task: str, version: str, recorded: Callable[[str], Any]) -> tuple[str, ...]:
    """The settings that a run had in the release that began it, where they differ from the present ones.

    Args:
        task: of the run.
        version: of evonas, which began the run.
        recorded: what the run's config says for a key, None where it has none; asked for runs of the first release
            alone, since it reads a file.
    """
    if not version.startswith(_FIRST):
        return ()
    known = ((key, recorded(key)) for key in CHANGED_DEFAULTS)
    kept = [
        f"{MOVED_KEYS.get(key, key)}={str(value).lower()}"
        for key, value in known
        if isinstance(value, str | bool)
    ]
    return (*FORMER_DEFAULTS.get(task, ()), *kept)


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
        return _referenced(plain, tell, package)
    if isinstance(plain, list):
        return [tree(each, f"{package}.[]", tell) for each in plain]
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
    place = key(group.replace("/", ".")) if package in (None, "_group_") else package_of(str(package), say)
    place = "" if place == _GLOBAL else place.removeprefix(f"{_GLOBAL}.")
    found = tree({name: child for name, child in plain.items() if name != "defaults"}, place, say)
    if isinstance(plain.get("defaults"), list):
        found = {"defaults": [_default(each, group, place, folder) for each in plain["defaults"]], **found}
    return dict(found)


def _default(entry: Any, group: str, place: str, folder: Path) -> Any:
    """An entry of a defaults list: `{override /group@package: option}`, or the path of an option."""
    if isinstance(entry, str):
        return _default_path(entry, group, place, folder)
    if not isinstance(entry, dict) or len(entry) != 1:
        return entry
    [(text, chosen)] = entry.items()
    match = _DEFAULT.fullmatch(str(text))
    if match is None:
        return entry
    full, present, shown = _in_defaults(match["group"], group, bool(match["slash"]))
    package = _beside(match["package"], place)
    typed = chosen if isinstance(chosen, list) else [chosen]
    options = [_option(present, each, (folder,)) if isinstance(each, str) else each for each in typed]
    for before, after in zip(typed, options, strict=True):
        if (full, match["package"], before) != (present, package, after):
            say(f"{full}{match['package']}={before}", f"{present}{package}={after}")
    new = options if isinstance(chosen, list) else options[0]
    return {f"{match['words']}{match['slash']}{shown}{package}": new}


def _default_path(entry: str, group: str, place: str, folder: Path) -> str:
    match = _DEFAULT.fullmatch(entry)
    if match is None or match["words"] or entry == "_self_":
        return entry
    above, _, name = match["group"].rpartition("/")
    full, present, shown = _in_defaults(above, group, bool(match["slash"]))
    package, renamed = _beside(match["package"], place), _option(present, name, (folder,))
    if (full, match["package"], name) != (present, package, renamed):
        say(f"{full}{match['package']}={name}", f"{present}{package}={renamed}")
    return f"{match['slash']}{shown}{'/' if shown else ''}{renamed}{package}"


def _in_defaults(typed: str, group: str, is_absolute: bool) -> tuple[str, str, str]:
    """A group in a defaults list of another: its whole path, the present one, and how the list writes it."""
    above = "" if is_absolute or not group else f"{group}/"
    full = f"{above}{typed}".strip("/")
    present = GROUPS.get(full, full)
    return full, present, f"{present}/".removeprefix(above).strip("/")


def _beside(package: str, place: str) -> str:
    """`@package` of a defaults list, which counts from the package of its file."""
    if not package or package.startswith(f"@{_GLOBAL}"):
        return package and f"@{package_of(package[1:])}"
    above = f"{place}." if place else ""
    return f"@{key(f'{above}{package[1:]}').removeprefix(above)}"


def _option(group: str, name: str, folders: tuple[Path, ...]) -> str:
    """The present name of an option, unless a folder of the user has one of this name."""
    groups = (group, *(old for old, new in GROUPS.items() if new == group))
    is_own = any((folder / each / f"{name}.yaml").exists() for folder in folders for each in groups)
    return name if is_own else option(group, name)


def _referenced(text: str, tell: Say, place: str) -> str:
    """Text in which `${...}` refers to settings by their present names.

    Args:
        text: a value.
        tell: as in `override`.
        place: the key that it stands under, from which `${.name}` counts.
    """

    def renamed(match: re.Match[str]) -> str:
        parts = re.findall(r"[\w-]+", match["path"])
        depth = len(match["dots"])
        above = place.split(".")[:-depth] if depth else []
        old = ".".join([*above, *parts])
        new = key(old)
        if new == old:
            return match[0]
        tell(old, new)
        names = iter(new.split(".")[len(above) :])
        path = re.sub(r"[\w-]+", lambda _: next(names), match["path"])
        return f"{match['before']}{match['dots']}{path}"

    return _REFERENCE.sub(renamed, text)


def _keyed(place: str, text: str, tell: Say) -> str:
    """A typed value in which the keys of dicts, `{key: value}`, have their present names.

    Args:
        place: the key that it stands under.
        text: the value as it was typed.
        tell: as in `override`.
    """
    found: list[str] = []
    inside: list[tuple[str, str]] = []
    is_key = False
    for piece in _PIECE.findall(text) if "{" in text else [text]:
        written = piece
        if piece in ("{", "${", "[", "("):
            inside.append((piece, place))
            place = f"{place}.[]" if piece == "[" else place
        elif piece in ("}", "]", ")") and inside:
            place = inside.pop()[1]
        elif piece == "," and inside:
            place = inside[-1][1] if inside[-1][0] == "{" else place
        elif is_key and piece.strip():
            old = f"{place}.{piece.strip()}"
            place = KEYS.get(old, old)
            if place != old:
                tell(old, place)
                written = piece.replace(piece.strip(), place.rpartition(".")[2])
        is_key = piece == "{" or (piece == "," and bool(inside) and inside[-1][0] == "{")
        found.append(written)
    return "".join(found)
