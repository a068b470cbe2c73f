"""devices=: latencies on several devices elsewhere as objectives of one search."""

import re
from collections.abc import Mapping
from typing import Any

from evonas.errors import UserError
from evonas.runtimes.device import EXAMPLES, HERE, device_at

# the objective that stands for one latency on each device
EACH = "latency_devices"
_REMOTE = "evonas.runtimes.remote.Remote"
# settings that a device may have of its own
_OWN = frozenset({"device", "precision", "threads", "batch", "wait_s"})
_COMMON = ("precision", "threads", "batch", "wait_s")
_TRY = "Name it: +devices.phone=http://10.0.0.7:8765, or +devices.board=ssh://<user>@<host>"
Configs = dict[str, dict[str, Any]]


def on_devices(objectives: Configs, devices: Mapping[str, Any]) -> Configs:
    """Configs of objectives, with one `latency_<name>` for each device in place of `latency_devices`.

    Args:
        objectives: configs by key.
        devices: by name: an address, or `device` beside other settings of `runtime`.

    Raises:
        UserError: no device is named, none is asked for, or one is not understood.
    """
    if EACH not in objectives:
        if devices:
            raise UserError(
                f"devices.{next(iter(devices))} is named, and no objective measures it.",
                f"Add it: 'objective=[error,{EACH}]'",
            )
        return objectives
    if not devices:
        raise UserError(f"objective={EACH} has no device.", _TRY)
    found: Configs = {}
    for key, config in objectives.items():
        if key == EACH:
            for name, said in devices.items():
                found[f"latency_{name}"] = _on_device(config, name, said)
        else:
            found[key] = config
    return found


def _on_device(config: Mapping[str, Any], name: str, said: Any) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise UserError(
            f"{name[:60]!r} cannot be the name of a device, which is that of an objective.",
            "Use small letters, digits and _: +devices.phone=...",
        )
    own = said if isinstance(said, Mapping) else {"device": said}
    if not isinstance(own.get("device"), str) or not set(own) <= _OWN:
        wrong = sorted(set(own) - _OWN) or ["device"]
        raise UserError(
            f"devices.{name} has the wrong setting '{wrong[0]}'; it may have {', '.join(sorted(_OWN))}.",
            EXAMPLES,
        )
    runtime = config.get("runtime") or {}
    common = {key: runtime[key] for key in _COMMON if key in runtime}
    return {**config, "name": f"latency_{name}", "runtime": {"_target_": _REMOTE, **common, **own}}


def expect_devices(objectives: Configs) -> None:
    """Asks every device elsewhere who it is, and writes into its objective that it must remain the same, in place.

    Workers then refuse a device that was changed or exchanged meanwhile.

    Raises:
        UserError: an address cannot be read, or a device does not accept the token.
        EngineError: a device does not answer.
    """
    for config in objectives.values():
        runtime = config.get("runtime")
        if isinstance(runtime, Mapping) and runtime.get("device") not in (None, HERE):
            device = device_at(str(runtime["device"]), float(runtime.get("wait_s") or 120.0))
            config["runtime"] = {**runtime, "expected": device.identity}
