"""Hydra's complaints about a command, said in one sentence with what to type instead."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from evonas.cli_args import config_dirs, nearest, overrides, setting
from evonas.command_text import command, shell
from evonas.command_text import setting as setting_text
from evonas.config import redact
from evonas.errors import UserError
from evonas.schema import is_open, minima

COMPLAINTS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
_KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@-]*")
_NO_KEY = re.compile(r"Could not override '([^']+)'")
_NOT_DEFAULT = re.compile(r"To append to your default list use (\S+)")
_TWICE = re.compile(r"Multiple values for (\S+?)\.? |(\S+) appears more than once in the final")
_SEVERAL = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'")
# NaN is not below it either, and a longer whole number is no float
_MOST = sys.float_info.max
_SHOW = "See all settings with: python -m evonas --cfg job"
# numbers, or lists of them
_NUMBER_OR_LIST = ("stage.levels", "sampler.strategy.levels")
_TYPE = re.compile(r"Value '(.*)' of type '\w+' (.*)", re.DOTALL)


def explain(error: Exception, words: Sequence[str], conf: Path) -> UserError:
    """The error to show for one that Hydra or OmegaConf raised while composing.

    Args:
        words: what was given to Hydra.
        conf: folder of the config groups, to look up what was meant.
    """
    text = redact(f"{error}\n{error.__cause__ or ''}".strip())
    if isinstance(error, yaml.YAMLError):
        return UserError(f"A file of the config is no YAML: {' '.join(text.split())}.")
    if isinstance(error, MissingConfigException):
        return _unknown_option(error, text, conf)
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    if match := _SEVERAL.search(text):
        value = match[1].partition("=")[2]
        one = shell([setting_text(match[1].partition("=")[0], value)])
        hint = f" If it is one text with a comma, type: {one}" if value else ""
        return UserError(
            f"Several values, '{match[1]}', are a sweep.", f"Add -m to run one job for each.{hint}"
        )
    if isinstance(error, HydraException):
        # Hydra's lexer does not say in which word it met a sign that it does not know
        unread = next((each for each in overrides(words) if not _is_readable(each)), None)
        if unread is not None:
            return _unreadable(unread)
    if match := _TWICE.search(text):
        return _chosen_twice(match[1] or match[2], words)
    if match := _NOT_DEFAULT.search(text):
        return _not_in_defaults(text, match[1])
    if match := _NO_KEY.search(text):
        return _unknown_key(match[1], words, conf)
    if isinstance(error.__cause__ or error, ValidationError):
        return _wrong_type(error, words)
    first, _, rest = text.partition("\n")
    return UserError(first.rstrip(".") + ".", " ".join(rest.split()))


def _unreadable(override: str) -> UserError:
    """A word that Hydra cannot read, most often because its value has signs of Hydra's own."""
    key, equals, value = override.partition("=")
    if not equals or not _KEY.fullmatch(key):
        return UserError(f"'{redact(override)}' is not a setting.", "Settings look like: seed=1")
    # quotes that the user has typed did not help, and are no part of the value
    plain = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    quoted = shell([setting_text(key, redact(plain, key.lstrip("+~")))])
    return UserError(
        f"'{redact(override)}' cannot be read: signs such as = , # ( ) [ ] {{ }} : and letters with accents "
        "need quotes inside the value.",
        f"If the value is one text, type: {quoted}",
    )


