"""Axes that other axes express, groups of genes, and layouts that are no networks."""

from typing import Any

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.report.analysis.gene_matrix import GeneMatrix
from evonas.search.surrogates.encoding import GenotypeEncoding
from evonas.space.chain import ChainSpace, chain_space
from evonas.space.declared import declared_space
from evonas.space.space import Axis, Space
from evonas.supernets.evonet.space import evonet_space

MODULES = ["keep", "wide", "half", "both"]
LIMITS = {
    "halvings": {"words": ["half", "both"], "least": 1, "most": 2},
    "doublings": {"words": ["wide", "both"], "least": 1, "most": 2},
}


def family(stages: int = 2, depths: tuple[int, ...] = (1, 2, 3)) -> Space:
    """Resolution, width and depth of stages, kernel and expansion of blocks."""
    blocks = [(stage, block) for stage in range(1, stages + 1) for block in range(1, depths[-1] + 1)]
    made = [Axis("r1", (0.5, 0.75, 1))]
    made += [Axis(f"w{stage}", (16, 24)) for stage in range(1, stages + 1)]
    made += [Axis(f"d{stage}", depths) for stage in range(1, stages + 1)]
    for prefix, choices in (("k", (3, 5, 7)), ("e", (3, 6))):
        made += [
            Axis(f"{prefix}{number}", choices, f"d{stage}>={block}")
            for number, (stage, block) in enumerate(blocks, start=1)
        ]
    words = {"resolution": "r", "width": "w", "depth": "d", "kernel": "k", "expand": "e"}
    return Space("toy", tuple(made), groups=words)


TOY = family()


def chains() -> ChainSpace:
    """Two to four modules."""
    axes = {f"m{place}": MODULES if place < 3 else ["none", *MODULES] for place in range(1, 5)}
    return chain_space("chain", axes, "none", LIMITS)


def test_blocks_beyond_the_depth_mean_nothing() -> None:
    line = "toy:r=0.75/w=16,24/d=2,1/k=3,5,{0},7,{1},{1}/e=3,6,{2},6,{2},{2}"
    plain = TOY.parse(line.format(3, 3, 3))
    assert TOY.parse(line.format(7, 5, 6)) == plain
    assert TOY.format(plain) == line.format(3, 3, 3)
    assert TOY.decode(plain)["r1"] == 0.75
    assert TOY.size() == 3 * (2 * (6 + 36 + 216)) ** 2


def test_the_size_of_many_genes_is_exact_and_fast() -> None:
    large = family(6, (2, 3, 4))
    assert len(large.genes) == 61
    assert large.size() == 3 * (2 * (6**2 + 6**3 + 6**4)) ** 6


@pytest.mark.parametrize(
    ("sign", "meant"), [(">=0.75", [1, 2]), ("<=0.75", [0, 1]), ("==1", [2]), ("!= 0.5", [1, 2])]
)
def test_numbers_are_compared_with_choices(sign: str, meant: list[int]) -> None:
    space = declared_space(
        "cmp", {"k1": {"choices": [3, 5], "expressed_by": f"r1{sign}"}, "r1": [0.5, 0.75, 1]}
    )
    assert [r for r in range(3) if space.from_vector([1, r]).genes[0]] == meant
    assert space.size() == len(list(space.points())) == 3 + len(meant)


def test_words_decide_and_chains_are_followed() -> None:
    space = declared_space(
        "mixer",
        {
            "n1": {"choices": [1, 2, 3], "expressed_by": "s1>=16"},
            "s1": {"choices": [16, 32], "expressed_by": "op1==ssd"},
            "op1": ["conv", "ssd"],
        },
    )
    assert space.from_vector([2, 1, 0]).genes == (0, 0, 0)
    assert space.from_vector([2, 0, 1]).genes == (2, 0, 1)
    assert space.size() == len(list(space.points())) == 1 + 2 * 3


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("d1>=9", ["d1>=9", "never holds", "1, 2, 3"]),
        ("d1>=two", ["'two' is not a number", "d2>=3"]),
        ("d1", ["names no bit and no choice", "d2>=3"]),
        ("d9>=1", ["names no bit"]),
        ("b1>=1", ["names no bit"]),
        ("b1.4", ["names no bit"]),
        ("op1>=conv", ["holds words", "== or !="]),
        ("op1==pool", ["holds words", "conv, skip"]),
        ("k1==3", ["expressed by itself", "k1 <- k1"]),
        ("k2==3", ["expressed by itself", "k1 <- k2 <- k1"]),
    ],
)
def test_conditions_with_mistakes_are_refused(condition: str, words: list[str]) -> None:
    axes = {
        "k1": {"choices": [3, 5], "expressed_by": condition},
        "k2": {"choices": [3, 5], "expressed_by": "k1==3"},
        "d1": [1, 2, 3],
        "op1": ["conv", "skip"],
    }
    with pytest.raises(UserError) as caught:
        declared_space("bad", axes, {"b1": 3})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("by_group", "by_name"),
    [
        ({"kernel": [7], "depth": "max"}, {"k": [7], "d": [3]}),
        ({"kernel": "min", "k2": [5]}, {"k": [3], "k2": [5]}),
        ({"kernel": [3], "k": [5], "expand": "free"}, {"k": [5]}),
        ({"resolution": [0.5, 1]}, {"r1": [0.5, 1.0]}),
    ],
)
def test_groups_open_what_their_names_open(by_group: dict[str, Any], by_name: dict[str, Any]) -> None:
    assert TOY.narrowed(by_group) == TOY.narrowed(by_name)
    drawn = [TOY.sample(np.random.default_rng(1), opened) for opened in (by_group, by_name)]
    assert drawn[0] == drawn[1]
    assert TOY.smallest(by_group) == TOY.smallest(by_name)


