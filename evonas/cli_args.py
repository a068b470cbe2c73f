"""What the user typed, in the form Hydra wants: the sugar of the command line lives here."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from evonas import deprecated, run, stages
from evonas.command_text import command, shell
from evonas.config import redact, shipped_option, typed_value
from evonas.errors import UserError
from evonas.stages import stage_times

_WITH_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
}  # fmt: skip
_FOLDER = "--config-dir"
_PACKAGE = {"--package", "-p"}
_SWEEP = {"-m", "--multirun"}
_COMPLETION = {"-sc", "--shell-completion"}
# what stands for `--info` alone, so that no setting is taken for its topic
_EVERYTHING = "--info=all"
_INFO = {"--info", "-i"}
_TOPICS = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
# choices that mean others as well, unless these are typed; Hydra files cannot override a list of objectives, and later
# commands in the run of a preview take over what its first one said
_MEANS = {
    "search=saswot": ("objective=[zero_cost,latency]", "sampler=none", "distill=none"),
    "search=saswot_matrices": ("objective=[zero_cost,macs]", "sampler=none"),
    "stage=preview": ("search=nested", "sampler=none", "distill=none"),
}

# what a stage lets be typed without its `stage.` before it
_SHORT = {"compare": ("runs",), "cost": ("genotype", "size", "classes")}

# what stages take over that only read: the name of another run
_LOOKED_AT = {"inputs"}

# settings whose texts have signs that Hydra reads otherwise, and the comma between two of them: those inside the text
# of a network stand before a number, those inside a selection rule before a weight, such as asf:error=20,macs=1
_NETWORKS = re.compile(r",\s*(?=[A-Za-z~./])")
_TEXTS = {
    "networks": _NETWORKS,
    "start": _NETWORKS,
    "select.rules": re.compile(r",(?!\s*[\w.]+=[^=])"),
}

# the text of a genotype up to a choice that is a word, and what may follow it in the same text
_ENDS_IN_A_WORD = re.compile(r"\s*[\w-]+:[A-Za-z]+\d*=(?:.*[=,])?\s*[A-Za-z][\w.-]*\Z", re.DOTALL)
_GOES_ON = re.compile(r"[A-Za-z][\w.-]*(?:,\s*[\w.-]+)*(?:/[A-Za-z]+\d*=[^:#]*)?")


def rewrite(arguments: Sequence[str]) -> list[str]:
    """The arguments for Hydra: `report run=last` becomes `stage=report run=last` and the run's task.

    Raises:
        UserError: a bare word is no stage, or the command holds a secret or would unpickle a file.
    """
    words = list(arguments)
    if _COMPLETION & set(words):
        _adapt_completion()
        return words
    _refuse_dangerous(words)
    _name_stage(words)
    # before old names: `genotype` alone was once the name of `networks`
    _write_out(words)
    _use_present_names(words)
    _quote_texts(words)
    words = _completed(_move_debug(_spread_trackers(_elsewhere(words))))
    words, attempt = _resumed(words)
    added = inherited(overrides(words), attempt)
    folders = [each for each in added if each.startswith(_FOLDER)]
    # flags come first, because Hydra's parser takes no settings after one that stands between them
    return [
        *(folders if not config_dirs(words) else []),
        *_flags(words),
        *overrides(words),
        *(each for each in added if each not in folders),
    ]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether several jobs were asked for."""
    return bool(_SWEEP & set(arguments))


def config_dirs(words: Sequence[str]) -> list[str]:
    """The folders of config groups that the user added."""
    found = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return found + [value for flag, value in pairwise(words) if flag in ("--config-dir", "-cd")]


def overrides(words: Sequence[str]) -> list[str]:
    """The words that are settings and choices, not flags."""
    return [words[index] for index in _positions(words)]


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that looks most like this one, or the empty string."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else ""


def setting(override: str) -> tuple[str, str]:
    """Key and value of an override, without the sign that adds or removes it."""
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def group(override: str) -> str:
    """The part of the config that an override is about."""
    return setting(override)[0].partition(".")[0]


