"""The run directory: identity, attempts and results of one search.

Creating, locking and finding runs never imports torch.
"""

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from evonas import command_text, config, deprecated, files, lock
from evonas.errors import DamagedError, DataError, EvoNASError, UserError
from evonas.identifiers import identified, present_task, task_in_identities
from evonas.version import __version__

LAST = "last"
LOCK = ".lock"
IDENTITY = "run.json"
END = "end.json"
ATTEMPTS = "attempts"
# manifests of the splits that a run has read
DATA = "data.json"
DONE = "done"
# commands of a run that are looked at; a program may look at a run every minute
MAX_ATTEMPTS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_QUESTION = ("task", "seed", "space", "network", "data")
# the location of the data may change, the data may not
_NOT_IDENTITY = ("root",)
_NOT_INHERITED = ("run", "resume", "outputs", "stage", "fail_fast", "hydra", "packages", "retry_failed")
# last parts of settings that are folders or files, where they are not words, lists or null
_PATHS = ("root", "lists", "data", "weights", "folder", "lpips", "table", "classes")
_PLACES = "places"


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run directory.

    Args:
        directory: absolute path.
        task: name of the task, for commands in messages.
        resume: whether stages may continue earlier work.
        inputs: another run whose results replace missing ones, or None.
        attempt: folder of this command's config and log, or None if nothing is recorded.
    """

    directory: Path
    task: str
    resume: bool = False
    inputs: Path | None = None
    attempt: Path | None = None

    @property
    def name(self) -> str:
        """The run's name, as in `run=<name>`."""
        return self.directory.name

    def path(self, relative: str) -> Path:
        """A path inside the run; creates its folder."""
        target = self.directory / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def find(self, relative: str) -> Path | None:
        """A result of this run, or else of the run named by `inputs=`, or None."""
        for base in (self.directory, self.inputs):
            if base is not None and (base / relative).exists():
                return base / relative
        return None

    def need(self, relative: str, made_by: str) -> Path:
        """Like `find`, but raises a UserError for a missing result, with the command that creates it."""
        found = self.find(relative)
        if found is None:
            raise UserError(
                f"Run '{self.name}' has no {relative}.",
                f"Make it with: {self.command(made_by)}",
            )
        return found

    def command(self, stage: str, *words: str) -> str:
        """The command that runs a stage in this run, as a shell takes it; the run records its other overrides.

        Args:
            words: further overrides in Hydra's form, see `command_text.setting`.
        """
        first = [] if stage == "run" else [f"stage={stage}"]
        own = command_text.setting("run", self.name)
        return command_text.command(*first, own, *words, outputs=self.directory.parent)

    def done(self, stage: str, settings: Any = None) -> bool:
        """Whether the pipeline has finished a stage in this run with these settings."""
        marker = self.directory / DONE / f"{stage}.json"
        return marker.exists() and identified(files.read_json(marker)) == {"settings": identified(settings)}

    def mark_done(self, stage: str, settings: Any = None) -> None:
        """Record that the pipeline has finished a stage; `settings` is plain data."""
        files.write_json(self.path(f"{DONE}/{stage}.json"), {"settings": identified(settings)})


def open_run(cfg: DictConfig, overrides: Sequence[str], lock_it: bool = True) -> Run:
    """Create or reopen the run that `run=` names, lock it and record this command in it.

    Args:
        cfg: the composed config.
        overrides: the user's overrides; they contain the task's name.
        lock_it: False for stages that only read; they record nothing in a folder that cannot be written.

    Raises:
        UserError: the run is unknown or in use, or its identity differs from this config.
    """
    outputs = Path(cfg.outputs).absolute()
    inputs = find_run(outputs, cfg.inputs) if cfg.inputs else None
    directory = _directory(outputs, cfg.run, _task_name(cfg, overrides))
    files.check_run_files(directory)
    if lock_it:
        lock.acquire(directory / LOCK, directory.name)
        files.sweep(directory)
    try:
        # whoever only looks at a run may be of a release with settings that the run does not know
        identity = _identify(directory, cfg, overrides, is_checked=lock_it)
        attempt = _record(directory, cfg, overrides) if lock_it or _is_writable(directory) else None
    except BaseException:
        lock.release(directory / LOCK)
        raise
    return Run(directory, identity["task"]["name"], bool(cfg.resume), inputs, attempt)


