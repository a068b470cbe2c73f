"""The report: one file, safe, small, and the same bytes every time."""

import io
import re
import time
from html.parser import HTMLParser
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evonas.report.facts import Facts
from evonas.report.html import render
from evonas.report.page import Sources
from evonas.report.svg import SHAPES, Axis, Chart, key

GENOTYPE = "nano:m=3.5,4,1,3.5/s=64,64,48/e=0.5,4,0.5/d=11.01.101.01"
STEPS = ["warm-max", "free-depth", "free-ratio", "free-state", "free-expand", "free-all", "refine", "last"]


def command(stage: str) -> str:
    return f"python -m evonas +task=synthetic stage={stage} run=demo"


def searched(count: int, seed: int = 0) -> Facts:
    """A search whose points move towards the front x y z = const while it goes on."""
    rng = np.random.default_rng(seed)
    u = rng.random((count, 2))
    far = rng.exponential(0.6 / (1 + 4 * np.linspace(0, 1, count)))
    macs = 0.1 + u[:, 0] ** 2
    latency = 3 + 14 * (0.7 * u[:, 0] + 0.3 * u[:, 1]) * (1 + 0.3 * far)
    error = 0.08 + 0.25 * np.exp(-2.2 * (0.6 * u[:, 0] + 0.4 * u[:, 1])) * (1 + far)
    return Facts(
        ("error", "latency", "macs"),
        tuple(f"{GENOTYPE}-{row}" for row in range(count)),
        np.stack([error, latency, macs], axis=1),
        units={"latency": "ms", "macs": "GMAC"},
        reference=(0.6, 30.0, 2.0),
        failures={"timeout after 3 tries": 2},
    )


def png() -> bytes:
    stream = io.BytesIO()
    shade = np.linspace(0, 255, 96).astype(np.uint8)
    Image.fromarray(np.broadcast_to(shade[None, :, None], (64, 96, 3)).copy()).save(stream, format="PNG")
    return stream.getvalue()


def whole(
    folder: Path, facts: Facts, names: tuple[str, ...] = ("knee", "spread1", "budget", "max")
) -> Sources:
    """Sources with every part of a finished run."""
    rows = np.linspace(0, len(facts.values) - 1, len(names)).astype(int)
    nets = [
        {
            "name": name,
            "genotype": facts.genotypes[row],
            "objectives": facts.objectives(row),
            "reason": "the knee",
        }
        for name, row in zip(names, rows, strict=True)
    ]
    metrics = {"abs_rel": 0.112, "rmse": 1.31, "d1": 0.893}
    (folder / "one.png").write_bytes(png())
    picture = {
        "image": "one.png",
        "truth": "one.png",
        "teacher": "one.png",
        "nets": dict.fromkeys(names, "one.png"),
    }
    panel = [
        {
            "name": step,
            "panel": [
                {"name": name, "genotype": GENOTYPE, "metrics": {"abs_rel": 0.5 / (at + 1) + 0.02 * place}}
                for place, name in enumerate(("max", "min", "random1", "random2"))
            ],
        }
        for at, step in enumerate(STEPS)
    ]
    return Sources(
        run="demo",
        task="synthetic",
        command=command,
        facts=facts,
        selected={"error_name": "abs_rel", "nets": nets},
        retrained={
            name: {"name": name, "inherited": {"abs_rel": 0.15}, "retrained": metrics, "scratch": None}
            for name in names
        },
        test={
            "split": "test",
            "error_name": "abs_rel",
            "num_images": 96,
            "baseline": {
                "name": "constant depth 6.5 m",
                "metrics": {"abs_rel": 0.41, "rmse": 4.2, "d1": None},
            },
            "teacher": metrics,
            "nets": [
                {
                    "name": name,
                    "params": 1_234_567,
                    "macs": 812_345_678,
                    "inherited": metrics,
                    "retrained": metrics,
                    "scratch": None,
                }
                for name in names
            ],
            "pictures": [picture] * 3,
        },
        panel={"error_name": "abs_rel", "steps": panel},
        rank={
            "error_name": "abs_rel",
            "steps": 56,
            "pairs": [
                {
                    "genotype": GENOTYPE,
                    "inherited": 0.2 + 0.01 * i,
                    "retrained": 0.15 + 0.008 * i + 0.01 * (i % 3),
                    "macs": i,
                }
                for i in range(12)
            ],
            "tau": 0.82,
            "low": 0.55,
            "high": 0.96,
            "tau_macs": -0.61,
        },
        pictures=folder,
        attempts=["python -m evonas +task=synthetic run=demo seed=1"],
        environment=[("evonas", "0.1.0"), ("torch", "2.11")],
        times=[("training the teacher", "2 min 4 s")],
    )


class Page(HTMLParser):
    """Collects tags, attributes and the headings' text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_well_formed_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = render(whole(tmp_path, searched(400)))
    page = Page(text)
    assert not page.open
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert len(links) == 3 * 7 and all(value.startswith("data:image/png;base64,iVBOR") for value in links)
    assert "url(" not in text and "@import" not in text and "<script" not in text
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")


def test_every_part_of_the_run_is_on_the_page(tmp_path: Path) -> None:
    text = render(whole(tmp_path, searched(400)))
    assert text.count('<svg viewBox="0 0 440 310"') == 3 + 1 + 1 + 1 + 1
    for said in (
        "latency (ms)",
        "constant depth 6.5 m",
        "Kendall tau 0.82",
        "(0.6".replace("(", "error "),
        GENOTYPE,
    ):
        assert said in text
    assert "is not there yet" not in text


def test_missing_parts_name_the_command_that_makes_them() -> None:
    text = render(Sources("demo", "synthetic", command))
    for stage in ("search", "select", "evaluate", "supernet", "rank"):
        assert command(stage) in text
    assert not Page(text).open


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    assert render(whole(tmp_path, searched(300))) == render(whole(tmp_path, searched(300)))


def test_names_from_outside_are_only_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    facts = searched(50)
    hostile = Facts(
        ("error", f"a{evil}"),
        (evil, *facts.genotypes[1:]),
        facts.values[:, :2],
        units={"error": evil},
        reference=(0.6, 30.0),
        failures={evil: 1},
    )
    sources: Any = whole(tmp_path, hostile, (evil, "knee"))
    text = render(Sources(**{**vars(sources), "run": evil, "task": evil, "attempts": [evil]}))
    assert "<script" not in text and text.count("&lt;script&gt;") > 8
    assert not Page(text).open


def test_it_scales_to_a_long_search(tmp_path: Path) -> None:
    facts = searched(20_000)
    started = time.monotonic()
    text = render(whole(tmp_path, facts))
    assert time.monotonic() - started < 20
    assert len(text.encode()) < 3_000_000


def test_a_search_of_one_network_is_shown() -> None:
    text = render(Sources("demo", "synthetic", command, facts=searched(1)))
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
        for name in ("ink", "quiet", *(f"s{number}" for number in range(7))):
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