def inherited(typed_overrides: Sequence[str], attempt: str = "001") -> list[str]:
    """What an existing run's first command said, where this command does not choose a task.

    What the user types wins, for a key and for everything below it. A stage that only reads takes over where the rest
    of the results is and nothing else: a run that comes from somebody else would decide what is made and who is told.

    Args:
        attempt: folder of the command in the run that is taken in place of the first one.
    """
    typed = {setting(each)[0]: typed_value(each) for each in typed_overrides}
    name = typed.get("run", "")
    if "task" in typed or not name or "," in name:
        return []
    outputs = Path(typed.get("outputs", "outputs"))
    if name != run.LAST and not (outputs / name / run.IDENTITY).exists():
        return []
    directory = run.find_run(outputs, name)
    is_looking = typed.get("stage") in stages.READS_ONLY
    if "packages" not in typed and not is_looking:
        _refuse_recorded_code(directory, attempt)
    recorded = run.recorded_overrides(directory, attempt)
    if is_looking:
        recorded = [each for each in recorded if setting(each)[0] in _LOOKED_AT]
    return [each for each in recorded if not _is_typed(setting(each)[0], typed)]


def _refuse_recorded_code(directory: Path, attempt: str) -> None:
    """Code of the user runs because this command says so, and not because a run folder does."""
    recorded = [each for each in run.typed(directory / run.ATTEMPTS / attempt) if group(each) == "packages"]
    if recorded and setting(recorded[-1])[1] not in ("", "[]", "null"):
        raise UserError(
            f"Run '{directory.name}' was made with code of {setting(recorded[-1])[1][:80]}, which this command does "
            "not allow.",
            f"If you trust it, add: {shell([recorded[-1].lstrip('+')])}",
        )


def _resumed(words: list[str]) -> tuple[list[str], str]:
    """The words with the stage that `run=<name> resume=true` continues, and the command whose settings it had.

    Without a stage in the command, what was stopped goes on, and nothing else: a run whose search was stopped does
    not evaluate on the test split.

    Raises:
        UserError: nothing was stopped in a run in which no pipeline was ever begun.
    """
    typed = {setting(each)[0]: typed_value(each) for each in overrides(words)}
    name, outputs = typed.get("run", ""), Path(typed.get("outputs", "outputs"))
    is_meant = typed.get("resume", "").lower() == "true" and not {"stage", "task"} & typed.keys()
    if not is_meant or is_sweep(words) or not name:
        return words, "001"
    if name != run.LAST and not (outputs / name / run.IDENTITY).exists():
        return words, "001"
    directory = run.find_run(outputs, name)
    stopped = stage_times.stopped_command(directory)
    if stopped is not None:
        stage = stage_times.stage_typed(stopped)
        return ([*words, f"stage={stage}"], stopped.name) if stage != "run" else (words, stopped.name)
    if stage_times.has_pipeline(directory):
        return words, "001"
    raise UserError(
        f"Nothing in run '{directory.name}' was stopped: its commands have ended.",
        f"For all stages that are left, type: {run.Run(directory, '').command('run', 'stage=run', 'resume=true')}",
    )


def _is_typed(key: str, typed: dict[str, str]) -> bool:
    # `tracker@more_trackers.csv` is of the group that `tracker=` chooses anew
    return key.partition("@")[0] in typed or any(key.startswith(f"{each}.") for each in typed)


def _positions(words: Sequence[str]) -> Iterator[int]:
    """Positions of the words that are neither flags nor their values."""
    skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word in _WITH_VALUE:
            skip = True
        elif word in _INFO:
            skip = index + 1 < len(words) and words[index + 1] in _TOPICS
        elif not word.startswith("-"):
            yield index


def _flags(words: Sequence[str]) -> list[str]:
    """The words that are flags or their values."""
    settings = set(_positions(words))
    found = [word for index, word in enumerate(words) if index not in settings]
    return [
        _EVERYTHING if word in _INFO and not _TOPICS & set(found[index + 1 : index + 2]) else word
        for index, word in enumerate(found)
    ]