def test_evonet_opens_by_group_as_by_prefix() -> None:
    space = evonet_space()
    words = {"state": [64], "mlp": "max", "expand": [2, 4], "depth": "max"}
    letters = {"s": [64], "m": [4.0], "e": [2, 4], "d": "all"}
    assert space.narrowed(words) == space.narrowed(letters)
    smallest = space.decode(space.smallest({"depth": "min", "d3": "max"}))
    assert smallest["d3"] == (True,) * 8 and smallest["d2"] == (True, False, False, False)
    rng = np.random.default_rng(0)
    assert {space.decode(space.sample(rng, {"d": "min"}))["d3"] for _ in range(9)} == {(True,) + (False,) * 7}
    assert [word for word, _ in space.groups] == ["state", "mlp", "expand", "depth"]
    assert space == evonet_space() and hash(space) == hash(evonet_space())
    assert dict(evonet_space(depths=(4,)).groups) == {"mlp": ("m1",), "depth": ("d1",)}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"kernel": ["z"]}, ["'z'", "unknown gene", "k, d"]),
        ({"kernel": []}, ["no genes"]),
        ({"Kernel": ["k"]}, ["cannot name a group"]),
        ({"k": ["k1"]}, ["k also means k1, k2"]),
        ({"one": ["k1"], "two": ["k"]}, ["k1 is in the groups one and two"]),
    ],
)
def test_groups_with_mistakes_are_refused(groups: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        declared_space("bad", {"k1": [3, 5], "k2": [3, 5]}, {"d1": 2}, groups)
    for word in words:
        assert word in str(caught.value)


def test_unknown_keys_and_values_of_openings_say_what_to_type() -> None:
    with pytest.raises(UserError, match=r"(?s)'kernels', which is neither a gene nor a group.*kernel"):
        TOY.narrowed({"kernels": [3]})
    with pytest.raises(UserError, match=r'(?s)k1 to \'most\'.*"max", "min" or "free"'):
        TOY.narrowed({"kernel": "most"})


def test_what_is_not_expressed_looks_alike_to_models_and_reports() -> None:
    lines = [f"toy:r=1/w=16,16/d={d},1/k=3,{k},3,3,3,3/e=3,3,3,3,3,3" for d, k in ((1, 7), (1, 3), (2, 3))]
    absent, same, small = map(TOY.parse, lines)
    rows = GenotypeEncoding(TOY)([absent, same, small])
    assert np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[0], rows[2])
    genome = GeneMatrix.of(TOY, [TOY.format(absent), lines[2].replace("k=3,3", "k=3,5")])
    assert genome is not None and genome.differences(1, 0) == ["d1 1 to 2"]


def test_depth_is_what_decides_which_blocks_run() -> None:
    assert [gene.name for gene, is_depth in zip(TOY.genes, TOY.is_depth, strict=True) if is_depth] == [
        "d1",
        "d2",
    ]
    bare = Space("bare", TOY.genes)
    assert bare.is_depth == TOY.is_depth
    assert evonet_space().is_depth == evonet_space().is_bit


def test_chains_are_networks_everywhere() -> None:
    space, rng = chains(), np.random.default_rng(0)
    points = set(space.points())
    assert len(points) == space.size() < 16 * 25
    met = {space.sample(rng) for _ in range(300)} | {space.smallest(), space.largest()}
    for _ in range(100):
        met.add(space.repair([int(rng.integers(count)) for count in space.cardinalities], rng))
    for point in list(met)[:20]:
        met.update(space.neighbours(point))
    assert met <= points
    assert space.format(space.smallest()) == "chain:m=keep,both,none,none"
    assert space.parse("chain:m=keep,both,none,wide") == space.parse("chain:m=keep,both,wide,none")


def test_repair_follows_from_its_generator() -> None:
    space, layout = chains(), [3, 3, 4, 4]
    found = [space.repair(layout, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
    assert found[0] == found[1] and len(set(found)) > 1


def test_chains_that_break_a_limit_name_it() -> None:
    with pytest.raises(UserError, match=r"(?s)both, both, half.*3 halvings.*1 to 2 halvings \(half, both\)"):
        chains().parse("chain:m=both,both,half,none")
    with pytest.raises(UserError, match="contains no network"):
        chains().sample(np.random.default_rng(0), {"m": ["keep"]})


def test_openings_of_chains_hold_only_open_networks() -> None:
    space, rng = chains(), np.random.default_rng(0)
    opened = {"m1": ["both"], "m2": ["keep", "both"], "m3": ["none"], "m4": ["none"]}
    assert {space.format(space.sample(rng, opened)) for _ in range(40)} == {
        "chain:m=both,keep,none,none",
        "chain:m=both,both,none,none",
    }
    assert space.format(space.largest(opened)) == "chain:m=both,both,none,none"


@pytest.mark.parametrize(
    ("axes", "limits", "words"),
    [
        ({"m1": ["none", *MODULES], "m2": MODULES}, LIMITS, "must have equal modules"),
        ({"m1": MODULES, "m2": MODULES[1:]}, LIMITS, "must have equal modules"),
        ({"m1": MODULES}, {"halvings": {"words": ["halve"], "least": 1, "most": 2}}, "The limit halvings"),
        ({"m1": MODULES}, {"halvings": {"words": ["half"], "most": 2}}, "The limit halvings"),
        ({"m1": MODULES}, {"halvings": {"words": ["half"], "least": 2, "most": 2}}, "satisfies its limits"),
    ],
)
def test_chains_with_mistakes_are_refused(axes: Any, limits: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        chain_space("bad", axes, "none", limits)
