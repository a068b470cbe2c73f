"""The one door through which config becomes objects, what may come in through it, and what may leave it."""

import functools
import importlib
import inspect
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, cast

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.utils import instantiate
from omegaconf import Container, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from evonas import deprecated
from evonas.config_types import parameters, refuse_wrong_kinds
from evonas.errors import EvoNASError, UserError
from evonas.identifiers import as_taken, identifier, present_path, resolved

_PARTS = (
    "data", "mm", "nn", "objectives", "runtimes", "search", "space", "stages", "supernets", "tasks", "track", "train",
)  # fmt: skip
log = logging.getLogger(__name__)
_IN_CALL = re.compile(r"call to target '([\w.]+)'")
_OURS = tuple(f"evonas.{part}" for part in _PARTS)
_THEIRS = ("torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "torchmetrics")
# what only code may call: a latency server runs the program that its owner names
_CLOSED = ("evonas.data.io.safe", "evonas.runtimes.device", "evonas.runtimes.latency_server")
_HIDDEN = "***"
MAX_YAML_BYTES = 256 * 2**10
MAX_YAML_NODES = 10_000
MAX_YAML_DEPTH = 64
# numbers of recorded spaces are widths and counts
_MAX_SUM, _MAX_SECONDS = 1_000_000, 5.0
# counts much faster where the library was built with it
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
# names of the user's own packages, separated by commas: processes that a command starts inherit it
_TRUSTED = "EVONAS_PACKAGES"
# a value that Hydra reads as its very text
_PLAIN_VALUE = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
_INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
_ESCAPED = re.compile(r"(\\*)\1\\\$\{")
_SECRET_NAMES = {"key", "apikey", "token", "password", "passwd", "secret", "credentials"}
_SECRET_TEXT = (
    (re.compile(r"(?i)(://)[^/\s:@]+:[^/\s@]+@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"\b[0-9a-fA-F]{40}\b"), _HIDDEN),
    (re.compile(r"\b(hf_|gh[opusr]_|sk-|AKIA)[A-Za-z0-9_-]{6,}"), _HIDDEN),
    (
        re.compile(r"(?i)((?:api_?key|access_key|token|password|passwd|secret)['\"]?\s*[=:]\s*)\S+"),
        rf"\1{_HIDDEN}",
    ),
)


def build_data(node: Any, group: str, *args: Any, **kwargs: Any) -> Any:
    """`build` for config that a file of results brings along, such as an archive: it may name one kind of thing only.

    Args:
        node: as of `build`.
        group: first word of the ids of `evonas/identifiers.py` that may be made, such as `space`. Classes of
            packages that the command line names may be made too.

    Raises:
        UserError: as of `build`; anything else is named, or it is too large or takes too long to make.
    """
    plain = to_plain(node)
    numbers = [each for each in _scalars(plain) if isinstance(each, int | float)]
    # not what is above, since nan is neither
    if not sum(map(abs, numbers)) <= _MAX_SUM or sum(1 for _ in _scalars(plain)) > MAX_YAML_NODES:
        raise UserError(
            f"A recorded {group} has more than {MAX_YAML_NODES} values, or its numbers add up to more than {_MAX_SUM}."
        )
    for part in _made(plain):
        target = part["_target_"]
        is_known = str(identifier(target)).partition("/")[0] == group
        if not (is_known or (isinstance(target, str) and _within(target, _users()))):
            raise UserError(
                f"A recorded {group} names {redact(str(target))[:80]!r}, which is none.",
                f"Only what makes a {group} is made of recorded results.",
            )
    try:
        with _time_limit(group):
            return build(plain, *args, **kwargs)
    except (MemoryError, RecursionError) as error:
        raise UserError(f"A recorded {group} is too large to be made: {type(error).__name__}.") from error


@contextmanager
def _time_limit(group: str) -> Iterator[None]:
    """Raise a UserError in the main thread after `_MAX_SECONDS`; other threads cannot be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise UserError(f"A recorded {group} takes more than {_MAX_SECONDS:g} s to make.")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for child in value.values():
            yield from _scalars(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _scalars(child)
    else:
        yield value


def build(node: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the object a config node describes; the closed list decides what may be made.

    A string prefix is no protection (`evonas.search.loop.generational.os.system` starts well), so every
    `_target_` at any depth is resolved first, and must be a public class or function that was
    defined in an allowed module. `args` and `kwargs` go to the root object as they are.

    Args:
        node: a DictConfig or a plain dict with `_target_` at its root: a path, also one of an earlier
            release, or an id of `evonas/identifiers.py`.

    Raises:
        UserError: the target is not allowed or not there, or its arguments do not fit, by name or by kind.
    """
    plain = resolved(to_plain(node))
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise UserError(f"Cannot build {plain!r}: it has no `_target_`.")
    for part in _made(plain):
        made = allowed(part["_target_"])
        taken = as_taken(part, parameters(made))
        part.clear()
        part.update(taken)
        refuse_wrong_kinds(part["_target_"], made, part)
    partial = plain.pop("_partial_", False)
    maker = _maker(plain)
    if partial:
        return functools.partial(maker, *args, **kwargs)
    _check_arguments(plain["_target_"], maker, args, kwargs)
    try:
        return maker(*args, **kwargs)
    except EvoNASError:
        raise
    except (TypeError, ValueError) as error:
        raise _unfit(plain["_target_"], error) from error


def _maker(plain: dict[str, Any]) -> functools.partial[Any]:
    try:
        return instantiate({**plain, "_partial_": True, "_convert_": "all"})
    except Exception as error:
        known = _first_of_ours(error)
        if known is not None:
            raise known from error
        inner = _IN_CALL.search(str(error))
        if inner and isinstance(error.__cause__, TypeError | ValueError):
            raise _unfit(inner[1], error.__cause__) from error
        raise


def _unfit(target: str, error: Exception) -> UserError:
    """Most often a list where a number belongs, or the other way round; if not, the log says where."""
    log.info("Making %s", target, exc_info=error)
    return UserError(
        f"{target} cannot be made of its config: {error}.",
        "Compare the kinds of its values with those of the file in conf that sets them.",
    )


def _first_of_ours(error: BaseException | None) -> EvoNASError | None:
    while error is not None and not isinstance(error, EvoNASError):
        error = error.__cause__
    return error


def _check_arguments(target: str, maker: functools.partial[Any], args: tuple[Any, ...], kwargs: Any) -> None:
    signature = inspect.signature(maker.func)
    try:
        signature.bind(*maker.args, *args, **{**maker.keywords, **kwargs})
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise UserError(f"{target}: {error}.", f"It takes: {known}.") from error


def allowed(target: Any) -> Callable[..., Any]:
    """The class or function a `_target_` names, or a UserError when it is not one we may call."""
    target = present_path(target)
    if not isinstance(target, str) or not _within(target, _ours() + _THEIRS):
        raise _refusal(target)
    found = _locate(target)
    # what has no module of its own, such as a method of a built-in class, says None
    home, name = (str(getattr(found, each, "")) for each in ("__module__", "__qualname__"))
    public = "_" not in {part[:1] for part in name.split(".")}
    is_ours = _within(home, _ours()) and (inspect.isclass(found) or inspect.isfunction(found))
    is_theirs = _within(home, _THEIRS) and inspect.isclass(found)
    if not (public and (is_ours or is_theirs)) or _within(home, _CLOSED):
        raise _refusal(target)
    if getattr(sys.modules[home], name, None) is not found:
        raise _refusal(target)
    return cast(Callable[..., Any], found)


@contextmanager
def trusting(packages: Sequence[str]) -> Iterator[None]:
    """Let `_target_` name public classes and functions of these packages too, here and in workers.

    Only the command line decides this: a config file may come from somebody else. The packages may lie in the current
    folder, where nothing else is imported from.
    """
    before = os.environ.get(_TRUSTED)
    if packages:
        os.environ[_TRUSTED] = ",".join(packages)
        here = str(Path.cwd())
        if here not in sys.path and "" not in sys.path:
            # last, so that no file there stands in for a module of somebody else
            sys.path.append(here)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_TRUSTED, None)
        else:
            os.environ[_TRUSTED] = before


def _ours() -> tuple[str, ...]:
    return (*_OURS, *_users())


def _users() -> tuple[str, ...]:
    return tuple(filter(None, os.environ.get(_TRUSTED, "").split(",")))


def _within(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _refusal(target: Any) -> UserError:
    return UserError(
        f"`_target_: {redact(target)}` is not allowed.",
        "A target is a public class or function defined in evonas, torch.optim, torchmetrics, "
        "Lightning's callbacks and loggers, or a package of yours that you name: packages=[<package>]",
    )


def _locate(target: str) -> Any:
    """Import the longest module prefix, then walk attributes; modules reached that way are not followed."""
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        raise _refusal(target)
    for cut in range(len(parts) - 1, 0, -1):
        module = _import(".".join(parts[:cut]))
        if module is not None:
            break
    else:
        raise _absent(parts[0]) if _within(target, _users()) else _refusal(target)
    found: Any = module
    for part in parts[cut:]:
        found = getattr(found, part, None)
        if found is None or isinstance(found, ModuleType):
            raise UserError(f"`_target_: {target}` does not exist.", f"Look in {module.__name__}.")
    return found


def _absent(package: str) -> UserError:
    return UserError(
        f"There is no package '{package}' to import.",
        "Install it, or start `python -m evonas` in the folder that holds it.",
    )


def _import(name: str) -> ModuleType | None:
    if not _within(name, _ours() + _THEIRS) and name not in ("torch", "evonas", "lightning.pytorch"):
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        if _within(error.name or "evonas", ["evonas"]):
            raise
        raise UserError(
            f"{name} needs the package '{error.name}', which is not installed.",
            "See what is missing with: python -m evonas doctor",
        ) from error


def _made(value: Any) -> Iterator[dict[str, Any]]:
    """Every part of a config that says what to make."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        # what stays config is not made here; who makes it later comes through `build` again
        for child in value.values() if value.get("_recursive_", True) else ():
            yield from _made(child)
    elif isinstance(value, list):
        for child in value:
            yield from _made(child)


def to_plain(node: Any) -> Any:
    """Config as plain dicts, lists and scalars, interpolations resolved; what workers are sent.

    Raises:
        UserError: the node reads the environment outside `paths`, or does not resolve.
    """
    plain = node
    if isinstance(node, Container):
        refuse_environment(node)
        try:
            plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        except MissingMandatoryValue as error:
            key = error.full_key or error.key
            raise UserError(f"{key} has no value, and must have one.", f"Type it: {key}=<value>") from error
        except OmegaConfBaseException as error:
            raise UserError(f"The config does not resolve: {error}") from error
    for text in _strings(plain):
        if "${" in text:
            raise UserError(f"Cannot use {redact(text)!r}: interpolation is not possible here.")
    return plain


def refuse_environment(node: Container) -> None:
    """Raise a UserError if anything but `paths` reads environment variables, which may be secrets."""
    raw = OmegaConf.to_container(node, resolve=False)
    if isinstance(raw, dict) and isinstance(raw.get("paths"), dict):
        raw = {key: value for key, value in raw.items() if key != "paths"}
    for text in _strings(raw):
        if re.search(r"\$\{.*oc\.env", text, re.DOTALL):
            raise UserError(
                f"{text!r} reads the environment, which only `paths` may do.",
                "Put it under `paths` and refer to it as ${paths.<name>}.",
            )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _strings(key)
            yield from _strings(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _strings(child)


def typed_value(override: str) -> str:
    """The value of an override as Hydra reads it, as text; the text behind `=` where Hydra reads none."""
    _, equals, text = override.partition("=")
    if not equals or _PLAIN_VALUE.fullmatch(text):
        return text
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return text
    # a quoted string knows its quotes; numbers, lists and sweeps are read as they were typed
    if not isinstance(value, str):
        return text
    # what OmegaConf makes of an escaped interpolation; a real one stays as it is
    return _ESCAPED.sub(lambda found: found[1] + "${", value) if not _INTERPOLATION.search(value) else value


def conf_dir() -> Path:
    """Where the config groups are: inside the installed package, else beside it."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def shipped_option(group: str, name: str) -> dict[str, Any]:
    """The plain content of an option of `conf`, its interpolations as they are written; empty for others."""
    path = conf_dir() / group / f"{name}.yaml"
    if not name.isidentifier() or not path.is_file():
        return {}
    found: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return found or {}


class FileConfigSource(file_config_source.FileConfigSource):
    """How Hydra reads files: those that we do not ship are looked at before anything is made of them.

    It bears the name of Hydra's own class, because Hydra never replaces one by another of equal name.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """The YAML of one option; a UserError where it could do more than set values."""
        config_path = self._present(config_path)
        path = Path(self.path, self._normalize_file_name(config_path)).resolve()
        is_foreign = path.is_file() and not path.is_relative_to(conf_dir().resolve())
        if is_foreign:
            check_yaml(path)
            _refuse_power(path, config_path)
        found = super().load_config(config_path)
        if is_foreign:
            plain: Any = OmegaConf.to_container(found.config, resolve=False)
            if isinstance(plain, dict):
                package = found.header.get("package")
                found.config = OmegaConf.create(deprecated.file(plain, config_path, package, Path(self.path)))
                if package is not None:
                    found.header["package"] = deprecated.package_of(package)
        return found

    def is_config(self, config_path: str) -> bool:
        """Whether there is such an option, in a folder of the group's present name or of its earlier one."""
        return super().is_config(self._present(config_path))

    def _present(self, config_path: str) -> str:
        """The path of an option of the user, whose folder may have the group's earlier name."""
        group, _, name = config_path.rpartition("/")
        earlier = [old for old, new in deprecated.GROUPS.items() if new == group]
        if super().is_config(config_path) or not earlier:
            return config_path
        return f"{earlier[0]}/{name}" if super().is_config(f"{earlier[0]}/{name}") else config_path


def guard_files() -> None:
    """Let Hydra read files through `FileConfigSource` alone, from now on and in this process."""
    SourcesRegistry.instance().types["file"] = FileConfigSource


def check_folder(folder: Path) -> None:
    """Look at every option of a folder of groups, for processes in which Hydra reads files by itself."""
    for pattern in ("*.yaml", "*/*.yaml", "*/*/*.yaml"):
        for path in sorted(folder.glob(pattern)):
            check_yaml(path)
            _refuse_power(path, path.relative_to(folder).as_posix())


def read_yaml(path: Path, max_bytes: int, max_nodes: int) -> Any:
    """The plain data of a YAML file that is no config, such as a table of another project.

    Raises:
        UserError: as `check_yaml`.
    """
    content = check_yaml(path, max_bytes, max_nodes, "Is it this file?")
    loader = _LOADER(content)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    finally:
        loader.dispose()


def check_yaml(
    path: Path,
    max_bytes: int = MAX_YAML_BYTES,
    max_nodes: int = MAX_YAML_NODES,
    hint: str = "Config is short; is it this file?",
) -> bytes:
    """Refuse a YAML file that would grow when it is read; its nodes are counted, and none is made.

    Args:
        path: the file.
        max_bytes: limit of its size, 256 KiB for config.
        max_nodes: limit of its nodes, 10 000 for config.
        hint: for people whose file is too large.

    Returns:
        its content.

    Raises:
        UserError: more bytes or nodes, more than 64 levels, an alias, a tag, or no YAML.
    """
    with path.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UserError(f"{path} has more than {max_bytes} bytes.", hint)
    depth = nodes = 0
    try:
        for event in yaml.parse(content, Loader=_LOADER):
            nodes += isinstance(event, yaml.NodeEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            wrong = _excess(event, nodes, depth, max_nodes)
            if wrong:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise UserError(f"{path}, line {line}: {wrong}.", "Write it out plainly.")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    return content


def _excess(event: yaml.Event, nodes: int, depth: int, max_nodes: int) -> str:
    """What is too much about a piece of YAML, or nothing."""
    if isinstance(event, yaml.AliasEvent):
        return f"the alias *{event.anchor} is not followed, because a few of them can fill the memory"
    tag = getattr(event, "tag", None)
    if tag not in (None, "!", *_TAGS):
        return f"the tag {tag} is not read"
    if nodes > max_nodes or depth > MAX_YAML_DEPTH:
        return f"there are more than {max_nodes} nodes or {MAX_YAML_DEPTH} levels"
    return ""


def _refuse_power(path: Path, option: str) -> None:
    """Somebody else's config sets values: Hydra's own settings make objects, and resolvers read secrets."""
    text = path.read_text(encoding="utf-8")
    plain = yaml.safe_load(text)
    keys = plain if isinstance(plain, dict) else {}
    packages = [line for line in text.splitlines() if re.match(r"\s*#\s*@", line)]
    packages += [each.partition("@")[2] for each in _strings(keys.get("defaults"))]
    first = option.strip("/").partition("/")[0]
    if "hydra" in (first, *keys) or any(re.search(r"hydra|\$", each) for each in packages):
        raise UserError(
            f"{path} changes Hydra's own settings, which can run any program.",
            "What you want of them, type on the command line: hydra.<setting>=<value>",
        )
    for each in _strings(plain):
        if _calls_resolver(each):
            raise UserError(
                f"{path} has {redact(each)!r}, which computes or reads the environment.",
                "Write the value, or refer to another setting: ${data.root}",
            )


def _calls_resolver(text: str) -> bool:
    """Whether a colon stands inside an interpolation, nested ones included."""
    depth = 0
    for piece in re.findall(r"\$\{|\}|:", text):
        if piece == ":" and depth:
            return True
        depth = max(depth + (piece == "${") - (piece == "}"), 0)
    return False


def redact(value: Any, name: str = "") -> Any:
    """A copy without secrets, recognised by the name of their key or by their shape.

    Args:
        value: plain dicts, lists and scalars.
        name: the key that `value` stands under.
    """
    if isinstance(value, Mapping):
        return {key: redact(child, str(key)) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [redact(child, name) for child in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_NAMES & set(re.split(r"[^a-z]+", name.lower())):
        return _HIDDEN
    for pattern, replacement in _SECRET_TEXT:
        value = pattern.sub(replacement, str(value))
    return value
