"""stage=doctor: what works on this machine, and what to type where something does not."""

import importlib.metadata
import json
import os
import platform
import shutil
import sqlite3
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

import evonas
from evonas import files
from evonas.errors import EngineError, UserError
from evonas.mm import installed
from evonas.stages.base import Context
from evonas.version import __version__

State = Literal["ok", "optional", "warning", "problem"]
MARKS: dict[State, str] = {"ok": "ok", "optional": "-", "warning": "!", "problem": "x"}
ROOM_GB = 5.0
# the archive upserts and returns rows
SQLITE = (3, 35)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `fix` is a command, empty if none is needed."""

    name: str
    state: State
    detail: str
    fix: str = ""


class Doctor:
    """Checks this machine; installs and changes nothing.

    Args:
        json: print the findings as JSON.
    """

    needs_task = False

    def __init__(self, json: bool = False) -> None:
        self.json = json

    def run(self, context: Context) -> str:
        """Print the findings.

        Raises:
            EngineError: something that every run needs does not work.
        """
        found = list(findings(Path(context.cfg.outputs)))
        text = json.dumps([asdict(each) for each in found], indent=2) if self.json else _table(found)
        problems = [each for each in found if each.state == "problem"]
        if problems:
            print(text, flush=True)
            raise EngineError(f"{len(problems)} of {len(found)} checks failed.", problems[0].fix)
        return text if self.json else f"{text}\nReady. Next: python -m evonas +task=synthetic"


def findings(outputs: Path) -> Iterator[Finding]:
    """The results of all checks, in the order in which they are shown."""
    yield Finding("evonas", "ok", __version__)
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield from _packages()
    yield _openmm()
    yield from _torch()
    yield _sqlite()
    yield from _outputs(outputs)
    yield _wandb_key()


def _table(found: list[Finding]) -> str:
    width = max(len(each.name) for each in found)
    lines = []
    for each in found:
        lines.append(f"{MARKS[each.state]:>2}  {each.name:<{width}}  {each.detail}")
        if each.fix:
            lines.append(f"{'':{width + 6}}{each.fix}")
    return "\n".join(lines)


def _requirements() -> list[Requirement]:
    """The requirements of the source tree, or without one of the installed package."""
    source = Path(evonas.__file__).parent.parent / "pyproject.toml"
    if source.is_file():
        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"].items()
        optional = [f'{each}; extra == "{extra}"' for extra, needed in extras for each in needed]
        return [Requirement(each) for each in [*project["dependencies"], *optional]]
    return [Requirement(each) for each in importlib.metadata.requires("evonas") or []]


def _packages() -> Iterator[Finding]:
    extras: dict[str, list[str]] = {}
    for needed in _requirements():
        extra = _extra(needed)
        missing = _missing(needed)
        if extra:
            extras.setdefault(extra, []).extend([missing] if missing else [])
        elif missing:
            yield Finding(needed.name, "problem", missing, f"pip install '{needed.name}{needed.specifier}'")
        else:
            yield Finding(needed.name, "ok", importlib.metadata.version(needed.name))
    for extra, absent in extras.items():
        if absent:
            yield Finding(f"[{extra}]", "optional", ", ".join(absent), f"pip install 'evonas[{extra}]'")
        else:
            yield Finding(f"[{extra}]", "ok", "installed")


def _extra(needed: Requirement) -> str:
    """The extra of a requirement, or an empty string."""
    _, is_extra, name = str(needed.marker or "").partition("extra == ")
    return name.strip("\"'") if is_extra else ""


def _missing(needed: Requirement) -> str:
    """What is wrong with a requirement, or an empty string."""
    if needed.name == "evonas":
        return ""
    try:
        version = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{needed.name} is not installed"
    if needed.specifier.contains(version, prereleases=True):
        return ""
    return f"{needed.name} is {version}, needed is {needed.specifier}"


def _openmm() -> Finding:
    """The releases of OpenMMLab's packages, and whether they fit one another."""
    packages = installed.packages()
    shown = ", ".join(f"{each.distribution} {each.version}" for each in packages.values())
    wrong = list(installed.misfits(packages))
    if wrong:
        return Finding("OpenMMLab", "warning", f"{shown}: {'; '.join(wrong)}", installed.INSTALL)
    if not {"mmdet", "mmseg"} & packages.keys():
        return Finding("OpenMMLab", "optional", "only head=mmdet_* and head=mmseg_* need it", "make openmm")
    operations = "compiled operations" if installed.has_compiled_ops() else "operations of torchvision"
    return Finding("OpenMMLab", "ok", f"{shown}; {operations}")