def close_run(run: Run) -> None:
    """Release the run's lock; may be called twice."""
    lock.release(run.directory / LOCK)


def end_attempt(run: Run, code: int) -> None:
    """Record the exit code of this command; a killed command leaves no record."""
    if run.attempt is not None:
        # a full disk was reported before; this error must not hide that message
        with suppress(OSError):
            ended = datetime.now(UTC)
            begun = (run.attempt / "config.yaml").stat().st_mtime
            took = {"ended": ended.isoformat(), "seconds": round(ended.timestamp() - begun, 3)}
            files.write_json(run.attempt / END, {"code": code, **took})


def task_name(overrides: Sequence[str]) -> str:
    """The task that a list of overrides chooses, or the empty string."""
    for override in reversed(overrides):
        key, _, value = override.partition("=")
        if key in ("+task", "task", "++task"):
            return config.typed_value(override) if value else value
    return ""


def list_runs(outputs: Path) -> list[dict[str, Any]]:
    """The identities of all runs that can be read, oldest first.

    Returns:
        for each its recorded identity, its `directory`, the size of its files in `bytes`, and in `created` a time with
        a zone. Runs that cannot be read are told by `damaged_runs`.
    """
    found = [each for each in _runs(Path(outputs)).values() if not isinstance(each, EvoNASError)]
    return sorted(found, key=lambda each: (each["created"], each["directory"].name))


def damaged_runs(outputs: Path) -> dict[Path, EvoNASError]:
    """Directories of runs whose identity cannot be read, by name, each with the reason."""
    found = sorted(_runs(Path(outputs)).items())
    return {directory: each for directory, each in found if isinstance(each, EvoNASError)}


def _runs(outputs: Path) -> dict[Path, dict[str, Any] | EvoNASError]:
    """The identity of every run in a folder, or why it cannot be read: another user's run, or a damaged one."""
    found: dict[Path, dict[str, Any] | EvoNASError] = {}
    for directory in outputs.iterdir() if outputs.is_dir() else ():
        path = directory / IDENTITY
        try:
            if not directory.is_dir() or not path.exists():
                continue
            size = files.check_run_files(directory)
            identity = _read_identity(path)
            created = datetime.fromisoformat(identity["created"])
            # whoever wrote it without a zone meant UTC, as evonas does
            created = created if created.tzinfo else created.replace(tzinfo=UTC)
            dated = {"created": created.astimezone(UTC).isoformat(), "directory": directory}
            found[directory] = {**identity, **dated, "bytes": size}
        except PermissionError as error:
            found[directory] = DataError(
                f"{error.filename or directory} is private to another user.", "Ask its owner."
            )
        except OSError as error:
            found[directory] = DataError(f"{path} cannot be read: {error.strerror or error}.")
        except EvoNASError as error:
            found[directory] = error
        except (TypeError, ValueError, KeyError):
            found[directory] = _no_identity(path, f"{path} is not the identity of a run.")
    return found


def find_run(outputs: Path, name: str) -> Path:
    """The directory of a run by name; `last` is the newest run with more than refused commands.

    Raises:
        UserError: there is none.
    """
    if name == LAST:
        runs = list_runs(outputs)
        if not runs:
            for error in damaged_runs(outputs).values():
                raise error
            raise UserError(
                f"There is no run in {outputs} yet.",
                f"Make one with: {command_text.command('+task=synthetic', outputs=outputs)}",
            )
        folders = [Path(each["directory"]) for each in reversed(runs)]
        return next((each for each in folders if not _is_refused(each)), folders[0])
    directory = Path(outputs) / _checked(name)
    if directory.is_dir():
        files.check_run_files(directory)
    if not (directory / IDENTITY).exists():
        known = ", ".join(each["directory"].name for each in list_runs(outputs)[-5:])
        raise UserError(f"There is no run '{name}' in {outputs}.", f"The newest are: {known or 'none'}")
    return directory


