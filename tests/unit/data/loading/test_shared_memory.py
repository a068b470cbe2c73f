"""Decoded images lie in memory once, whoever is killed, and say so when they cannot."""

import os
import resource
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_run
import torch
from omegaconf import OmegaConf

from evonas.data.loading.shared_memory import Batch, shared_batches
from evonas.errors import UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.engine import IMAGES, shared_images

BATCHES = [
    {"image": torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)), "label": torch.arange(3)},
    {"image": torch.zeros(1, 2, 5), "label": torch.tensor([7]), "valid": torch.tensor([[True, False]])},
]


def never() -> Iterator[Batch]:
    raise AssertionError("made twice")


def equal(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return all(
        mine.keys() == theirs.keys()
        and all(mine[key].dtype == theirs[key].dtype and torch.equal(mine[key], theirs[key]) for key in mine)
        for mine, theirs in zip(one, other, strict=True)
    )


def test_are_made_once_and_read_by_all(tmp_path: Path) -> None:
    assert equal(shared_batches(tmp_path / "new", "key", lambda: BATCHES), BATCHES)
    assert equal(shared_batches(tmp_path / "new", "key", never), BATCHES)
    [file] = (tmp_path / "new").glob("*.bin")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert shared_batches(tmp_path, "none", list) == []


def test_another_key_is_another_file(tmp_path: Path) -> None:
    shared_batches(tmp_path, "key", lambda: BATCHES)
    assert equal(shared_batches(tmp_path, "other", lambda: BATCHES[:1]), BATCHES[:1])
    assert equal(shared_batches(tmp_path, "key", never), BATCHES)


def test_whoever_writes_into_them_changes_his_own(tmp_path: Path) -> None:
    first = shared_batches(tmp_path, "key", lambda: BATCHES)
    first[0]["image"].zero_()
    assert equal(shared_batches(tmp_path, "key", never), BATCHES)


def test_those_who_start_at_once_wait_for_one(tmp_path: Path) -> None:
    made, found, barrier = [], [], threading.Barrier(4)

    def make() -> Iterator[Batch]:
        made.append(1)
        yield from BATCHES

    def look() -> None:
        barrier.wait()
        found.append(shared_batches(tmp_path, "key", make))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert len(found) == 4 and all(equal(each, BATCHES) for each in found)


def test_a_maker_that_is_killed_leaves_neither_lock_nor_litter(tmp_path: Path) -> None:
    def die() -> Iterator[Batch]:
        yield BATCHES[0]
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        shared_batches(tmp_path, "key", die)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.glob(".*.tmp")) and not list(tmp_path.glob("*.bin"))
    assert equal(shared_batches(tmp_path, "key", lambda: BATCHES), BATCHES)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("spoil", [lambda text: text[:40], lambda _: b"", lambda text: text[:-9] + b"x" * 9])
def test_a_spoilt_file_is_made_anew(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    shared_batches(tmp_path, "key", lambda: BATCHES)
    [file] = tmp_path.glob("*.bin")
    file.write_bytes(spoil(file.read_bytes()))
    assert equal(shared_batches(tmp_path, "key", lambda: BATCHES), BATCHES)


def test_a_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot be written to") as caught:
            shared_batches(tmp_path, "key", lambda: BATCHES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "outputs=" in caught.value.hint
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob(".*.tmp"))


def test_errors_of_decoding_are_not_those_of_the_disk(tmp_path: Path) -> None:
    def fail() -> Iterator[Batch]:
        yield BATCHES[0]
        raise FileNotFoundError(2, "No such file", "image.png")

    with pytest.raises(FileNotFoundError, match=r"image\.png"):
        shared_batches(tmp_path, "key", fail)


class TestSearch:
    def context(self, folder: Path, workers: int = 2) -> Context:
        made = small_run.context(
            folder,
            budget=OmegaConf.create({"population": 4, "evaluations": 4}),
            search={"_target_": "evonas.search.evolution.nsga2.NSGA2", "population": 4, "evaluations": 4},
            objective={"error": {"_target_": "evonas.objectives.error.Error"}},
            tracker={"_target_": "evonas.track.base.Silent"},
        )
        made.cfg.hardware.workers = workers
        return made

    def test_workers_share_and_leave_nothing(self, tmp_path: Path) -> None:
        made = self.context(tmp_path)
        with shared_images(made, {"_target_": "x"}) as spec:
            assert spec == {"_target_": "x", "shared_dir": str(tmp_path / IMAGES)}
            shared_batches(tmp_path / IMAGES, "key", lambda: BATCHES)
        assert not (tmp_path / IMAGES).exists()

    @pytest.mark.parametrize("change", [{"workers": 1}, {"workers": 0}, {"engine": "inline"}])
    def test_one_worker_shares_with_nobody(self, tmp_path: Path, change: dict[str, object]) -> None:
        made = self.context(tmp_path)
        made.cfg.hardware.merge_with(change)
        with shared_images(made, {"_target_": "x"}) as spec:
            assert spec == {"_target_": "x"}

    def test_a_bench_measures_the_same_on_shared_images(self, tmp_path: Path) -> None:
        made = self.context(tmp_path)
        small_run.train(made)
        cfg, answers = OmegaConf.to_container(made.cfg), []
        for folder in (None, tmp_path / "images", tmp_path / "images"):
            bench = EvaluationContext(
                cfg["space"],
                cfg["network"],
                cfg["task"],
                tmp_path / factory.SUPERNET,
                batch_size=3,
                shared_dir=folder,
            )
            error = Error()
            error.prepare(bench)
            answers.append(error.measure(bench.space.largest()))
        assert answers[0] == answers[1] == answers[2]
        assert len(list((tmp_path / "images").glob("*.bin"))) == 1
