"""The event log: who was busy with what, and that nobody disturbs a latency (R23)."""

import json
from pathlib import Path

from misbehaving import Obedient, point

from evonas.evaluate.engine import Job
from evonas.evaluate.events import EVENTS, LOG_BYTES, EventLog, Span, overlapping, spans
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine


def span(what: str, began: float, ended: float, device: str = "cpu") -> Span:
    return Span(what, (0,), "w", device, began, ended)


def test_what_counts_as_a_disturbance() -> None:
    alone = span("exclusive", 1.0, 2.0)
    assert overlapping([alone, span("shared", 0.0, 1.0), span("shared", 2.0, 3.0)]) == []
    assert overlapping([alone, span("shared", 0.0, 3.0, "gpu1")]) == []
    assert overlapping([span("shared", 0.0, 3.0), span("shared", 1.0, 2.0)]) == []
    assert len(overlapping([alone, span("shared", 0.0, 1.1)])) == 1
    assert len(overlapping([alone, span("exclusive", 1.5, 3.0), span("setup", 1.9, 2.5)])) == 3


def test_an_exclusive_task_is_never_disturbed_in_200_evaluations(tmp_path: Path) -> None:
    engine = LocalEngine(Obedient(seconds=0.002), workers=2, deadline_s=0.5, tries=2, log_dir=tmp_path)
    try:
        for generation in range(10):
            mixed = [
                Job(20 * generation + at, point(f"ok:{at}"), "exclusive" if at % 2 else "shared")
                for at in range(20)
            ]
            # a worker that is lost on the way, and so starts anew while others measure
            mixed += [Job(1000 + generation, point("aborts:1"))] if generation % 5 == 0 else []
            assert len(list(engine.run(mixed))) == len(mixed)
    finally:
        engine.close()
    found = list(spans(tmp_path / EVENTS))
    counts = {what: sum(each.what == what for each in found) for what in ("shared", "exclusive", "setup")}
    assert counts["exclusive"] == 100
    # twice two tries, and before each last one a genotype that was measured before
    assert counts["shared"] == 106
    assert counts["setup"] >= 2
    assert overlapping(found) == []
    assert {each.device for each in found} == {"cpu"}


def test_a_worker_that_still_loads_is_stopped_before_the_exclusive_part(tmp_path: Path) -> None:
    engine = LocalEngine(Obedient(seconds=0.05), workers=2, log_dir=tmp_path)
    try:
        list(engine.run([Job(0, point("ok:1"))]))
        # the second worker starts for a queue that the first empties before it is ready
        shared = [Job(seq, point(f"ok:{seq}")) for seq in range(1, 4)]
        list(engine.run([*shared, Job(9, point("ok:9"), "exclusive")]))
    finally:
        engine.close()
    assert overlapping(spans(tmp_path / EVENTS)) == []


def test_inline_notes_exclusive_jobs(tmp_path: Path) -> None:
    list(InlineEngine(Obedient(), tmp_path).run([Job(0, point("ok:1")), Job(1, point("ok:1"), "exclusive")]))
    [only] = spans(tmp_path / EVENTS)
    assert (only.what, only.worker, only.seqs) == ("exclusive", "inline", (1,))


def test_the_log_is_bounded_and_private(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    path.write_text("x" * (LOG_BYTES + 1))
    EventLog(path).start([Job(0, point("ok:1"))], "worker0", "cpu")
    assert json.loads(path.read_text())["what"] == "shared"
    assert (tmp_path / "events.old.jsonl").exists()
    assert path.stat().st_mode & 0o777 == 0o600