def _refuse_dangerous(words: Sequence[str]) -> None:
    if any(word.startswith("--experimental-rerun") for word in words):
        raise UserError(
            "--experimental-rerun is switched off: it would execute what a pickle file says.",
            "Go on with a run by: python -m evonas run=last resume=true",
        )
    for index in _positions(words):
        key, value = setting(words[index])
        if key.startswith("hydra.sweeper.params"):
            raise UserError(
                "hydra.sweeper.params cannot be typed: Hydra only reads it in files.",
                "Type the settings that vary themselves, for instance -m search=nsga2,random",
            )
        if value and redact(value, key) == "***":
            raise UserError(
                f"'{key}' looks like a secret, and a command line can be read by everybody on this machine.",
                "Put it into the environment (WANDB_API_KEY) or into ~/.netrc.",
            )


def _name_stage(words: list[str]) -> None:
    """Turn bare words into stages, in place; Hydra itself says what is wrong with two of them."""
    for index in _positions(words):
        word = words[index]
        if "=" in word or word.startswith("~"):
            continue
        # serve-latency means serve_latency
        stage = word.replace("-", "_")
        if deprecated.option("stage", stage) not in stages.TARGETS:
            near = nearest(word, list(stages.TARGETS))
            known = ", ".join(stages.TARGETS)
            raise UserError(
                f"'{word}' is not a command.",
                f"Did you mean: {command(near)}" if near else f"Known are: {known}",
            )
        words[index] = f"stage={stage}"


def _use_present_names(words: list[str]) -> None:
    """Write settings and choices by their present names, in place; each old one is told on stderr."""
    folders = (*map(Path, config_dirs(words)), *_searched(overrides(words)))
    for index in _positions(words):
        words[index] = deprecated.override(words[index], deprecated.say, folders)
    for index, word in enumerate(words):
        if index and words[index - 1] in _PACKAGE:
            words[index] = deprecated.package_of(word, deprecated.say)
        elif word.startswith("--package="):
            words[index] = f"--package={deprecated.package_of(setting(word)[1], deprecated.say)}"


def _searched(typed: Sequence[str]) -> list[Path]:
    """The folders of config groups in Hydra's search path."""
    values = (setting(each)[1] for each in typed if setting(each)[0] == "hydra.searchpath")
    return [Path(found) for value in values for found in re.findall(r"file://([^,\]'\"]+)", value)]


def _write_out(words: list[str]) -> None:
    """Put `stage.` before the settings of a stage that may be typed without it, in place."""
    short = [key for stage, keys in _SHORT.items() if f"stage={stage}" in words for key in keys]
    for index in list(_positions(words)):
        key, value = setting(words[index])
        if key == "genotype" and key in short and value[:1] not in ("'", '"'):
            # Hydra reads signs of its own in commas and `=`
            value = value if not value or (is_sweep(words) and ":" not in value) else f"'{value}'"
            words[index] = f"stage.genotype={value}"
        elif key in short:
            is_bare = "," in value and not value.startswith(("[", "'", '"')) and not is_sweep(words)
            words[index] = f"stage.{key}=[{value}]" if is_bare else f"stage.{words[index]}"


def _quote_texts(words: list[str]) -> None:
    """Quote networks and selection rules, in place: Hydra reads signs of its own in commas, `=`, `<` and `#`."""
    for index in list(_positions(words)):
        key, _, value = words[index].partition("=")
        comma = _TEXTS.get(key)
        is_list = value.startswith("[") and value.endswith("]")
        inner = value[1:-1] if is_list else value
        if comma is None or not inner or value == "null" or set(inner) & set("'\"") or "],[" in inner:
            continue
        parts = comma.split(inner) if is_list or is_sweep(words) else [inner]
        parts = _whole(parts) if key == "networks" else parts
        text = ",".join(f"'{part.strip()}'" for part in parts)
        words[index] = f"{key}=[{text}]" if is_list else f"{key}={text}"


def _whole(parts: Sequence[str]) -> list[str]:
    """The parts of a list, in which a genotype whose choices are words, such as `q=conv2,zoom`, is one part again."""
    found: list[str] = []
    for part in parts:
        if found and _ENDS_IN_A_WORD.match(found[-1]) and _GOES_ON.fullmatch(part.strip()):
            found[-1] += f",{part.strip()}"
        else:
            found.append(part)
    return found


