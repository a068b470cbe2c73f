"""The published encoding of MobileNetV3, word by word."""

from functools import partial
from itertools import product

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Observation
from evonas.search.diffusion.ednag import EDNAG, SizeRanking, select_survivors
from evonas.search.diffusion.evolution import DiffusionEvolution
from evonas.search.diffusion.fitness import AccuracyFitness, LossFitness
from evonas.search.diffusion.layers import LayerMatrix
from evonas.space.chain import chain_space
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.mbconv.space import mbconv_space
from evonas.supernets.ofa_mbv3.space import architecture, ofa_space

MOBILENET = ofa_space(resolutions=(224,))
WORDS = ["input", "output", *(f"{k}-{e}" for k in (3, 5, 7) for e in (3, 4, 6)), "none"]


def matrix(words: list[str]) -> np.ndarray:
    """(1, 264) the one-hot matrix of 22 words."""
    rows = np.zeros((len(words), len(WORDS)))
    rows[np.arange(len(words)), [WORDS.index(word) for word in words]] = 1
    return rows.reshape(1, -1)


def stages(*layers: str) -> list[str]:
    """The words of input, five equal stages and output."""
    return ["input", *layers * 5, "output"]


def test_a_matrix_has_22_rows_of_12_words() -> None:
    assert LayerMatrix(MOBILENET).width == 22 * 12
    assert MOBILENET.size() == 7371**5


def test_words_are_kernels_and_expansions_of_the_layers_that_run() -> None:
    words = ["input"]
    words += ["3-3", "5-4", "7-6", "none", "3-6", "3-6", "none", "none", "7-3", "5-6", "3-4", "5-3"]
    words += [*["5-4", "5-4", "none", "none"] * 2, "output"]
    [point] = LayerMatrix(MOBILENET).decode(matrix(words))
    assert point is not None
    found = [
        [f"{block.kernel}-{block.expand:g}" for block in stage]
        for stage in architecture(MOBILENET, point).stages
    ]
    assert found == [
        ["3-3", "5-4", "7-6"],
        ["3-6"] * 2,
        ["7-3", "5-6", "3-4", "5-3"],
        ["5-4"] * 2,
        ["5-4"] * 2,
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["none", *stages("3-3", "3-3", "none", "none")[1:]],
        [*stages("3-3", "3-3", "none", "none")[:-1], "input"],
        stages("3-3", "3-3", "output", "none"),
        stages("3-3", "3-3", "input", "3-3"),
        # fewer than two layers
        stages("3-3", "none", "none", "none"),
        # a layer behind one that does not run
        stages("3-3", "none", "3-3", "none"),
        stages("3-3", "3-3", "none", "3-3"),
    ],
)
def test_other_matrices_are_no_networks(words: list[str]) -> None:
    assert LayerMatrix(MOBILENET).decode(matrix(words)) == [None]
    assert LayerMatrix(MOBILENET).decode(matrix(stages("3-3", "3-3", "none", "none"))) != [None]


def test_every_network_of_a_small_space_is_one_matrix() -> None:
    space = declared_space(
        "small",
        {
            "d1": [1, 2, 3],
            "k1": [3, 5],
            "k2": {"choices": [3, 5], "expressed_by": "d1>=2"},
            "k3": {"choices": [3, 5], "expressed_by": "d1>=3"},
        },
        groups={"depth": "d"},
    )
    encoding = LayerMatrix(space)
    every = np.array([np.eye(5)[list(words)].reshape(-1) for words in product(range(5), repeat=5)])
    found = [point for point in encoding.decode(every) if point is not None]
    assert len(found) == len(set(found)) == space.size() == 2 + 4 + 8
    assert encoding.decode(encoding.encode(found)) == found


def test_points_survive_noise_and_are_imposed_on_it() -> None:
    rng, encoding = np.random.default_rng(0), LayerMatrix(MOBILENET)
    points = [MOBILENET.smallest(), MOBILENET.largest(), *(MOBILENET.sample(rng) for _ in range(30))]
    rows = encoding.encode(points)
    assert encoding.decode(encoding.normalise(rows + 0.9 * rng.random(rows.shape))) == points
    noise = rng.standard_normal(rows.shape)
    imposed = encoding.imposed(noise, points)
    assert encoding.decode(imposed) == points
    assert np.allclose(np.sort(imposed.reshape(-1, 12)), np.sort(noise.reshape(-1, 12)))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (ofa_space(), "no place for r1 of space ofa_mbv3"),
        (mbconv_space(), "no place for r1, w1, w2, w3, w4"),
        (evonet_space(), "has no depths d1, d2"),
        (
            declared_space("odd", {"d1": [1, 2], "k1": [3, 5], "k2": [3, 7]}, groups={"depth": "d"}),
            "different choices",
        ),
        (
            declared_space("all", {"d1": [1, 2], "k1": [3, 5], "k2": [3, 5]}, groups={"depth": "d"}),
            "other layers than",
        ),
    ],
    ids=lambda each: each.name if isinstance(each, Space) else "",
)
def test_spaces_without_a_matrix_are_refused(space: Space, said: str) -> None:
    with pytest.raises(UserError, match=said):
        LayerMatrix(space)


def error(point: Genotype) -> tuple[float]:
    """Small for middle choices."""
    return (float(np.mean(np.abs(np.array(point.genes[:-1]) - 1))) / 2,)