def _is_refused(directory: Path) -> bool:
    """Whether every command of a run ended in a UserError and none has left a file."""
    made = (each for each in directory.iterdir() if each.name not in (LOCK, IDENTITY, ATTEMPTS, DATA))
    if any(each.is_file() or any(file.is_file() for file in each.rglob("*")) for each in made):
        return False
    codes = {exit_code(attempt) for attempt in attempts_of(directory)}
    return codes == {UserError.exit_code}


def attempts_of(directory: Path) -> list[Path]:
    """Folders of the commands of a run, oldest first; of more than `MAX_ATTEMPTS` the newest ones."""
    found = [each for each in (directory / ATTEMPTS).glob("*") if each.name.isdecimal()]
    return sorted(found, key=lambda each: int(each.name))[-MAX_ATTEMPTS:]


def exit_code(attempt: Path) -> int | None:
    """Exit code of a command; None if it still runs or was killed."""
    with suppress(OSError, ValueError, TypeError):
        return int(files.read_json(attempt / END, needs=("code",))["code"])
    return None


def recorded_overrides(directory: Path, attempt: str = "001") -> list[str]:
    """Overrides of a run's command that later commands inherit, in present names.

    A run of an earlier release keeps what its task meant then (`deprecated.FORMER_DEFAULTS`). In another working
    directory relative paths are those of the first command, so that a run goes on with its own data.

    Args:
        attempt: folder of the command; the first one, whose settings are those of the run.
    """
    said = [each for each in typed(directory / ATTEMPTS / attempt) if _is_inherited(each)]
    folders = tuple(Path(each.partition("=")[2]) for each in said if each.startswith("--config-dir="))
    found = [deprecated.override(each, deprecated.silent, folders) for each in said]
    path = directory / IDENTITY
    identity = _read_identity(path) if path.exists() else {}
    version = str(identity.get("version", ""))
    found = _at_home(found, identity)
    recorded = cache(lambda: recorded_config(directory))
    known = deprecated.former_defaults(
        task_name(found), version, lambda key: OmegaConf.select(recorded(), key)
    )
    former = dict(each.split("=", 1) for each in known)
    for key, _, value in (each.lstrip("+~").partition("=") for each in found):
        # a choice of a group, such as objective=[error,latency], sets no value below it
        sets_all_below = "." in key or value.startswith("{")
        former = {
            name: kept
            for name, kept in former.items()
            if name != key and not (sets_all_below and name.startswith(f"{key}."))
        }
    return [*found, *(f"{name}={value}" for name, value in former.items())]


def typed(attempt: Path) -> list[str]:
    """The user's overrides of one attempt."""
    path = attempt / "overrides.yaml"
    if path.exists():
        config.check_yaml(path)
    recorded = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else []
    return list(map(str, recorded or []))


def recorded_config(directory: Path, attempts: Sequence[Path] | None = None) -> DictConfig:
    """The config of a run's newest command with a task, in present names; empty if there is none.

    Args:
        attempts: folders of the commands that count, oldest first; None for all.
    """
    folders = attempts_of(directory) if attempts is None else attempts
    paths = [folder / "config.yaml" for folder in folders if (folder / "config.yaml").exists()]
    for path in reversed(paths):
        config.check_yaml(path)
        found = OmegaConf.load(path)
        if isinstance(found, DictConfig) and found.get("task") is not None:
            plain = OmegaConf.to_container(found, resolve=False)
            return OmegaConf.create(deprecated.tree(plain, "", deprecated.silent))
    return OmegaConf.create({})


def _is_inherited(override: str) -> bool:
    if override.startswith("-"):
        return override.startswith("--config-dir=")
    name = override.partition("=")[0]
    key = name.lstrip("+~").partition(".")[0]
    # Hydra's own settings instantiate objects, so those of a foreign run are not inherited
    return key not in _NOT_INHERITED and "hydra" not in name and "***" not in override


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} cannot be the name of a run.",
            "Use letters, digits, dots, dashes and underscores, for instance run=first",
        )
    return name


