"""Description of the machine of a latency measurement, and its state."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

_CPU = Path("/sys/devices/system/cpu")
_NVIDIA = Path("/proc/driver/nvidia/version")


def machine(device: torch.device) -> dict[str, str]:
    """Properties of the machine that latencies depend on, as far as the system reports them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    found = {
        "type": device.type,
        "name": name,
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
    }
    if device.type == "cuda":
        found["driver"] = _read(_NVIDIA).partition("\n")[0]
        found["cuda"] = str(torch.version.cuda or torch.version.hip)
    return found


def clock_mhz(device: torch.device, core: int = 0) -> int | None:
    """The current clock rate in MHz, or None if the system does not report it."""
    if device.type == "cuda":
        try:
            return int(torch.cuda.clock_rate(device))
        except (ImportError, RuntimeError):
            # NVIDIA's management library is not available
            return None
    text = _read(_CPU / f"cpu{core}/cpufreq/scaling_cur_freq")
    return int(text) // 1000 if text.isdigit() else None


def state(device: torch.device, threads: int, cores: list[int]) -> dict[str, Any]:
    """Threads, cores and clock rate of a measurement."""
    return {"threads": threads, "cores": cores, "clock_mhz": clock_mhz(device, cores[0] if cores else 0)}


def _processor() -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