def asked(searcher: EDNAG | DiffusionEvolution, batches: int) -> list[list[Genotype]]:
    found = []
    while len(found) < batches and (points := searcher.ask()):
        searcher.tell([Observation(point, error(point)) for point in points])
        found.append(points)
    return found


def test_half_of_the_start_is_made_valid_and_what_is_none_is_never_measured() -> None:
    made = partial(EDNAG, MOBILENET, 0, 40, 400, AccuracyFitness(unit=100.0), steps=10, encoding=LayerMatrix)
    batches = asked(made(init_valid=0.5, restarts=False), 20)
    # one matrix of noise in 25 000 is a network
    assert len(batches[0]) == 20
    assert len(batches) > 3
    assert all(MOBILENET.contains(point) for batch in batches for point in batch)
    with pytest.raises(UserError, match=r"init_valid must be in \[0, 1\], got 1\.5"):
        made(init_valid=1.5)


def test_a_start_without_networks_ends_in_random_points() -> None:
    batches = asked(
        EDNAG(MOBILENET, 0, 5, 10, AccuracyFitness(unit=100.0), steps=3, encoding=LayerMatrix), 20
    )
    assert sum(map(len, batches)) == 10


def test_what_is_no_network_has_fitness_0_and_stays_in_the_population() -> None:
    searcher = EDNAG(
        MOBILENET,
        0,
        10,
        100,
        AccuracyFitness(unit=100.0),
        encoding=LayerMatrix,
        init_valid=0.5,
        restarts=False,
    )
    assert len(asked(searcher, 1)[0]) == 5
    fitness, is_known = searcher._fitness_of(searcher._individuals)
    assert (fitness[:5] == 0).all() and (fitness[5:] > 0).all() and is_known.all()


def test_survivors_with_most_none_follow_the_diverse() -> None:
    rng, encoding = np.random.default_rng(0), LayerMatrix(MOBILENET)
    points = [MOBILENET.sample(rng) for _ in range(40)]
    sizes = SizeRanking(MOBILENET, None)([*points, None])
    layers = [sum(map(len, architecture(MOBILENET, point).stages)) for point in points]
    assert np.array_equal(np.argsort(sizes[:-1], kind="stable"), np.argsort(layers, kind="stable"))
    assert sizes[-1] == np.inf
    rows = np.vstack([encoding.encode(points), rng.standard_normal((1, encoding.width))])
    fitness = np.array([*(100 - 100 * error(point)[0] for point in points), 0.0])
    kept = select_survivors(rows, fitness, 20, 0.1, 0.2, rng, sizes, 0.3)
    assert len(set(kept)) == 20
    few = sorted((at for at in range(40) if at not in kept[:6]), key=lambda at: (sizes[at], -fitness[at]))
    assert kept[6:12] == few[:6]


def test_without_the_share_survivors_are_those_of_before() -> None:
    rows, fitness = np.random.default_rng(1).standard_normal((20, 4)), np.linspace(1.0, 5.0, 20)
    sizes = np.arange(20.0)
    before = select_survivors(rows, fitness, 10, 0.2, 0.1, np.random.default_rng(2))
    assert before == select_survivors(rows, fitness, 10, 0.2, 0.1, np.random.default_rng(2), sizes, 0.0)


def test_modules_that_are_absent_and_given_sizes_count() -> None:
    modules = {f"m{at}": ["none", "keep", "half"] if at > 1 else ["keep", "half"] for at in (1, 2, 3)}
    chains = chain_space("c", modules, "none", {"halvings": {"words": ["half"], "least": 0, "most": 3}})
    points = [chains.from_vector(row) for row in ([0, 0, 0], [1, 1, 0], [0, 2, 1])]
    assert SizeRanking(chains, None)(points).tolist() == [1, 2, 3]
    edges = declared_space("edges", {"e1": ["none", "skip"], "e2": ["none", "skip"]})
    with pytest.raises(UserError, match="as many layers as any other"):
        EDNAG(edges, 0, 4, 4, AccuracyFitness(), lower_params=0.3)
    sizes = SizeRanking(edges, lambda space, point: float(sum(point.genes)) + len(space.axes))
    assert sizes([edges.largest(), edges.smallest()]).tolist() == [4.0, 2.0]


def test_shares_have_a_sum_of_at_most_1() -> None:
    with pytest.raises(UserError, match=r"0\.6, 0\.2 and 0\.3"):
        EDNAG(MOBILENET, 0, 10, 50, AccuracyFitness(), elite=0.6, diverse=0.2, lower_params=0.3)
    EDNAG(MOBILENET, 0, 10, 50, AccuracyFitness(), elite=0.6, diverse=0.1, lower_params=0.3)


def test_losses_of_room_layouts_are_mapped_as_published() -> None:
    # 50 + 2814 / 60 = 96.9 percent, and 50 + 2814 / 70 = 90.2
    found = LossFitness()(np.array([[0.6], [0.7], [0.0]]))
    assert found.tolist() == pytest.approx([503 + 50 * 1.9, 303 + 40 * 0.2, 0.0])
    cells = LossFitness(gain=2969.0)(np.array([[0.59]]))
    assert cells[0] == pytest.approx(503 + 50 * (50 + 2969 / 59 - 95))
    with pytest.raises(UserError, match=r"search\.fitness\.gain must be positive"):
        LossFitness(gain=0.0)
