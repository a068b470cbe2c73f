"""The reliability contract R1-R28 as a table: what is promised, which tests hold it, and how they ended here.

    python benchmarks/reliability.py            # the tests of `make test`, some minutes
    python benchmarks/reliability.py --slow     # also the long fault tests and Ray

Writes docs/reliability.md. `gap` names what the full promise asks and no test does.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True, slots=True)
class Promise:
    """One row: its tests as pytest writes them, and what they leave open."""

    name: str
    text: str
    tests: tuple[str, ...]
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """One test case as it ended."""

    test: str
    state: str
    seconds: float


_F, _U, _C = "tests/faults/test_", "tests/unit/", "tests/contract/test_"
PROMISES = (
    Promise(
        "R1",
        "a killed driver loses no recorded evaluation",
        (f"{_F}kills.py", f"{_F}fault_points.py"),
        "three kills in `make test`; twenty are a slow test",
    ),
    Promise("R2", "a resume repeats at most the evaluations in flight", (f"{_F}kills.py",)),
    Promise(
        "R3",
        "killed workers do not change the result",
        (f"{_F}workers_killed.py",),
        "four kills in `make test`; forty are a slow test",
    ),
    Promise("R4", "a timeout ends a hanging worker", (f"{_F}poison.py::test_hanging_is_bounded",)),
    Promise(
        "R5", "genotypes that crash workers are quarantined", (f"{_F}poison.py::test_poison_is_quarantined",)
    ),
    Promise(
        "R6",
        "running out of memory fails one evaluation only",
        (f"{_F}poison.py::test_exhausted_memory_is_contained",),
    ),
    Promise(
        "R7",
        "NaN and invalid values never become results",
        (
            f"{_F}poison.py::test_junk_never_becomes_a_result",
            f"{_U}test_archive.py::test_what_is_no_finite_number_becomes_a_failure",
            f"{_C}searchers.py",
        ),
    ),
    Promise(
        "R8",
        "a full disk loses no recorded evaluation",
        (f"{_U}test_archive.py::test_a_full_disk_loses_nothing", f"{_F}full_disk.py"),
        "simulated by size limits on files and archives, not by a full file system",
    ),
    Promise(
        "R9",
        "checkpoints are written atomically",
        (
            f"{_U}test_weights.py::test_a_crash_during_a_save_keeps_the_previous_weights",
            f"{_U}test_files.py",
            f"{_F}saves_killed.py",
        ),
        "four kills of 2 MB in `make test`; twenty of 32 MB are a slow test",
    ),
    Promise(
        "R10",
        "corruption is detected",
        (
            f"{_U}test_weights.py::test_every_flipped_bit_of_what_is_used_is_noticed",
            f"{_U}test_weights.py::test_truncation_is_noticed",
            f"{_U}test_archive.py::test_a_changed_value_is_noticed",
            f"{_U}test_archive.py::test_truncation_is_noticed",
            f"{_U}test_archive.py::test_what_was_changed_behind_the_search_is_named",
            f"{_U}stages/test_table_search.py::test_what_selected_json_says_is_held_against_the_archive",
        ),
        "who changes an archive may seal it again: the seal notices accidents, and is no signature",
    ),
    Promise(
        "R11",
        "the same seed gives the same result on every engine",
        (
            f"{_F}workers_killed.py::test_same_seed_same_archive",
            f"{_F}same_dump.py::test_local_engines_agree_with_inline",
            f"{_U}search/loop/test_generational.py::test_order_of_completion_does_not_matter",
            f"{_F}order_and_clocks.py::test_the_order_of_answers_does_not_matter",
        ),
        "engines are compared with NSGA-II, orders of completion with six searchers; the rest by the contract",
    ),
    Promise(
        "R12",
        "training resumes bit for bit",
        (f"{_U}train/test_fit.py::test_a_stopped_training_continues_bit_for_bit", f"{_F}training_kills.py"),
    ),
    Promise(
        "R13",
        "no point is evaluated twice",
        (f"{_U}search/loop/test_generational.py::test_nothing_is_measured_twice",),
        "within one search; concurrent searches are not covered",
    ),
    Promise(
        "R14",
        "a resume cannot change the search's identity",
        (
            f"{_U}test_archive.py::test_a_changed_question_is_refused_by_key",
            f"{_U}stages/test_search.py::test_resume_cannot_change_the_question",
            f"{_U}test_run.py::test_another_question_is_refused_by_key",
            f"{_U}test_run.py::test_another_effort_is_accepted",
        ),
    ),
    Promise("R15", "one driver per run", (f"{_U}test_lock.py",)),
    Promise(
        "R16",
        "clock changes have no effect",
        (
            f"{_F}poison.py::test_deadlines_ignore_the_wall_clock",
            f"{_F}order_and_clocks.py::test_a_wall_clock_that_jumps_changes_nothing",
        ),
    ),
    Promise(
        "R17",
        "signals shut the search down cleanly",
        (
            "tests/cli/test_commands.py::test_signals_are_polite",
            f"{_F}kills.py::test_interruption_leaves_a_whole_archive_and_no_process",
            f"{_F}signals.py",
        ),
        "a few moments in `make test`; twenty are a slow test",
    ),
    Promise("R18", "failing trackers do not affect a run", (f"{_C}trackers.py",)),
    Promise(
        "R19",
        "concurrent readers do not affect the archive",
        (f"{_U}test_archive.py::test_readers_see_commits_and_cannot_write", f"{_F}readers.py"),
        "300 commits in `make test`, 2000 are a slow test; the slowdown of the writer is not asserted",
    ),
    Promise(
        "R20",
        "long searches stay fast",
        (
            f"{_U}search/loop/test_generational.py::test_six_hundred_facts_replay_fast",
            f"{_U}report/page/test_html.py::test_it_scales_to_a_long_search",
            f"{_F}scale.py",
        ),
        "replay of 600 facts in `make test`; of 19 200 is a slow test",
    ),
    Promise(
        "R21",
        "archive schema versions are checked",
        (
            f"{_U}test_archive.py::test_newer_archives_are_refused_kindly",
            f"{_U}test_archive.py::test_an_archive_without_a_seal_is_read_and_sealed_when_resumed",
        ),
    ),
    Promise("R22", "network disks are refused", (f"{_U}test_archive.py::test_network_disks_are_refused",)),
    Promise(
        "R23",
        "latency is measured alone",
        (
            f"{_U}evaluate/test_events.py",
            f"{_U}objectives/latency/test_measured.py",
            f"{_U}stages/searching/test_warnings.py",
        ),
        "checked by the event log on a CPU; no machine with several GPUs was available",
    ),
    Promise(
        "R24",
        "the Ray engine keeps the same contract and survives the loss of a machine",
        (f"{_C}engines.py::TestRayEngine", f"{_F}same_dump.py"),
        "slow tests, where Ray is installed: make test-ray",
    ),
    Promise(
        "R25",
        "log sizes are bounded",
        (
            f"{_F}poison.py::test_logs_are_bounded_and_keep_their_end",
            f"{_F}poison.py::test_endless_printing_is_stopped",
            f"{_U}evaluate/test_events.py::test_the_log_is_bounded_and_private",
        ),
    ),
    Promise(
        "R26",
        "failures have an owner: a sick machine fails no genotype",
        (f"{_U}evaluate/test_supervisor.py", f"{_C}engines.py::TestLocalEngine"),
        "sick GPUs are imitated by workers that raise their errors",
    ),
    Promise(
        "R27",
        "looking at a run of somebody else executes nothing, follows no link and ends",
        ("tests/security/test_foreign_runs.py",),
        "an honest archive of millions of rows takes its time",
    ),
    Promise(
        "R28",
        "a latency that is no measurement is measured again or fails",
        (f"{_U}objectives/latency/test_measured.py", f"{_U}report/test_doubtful.py"),
    ),
)


def main(slow: bool) -> None:
    """Run every test of the table once, and write the page."""
    wanted = sorted({test for promise in PROMISES for test in promise.tests})
    ended = list(_run(wanted, slow))
    rows = [_row(promise, ended) for promise in PROMISES]
    PAGE.write_text(_page(rows, slow), encoding="utf-8")
    print("\n".join(rows))
    print(PAGE)


def _run(tests: Sequence[str], slow: bool) -> Iterator[Ended]:
    marks = "not gpu" if slow else "not slow and not gpu"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", marks, f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        for case in ET.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            bad = {"failure", "error"} & kinds
            state = "failed" if bad else "skipped" if "skipped" in kinds else "passed"
            yield Ended(_id(case), state, float(case.get("time") or 0.0))


def _id(case: ET.Element) -> str:
    """`tests/unit/test_x.py::Class::test_name[values]` from what the report says."""
    parts = (case.get("classname") or "").split(".")
    place = next(at for at, part in enumerate(parts) if part.startswith("test_")) + 1
    return "::".join(["/".join(parts[:place]) + ".py", *parts[place:], case.get("name") or ""])


def _row(promise: Promise, ended: Sequence[Ended]) -> str:
    mine = [each for each in ended if each.test.startswith(promise.tests)]
    counts = {state: sum(each.state == state for each in mine) for state in ("passed", "failed", "skipped")}
    measured = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "not run"
    if mine:
        measured += f", {sum(each.seconds for each in mine):.1f} s"
    names = ", ".join(f"`{test.removeprefix('tests/')}`" for test in promise.tests)
    return f"| {promise.name} | {promise.text} | {names} | {measured} | {promise.gap} |"


def _page(rows: Sequence[str], slow: bool) -> str:
    command = "python benchmarks/reliability.py" + (" --slow" if slow else "")
    return "\n".join(
        [
            "# Reliability of long searches",
            "",
            f"Generated by `{command}` with Python {platform.python_version()} on {platform.machine()}, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}.",
            "Each row is a guarantee with the tests behind it. Paths are below `tests/`; a test that covers several",
            "guarantees is counted in each row.",
            "",
            "| | guarantee | tests | result and time | not tested |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Not guaranteed: durability beyond that of the disk, equal bits on different processors or thread counts,",
            "exactly-once measurement (a result is recorded once), and exactly repeatable latencies.",
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--slow", action="store_true")
    main(parser.parse_args().slow)
