"""Genotypes that hang, crash, exhaust memory or talk nonsense cost themselves alone (R4, R5, R6, R7, R25)."""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from misbehaving import JUNK, Obedient, point, text

from evonas.evaluate.engine import Job, Outcome
from evonas.evaluate.local import LocalEngine


@contextmanager
def local(evaluator: Obedient, **settings: Any) -> Iterator[LocalEngine]:
    engine = LocalEngine(evaluator, **{"workers": 2, "deadline_s": 30.0, **settings})
    try:
        yield engine
    finally:
        engine.close()


def outcomes(engine: LocalEngine, genotypes: Sequence[str]) -> list[Outcome]:
    jobs = [Job(seq, point(genotype)) for seq, genotype in enumerate(genotypes)]
    return sorted(engine.run(jobs), key=lambda outcome: outcome.job.seq)


def hundred(*poison: str) -> list[str]:
    """One hundred genotypes, poison spread among them."""
    genotypes = [f"ok:{number}" for number in range(100)]
    for index, word in enumerate(poison):
        genotypes[9 + index * 13] = f"{word}:{index}"
    return genotypes


def test_hanging_is_bounded() -> None:
    # what hangs sleeps for an hour, longer than a test may take
    with local(Obedient(), deadline_s=1.0, tries=2) as engine:
        found = outcomes(engine, hundred("sleeps", "sleeps", "sleeps"))
    failed = [outcome for outcome in found if outcome.measurement is None]
    assert [outcome.job.genotype.space for outcome in failed] == ["sleeps"] * 3
    assert {outcome.reason for outcome in failed} == {"timeout: no answer within 1 s"}
    assert {outcome.attempts for outcome in failed} == {2}


def test_poison_is_quarantined(tmp_path: Path) -> None:
    events = tmp_path / "events"
    poison = ["aborts", "aborts", "leaves", "leaves", "garbles", "number"]
    with local(Obedient(str(events)), tries=3) as engine:
        found = outcomes(engine, hundred(*poison))
    failed = [outcome for outcome in found if outcome.measurement is None]
    assert len(failed) == 6
    begun = [line.split()[3] for line in events.read_text().splitlines() if " begin " in line]
    tried = {outcome.job: begun.count(text(outcome.job.genotype)) for outcome in failed}
    # a wrong answer is final, a lost process is not
    assert list(tried.values()) == [3, 3, 3, 3, 3, 1]


def test_junk_never_becomes_a_result() -> None:
    with local(Obedient()) as engine:
        found = outcomes(engine, [f"{word}:1" for word in JUNK] + ["ok:1"] * 9)
    assert [outcome.measurement is not None for outcome in found] == [False] * len(JUNK) + [True] * 9
    assert all(outcome.reason for outcome in found[: len(JUNK)])


def test_exhausted_memory_is_contained() -> None:
    genotypes = ["allocates:1" if number % 4 == 0 else f"ok:{number}" for number in range(20)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with local(Obedient(), memory_gb=1.0) as engine:
        found = outcomes(engine, genotypes)
    failed = [outcome.reason for outcome in found if outcome.measurement is None]
    assert len(failed) == 5
    assert all(reason.startswith("out of memory") for reason in failed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_logs_are_bounded_and_keep_their_end(tmp_path: Path) -> None:
    with local(Obedient(), log_dir=tmp_path) as engine:
        found = outcomes(engine, ["prints:1"] * 4000)
    assert all(outcome.measurement for outcome in found)
    logs = list(tmp_path.iterdir())
    assert sum(log.stat().st_size for log in logs) < 4 * 1_100_000
    assert any(log.name.endswith(".old.log") for log in logs)


def test_endless_printing_is_stopped(tmp_path: Path) -> None:
    with local(Obedient(), log_dir=tmp_path, tries=2, workers=1) as engine:
        flood, good = outcomes(engine, ["floods:1", "ok:2"])
    assert (flood.reason, flood.attempts) == ("printed more than 16 MB", 2)
    assert good.measurement is not None


def test_deadlines_ignore_the_wall_clock(monkeypatch: Any) -> None:
    clock = time.time
    with local(Obedient(seconds=0.02), deadline_s=2.0) as engine:
        found = []
        for shift, outcome in enumerate(engine.run([Job(seq, point(f"ok:{seq}")) for seq in range(20)])):
            jump = 86_400 * (-1) ** shift
            monkeypatch.setattr(time, "time", lambda jump=jump: clock() + jump)
            found.append(outcome)
    assert all(outcome.measurement for outcome in found)
    assert all(0 <= outcome.seconds < 2 for outcome in found)
