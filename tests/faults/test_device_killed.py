"""A search on a device elsewhere loses nothing when the device's server is killed in the middle and comes back."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import small_stages
from latency_servers import SECRET, Served, served

from evonas import weights
from evonas.archive import Archive, Evaluation
from evonas.errors import EngineError
from evonas.runtimes.device import device_at
from evonas.stages.build import factory
from evonas.stages.search import Search

SETTINGS = (
    "objective=[error,latency_devices]",
    "search=random",
    "budget.evaluations=4",
    "budget.population=2",
    "data.train=8",
    "data.validation=4",
    "train.bn_calibration_images=0",
    "objective.latency_devices.max_seconds=0.2",
    "objective.latency_devices.warmup_seconds=0.1",
)
INLINE, WORKER = "hardware.engine=inline", "hardware.workers=1"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_DEVICE_TOKEN", SECRET)
    device_at.cache_clear()


def facts(folder: Path) -> list[Evaluation]:
    with Archive.read(folder / "search/archive.sqlite") as archive:
        return list(archive.evaluations())


def searched(
    folder: Path,
    address: str,
    engine: str,
    meanwhile: Callable[[], None] | None = None,
    wait_s: float = 60,
    resume: bool = False,
) -> list[Evaluation]:
    device = f"+devices.board={{device:'{address}',wait_s:{wait_s}}}"
    context = small_stages.context(folder, *SETTINGS, engine, device, resume=resume)
    path = folder / factory.SUPERNET
    if not path.exists():
        weights.save(context.run.path(factory.SUPERNET), factory.supernet(context.setup).state_dict())
    thread = threading.Thread(target=meanwhile or (lambda: None))
    thread.start()
    try:
        Search().run(context)
    finally:
        thread.join()
    return facts(folder)


def await_latencies(folder: Path, count: int) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        time.sleep(0.05)
        if (folder / "search/archive.sqlite").exists():
            try:
                found = facts(folder)
            except Exception:
                continue
            if sum(each.part == "exclusive" for each in found) >= count:
                return


def test_a_server_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    first = Served(options=("--name", "board"))
    later: list[Served] = []

    def kill_and_start_again() -> None:
        await_latencies(tmp_path / "killed", 2)
        first.kill()
        time.sleep(1.0)
        later.append(Served(first.port, ("--name", "board")))

    try:
        killed = searched(tmp_path / "killed", first.address, INLINE, kill_and_start_again)
        assert later, "the server was killed"
        undisturbed = searched(tmp_path / "undisturbed", first.address, INLINE)
    finally:
        for each in later:
            each.stop()
    assert {each.state for each in killed} == {"done"}
    assert [(each.seq, each.part, each.genotype, each.fingerprint) for each in killed] == [
        (each.seq, each.part, each.genotype, each.fingerprint) for each in undisturbed
    ]
    errors = [[each.objectives for each in found if each.part == "shared"] for found in (killed, undisturbed)]
    assert errors[0] == errors[1]
    assert all("latency_board" in each.objectives for each in killed if each.part == "exclusive")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written


@pytest.mark.slow
def test_a_server_that_stays_away_fails_no_genotype_and_the_search_goes_on_later(tmp_path: Path) -> None:
    first = Served(options=("--name", "board"))

    def kill() -> None:
        await_latencies(tmp_path, 2)
        first.kill()

    with pytest.raises(EngineError, match="does not answer"):
        searched(tmp_path, first.address, WORKER, kill, wait_s=0.5)
    assert {each.state for each in facts(tmp_path)} == {"done"}
    device_at.cache_clear()
    with served("--name", "board", port=first.port):
        found = searched(tmp_path, first.address, WORKER, wait_s=0.5, resume=True)
    assert {each.state for each in found} == {"done"}
    assert sum(each.part == "exclusive" for each in found) == 4
