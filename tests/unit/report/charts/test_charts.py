"""The drawings of a report: networks to scale, choices of any space, bars, and fronts over time."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from report_made import bred, chosen, family, searched, space

from evonas.report.analysis.snapshots import snapshots
from evonas.report.charts.architecture import NamedGenotype, architecture_drawings, parts
from evonas.report.charts.bars import Bar, bars
from evonas.report.charts.front_slider import front_slider
from evonas.report.charts.gene_grid import gene_grids
from evonas.report.charts.plots import parallel
from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.pareto import front
from evonas.report.page.analysis_sections import architectures
from evonas.report.page.sources import Sources
from evonas.space.space import Axis, Bits, Space

DIMS = (24, 48, 96, 192)
SMALL = "nano:m=0.5,1,2,0.5/s=8,16,24/e=0.5,1,2/d=10.11.0101.10"
LARGE = "nano:m=3,3,3,3/s=32,32,32/e=2,2,2/d=11.11.1111.11"


def boxes(svg: str, kind: str) -> list[float]:
    """Heights of the rectangles of one kind, from left to right."""
    found = [each for each in ElementTree.fromstring(svg) if each.tag == "rect"]
    return [float(each.attrib["height"]) for each in found if each.attrib["class"] == kind]


def test_blocks_that_are_on_are_drawn_and_the_others_are_outlines() -> None:
    small, large = architecture_drawings(
        [NamedGenotype("small", SMALL), NamedGenotype("large", LARGE)], space(), family()
    )
    assert (
        small.caption == "small: 6 of 10 blocks are active."
        and large.caption == "large: 10 of 10 blocks are active."
    )
    assert len(boxes(small.svg, "mark s0")) == 1 + 2 + 2 and len(boxes(small.svg, "mark s2")) == 1
    assert len(boxes(small.svg, "off")) == 4 and not boxes(large.svg, "off")
    for said in ("24 ch", "MLP x0.5", "SSD x2", "state 24", "attention"):
        assert f">{said}</text>" in small.svg


def test_heights_are_channels_on_one_scale() -> None:
    small, large = architecture_drawings(
        [NamedGenotype("small", SMALL), NamedGenotype("large", LARGE)], space(), family()
    )
    tallest = max(boxes(large.svg, "mark s1"))
    unit = tallest / (3 * 192)
    # the page keeps one decimal of a pixel
    hidden = [0.5 * 24, 48, 48, 2 * 96, 2 * 96, 0.5 * 192]
    assert boxes(small.svg, "mark s1") == pytest.approx([unit * width for width in hidden], abs=0.06)
    inner = [0.5 * 24, 48, 48, 2 * 96, 2 * 96]
    assert boxes(small.svg, "mark s0") == pytest.approx([unit * width for width in inner], abs=0.06)
    assert boxes(small.svg, "stage") == pytest.approx([unit * width for width in DIMS], abs=0.06)


def test_points_of_other_spaces_are_drawn_as_choices() -> None:
    cells = Space(
        "cells", (Axis("op1", ("none", "skip", "conv")), Axis("op2", ("none", "skip")), Bits("d1", 3))
    )
    plans = [NamedGenotype("<one>", "cells:op=conv,none/d=101"), NamedGenotype("foreign", "other:op=1")]
    (figure,) = architecture_drawings(plans, cells, None)
    root = ElementTree.fromstring(figure.svg)
    assert [each.attrib["class"] for each in root if each.tag == "rect"] == [
        *("off", "off", "mark s0"),
        *("mark s0", "off"),
        *("mark s0", "off", "mark s0"),
    ]
    assert ">conv</text>" in figure.svg and ">2 of 3 on</text>" in figure.svg
    assert not parts(plans, None)
    assert parts([NamedGenotype("large", LARGE)], family()) == [
        ("SSD", "s0"),
        ("MLP", "s1"),
        ("attention", "s2"),
    ]


def test_the_section_is_left_out_where_nothing_can_be_drawn() -> None:
    nets = {"error_name": "error", "nets": chosen(searched(9))}
    assert architectures(Sources("demo", "synthetic", str, selected=nets)) is None
    assert architectures(Sources("demo", "synthetic", str, selected=nets, space=space())) is None
    assert architectures(Sources("demo", "synthetic", str, space=space())) is None


def test_bars_have_their_lengths_and_escape_their_names() -> None:
    rows = [
        Bar("a<b", 0.4, "s0", "0.4", "t"),
        Bar("b", 0.2, "s1", "0.2", "t"),
        Bar("c", -0.1, "dot", "0", "t"),
    ]
    root = ElementTree.fromstring(bars(rows, "loss", "alt"))
    widths = [float(each.attrib["width"]) for each in root if each.tag == "rect"]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.11) and widths[2] == 0
    texts = [each.text for each in root if each.tag == "text"]
    assert "a<b" in texts and "loss" in texts and "0" in texts


def test_the_fronts_over_time_only_get_better_and_end_with_the_front() -> None:
    facts = bred(96)
    found = front_slider(facts)
    assert found is not None and len(found.labels) == 6 and len(found.figures) == 3
    shown = [int(re.search(r": (\d+) on the front", label)[1]) for label in found.labels]  # type: ignore[index]
    expected = [len(front(facts.values[: moment.count])) for moment in snapshots(facts, 24)]
    assert shown == expected
    shares = [hypervolume(facts.values[: moment.count], (2.0, 2.0, 2.0)) for moment in snapshots(facts, 24)]
    assert all(before <= after for before, after in pairwise(shares))


def test_each_moment_is_a_layer_and_the_last_one_is_strongest() -> None:
    found = front_slider(bred(96))
    assert found is not None
    layers = [each for each in ElementTree.fromstring(found.figures[0].svg) if each.tag == "g"]
    assert [each.attrib["data-frame"] for each in layers] == [str(place) for place in range(6)]
    assert [each.attrib["class"] for each in layers] == [*["frame"] * 5, "frame now"]


def test_one_moment_and_one_objective_have_no_evolution() -> None:
    assert front_slider(bred(16)) is None
    facts = bred(96)
    assert front_slider(replace(facts, names=("error",), values=facts.values[:, :1])) is None


def test_a_long_search_stays_a_small_drawing() -> None:
    found = front_slider(searched(20_000))
    assert found is not None and len(found.labels) == 24
    assert sum(len(figure.svg) for figure in found.figures) < 300_000


def test_parallel_axes_say_what_they_span() -> None:
    facts = bred(96)
    figure = parallel(facts, [])
    rows = front(facts.values)
    low, high = np.min(facts.values[rows], axis=0), np.max(facts.values[rows], axis=0)
    assert figure is not None and f"latency (ms) {low[1]:.4g} to {high[1]:.4g}" in figure.caption


def test_a_strip_takes_no_choice_where_nothing_is_expressed() -> None:
    space = Space("depths", (Axis("d1", (1, 2)), Axis("k2", (3, 5), "d1>=2")))
    one, two = gene_grids([("one", "depths:d=1/k=3"), ("two", "depths:d=2/k=3")], space)
    assert one.svg.count("mark s0") == 1 and ">-<" in one.svg
    assert two.svg.count("mark s0") == 2 and ">-<" not in two.svg
