"""What people are promised of a command: few plain lines, no secrets, no surprises."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evonas.cli import conf_dir, main

SECRET = "SECRETxyz"
VARIABLES = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD")
GENERATIONS, POPULATION = 20, 50


def a_table(folder: Path) -> Path:
    """A benchmark of 1000 networks with two numbers each, as a task of the user's own."""
    digits = np.array(list(product(range(10), repeat=3)))
    names = [[f"d{digit}" for digit in row] for row in digits]
    (folder / "conf/task").mkdir(parents=True)
    (folder / "conf/space").mkdir()
    np.savez(folder / "mine.npz", words=names, error=30.0 - digits.sum(axis=1), ms=1.0 + digits @ [1, 2, 3])
    task = (Path(__file__).parents[2] / "conf/task/nb201.yaml").read_text(encoding="utf-8")
    for before, after in (("[error, flops]", "[error, ms]"), ("/data: nb201", "/data: table")):
        task = task.replace(before, after)
    (folder / "conf/task/mine.yaml").write_text(
        task.replace("/space: nb201", "/space: mine"), encoding="utf-8"
    )
    axes = json.dumps({name: [f"d{digit}" for digit in range(10)] for name in "abc"})
    space = f"_target_: evonas.space.declared.declared_space\nname: mine\naxes: {axes}\n"
    (folder / "conf/space/mine.yaml").write_text(space, encoding="utf-8")
    return folder


def words(folder: Path, *more: str) -> list[str]:
    place = [f"--config-dir={folder / 'conf'}", "+task=mine", f"data.root={folder / 'mine.npz'}"]
    return [*place, "search=random", "hardware.engine=inline", *more]