def _directory(outputs: Path, name: str | None, task: str) -> Path:
    if name == LAST:
        return find_run(outputs, LAST)
    outputs.mkdir(parents=True, exist_ok=True)
    if name is None:
        return _fresh(outputs, task or "run")
    directory = outputs / _checked(name)
    directory.mkdir(mode=0o700, exist_ok=True)
    strangers = {each.name for each in directory.iterdir()} - {LOCK}
    if strangers and not (directory / IDENTITY).exists():
        raise UserError(f"{directory} is not a run: it has no {IDENTITY}.", "Choose another name for run=")
    return directory


def _fresh(outputs: Path, task: str) -> Path:
    """Create a new directory; a random suffix separates commands of the same second."""
    while True:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        directory = outputs / f"{task.replace('/', '-')}-{stamp}-{secrets.token_hex(2)}"
        try:
            directory.mkdir(mode=0o700, exist_ok=False)
        except FileExistsError:
            continue
        return directory


def _identify(directory: Path, cfg: DictConfig, overrides: Sequence[str], is_checked: bool) -> dict[str, Any]:
    """Write the run's identity the first time; later, raise a UserError if the config differs from it.

    Args:
        is_checked: whether a difference is an error.
    """
    path = directory / IDENTITY
    wanted = _question(cfg, overrides)
    if not path.exists():
        created = {"created": datetime.now(UTC).isoformat(), "version": __version__}
        files.write_json(path, {**wanted, **created, _PLACES: _places(cfg)})
        return _read_identity(path)
    recorded = _read_identity(path)
    if not isinstance(recorded["task"], dict) or "name" not in recorded["task"]:
        raise _no_identity(path, f"{path} is not the identity of a run: it names no task.")
    if is_checked and (wanted["task"]["name"] or cfg.task is not None):
        _refuse_another(directory.name, recorded, wanted)
    return recorded


def _task_name(cfg: DictConfig, overrides: Sequence[str]) -> str:
    """The task in the overrides, or else the task that an experiment selects."""
    return task_name(overrides) or str(OmegaConf.select(cfg, "task.name") or "")


def _is_writable(directory: Path) -> bool:
    """Whether commands can be recorded; a finished run may lie on a read-only disk or be another user's."""
    folder = directory / ATTEMPTS
    return os.access(folder if folder.exists() else directory, os.W_OK | os.X_OK)