def _is_readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def check_types(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Refuse a text where the group's file has a number, and a number where it has a switch.

    Groups with a `_target_` have no schema, and importing the target to see its signature
    may take seconds; the file's own value tells the type at once. Call it inside a job.
    """
    dotted = [each for each in typed if "." in setting(each)[0]]
    if not dotted:
        return
    plain = [each for each in typed if each not in dotted]
    loader = GlobalHydra.instance().config_loader()
    default = loader.load_configuration("config", overrides=plain, run_mode=RunMode.RUN)
    for override in dotted:
        key = setting(override)[0]
        before = OmegaConf.select(default, key, throw_on_missing=False)
        now = OmegaConf.select(cfg, key, throw_on_missing=False)
        wanted = "" if key in _NUMBER_OR_LIST and OmegaConf.is_list(now) else _wanted(before, now)
        if wanted:
            raise UserError(
                f"{key}={redact(now, key)} is not {wanted}.", f"For instance: {key}={_typed(before)}"
            )


def refuse_infinite(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Refuse typed numbers that are not finite, such as 1e999, which neither JSON nor a seed can hold."""
    for override in typed:
        key = setting(override)[0].lstrip("+")
        value = OmegaConf.select(cfg, key, throw_on_missing=False) if key else None
        numbers = value if isinstance(value, ListConfig) else [value]
        if any(isinstance(each, int | float) and not -_MOST <= each <= _MOST for each in numbers):
            raise UserError(f"{redact(override)} is not a finite number.", f"Type a number, such as {key}=1.")


def refuse_too_small(cfg: DictConfig) -> None:
    """Raise a UserError for the first number below its least, before anything is made of it."""
    for key, least in minima():
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        # a NaN is not above anything
        if value is not None and not value >= least:
            raise UserError(f"{key}={redact(value, key)} is too small.", f"Use at least {key}={least}.")


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wanted(before: Any, now: Any) -> str:
    """What the value should have been, or nothing when it is fine."""
    if now is None or before is None:
        return ""
    if isinstance(before, bool):
        return "" if isinstance(now, bool) else "true or false"
    if isinstance(before, int | float):
        return "" if isinstance(now, int | float) and not isinstance(now, bool) else "a number"
    return ""


def _unknown_option(error: MissingConfigException, text: str, conf: Path) -> UserError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    # Hydra names no options where one of a list is unknown
    options = sorted(error.options or [path.stem for path in (conf / (group or "?")).glob("*.yaml")])
    if not group or not options:
        return UserError(text.partition("\n")[0], "See the groups with: python -m evonas --help")
    near = nearest(option, options)
    plus = "+" if group == "task" else ""
    hint = f"Did you mean {plus}{group}={near}? " if near else ""
    return UserError(f"There is no {group} '{option}'.", f"{hint}Known are: {', '.join(options)}")


def _chosen_twice(group: str, words: Sequence[str]) -> UserError:
    """A group that two words choose, or a word and an experiment, which brings a task of its own."""
    typed = overrides(words)
    twice = [each for each in typed if setting(each)[0].partition("@")[0] == group]
    experiments = [each for each in typed if setting(each)[0] == "experiment"]
    if len(twice) < 2 and len(experiments) > 1:
        twice = experiments
    if len(twice) > 1:
        told = f"{setting(twice[0])[0]} is chosen {len(twice)} times: {' '.join(twice)}."
        return UserError(told, "Type one of them.")
    if experiments and twice:
        return UserError(
            f"{experiments[0]} brings a {group} of its own, so {twice[0]} cannot be added.",
            f"Leave {twice[0]} out, or leave {experiments[0]} out.",
        )
    return UserError(
        f"Two files of the config choose {group}.", f"Write 'override /{group}: <option>' in one of them."
    )


def _not_in_defaults(text: str, suggestion: str) -> UserError:
    key, value = setting(suggestion)
    if key == "task":
        return UserError("A task is added, with a plus.", f"Try: {command(f'+task={value}')}")
    return UserError(text.partition("\n")[0].rstrip(".") + ".", f"Add it with: {suggestion}")


def _unknown_key(key: str, words: Sequence[str], conf: Path) -> UserError:
    typed = overrides(words)
    value = next((setting(each)[1] for each in typed if setting(each)[0] == key), "")
    if is_open(key):
        return UserError(
            f"Keys of '{key}' are added, with a plus.",
            f"Try: {shell([f'+{key}={redact(value, key)}'])}",
        )
    groups = [each for each in typed if setting(each)[0] != key and "." not in setting(each)[0]]
    known = list(_keys(_composed(groups, [str(conf), *config_dirs(words)])))
    group, _, last = key.rpartition(".")
    misplaced = [each for each in known if each.rpartition(".")[2] == last]
    alike = misplaced or [each for each in known if nearest(last, [each.rpartition(".")[2]])]
    # a word that only looks alike means something else in another part of the config
    siblings = [each.rpartition(".")[2] for each in known if each.rpartition(".")[0] == group]
    siblings = [each for each in siblings if not each.startswith("_")]
    if group and siblings and not misplaced:
        alike = [each for each in alike if each.startswith(f"{group}.")]
    near = nearest(key, alike) or nearest(last, alike)
    others = f"{group} has {', '.join(siblings)}." if group and siblings else _SHOW
    hint = f"Did you mean {shell([f'{near}={redact(value, key)}'])}?" if near else others
    return UserError(f"There is no setting '{key}'.", hint)


def _wrong_type(error: Exception, words: Sequence[str]) -> UserError:
    cause = error.__cause__ or error
    key = str(getattr(cause, "full_key", None) or "a setting")
    why = str(cause).partition("\n")[0]
    typed = dict(map(setting, overrides(words))).get(key, "")
    if match := _TYPE.search(why):
        return UserError(f"{key}={redact(match[1], key)} {match[2]}.", _SHOW)
    if "valid bool" in why:
        return UserError(f"{key}={redact(typed, key)} is not true or false.", f"For instance: {key}=true")
    if "not a ListConfig" in why:
        value = redact(typed, key).strip("'\"")
        return UserError(
            f"{key}={value} is not a list.", f"A list has brackets: {shell([f'{key}=[{value}]'])}"
        )
    return UserError(f"{key}: {redact(why)}.", _SHOW)


def _composed(choices: Sequence[str], folders: Sequence[str]) -> DictConfig:
    """The config without some overrides; without any, where those do not compose either."""
    GlobalHydra.instance().clear()
    more = ",".join(f"file://{Path(folder).absolute()}" for folder in folders[1:])
    search = [f"hydra.searchpath=[{more}]"]
    with initialize_config_dir(folders[0], version_base="1.3"):
        for each in ([*choices, *search], search):
            try:
                return compose("config", overrides=each)
            except COMPLAINTS:
                continue
    return DictConfig({})


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name, child in node.items_ex(resolve=False):
        path = prefix + str(name)
        yield path
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            yield from _keys(child, f"{path}.")
