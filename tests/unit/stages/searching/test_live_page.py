"""The page about a running search: there after the first generation, harmless when it cannot be drawn."""

import logging
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tables_written

from evonas.report.archive_reader import read
from evonas.report.page.html import render_live
from evonas.report.page.sections import Sources

PAGE = "outputs/one/search/live.html"


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    tables_written.nb201(tmp_path / "tables")
    budget = ("budget.population=8", "budget.evaluations=32", "search=nsga2")
    return ("+task=nb201", "stage=search", f"data.root={tmp_path / 'tables'}", "run=one", *budget)


def test_a_finished_search_leaves_a_page_that_rests(
    evonas_command: Callable, words: tuple[str, ...], tmp_path: Path
) -> None:
    assert evonas_command(*words).code == 0
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    HTMLParser().feed(page)
    assert "<svg" in page and "of 32 networks" in page
    assert 'http-equiv="refresh"' not in page and "://" not in page


def test_a_running_search_asks_the_browser_to_come_back(
    evonas_command: Callable, words: tuple[str, ...], tmp_path: Path
) -> None:
    assert evonas_command(*words).code == 0
    facts = read(tmp_path / "outputs/one/search/archive.sqlite")
    page = render_live(Sources("one", "nb201", lambda stage: stage, facts), is_running=True)
    assert '<meta http-equiv="refresh" content="5">' in page


def test_a_page_that_cannot_be_drawn_costs_one_warning(
    evonas_command: Callable, words: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert evonas_command(*words, "budget.evaluations=16").code == 0
    (tmp_path / PAGE).unlink()
    (tmp_path / PAGE).mkdir()
    with caplog.at_level(logging.WARNING, logger="evonas.stages.searching.live_page"):
        ended = evonas_command(*words, "resume=true")
    assert ended.code == 0, ended.err
    assert sum("live page is switched off" in record.message for record in caplog.records) == 1
    assert len(read(tmp_path / "outputs/one/search/archive.sqlite").genotypes) == 32
