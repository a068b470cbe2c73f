"""The report: one file, safe, small, and the same bytes every time."""

import base64
import hashlib
import re
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
import pytest
from report_made import GENOTYPE, Page, bred, command, searched, whole

from evonas.report.charts.svg import SHAPES, Axis, Chart, key
from evonas.report.page.html import render
from evonas.report.page.sources import Sources
from evonas.report.results import SearchResults


def test_it_is_well_formed_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = render(whole(tmp_path, bred(96)))
    page = Page(text)
    assert not page.open
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert len(links) == 3 * 7 and all(value.startswith("data:image/png;base64,iVBOR") for value in links)
    assert "url(" not in text and "@import" not in text and "://" not in text
    (policy,) = (value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    (script,) = page.scripts
    seal = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';") and policy.endswith(f"; script-src 'sha256-{seal}'")
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_a_page_without_a_slider_allows_no_script() -> None:
    text = render(Sources("demo", "synthetic", command))
    assert "script" not in text


def test_every_part_of_the_run_is_on_the_page(tmp_path: Path) -> None:
    text = render(whole(tmp_path, bred(96)))
    # pairs, parallel axes, fronts over time, hypervolume, descent, panel, ranking check
    assert text.count('<svg viewBox="0 0 440 310"') == 3 + 1 + 3 + 1 + 1 + 1 + 1
    for said in (
        "latency (ms)",
        "constant depth 6.5 m",
        "Kendall tau 0.82",
        "error 0.6",
        GENOTYPE,
        "Permutation importance",
        "likeliest parent",
        "7 of 10 blocks",
        "812 M MACs",
        "generation 6, after 96 networks",
        "61.5",
    ):
        assert said in text
    assert "is not available yet" not in text


def test_missing_parts_name_the_command_that_makes_them() -> None:
    text = render(Sources("demo", "synthetic", command))
    for stage in ("search", "select", "evaluate", "supernet", "rank"):
        assert command(stage) in text
    assert not Page(text).open


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    assert render(whole(tmp_path, bred(96))) == render(whole(tmp_path, bred(96)))


def test_names_from_outside_are_only_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    facts = searched(50)
    hostile = SearchResults(
        ("error", f"a{evil}"),
        (evil, *facts.genotypes[1:]),
        facts.values[:, :2],
        units={"error": evil},
        reference=(0.6, 30.0),
        failures={evil: 1},
    )
    sources = whole(tmp_path, hostile, (evil, "knee"))
    page = Page(text := render(replace(sources, run=evil, task=evil, attempts=[evil])))
    assert text.count("&lt;script&gt;") > 8 and "alert" not in "".join(page.scripts)
    assert text.count("<script") == 1 and not page.open


def test_it_scales_to_a_long_search(tmp_path: Path) -> None:
    facts = searched(20_000)
    text = render(whole(tmp_path, facts))
    assert len(text.encode()) < 3_000_000


def test_a_search_of_one_network_is_shown() -> None:
    text = render(Sources("demo", "synthetic", command, results=searched(1)))
    assert "1" in text and not Page(text).open


def test_a_picture_that_is_gone_leaves_the_page_whole(tmp_path: Path) -> None:
    sources = whole(tmp_path, searched(50))
    (tmp_path / "one.png").unlink()
    assert not Page(render(sources)).open


def colours(block: str) -> dict[str, tuple[float, ...]]:
    found = re.findall(r"--(\w+): #([0-9a-f]{6})", block)
    return {name: tuple(int(code[at : at + 2], 16) / 255 for at in (0, 2, 4)) for name, code in found}


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out(mode: int) -> None:
    css = (package_files("evonas.report") / "page.css").read_text()
    palette = colours(css.split("prefers-color-scheme")[mode])
    for ground in ("page", "panel"):
        for name in ("ink", "quiet", "cloud", *(f"s{number}" for number in range(7))):
            light, dark = sorted((luminance(palette[name]), luminance(palette[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_marks_differ_by_shape_and_not_by_colour_alone() -> None:
    assert len({key(shape, "s0") for shape in SHAPES}) == len(SHAPES)


def test_axes_show_every_value_with_honest_ticks() -> None:
    axis = Axis.over("latency (ms)", [3.0, 17.0])
    assert axis.low <= 3.0 and axis.high >= 17.0 and axis.texts == ("5", "10", "15")
    assert Axis.over("x", [0.0, 0.3]).low == 0.0
    flat = Axis.over("x", [2.0, 2.0])
    assert flat.low < 2.0 < flat.high
    assert axis.place([axis.low, axis.high], 10, 20).tolist() == [10.0, 20.0]


def test_names_avoid_each_other() -> None:
    chart = Chart(Axis.over("x", [0, 1]), Axis.over("y", [0, 1]), "two names")
    chart.name(0.5, 0.5, "first")
    chart.name(0.5, 0.5, "second")
    places = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', chart.render())
    assert len(set(places)) == 2
