"""FasterSeg's matrices: the published decoding with its rules, and matrices that decode to a network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from evonas.errors import DataError, UserError
from evonas.supernets.fasterseg.matrices import decode, encode
from evonas.supernets.fasterseg.published import PUBLISHED, PUBLISHED_OPERATORS
from evonas.supernets.fasterseg.space import Architecture, Cell, fasterseg_space, fewest_cells, genotype_of

SPACE = fasterseg_space()


def _random(seed: int, columns: int = 5, number: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        **{f"alpha_{number}_{scale}": rng.normal(size=(16 - scale, 5)) for scale in range(3)},
        **{f"beta_{number}_{scale}": rng.normal(size=(15 - scale, 2)) for scale in (1, 2)},
        **{f"ratio_{number}_{scale}": rng.normal(size=(16 - max(1, scale), columns)) for scale in range(3)},
    }


def _flat(number: int = 1) -> dict[str, np.ndarray]:
    """Convolutions everywhere; halvings at layers 6 and 11, and at 6."""
    found = {name: np.zeros_like(each) for name, each in _random(0, 1, number).items()}
    for scale in range(3):
        found[f"alpha_{number}_{scale}"][:, 1] = 1
    found[f"beta_{number}_1"][5, 0] = 1
    found[f"beta_{number}_1"][6, 0] = 2
    found[f"beta_{number}_2"][9, 0] = 1
    # the pair with the greatest product has its first halving behind row 6
    return found


def _layers(cells: Sequence[Cell]) -> list[int]:
    return [cell.layer for cell in cells]


def _numbers(cells: Sequence[Cell]) -> list[int]:
    return [PUBLISHED_OPERATORS.index(cell.operator) for cell in cells]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_come_back(name: str) -> None:
    of = PUBLISHED[name].architecture
    is_teacher = name == "fasterseg_teacher"
    found = decode(encode(of, is_teacher))
    assert found.architecture == of and found.is_teacher == is_teacher and found.targets == (2, 1)
    assert encode(of, is_teacher)[f"ratio_{int(not is_teacher)}_0"].shape == (15, 1 if is_teacher else 5)


def test_paths_are_read_with_the_published_offset() -> None:
    found = decode(_flat())
    downs = [[cell.layer for cell in branch if cell.is_down] for branch in found.branches]
    # row 6 is layer 6 of the branch to stride 16, and layer 7 of the one to stride 32
    assert downs == [[], [6], [7, 11]]


def test_every_softmax_of_the_betas_counts_for_the_pair() -> None:
    values = _flat()
    rng = np.random.default_rng(0)
    for name in ("beta_1_1", "beta_1_2"):
        values[name] = 4 * rng.normal(size=values[name].shape)
    betas = [np.float32(values[name]) for name in ("beta_1_1", "beta_1_2")]
    found = []
    for _ in range(3):
        betas = [np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in betas]
        pairs = [(one, two) for two in range(12) for one in range(1, two - 1)]
        one, two = max(pairs, key=lambda pair: betas[0][pair[0], 0] * betas[1][pair[1], 0])
        found.append([one + 1, two + 2])
    assert [cell.layer for cell in decode(values).branches[2] if cell.is_down] == found[2]


def test_widths() -> None:
    values = _flat()
    assert {cell.width for branch in decode(values).branches for cell in branch} == {4, None}
    assert {cell.width for branch in decode(_flat(0)).branches for cell in branch} == {12, None}
    for scale in range(3):
        values[f"ratio_1_{scale}"] = np.zeros((16 - max(1, scale), 5))
        values[f"ratio_1_{scale}"][:, scale + 1] = 1
    for branch in decode(values).branches:
        # a row is what a layer reads at its scale
        assert all(cell.width == 6 + 2 * cell.next_scale for cell in branch[:-1])
    values["ratio_1_0"][2, 4] = 2
    assert [cell.width for cell in decode(values).branches[0]][:4] == [6, 6, 12, 6]


def test_skips_are_left_out_with_their_widths() -> None:
    values = _flat()
    for layer in (1, 3, 15):
        values["alpha_1_0"][layer, 0] = 2
    values["ratio_1_0"] = np.zeros((15, 5))
    values["ratio_1_0"][:, 0] = 1
    values["ratio_1_0"][[1, 3], 4] = 2
    values["ratio_1_0"][14, 2] = 2
    finest = decode(values).branches[0]
    assert _layers(finest) == [0, 2, *range(4, 15)]
    # the widths of layers 1 and 3 go with them, and no cell has that of the new last layer
    assert [cell.width for cell in finest] == [4] * 12 + [None]


def test_a_halving_layer_takes_the_second_best_operator() -> None:
    values = _flat()
    values["alpha_1_0"][6] = [3, 0, 1, 2, 0]
    to_16 = decode(values).branches[1]
    assert _layers(to_16) == list(range(16)) and to_16[6].operator == "conv2" and to_16[6].is_down
    assert 6 not in _layers(decode(values).branches[0])


def test_behind_a_halving_the_least_likely_skip_is_kept_and_later_branches_see_it() -> None:
    values = _flat()
    # everything between layers 7 and 11 at stride 16 is a skip: layer 9 least of all
    for layer, score in ((8, 3.0), (9, 2.0), (10, 4.0)):
        values["alpha_1_1"][layer - 1, 0] = score
    found = decode(values)
    # the branch to stride 16 passes these layers first, when nothing is protected
    assert _layers(found.branches[1]) == [*range(8), *range(11, 16)]
    assert _layers(found.branches[2]) == [*range(8), 9, *range(11, 16)]
    # equal scores: the last one
    for layer in (8, 9, 10):
        values["alpha_1_1"][layer - 1, 0] = 3
    assert _layers(decode(values).branches[2]) == [*range(8), 10, *range(11, 16)]
    # what is protected for the branch to stride 16 is protected for the other one, whose stretch is shorter
    for layer in range(7, 16):
        values["alpha_1_1"][layer - 1, 0] = 3
    values["alpha_1_1"][8, 0] = 2
    found = decode(values)
    assert _layers(found.branches[1]) == [*range(7), 9]
    assert 9 in _layers(found.branches[2])


def test_no_more_skips_than_are_allowed_are_left_out() -> None:
    values = _flat()
    values["alpha_1_0"][:, 0] = np.arange(2, 18)
    finest = decode(values).branches[0]
    # eleven of sixteen are left out, those of which the matrix is surest; the others take their second-best operator
    assert _layers(finest) == [0, 1, 2, 3, 4] and _numbers(finest) == [1] * 5
    for seed in range(40):
        for target, branch in enumerate(decode(_random(seed)).branches):
            assert len(branch) >= fewest_cells(target, 16)
            assert all(cell.operator != "skip" for cell in branch)


def test_a_teacher_leaves_nothing_out() -> None:
    found = decode(_random(3, 1, 0))
    assert found.is_teacher and [len(branch) for branch in found.branches] == [16] * 3


def test_quality_and_latency_choose_the_branches() -> None:
    numbers = {"mIoU02": 0.6, "mIoU12": 0.61, "latency02": 6.26, "latency12": 6.41}
    assert decode({**_flat(), **numbers}).targets == (2, 1)
    assert decode({**_flat(), **numbers, "mIoU02": 0.61}).targets == (2, 0)
    assert decode(_flat()).targets == (2, 1)
    with pytest.raises(DataError, match="latency12 is not a number above 0"):
        decode({**_flat(), **numbers, "latency12": 0.0})


def test_random_matrices_come_back_as_they_were() -> None:
    known, points = 0, 0
    for seed in range(60):
        of = decode(_random(seed)).architecture
        try:
            assert decode(encode(of)).architecture == of
            known += 1
        except UserError:
            continue
        try:
            assert SPACE.contains(genotype_of(SPACE, of))
            points += 1
        except UserError:
            # protected skips, and a halving that is shared by chance
            continue
    assert known >= 54 and points >= 50, (known, points)


def test_a_network_that_no_matrices_say() -> None:
    of = PUBLISHED["fasterseg"].architecture
    first, second = of.branches
    odd = tuple(
        Cell(c.layer, c.scale, c.is_down, "conv" if c.layer == 0 else c.operator, c.width) for c in second
    )
    with pytest.raises(UserError, match="matrices cannot say this network"):
        encode(Architecture((2, 1), (first, odd)))
    with pytest.raises(UserError, match="not one of space fasterseg"):
        genotype_of(SPACE, Architecture((2, 1), (first, odd)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alpha_1_1": np.zeros((16, 5))}, r"alpha_1_1 has the shape \(16, 5\), not \(15, 5\)"),
        ({"ratio_1_2": np.zeros((14, 3))}, r"ratio_1_2 has the shape \(14, 3\), not \(14, 5\) or \(14, 1\)"),
        ({"beta_1_2": None}, "beta_1_2 is not a matrix of numbers|beta_1_2 has the shape"),
        ({"beta_1_1": np.full((14, 2), np.nan)}, "beta_1_1 has entries that are not numbers"),
    ],
)
def test_damaged_matrices(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        decode({**_random(0), **change})


def test_missing_matrices() -> None:
    values = _random(0)
    del values["beta_1_1"]
    with pytest.raises(DataError, match="no matrix beta_1_1"):
        decode(values)
    with pytest.raises(DataError, match="no matrices of FasterSeg"):
        decode({"weight": np.zeros(3)})
    with pytest.raises(UserError, match="has the architectures 0, 1"):
        decode({**_random(0), **_random(0, 1, 0)})
    assert decode({**_random(0), **_random(0, 1, 0)}, 0).is_teacher


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pt"])
def test_files_of_networks(evonas_command: Callable[..., Any], tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"arch_1.{ending}"
    values = encode(PUBLISHED["fasterseg"].architecture)
    if ending == "npz":
        np.savez(path, **values)
    elif ending == "safetensors":
        safetensors.torch.save_file({name: torch.tensor(each) for name, each in values.items()}, path)
    else:
        numbers = {
            name: float(each) if each.ndim == 0 else torch.tensor(each) for name, each in values.items()
        }
        torch.save(numbers, path)
    ended = evonas_command("cost", "network=fasterseg", f"genotype={path}", "size=[1024,2048]", "classes=19")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("params 3421875 macs 27770486784 ")
    ended = evonas_command("cost", "network=nano_cnn", f"genotype={path}")
    assert ended.code == 2 and "Networks of space nano_cnn are not read from files" in ended.err
    ended = evonas_command("cost", "network=fasterseg", f"genotype={tmp_path / 'none.pt'}")
    assert ended.code == 2 and "There is no file" in ended.err
