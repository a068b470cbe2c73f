"""Small files in the layouts of the released benchmarks, with numbers that follow from the architecture."""

import base64
import io
import json
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evonas.data.nas_bench.tfrecord import crc32c, masked

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
WORTH = {"conv3x3-bn-relu": 0.05, "conv1x1-bn-relu": 0.03, "maxpool3x3": 0.01}


def record(content: bytes) -> bytes:
    """One framed record of a TFRecord file."""
    length = struct.pack("<Q", len(content))
    checks = [struct.pack("<I", int(masked(crc32c([each]))[0])) for each in (length, content)]
    return length + checks[0] + content + checks[1]


def varint(number: int) -> bytes:
    """A number of the wire format."""
    found = bytearray()
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def double(number: int, value: float) -> bytes:
    """A double field."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


def block(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def training(
    matrix: str, operations: Sequence[str], validation: float, epochs: int = 108, params: int = 1_500_000
) -> bytes:
    """One training as NAS-Bench-101 stores it; the test accuracy is 0.01 below validation."""

    def evaluation(epoch: float, share: float) -> bytes:
        numbers = {1: epoch, 2: 10.0 * epoch, 3: 1.0, 4: share, 5: share - 0.01}
        return b"".join(double(number, value) for number, value in numbers.items()) + block(6, b"ckpt")

    stages = [evaluation(0.0, 0.1), evaluation(epochs / 2, validation - 0.1), evaluation(epochs, validation)]
    message = b"".join(block(1, stage) for stage in stages) + varint(2 << 3) + varint(params) + double(3, 9.0)
    metrics = base64.b64encode(message).decode()
    return json.dumps(["0" * 32, epochs, matrix, ",".join(operations), metrics]).encode()


def nb101(path: Path, contents: Iterable[bytes]) -> Path:
    """Write a TFRecord file of trainings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(record, contents)))
    return path


def macro(folder: Path) -> Path:
    """Write nas-bench-macro_cifar10.json with all 6561 chains; equal networks have equal numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number in range(3**8):
        name = np.base_repr(number, 3).zfill(8)
        worth = sum(
            (1 + layer % 3 * (digit in "12")) * int(digit) for layer, digit in enumerate(squeezed(name))
        )
        runs = [70.0 + 0.5 * worth + shift for shift in (-0.1, 0.0, 0.1)]
        found[name] = {
            "test_acc": runs,
            "mean_acc": sum(runs) / 3,
            "std": 0.1,
            "params": 10_000 * (1 + worth),
            "flops": 3_000_000 * (1 + sum(map(int, name))),
        }
    (folder / "nas-bench-macro_cifar10.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


def squeezed(name: str) -> str:
    """The digits with the identities of each stage at its end."""
    stages = (name[0:2], name[2:5], name[5:8])
    return "".join(each[0] + each[1:].replace("0", "").ljust(len(each) - 1, "0") for each in stages)


def accel(number: int) -> dict[str, Any]:
    """A network of Accel-NASBench, drawn by its number."""
    rng = np.random.default_rng(number)
    chosen = {
        f"block{at}_{kind}": rng.choice(choices).item()
        for at in range(7)
        for kind, choices in {"e": (1, 4, 6), "k": (3, 5), "l": (1, 2, 3), "se": (False, True)}.items()
    }
    size = float(sum(map(int, chosen.values())))
    return {
        "architecture": chosen,
        "metrics": {"val_top1": 30.0 + 0.3 * size, "val_top5": 60.0 + 0.3 * size, "train_time": 20.0 * size},
        "model_info": {"macs": 3.0 * size, "params": 0.05 * size},
        "platform_perf": {
            "latency_zcu102": {"latency_mean": None if number == 1 else 0.1 * size, "latency_std": None},
            "throughput_a100": {"throughput_mean": 9000.0 - 50.0 * size, "throughput_std": 2.0},
        },
    }


PREFIX = "NetworkSelectorDatasetInfo:darts:"
DARTS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "skip_connect", "max_pool_3x3")


def nb301(number: int, layers: int = 8) -> dict[str, Any]:
    """A training of NAS-Bench-301, drawn by its number; each skip connection costs half a percent."""
    rng = np.random.default_rng(number)
    config: dict[str, Any] = {f"{PREFIX}layers": layers, f"{PREFIX}init_channels": 32}
    config["SimpleLearningrateSchedulerSelector:cosine_annealing:T_max"] = 98
    skips = 0
    for cell in ("normal", "reduce"):
        for node, first in {2: 0, 3: 2, 4: 5, 5: 9}.items():
            inputs = sorted(rng.choice(node, size=2, replace=False).tolist())
            if node > 2:
                config[f"{PREFIX}inputs_node_{cell}_{node}"] = "_".join(map(str, inputs))
            for source in inputs:
                operation = str(rng.choice(DARTS))
                skips += operation == "skip_connect"
                config[f"{PREFIX}edge_{cell}_{first + source}"] = operation
    accuracy = 95.0 - 0.5 * skips
    info = {"val_accuracy": accuracy, "model_parameters": 2_000_000 - 100_000 * skips, "epochs": 98}
    return {
        "final_metric_score": -accuracy,
        "optimized_hyperparamater_config": config,
        "budget": 98,
        "info": [info],
        "test_accuracy": accuracy - 0.25,
        "runtime": 5000.0,
    }


def documents(folder: Path, named: Mapping[str, Any]) -> Path:
    """Write JSON documents by name."""
    for name, document in named.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return folder


def archive(path: Path, folder: Path) -> Path:
    """Pack the documents of a folder into a .tar.gz, as the release does."""
    with tarfile.open(path, "w:gz") as packed:
        for found in sorted(folder.rglob("*.json"), reverse=True):
            entry = tarfile.TarInfo(f"./data/{found.name}")
            entry.size = found.stat().st_size
            packed.addfile(entry, io.BytesIO(found.read_bytes()))
    return path
