"""NAS-Bench-201's networks as a family: the benchmark's own numbers, and what the networks compute."""

import json

import numpy as np
import pytest
import torch

from evonas.errors import DataError, UserError
from evonas.nn.cells.nb201 import NB201Net
from evonas.space.declared import declared_space
from evonas.space.edges import EdgeCell, edge_cell
from evonas.supernets import families
from evonas.supernets.base import classifier_cost, cost
from evonas.supernets.nb201_cell.cost import EDGES, WORDS
from evonas.supernets.nb201_cell.family import NB201


def space(words: tuple[str, ...] = WORDS) -> EdgeCell:
    edges = {f"e{at}": list(pair) for at, pair in enumerate(EDGES, start=1)}
    return edge_cell("nb201", {key: list(words) for key in edges}, edges, words[0], words[0])


FAMILY = NB201(space())


def whole(words: list[str], classes: int = 10, side: int = 32) -> tuple[int, int]:
    """Parameters and multiply-adds with the classifier."""
    genotype = FAMILY.space.encode(dict(zip((f"e{at}" for at in range(1, 7)), words, strict=True)))
    found = cost(FAMILY, genotype, (side, side)) + classifier_cost(FAMILY, genotype, (side, side), classes)
    return found.params, found.macs


def test_parameters_are_those_of_the_benchmark() -> None:
    # the ends of the tables: 0.073306 and 1.531546 M with 10 classes
    assert whole(["none"] * 6)[0] == whole(["avg_pool_3x3", "skip_connect"] * 3)[0] == 73_306
    assert whole(["nor_conv_3x3"] * 6)[0] == 1_531_546
    assert whole(["nor_conv_3x3"] * 6, 100)[0] == 1_531_546 + 90 * 65


def test_costs_have_a_closed_form() -> None:
    # per stage of width C: stem, 5 cells of 3x3 and 1x1 edges, reductions
    rng = np.random.default_rng(0)
    for _ in range(20):
        words = [WORDS[at] for at in rng.integers(len(WORDS), size=6)]
        taps = sum({"nor_conv_1x1": 1, "nor_conv_3x3": 9}.get(word, 0) for word in words)
        edges = sum(word.startswith("nor_conv") for word in words)
        params, macs = 27 * 16 + 2 * 16 + 2 * 64 + 65 * 10, 27 * 16 * 32**2 + 64 * 10
        for width, side in ((16, 32), (32, 16), (64, 8)):
            params += 5 * (taps * width**2 + edges * 2 * width)
            macs += 5 * taps * width**2 * side**2
            if width > 16:
                weights = 9 * width * width // 2 + 9 * width**2 + width * width // 2
                params, macs = params + weights + 4 * width, macs + weights * side**2
        assert whole(words) == (params, macs)


def test_other_sizes_are_those_of_the_arguments() -> None:
    small = NB201(space(), channels=8, cells=1)
    assert [level.channels for level in small.levels] == [8, 16, 32]
    assert [level.stride for level in small.levels] == [1, 2, 4]
    largest = small.space.encode({f"e{at}": "nor_conv_3x3" for at in range(1, 7)})
    edges = sum(6 * (9 * width**2 + 2 * width) for width in (8, 16, 32))
    halving = sum(9 * w * w // 2 + 9 * w * w + w * w // 2 + 4 * w for w in (16, 32))
    assert cost(small, largest, (32, 32)).params == 27 * 8 + 16 + edges + halving + 64


def test_it_computes_what_the_benchmarks_network_computes() -> None:
    """The benchmark's network by its own definition, with the same weights in another naming."""
    words = ("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "avg_pool_3x3", "none")
    genotype = FAMILY.space.encode(dict(zip((f"e{at}" for at in range(1, 7)), words, strict=True)))
    net = NB201Net(words, seed=0).eval()
    backbone = FAMILY.build(genotype, None).eval()
    theirs = [tensor for name, tensor in net.state_dict().items() if not name.startswith("classify.")]
    assert sum(each.numel() for each in theirs) == sum(
        each.numel() for each in backbone.state_dict().values()
    )
    own = {}
    for name, tensor in net.state_dict().items():
        kind, _, rest = name.partition(".")
        if kind == "stem":
            own[name] = tensor
        elif kind == "last":
            own["last." + rest.partition(".")[2]] = tensor
        elif kind == "blocks":
            number, inner = int(rest.partition(".")[0]), rest.partition(".")[2]
            stage, cell = divmod(number, 6)
            if cell == 5:
                own[f"reductions.{stage}.{inner}"] = tensor
            else:
                edge, layer = inner.removeprefix("edges.").split(".", 1)
                own[f"stages.{stage}.{cell}.edges.{edge}.{words[int(edge)]}.{layer}"] = tensor
    backbone.load_state_dict(own)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[-1], net.maps(images))


def test_a_cell_of_nothing_has_the_same_answer_for_every_image() -> None:
    backbone = NB201(space(), 4, 1).build(space().smallest(), 0).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 17, 9))
    assert [tuple(each.shape) for each in maps] == [(2, 4, 17, 9), (2, 8, 9, 5), (2, 16, 5, 3)]
    assert (maps[0] == 0).all() and torch.equal(maps[-1][0], maps[-1][1])


def test_spaces_may_leave_operations_out() -> None:
    family = NB201(space(("skip_connect", "nor_conv_3x3")), 4, 1)
    names = {name.split(".")[5] for name in family.build(None, 0).state_dict() if name.startswith("stages.")}
    assert names == {"nor_conv_3x3"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"space": declared_space("other", {f"e{at}": list(WORDS) for at in range(1, 7)})},
            "Space other is not one",
        ),
        ({"space": space(("none", "conv_7x7"))}, "Space nb201 is not one"),
        ({"channels": 0}, "network.channels must be an integer from 1, got 0"),
        ({"cells": 2.5}, "network.cells must be an integer from 1, got 2.5"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        NB201(**{"space": space(), **given})


def test_damaged_descriptions_are_refused() -> None:
    description = json.loads(json.dumps(FAMILY.describe(space().smallest())))
    description["architecture"]["words"][0] = "conv_7x7"
    with pytest.raises(DataError, match="damaged"):
        families.restore(description)