def _torch() -> Iterator[Finding]:
    try:
        devices = list(_devices())
    except ImportError as error:
        yield Finding(
            "devices", "problem", f"torch does not import: {error}", "pip install torch torchvision"
        )
        return
    yield Finding("devices", "ok", ", ".join(devices))
    yield from _runtimes()
    yield from _primitives()


def _devices() -> Iterator[str]:
    from torch import backends, cuda

    yield f"cpu ({os.cpu_count()} cores)"
    for index in range(cuda.device_count() if cuda.is_available() else 0):
        yield f"cuda:{index} ({cuda.get_device_name(index)})"
    if backends.mps.is_available():
        yield "mps"


def _runtimes() -> Iterator[Finding]:
    """Version and precisions of every runtime, or what to install, on the device that evonas would take by itself."""
    from torch import cuda, device

    from evonas.runtimes.base import PRECISIONS
    from evonas.runtimes.choice import RUNTIMES

    places = [device("cuda")] if cuda.is_available() else []
    places.append(device("cpu"))
    for name, known in RUNTIMES.items():
        computes, refusals = list[str](), list[UserError]()
        for place, precision in product(places, PRECISIONS):
            runtime = known(precision=precision)
            try:
                runtime.check(place)
                computes.append(f"{precision} on {place.type}")
            except UserError as error:
                refusals.append(error)
        if computes:
            detail = f"{known().version()}: {', '.join(computes)}"
            yield Finding(f"runtime={name}", "ok", detail)
        else:
            fix = refusals[0].hint.partition(", or ")[0]
            yield Finding(f"runtime={name}", "optional", refusals[0].message, fix)


def _primitives() -> Iterator[Finding]:
    """The difference of every backend of every primitive from its reference."""
    from evonas.stages.selftest import differences

    for name, worst in differences().items():
        if worst <= 1e-4:
            yield Finding(f"ops/{name}", "ok", f"differs from the reference by {worst:.1e} at most")
        else:
            fix = "Report it with the output of: python -m evonas doctor stage.json=true"
            yield Finding(f"ops/{name}", "problem", f"differs from the reference by {worst:.1e}", fix)


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info >= SQLITE:
        return Finding("sqlite", "ok", sqlite3.sqlite_version)
    wanted = ".".join(map(str, SQLITE))
    fix = f"Use a Python built with SQLite {wanted} or newer; this one is {sys.executable}"
    return Finding("sqlite", "problem", f"{sqlite3.sqlite_version} is older than {wanted}", fix)


def _outputs(outputs: Path) -> Iterator[Finding]:
    path = outputs.absolute()
    folder = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free < ROOM_GB:
        fix = "python -m evonas +task=synthetic outputs=/a/larger/disk"
        yield Finding("disk", "warning", f"{free:.1f} GB free at {folder}; a run may need {ROOM_GB:.0f}", fix)
    else:
        yield Finding("disk", "ok", f"{free:.0f} GB free at {folder}")
    kind = files.file_system(folder)
    if kind in files.NETWORK_FILE_SYSTEMS:
        fix = "python -m evonas +task=synthetic outputs=/a/local/folder"
        yield Finding("file system", "warning", f"{kind}: an archive on a network disk may lock up", fix)
    else:
        yield Finding("file system", "ok", kind or "unknown")


def _wandb_key() -> Finding:
    netrc = ""
    with suppress(OSError):
        netrc = Path("~/.netrc").expanduser().read_text(encoding="utf-8")
    if "WANDB_API_KEY" in os.environ or "api.wandb.ai" in netrc:
        return Finding("wandb login", "ok", "yes")
    return Finding("wandb login", "optional", "no key; only tracker=wandb needs one", "wandb login")