class Told:
    """A pipeline of 1000 evaluations, with every line it printed and every address it dialled."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.dialled = folder, list[Any]()
        for name in VARIABLES:
            patch.setenv(name, SECRET)
        patch.chdir(folder)
        self.code, self.out, self.err = self.run(
            *words(a_table(folder / "given"), f"budget.evaluations={GENERATIONS * POPULATION}"),
            f"budget.population={POPULATION}",
            "run=long",
        )

    def run(self, *typed: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["evonas", *typed])
            for name in ("connect", "connect_ex"):
                patch.setattr(socket.socket, name, lambda _, *address: self.dialled.append(address))
            return main(), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        yield Told(tmp_path_factory.mktemp("told"), patch)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_thousand_evaluations_are_told_in_few_plain_lines(told: Told) -> None:
    assert told.code == 0, told.err
    assert "\r" not in told.out and "\x1b" not in told.out + told.err
    assert len(told.out.splitlines()) < 120
    shown = re.findall(r"^generation (\d+): ", told.out, re.MULTILINE)
    assert shown == [str(number) for number in range(1, GENERATIONS + 1)]
    assert all(path.stat().st_size < 5_000_000 for path in told.folder.rglob("*.txt"))


def test_nothing_is_dialled(told: Told) -> None:
    assert told.dialled == []


def test_what_a_run_writes_is_private(told: Told) -> None:
    written = list((told.folder / "outputs/long").rglob("*"))
    assert len(written) > 15
    for path in [told.folder / "outputs/long", *written]:
        assert path.stat().st_mode & 0o077 == 0, path
    mask = os.umask(0o022)
    os.umask(mask)
    assert mask != 0o077, "and the caller's own files are as before"


def test_no_secret_is_written_or_printed(told: Told) -> None:
    url = f"+data.url=https://me:{SECRET}@host/x"
    ended = told.run(*words(told.folder / "given", "stage=select", "run=secret", url))
    assert ended[0] == 2
    option = told.folder / "given/conf/data/open.yaml"
    option.parent.mkdir()
    option.write_text(f"password: {SECRET}\nurl: https://me:{SECRET}@host/x\nkey: {SECRET}\n")
    shown = told.run("--config-dir=given/conf", "+data=open", "--cfg", "job")
    assert shown[0] == 0 and shown[1].count("***") == 3
    option.unlink()
    assert SECRET not in "".join([told.out, told.err, *ended[1:], *shown[1:]])
    written = [path for path in told.folder.rglob("*") if path.is_file()]
    assert len(written) > 20
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path


def test_a_tracker_that_fails_costs_one_warning(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    (told.folder / "grumpy.py").write_text(
        "from evonas.track.base import Silent\n\n"
        "class Tracker(Silent):\n    def scalars(self, step, values):\n        raise RuntimeError('no')\n"
    )
    monkeypatch.syspath_prepend(str(told.folder))
    more = ("stage=search", "budget.evaluations=30", "budget.population=10", "run=grumpy")
    own = ("packages=[grumpy]", "tracker={_target_:grumpy.Tracker}")
    code, _, err = told.run(*words(told.folder / "given", *more, *own))
    assert code == 0 and err.count("Tracker is switched off: RuntimeError: no") == 1
    assert len(err.splitlines()) == 1


EVONAS = [sys.executable, "-m", "evonas"]


def started(folder: Path, *typed: str) -> subprocess.Popen[str]:
    place = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*EVONAS, *typed],
        cwd=folder,
        env={**os.environ, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_eight_starts_at_once_are_eight_runs(tmp_path: Path) -> None:
    a_table(tmp_path)
    several = [started(tmp_path, *words(tmp_path, "stage=search", "budget.evaluations=4")) for _ in range(8)]
    ended = [process.communicate(timeout=250) for process in several]
    assert [process.returncode for process in several] == [0] * 8, ended
    assert len(list((tmp_path / "outputs").glob("mine-*/run.json"))) == 8


@pytest.mark.slow
def test_a_killed_run_is_listed_as_interrupted(
    told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_table(tmp_path)
    common = ("stage=search", "budget.evaluations=1000", "budget.population=10")
    killed = started(tmp_path, *words(tmp_path, *common, "run=killed"))
    archive = tmp_path / "outputs/killed/search/live.html"
    while not archive.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    monkeypatch.chdir(tmp_path)
    assert told.run(*words(tmp_path, "stage=search", "budget.evaluations=4", "run=whole"))[0] == 0
    assert told.run(*words(tmp_path, "stage=select", "run=empty"))[0] == 2
    rows = {row["run"]: row["state"] for row in json.loads(told.run("list", "stage.json=true")[1])}
    assert rows == {"killed": "interrupted", "whole": "done", "empty": "failed"}


@pytest.mark.slow
def test_data_that_is_missing_is_named_with_its_tree(told: Told) -> None:
    more = ("stage=teacher", "teacher=resnet", "limits=debug", "data.root=nowhere", "run=absent")
    code, _, err = told.run("+task=kitti", *more)
    assert code == 3
    for said in ("nowhere", "raw drives", "data_depth_annotated", "docs/data.md", "+task=synthetic"):
        assert said in err, said


# as `+task=synthetic`, with less of everything
SMALL = [
    "+task=synthetic",
    "network=nano",
    "objective=[error,macs]",
    "hardware.engine=inline",
    "data.height=32",
    "data.width=32",
]
SMALL += [
    "data.train=8",
    "data.validation=4",
    "data.test=4",
    "network.dims=[8,8,16,16]",
    "network.heads=[2,2,2,2]",
]
SMALL += ["network.stem_dim=8", "head.width=8", "distill=none", "limits=debug"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_whole_pipeline_dials_nobody(told: Told) -> None:
    code, out, err = told.run(*SMALL, "~stage.steps.export", "debug=fast", "run=whole")
    assert code == 0, err
    assert told.dialled == [] and (told.folder / "outputs/whole/report/index.html").exists()
    assert len(out.splitlines()) < 120 and SECRET not in out + err


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_no_secret_leaves_with_a_tracker(
    evonas_command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET + "0" * 31)
    ended = evonas_command(*SMALL, "~stage.steps.export", "debug=fast", "tracker=wandb", "run=sent")
    wandb.teardown()
    assert ended.code == 0, ended.err
    sent = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in sent)
    for path in sent:
        assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "debug").glob("*.yaml")))
def test_every_debugging_preset_runs(evonas_command: Callable[..., Any], name: str) -> None:
    few = ("limits.max_epochs=1", "limits.max_batches=2", "run=tried", f"debug={name}")
    for stage in ("pretrain", "supernet"):
        ended = evonas_command(*SMALL, f"stage={stage}", *few)
        assert ended.code == 0, ended.err
    assert Path("outputs/tried/supernet/supernet.safetensors").exists()
    assert bool(list(Path("outputs").rglob("fit-profile.txt"))) == (name == "profile")
