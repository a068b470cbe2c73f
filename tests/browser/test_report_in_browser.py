"""The report in a real browser: on a desk, on a phone, in the dark and without its script."""

import html
import json
import re
from pathlib import Path
from typing import Any

import chromium
import pytest
from report_made import bred, whole

from evonas.report.page.html import render

HERE = Path(__file__).parent
FRAMES = {
    "desk": ("report.html", "width: 1280px; height: 900px"),
    "phone": ("report.html", "width: 390px; height: 844px"),
    "dark": ("report.html", "width: 390px; height: 844px; color-scheme: dark"),
    "still": ("still.html", "width: 390px; height: 844px"),
    "control": ("control.html", "width: 390px; height: 844px"),
}
# what the others must not do
CONTROL = """<!doctype html><body><div style="width: 900px">wide</div>
<img src="http://outside.invalid/picture.png"><script>console.error("a page may speak");</script></body>"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> chromium.Shown:
    """One start of the browser looks at all pages, each in a frame of its own."""
    browser = chromium.find()
    if browser is None:
        pytest.skip(f"no browser on the PATH; looked for {', '.join(chromium.NAMES)}")
    folder = tmp_path_factory.mktemp("pages")
    page = render(whole(folder, bred(96)))
    for name, text in {"report.html": page, "still.html": page, "control.html": CONTROL}.items():
        (folder / name).write_text(text, encoding="utf-8")
    frames = "".join(
        f'<iframe id="{name}" src="{source}" style="{style}"{_rights(name)}></iframe>'
        for name, (source, style) in FRAMES.items()
    )
    script = (HERE / "probe.js").read_text(encoding="utf-8")
    text = f'<!doctype html><body>{frames}<pre id="found"></pre><script>{script}</script></body>'
    (folder / "probe.html").write_text(text, encoding="utf-8")
    url = (folder / "probe.html").as_uri()
    return chromium.show(
        browser, url, "--allow-file-access-from-files", "--dump-dom", "--virtual-time-budget=8000"
    )


def _rights(name: str) -> str:
    """A frame without the right to run scripts is a browser that blocks them."""
    return ' sandbox="allow-same-origin"' if name == "still" else ""


@pytest.fixture(scope="module")
def seen(shown: chromium.Shown) -> dict[str, Any]:
    """What was found in each frame."""
    found = re.search(r'<pre id="found">(.+?)</pre>', shown.document, re.DOTALL)
    assert found is not None, shown.document[-2000:]
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


def test_the_probe_notices_what_it_looks_for(shown: chromium.Shown, seen: dict[str, Any]) -> None:
    control = seen["control"]
    assert control["scrollWidth"] > control["width"] == 390
    assert any("outside.invalid" in name for name in control["requests"])
    assert any("a page may speak" in line for line in shown.console)


def test_nothing_is_asked_of_the_network_and_the_console_stays_empty(
    shown: chromium.Shown, seen: dict[str, Any]
) -> None:
    for name in ("desk", "phone", "dark", "still"):
        assert [each for each in seen[name]["requests"] if not each.startswith("data:")] == []
    assert [line for line in shown.console if "report.html" in line] == []


@pytest.mark.parametrize("name", ["desk", "phone", "dark", "still"])
def test_no_page_is_wider_than_its_screen(seen: dict[str, Any], name: str) -> None:
    assert seen[name]["scrollWidth"] <= seen[name]["width"]


@pytest.mark.parametrize("name", ["desk", "phone", "dark", "still"])
def test_every_chart_and_picture_is_drawn(seen: dict[str, Any], name: str) -> None:
    # fronts, parallel axes, fronts over time, drawings, hypervolume, genes, descent, panel, ranking check
    assert seen[name]["charts"] == 3 + 1 + 3 + 4 + 1 + 3 + 1 + 1 + 1
    assert seen[name]["pictures"] == 3 * 7


def test_it_is_dark_where_the_reader_wants_it(seen: dict[str, Any]) -> None:
    assert seen["dark"]["dark"] and not seen["phone"]["dark"]
    assert (seen["dark"]["ground"], seen["phone"]["ground"]) == ("rgb(20, 23, 28)", "rgb(255, 255, 255)")
    assert (seen["dark"]["ink"], seen["phone"]["ink"]) == ("rgb(230, 233, 237)", "rgb(27, 31, 36)")


def test_the_slider_shows_one_moment_after_another(seen: dict[str, Any]) -> None:
    slider = seen["desk"]["slider"]
    assert not slider["hidden"] and slider["seen"] == slider["layers"] == 3 * 6
    assert slider["seenAtFirst"] == 3 and slider["said"].startswith("generation 1, after 16 networks: ")


def test_without_a_script_all_moments_are_there_and_no_dead_slider(seen: dict[str, Any]) -> None:
    slider = seen["still"]["slider"]
    assert slider["hidden"] and slider["seen"] == slider["seenAtFirst"] == slider["layers"]
