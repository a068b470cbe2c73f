"""What all tests share: shapes are checked while they run, and threads are few."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
if "EVONAS_CACHE" not in os.environ:
    # what is found in timm models is kept for the processes of one session
    os.environ["EVONAS_CACHE"] = tempfile.mkdtemp(prefix="evonas-cache-")
    atexit.register(shutil.rmtree, os.environ["EVONAS_CACHE"], ignore_errors=True)
# a shell that starts tests in the background hands an ignored Ctrl-C down to every process of theirs
signal.signal(signal.SIGINT, signal.default_int_handler)
install_import_hook(
    [
        "evonas.ops",
        "evonas.nn",
        # the modules of supernets; their torch-free facts take any number where a float is asked for
        *(f"evonas.supernets.{name}" for name in ("backbone", "extract", "prefix", "resolution", "supernet")),
        *(f"evonas.supernets.evonet.{name}" for name in ("backbone", "block", "layers", "mixers", "stem")),
        "evonas.supernets.elastic_timm.backbone",
        "evonas.supernets.mbconv.backbone",
        "evonas.supernets.ofa_mbv3.backbone",
        "evonas.supernets.elasticvit.backbone",
        "evonas.train.distillation.cross_architecture",
    ],
    "shape_checks.checked",
)

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on networks as small as those of the tests only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def evonas_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Runs the command line in this process, in an empty folder."""
    from evonas.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")

    def command(*words: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["evonas", *words])
        code = main()
        shown = capsys.readouterr()
        return Ended(code, shown.out, shown.err)

    yield command
    for number, handler in before.items():
        signal.signal(number, handler)