def _question(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The identity that commands of one run share, as plain data."""
    plain = {key: config.redact(config.to_plain(OmegaConf.select(cfg, key))) for key in _QUESTION}
    name = task_in_identities(_task_name(cfg, overrides))
    plain["task"] = {"name": name, "settings": plain["task"]}
    return {key: _without_places(value) for key, value in identified(plain).items()}


def _without_places(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_places(child) for key, child in value.items() if key not in _NOT_IDENTITY}


def _refuse_another(name: str, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    known = identified(recorded)
    wanted = {**wanted, "task": {**wanted["task"], "name": present_task(wanted["task"]["name"])}}
    home = _home(recorded) or Path.cwd()
    for key in _QUESTION:
        before, now = _placed(known.get(key), wanted[key], key, home)
        changed = deprecated.first_difference(key, before, now)
        if changed:
            where, before, now = changed
            raise UserError(
                f"Run '{name}' has {where}={before}, and this command says {now}.",
                f"Leave {where} as it was, or start another run by leaving out run={name}.",
            )


def _places(cfg: DictConfig) -> dict[str, Any]:
    """Where a run's first command was typed, and the absolute places of data that it left to defaults."""
    settings = {"paths.data": OmegaConf.select(cfg, "paths.data")}
    data = OmegaConf.to_container(cfg.data, resolve=False) if isinstance(cfg.get("data"), DictConfig) else {}
    root = data.get("root") if isinstance(data, dict) else None
    if isinstance(root, str) and "${" not in root:
        settings["data.root"] = root
    here = Path.cwd()
    absolute = {key: str(here / Path(value).expanduser()) for key, value in settings.items() if value}
    return {"folder": str(here), "settings": config.redact(absolute)}


def _home(identity: Mapping[str, Any]) -> Path | None:
    """The working directory of a run's first command; None where it was not recorded."""
    places = identity.get(_PLACES)
    folder = places.get("folder") if isinstance(places, dict) else None
    return Path(folder) if isinstance(folder, str) and Path(folder).is_absolute() else None


def _at_home(overrides: Sequence[str], identity: Mapping[str, Any]) -> list[str]:
    """Overrides with the paths of a run's first command, as they are typed in the present working directory."""
    home = _home(identity)
    if home is None or home == Path.cwd():
        return list(overrides)
    found = []
    for override in overrides:
        name = override.partition("=")[0]
        key, text = name.lstrip("+~"), config.typed_value(override)
        path = _absolute(text, key.rpartition(".")[2], home) if "." in key else None
        found.append(override if path is None else command_text.setting(name, path))
    typed = {each.partition("=")[0].lstrip("+~") for each in found}
    settings = identity[_PLACES].get("settings")
    for key in ("data.root", "paths.data") if isinstance(settings, dict) else ():
        # data that has gone may have a new place in the environment of this command
        if isinstance(settings.get(key), str) and key not in typed and _exists(Path(settings[key])):
            found.append(command_text.setting(key, settings[key]))
    return found


def _absolute(value: Any, key: str, home: Path) -> str | None:
    """The existing file or folder that a relative path names below `home`; None for everything else.

    Args:
        key: last part of the setting's name.
    """
    is_path = (
        isinstance(value, str) and key in _PATHS and value not in ("", "null") and value[0] not in "[{$~"
    )
    return str(home / value) if is_path and _exists(home / value) else None


def _exists(path: Path) -> bool:
    """Whether there is a file or a folder; a name that no file can have is none."""
    with suppress(OSError, ValueError):
        return path.exists()
    return False


def _placed(before: Any, now: Any, key: str, home: Path) -> tuple[Any, Any]:
    """A recorded setting and a present one such that they are equal exactly if they name the same place.

    A relative path that no longer leads anywhere from `home` moved together with the working directory.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        both = {name: _placed(before.get(name), now.get(name), name, home) for name in {*before, *now}}
        return {name: pair[0] for name, pair in both.items()}, {name: pair[1] for name, pair in both.items()}
    then, here = _absolute(before, key, home), _absolute(now, key, Path.cwd())
    if before == now and then is None:
        return before, now
    return then or before, here or now


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        identity: dict[str, Any] = files.read_json(path, needs=("created", *_QUESTION))
    except DamagedError as error:
        raise _no_identity(path, error.message) from error
    # people are shown what the task is called now
    if isinstance(identity["task"], dict) and isinstance(identity["task"].get("name"), str):
        identity["task"]["name"] = present_task(identity["task"]["name"])
    return identity


def _no_identity(path: Path, message: str) -> DamagedError:
    """Removing the file alone would leave a folder that is no run, so the hint is not that of other files."""
    return DamagedError(message, f"Restore {path.name} from a copy, or move its folder away.")


def _record(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Record config and overrides of this command in a new folder, without secrets."""
    folder = directory / ATTEMPTS
    folder.mkdir(mode=0o700, exist_ok=True)
    number = len(list(folder.iterdir())) + 1
    while True:
        attempt = folder / f"{number:03d}"
        try:
            attempt.mkdir(mode=0o700, exist_ok=False)
            break
        except FileExistsError:
            number += 1
    plain = config.redact(OmegaConf.to_container(cfg, resolve=False))
    files.write_text(attempt / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)))
    typed = OmegaConf.create(config.redact(list(overrides)))
    files.write_text(attempt / "overrides.yaml", OmegaConf.to_yaml(typed))
    return attempt
