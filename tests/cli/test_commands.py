"""What a user types, what comes back, and with which exit code."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import evonas
from evonas import cli_args, lock
from evonas.cli import conf_dir
from evonas.cli_help import usage
from evonas.errors import DataError

Command = Callable[..., "object"]


def fresh(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, which fails if it imports torch."""
    code = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "timm"):
            raise SystemExit("torch was imported")
sys.meta_path.insert(0, NoTorch())
from evonas.cli import main
sys.exit(main())
"""
    # below `python -c` the first argument is not ours
    place = {"PYTHONPATH": str(Path(evonas.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **place, **environment},
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], "python -m evonas +task=synthetic"),
        (["--help"], "pretrain, teacher, supernet, retrain, baselines, rank"),
        (["--cfg", "job", "+task=synthetic"], "evonas.tasks."),
        (["--info", "defaults-tree", "+task=synthetic"], "stage: run"),
        (["-sc", "install=bash"], "complete"),
        (["--version"], evonas.__version__),
    ],
)
def test_showing_needs_no_torch(words: list[str], shown: str, tmp_path: Path) -> None:
    ended = fresh(*words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert shown in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_has_every_option_once() -> None:
    conf = conf_dir()
    texts = " ".join(usage([conf]).split())
    for group in {path.parent for path in (*conf.glob("*/*.yaml"), *conf.glob("*/*/*.yaml"))}:
        for path in group.glob("*.yaml"):
            assert re.search(rf"(?<![\w/]){path.stem}(,| |$)", texts), path


def test_help_is_quick(tmp_path: Path) -> None:
    fresh("--help", cwd=tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    fresh("--help", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # time of the processor, because others may be using it as well
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("python -m evonas +task=", {f"+task={path.stem}" for path in (conf_dir() / "task").glob("*.yaml")}),
        ("evonas stage=se", {"stage=search", "stage=select", "stage=serve_latency"}),
        ("python3 -m evonas budget.eval", {"budget.evaluations="}),
    ],
)
def test_completion(line: str, wanted: set[str], tmp_path: Path) -> None:
    ended = fresh("-sc", "query=bash", cwd=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) == wanted


MISTAKES = [
    (
        ["+task=synthetic", "+experiment=evonas_kitti"],
        "+experiment=evonas_kitti brings a task of its own, so +task=synthetic cannot be added.",
        "Leave +task=synthetic out",
    ),
    (
        ["+experiment=evonas_kitti", "+task=synthetic"],
        "+experiment=evonas_kitti brings a task of its own, so +task=synthetic cannot be added.",
        "Leave +task=synthetic out",
    ),
    (["+task=synthetic", "+task=nb201"], "task is chosen 2 times: +task=synthetic +task=nb201.", "Type one"),
    (
        ["+experiment=evonas_kitti", "+experiment=evonas_nyu"],
        "experiment is chosen 2 times",
        "Type one of them",
    ),
    (["debug=fast", "debug=limit", "+task=synthetic"], "debug is chosen 2 times", "Type one of them"),
    (["data.root=/a=b", "+task=nb201"], "'data.root=/a=b' cannot be read", """'data.root="/a=b"'"""),
    (["data.root=/a,b", "+task=nb201"], "are a sweep", """'data.root="/a,b"'"""),
    ([], "No task chosen.", "python -m evonas +task=synthetic"),
    (["stage=search"], "No task chosen.", "+task=synthetic stage=search"),
    (["stage=serch"], "There is no stage 'serch'.", "stage=search"),
    (["+task=sintetic"], "There is no task 'sintetic'.", "+task=synthetic"),
    (["task=synthetic"], "with a plus", "+task=synthetic"),
    (["reprot"], "'reprot' is not a command.", "python -m evonas report"),
    (["sead=1"], "There is no setting 'sead'.", "Did you mean seed=1?"),
    (["budget.evalutions=9"], "'budget.evalutions'", "budget.evaluations=9"),
    (["evaluations=9"], "'evaluations'", ".evaluations=9"),
    (["budget.population=abc"], "budget.population=abc", "Integer"),
    (["hardware.timeout_s=soon"], "hardware.timeout_s=soon", "Float"),
    (
        ["network.drop_path=abc", "+task=synthetic"],
        "network.drop_path=abc is not a number.",
        "network.drop_path=",
    ),
    (["resume=maybe"], "resume=maybe is not true or false.", "resume=true"),
    (["select.rules=knee"], "select.rules=knee is not a list.", "select.rules=[knee]"),
    (["objective=[error,maks]"], "There is no objective 'maks'.", "objective=macs"),
    (
        ["train.retrain.optimizer_options={momentum:0.5}"],
        "Keys of 'train.retrain.optimizer_options' are added, with a plus.",
        "+train.retrain.optimizer_options={momentum:0.5}",
    ),
    (
        ["train.retrain.optimizer_options.momentum=0.5"],
        "Keys of 'train.retrain.optimizer_options.momentum' are added, with a plus.",
        "+train.retrain.optimizer_options.momentum=0.5",
    ),
    (["space.streams=[0.5]", "+task=kitti"], "There is no setting 'space.streams'.", "space has "),
    (["sampler.min_num=2"], "There is no setting 'sampler.min_num'.", "sampler has continue_from, steps."),
    (["train.teacher.epochs=-1", "+task=synthetic"], "train.teacher.epochs=-1 is too small", "epochs=0"),
    (
        ["train.bn_calibration_images=-1", "+task=synthetic"],
        "bn_calibration_images=-1 is too small",
        "images=0",
    ),
    (["train.rank.lr=nan", "+task=synthetic"], "train.rank.lr=nan is not a finite number", "train.rank.lr=1"),
    (["rank.top=0", "+task=synthetic"], "rank.top=0 is too small", "rank.top=1"),
    (["discover.population=0", "+task=synthetic"], "discover.population=0 is too small", "population=2"),
    (["+task=nb201", "search=saswot"], "Task nb201 searches columns of a table", "+task=transnas_scores"),
    (
        ["+task=nb201", "stage=search", "objective=[macs]"],
        "knows no objective=[macs]",
        "evaluator.objectives",
    ),
    (["-m", "search=nsga2,saswot"], "search=saswot brings objective=[zero_cost,latency]", "by itself"),
    (["compare", "runs=one,two"], "There is no run 'one'", "The newest are"),
    (["compare", "runs=one"], "There is no run 'one'", "The newest are"),
    (["run=nobody", "resume=true"], "There is no run 'nobody'", "The newest are"),
    (["+task=synthetic", "inputs=nobody"], "There is no run 'nobody'", "The newest are"),
    (["seed=1,2", "+task=synthetic"], "'seed=1,2', are a sweep", "-m"),
    (["run=last"], "There is no run in", "+task=synthetic"),
    (["run=nobody", "stage=report"], "There is no run 'nobody'", "The newest are"),
    (["+task=synthetic", "run=../x"], "cannot be the name of a run", "run=first"),
    (["report", "+task=synthetic"], "Which run", "run=last"),
    (["seed=${oc.env:HOME}", "+task=synthetic"], "reads the environment", "paths"),
    (["+tracker.api_key=SECRETxyz", "+task=synthetic"], "looks like a secret", "environment"),
    (["--experimental-rerun", "x.pkl"], "switched off", "resume=true"),
]


@pytest.mark.parametrize(("words", "said", "hinted"), MISTAKES, ids=lambda each: " ".join(each)[:40])
def test_mistakes_are_said_in_a_sentence(
    words: list[str], said: str, hinted: str, evonas_command: Command
) -> None:
    ended = evonas_command(*words)
    assert ended.code == 2
    assert said in ended.err
    assert hinted in ended.err
    assert "Traceback" not in ended.err
    assert "SECRETxyz" not in ended.err
    assert len(ended.err.splitlines()) <= 3
    assert not Path("outputs").exists() or not list(Path("outputs").iterdir())


@pytest.mark.parametrize(
    "words", [[], ["sead=1"], ["budget.population=abc"], ["network.drop_path=x", "+task=synthetic"]]
)
def test_mistakes_are_found_before_torch(words: list[str], tmp_path: Path) -> None:
    ended = fresh(*words, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["+task=synthetic", "seed=0,1", "-m"], ["-m", "+task=synthetic", "seed=0,1"]),
        (["seed=1", "--cfg", "job", "run=a"], ["--cfg", "job", "seed=1", "run=a"]),
        (["--info", "seed=1"], ["--info=all", "seed=1"]),
        (["seed=1", "--info", "defaults"], ["--info", "defaults", "seed=1"]),
        (["seed=1"], ["seed=1"]),
    ],
)
def test_flags_may_stand_anywhere(words: list[str], wanted: list[str]) -> None:
    assert cli_args.rewrite(words) == wanted


def test_settings_after_a_flag_that_stands_between_reach_hydra(tmp_path: Path) -> None:
    ended = fresh("+task=synthetic", "search=saswot", "--cfg", "job", "seed=7", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "seed: 7" in ended.stdout
    assert "zero_cost" in ended.stdout


def test_doctor_leaves_nothing_behind(evonas_command: Command, tmp_path: Path) -> None:
    ended = evonas_command("doctor")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "Ready. Next: python -m evonas +task=synthetic"
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_goes_on_after_a_failing_job(evonas_command: Command, tmp_path: Path) -> None:
    ended = evonas_command("-m", "stage=search,doctor")
    assert ended.code == 2
    assert "job 1: stage=search" in ended.out
    assert "Ready." in ended.out
    assert ended.err.startswith("error: No task chosen.")
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_stops_at_once_when_asked(evonas_command: Command) -> None:
    ended = evonas_command("-m", "stage=search,doctor", "fail_fast=true")
    assert ended.code == 2
    assert "Ready." not in ended.out


def test_a_job_that_fails_late_keeps_its_own_log(evonas_command: Command) -> None:
    ended = evonas_command("-m", "+task=synthetic", "stage=retrain,search", "run=bare")
    assert ended.code == 2
    for number, made_by in (("001", "select"), ("002", "supernet")):
        assert f"stage={made_by}" in Path(f"outputs/bare/attempts/{number}/log.txt").read_text()


def test_a_missing_input_names_the_command(evonas_command: Command) -> None:
    ended = evonas_command("+task=synthetic", "stage=retrain", "run=bare")
    assert ended.code == 2
    assert "python -m evonas stage=select run=bare" in ended.err


def test_a_run_remembers_its_task(evonas_command: Command) -> None:
    evonas_command("+task=synthetic", "stage=retrain", "run=bare", "seed=3")
    ended = evonas_command("stage=retrain", "run=last")
    assert "stage=select run=bare" in ended.err
    overrides = Path("outputs/bare/attempts/002/overrides.yaml").read_text()
    assert "+task=synthetic" in overrides
    assert "seed=3" in overrides


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["seed=4"], "seed"),
        (["space=evonet", "network=evonet"], "space"),
        (["network.drop_path=0.5"], "network.drop_path"),
        (["data.far=30"], "data.far"),
    ],
)
def test_a_run_refuses_another_question(words: list[str], key: str, evonas_command: Command) -> None:
    evonas_command("+task=synthetic", "stage=retrain", "run=bare")
    ended = evonas_command("+task=synthetic", "stage=retrain", "run=bare", *words)
    assert ended.code == 2
    assert key in ended.err
    assert "another run" in ended.err


@pytest.mark.parametrize("words", [["budget.evaluations=999"], ["hardware.workers=7"], ["tracker=none"]])
def test_a_run_accepts_another_effort(words: list[str], evonas_command: Command) -> None:
    evonas_command("+task=synthetic", "stage=retrain", "run=bare")
    ended = evonas_command("+task=synthetic", "stage=retrain", "run=bare", *words)
    assert "another run" not in ended.err
    assert Path("outputs/bare/attempts/002").is_dir()


def test_secrets_are_never_written(
    evonas_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "SECRETxyz")
    evonas_command("+task=synthetic", "stage=retrain", "run=a", "+data.url=https://me:SECRETxyz@host/x")
    evonas_command("-m", "+task=synthetic", "stage=retrain", "run=b", "+data.url=https://me:SECRETxyz@host/x")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 8
    for path in written:
        assert "SECRETxyz" not in path.read_text(errors="replace"), path


def test_a_bug_of_ours_shows_its_traceback(evonas_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr("evonas.stages.doctor.findings", broken)
    ended = evonas_command("doctor")
    assert ended.code == 1
    assert "ZeroDivisionError: seven" in ended.err
    assert "bug of evonas" in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("bad file", "get another"), 3),
        (MemoryError(), 4),
        (OSError(28, "No space left on device"), 4),
    ],
)
def test_exit_codes_of_the_machine(
    error: Exception, code: int, evonas_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("evonas.stages.doctor.findings", broken)
    ended = evonas_command("doctor")
    assert ended.code == code
    assert ended.err.startswith("error: ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_are_polite(number: int, code: int, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "evonas", "+task=synthetic", "stage=teacher", "run=mine"]
    place = {"PYTHONPATH": str(Path(evonas.__file__).parent.parent)}
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**os.environ, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "outputs" / "mine" / "attempts" / "001" / "log.txt"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out.splitlines()[-1].endswith("python -m evonas stage=teacher run=mine resume=true")
    assert (tmp_path / "outputs" / "mine" / ".lock").read_text() == ""


def test_a_live_run_is_refused_with_its_process(evonas_command: Command) -> None:
    evonas_command("+task=synthetic", "stage=retrain", "run=mine")
    path = Path("outputs/mine/.lock")
    lock.acquire(path, "mine")
    parent = replace(lock.this_process(), host="elsewhere", pid=4711)
    path.write_text(json.dumps(asdict(parent)))
    ended = evonas_command("+task=synthetic", "stage=retrain", "run=mine")
    assert ended.code == 2
    assert "process 4711 on elsewhere" in ended.err
