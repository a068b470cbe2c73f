"""Files of a search with NSGANetV2: what is read is what is written, and failures are left out."""

import json
from typing import Any

import numpy as np
import pytest

from evonas.errors import DataError, UserError
from evonas.supernets.base import PublishedNetwork, PublishedSearch
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.formats import write_subnet
from evonas.supernets.ofa_mbv3.space import ofa_space

SPACE = ofa_space()
FAMILY = OFAMobileNetV3(SPACE)
SMALLEST = {"ks": [3] * 10, "e": [3] * 10, "d": [2] * 5, "r": 192}
LARGEST = {"ks": [7] * 20, "e": [6] * 20, "d": [4] * 5, "r": 256}


def test_an_archive_is_read_in_our_units() -> None:
    found = FAMILY.read_search(
        {
            "archive": [[SMALLEST, 30.5, 89.84], [SMALLEST, 100, 1000], [LARGEST, 20, 737.95]],
            "candidates": [],
            "second_objective": "flops",
        }
    )
    assert found.names == ("error", "macs")
    assert found.values == ((0.305, pytest.approx(0.08984)), (0.2, pytest.approx(0.73795)))
    assert [SPACE.decode(SPACE.parse(each.genotype))["r1"] for each in found.networks] == [192, 256]


@pytest.mark.parametrize(
    ("stats", "name", "value"),
    [
        ({"params": 3.41, "flops": 89.84, "cpu": 5.89}, "macs", 0.089841),
        ({"params": 89.84, "flops": 3.41, "cpu": None}, "params", 89.841),
        ({"params": 3.41, "flops": 1.0, "cpu": 89.84}, "latency", 89.841),
        ({"params": 1, "flops": 2, "cpu": 3}, "second", 89.841),
    ],
)
def test_the_second_objective_is_known_from_results_of_networks(
    stats: dict[str, Any], name: str, value: float
) -> None:
    others = [(SMALLEST, stats), (LARGEST, {"params": 0, "flops": 0})]
    found = FAMILY.read_search({"archive": [[SMALLEST, 30, 89.841]]}, others)
    assert found.names == ("error", name)
    assert found.values[0][1] == pytest.approx(value)


def test_networks_without_an_archive_have_all_objectives_that_all_of_them_have() -> None:
    stats = {"params": 3.41, "flops": 89.84, "gpu": None, "loss": 1.0, "top1": 70.5, "top5": 90.0}
    found = FAMILY.read_search(None, [(SMALLEST, {**stats, "cpu": 5.9}), (LARGEST, {**stats, "cpu": None})])
    assert found.names == ("error", "macs", "params")
    assert found.values[0] == pytest.approx((0.295, 0.08984, 3.41))


def test_an_archive_comes_back() -> None:
    rng = np.random.default_rng(0)
    points = [SPACE.sample(rng) for _ in range(20)]
    values = tuple((float(a), float(b), float(c)) for a, b, c in rng.uniform(0.1, 0.9, (20, 3)))
    search = PublishedSearch(
        ("error", "zero_cost", "macs"),
        tuple(PublishedNetwork(SPACE.format(each), {}) for each in points),
        values,
    )
    written = json.loads(json.dumps(FAMILY.write_search(search, last=4, initial=8)))
    config, error, second = written["archive"][3]
    assert config == write_subnet(SPACE, points[3])
    assert (error, second) == (pytest.approx(100 * values[3][0]), pytest.approx(1e3 * values[3][2]))
    assert written["candidates"] == written["archive"][-4:]
    found = FAMILY.read_search(written)
    assert found.names == ("error", "macs") and found.networks == search.networks
    np.testing.assert_allclose(found.values, np.array(values)[:, [0, 2]])
    # the reference point is 1.01 times the worst of the first archive, and the ideal point is zero
    pairs = np.array(values)[:, [0, 2]]
    reference = 1.01 * pairs[:8].max(axis=0)
    grid = (np.stack(np.meshgrid(*[np.arange(400) + 0.5] * 2), -1) / 400 * reference).reshape(-1, 2)
    dominated = (pairs[:, None] <= grid).all(2).any(0).mean()
    assert written["hv"] == pytest.approx(dominated, abs=0.01)


def test_what_their_files_cannot_say_is_not_written() -> None:
    network = PublishedNetwork(SPACE.format(SPACE.smallest()), {})
    assert FAMILY.write_search(PublishedSearch(("error",), (network,), ((0.1,),)), 1, 1) is None
    assert FAMILY.write_search(PublishedSearch(("error", "macs"), (), ()), 0, 1) is None
    dense = OFAMobileNetV3(ofa_space(resolutions=(0.5, 1.0)))
    largest = PublishedNetwork(dense.space.format(dense.space.largest()), {})
    assert dense.write_search(PublishedSearch(("error", "macs"), (largest,), ((0.1, 0.2),)), 1, 1) is None


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ({}, DataError, "has no archive"),
        ({"archive": [[SMALLEST, 1.0]]}, DataError, "Entry 0 of the archive"),
        ({"archive": [[SMALLEST, float("nan"), 1]]}, DataError, "Entry 0 of the archive"),
        ({"archive": [[SMALLEST, 100.5, 1]]}, DataError, "Entry 0 of the archive"),
        ({"archive": [[SMALLEST, -1, 1]]}, DataError, "Entry 0 of the archive"),
        ({"archive": [[SMALLEST, 1, -0.5]]}, DataError, "Entry 0 of the archive"),
        ({"archive": [[{**SMALLEST, "d": [2, 2, 2, 2, 2.5]}, 1, 1]]}, DataError, "2.5 is not a whole number"),
        ({"archive": [["x", 1.0, 2.0]]}, DataError, "Entry 0 of the archive"),
        ({"archive": [[{**SMALLEST, "ks": [3]}, 1.0, 2.0]]}, DataError, "ks has 1 entries for 10 blocks"),
        ({"archive": [[{**SMALLEST, "r": 300}, 1.0, 2.0]]}, UserError, "r1=300 is not in the space"),
    ],
)
def test_damaged_archives_are_refused(content: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        FAMILY.read_search(content)