def _spread_trackers(words: list[str]) -> list[str]:
    """`tracker=[wandb,tensorboard]` as the first tracker and, by Hydra's packages, `more_trackers` by name."""
    settings, found = set(_positions(words)), []
    for index, word in enumerate(words):
        key, value = setting(word)
        if index not in settings or key != "tracker" or not (value.startswith("[") and value.endswith("]")):
            found.append(word)
            continue
        names = [each.strip() for each in value[1:-1].split(",") if each.strip()] or ["none"]
        found.append(f"tracker={names[0]}")
        found += [f"+tracker@more_trackers.{name}={name}" for name in dict.fromkeys(names[1:])]
    return found


def _elsewhere(words: list[str]) -> list[str]:
    """`runtime.device=<address>` chooses the runtime of devices elsewhere, and `devices.<name>` needs no plus."""
    settings = set(_positions(words))
    is_elsewhere = any(setting(words[index])[0] == "runtime.device" for index in settings)
    found, chosen = list[str](), "runtime=remote" if is_elsewhere else ""
    for index, word in enumerate(words):
        if index in settings and word.startswith(("devices.", "devices=")):
            found.append(f"+{word}")
        elif index in settings and chosen and setting(word)[0] == "runtime":
            # ONNX Runtime is what runs there
            found.append(chosen if setting(word)[1] in ("auto", "onnxruntime") else word)
            chosen = ""
        else:
            found.append(word)
    return [*found, chosen] if chosen else found


def _move_debug(words: list[str]) -> list[str]:
    """Put `debug=` last, because a task chosen after it would undo it."""
    chosen = [words[index] for index in _positions(words) if setting(words[index])[0] == "debug"]
    rest = [word for word in words if word not in chosen]
    return rest + [f"+debug={setting(word)[1]}" for word in chosen]


def brings_others(typed: Sequence[str]) -> bool:
    """Whether a choice brings others along, below which settings for later commands may be typed."""
    return any(word in _MEANS for word in typed)


def _completed(words: list[str]) -> list[str]:
    """The words, and what some of them mean besides."""
    typed = {setting(words[index])[0] for index in _positions(words)}
    for word in words:
        _refuse_among(word, typed)
    added = [each for word in words for each in _MEANS.get(word, ()) if setting(each)[0] not in typed]
    known = typed | {setting(each)[0] for each in added}
    sampler = "" if "sampler" in known else _sampler_of_network(dict(map(setting, overrides(words))))
    return words + added + ([f"sampler={sampler}"] if sampler else [])


def _sampler_of_network(typed: Mapping[str, str]) -> str:
    """The sampler of a typed network, where that of the typed task opens genes of other networks; else empty.

    A task's choices come behind those of a network, so that a task can have a curriculum of its own lengths.
    """
    own = _chosen("network", typed.get("network", ""), "sampler")
    given = _chosen("task", typed.get("task", ""), "sampler")
    opened = _opened(given)
    return own if own and opened and opened != _opened(own) else ""


def _chosen(group: str, name: str, other: str) -> str:
    """The choice of another group that a shipped option makes, or the option that it is based on; empty without one."""
    base = ""
    for entry in shipped_option(group, name).get("defaults", []):
        if isinstance(entry, dict) and f"override /{other}" in entry:
            return str(entry[f"override /{other}"])
        base = entry if isinstance(entry, str) and entry != "_self_" else base
    return _chosen(group, base, other) if base else ""


def _opened(sampler: str) -> set[str]:
    """The names of genes and groups that the curriculum of a shipped sampler opens."""
    return {
        str(name) for step in shipped_option("sampler", sampler).get("steps", []) for name in step["opened"]
    }


def _refuse_among(word: str, typed: set[str]) -> None:
    """A choice that brings others along cannot be one value of a sweep, where they would be missing."""
    key, _, values = word.partition("=")
    for value in values.split(",") if "," in values else ():
        brings = _MEANS.get(f"{key}={value.strip()}", ())
        if {setting(each)[0] for each in brings} - typed:
            raise UserError(
                f"{key}={value} brings {' '.join(brings)}, which the others of {word} do not have.",
                f"Run {key}={value} by itself, or type these as well.",
            )


def _adapt_completion() -> None:
    """Hydra completes after a program's name; it does not know `python -m`."""
    line = os.environ.get("COMP_LINE", "")
    head, module, rest = line.partition("-m evonas")
    if module and head.strip().rpartition("/")[2].startswith("python"):
        os.environ["COMP_LINE"] = f"evonas{rest}"
