"""Every proxy against numbers worked out by hand on networks small enough for that."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.cells.nb201 import NB201Net
from evonas.nn.cells.transnas import TransNASNet
from evonas.nn.heads import DenseHead
from evonas.ops import backend
from evonas.proxies.blocks import az_nas, blocks_of
from evonas.proxies.catalogue import PROXIES, Proxy, proxy
from evonas.proxies.codes import nwot, regularised, swap
from evonas.proxies.features import meco, zen
from evonas.proxies.inputs import image_shape, random_images
from evonas.proxies.jacobian import epe, epe_of_classes, jacov
from evonas.proxies.magnitudes import (
    below,
    fisher,
    flops,
    grad_norm,
    grasp,
    l2_norm,
    params,
    plain,
    saswot_minus,
    snip,
    zico,
)
from evonas.proxies.probe import Probe
from evonas.proxies.scorer import Scorer
from evonas.proxies.synflow import synflow
from evonas.randomness import derive
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet, extract

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = 1e-5


def linear(*rows: Sequence[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight = nn.Parameter(torch.tensor(rows))
    return layer


def two_layers() -> nn.Sequential:
    """y = (1, -2) ReLU(((1, 2), (3, -1)) x)."""
    return nn.Sequential(linear([1.0, 2.0], [3.0, -1.0]), nn.ReLU(), linear([1.0, -2.0]))


def summed(output: Tensor) -> Tensor:
    return output.sum()


def probe() -> Probe:
    """At x = (1, 1), with the output as loss: activations (3, 2), gradients ((1, 1), (-2, -2)) and (3, 2)."""
    return Probe(two_layers(), torch.ones(1, 2), loss=summed)


def test_counts() -> None:
    assert (params(probe()), flops(probe())) == (6, 6)


def test_sums_over_weights_and_gradients() -> None:
    assert grad_norm(probe()) == pytest.approx(math.sqrt(10) + math.sqrt(13))
    assert l2_norm(probe()) == pytest.approx(math.sqrt(15) + math.sqrt(5))
    assert plain(probe()) == pytest.approx((1 + 2 - 6 + 2) + (3 - 4))
    assert snip(probe()) == pytest.approx((1 + 2 + 6 + 2) + (3 + 4))


def test_grasp_by_hand() -> None:
    # Hg is ((3, 3), (2, 2)) for the first layer and (2, -4) for the second
    assert grasp(probe()) == pytest.approx(-(3 + 6 + 6 - 2) - (2 + 8))


def test_grasp_is_minus_what_the_hessian_says() -> None:
    def loss(output: Tensor) -> Tensor:
        return (output**2).sum()

    def value(weight: Tensor) -> Tensor:
        return loss(weight @ torch.tensor([0.5, 2.0]))

    net, weight = nn.Sequential(linear([1.0, -1.0], [0.3, 2.0])), torch.tensor([[1.0, -1.0], [0.3, 2.0]])
    gradient = torch.func.grad(value)(weight)
    product = torch.func.jvp(torch.func.grad(value), (weight,), (gradient,))[1]
    found = grasp(Probe(net, torch.tensor([[0.5, 2.0]]), loss=loss))
    assert found == pytest.approx(-(weight * product).sum().item(), rel=1e-5)


def test_fisher_by_hand() -> None:
    # outputs (3, 2) with gradients (1, -2), and -1 with 1; one image
    assert fisher(probe()) == pytest.approx((9 + 16) / 2 + 1 / 2)


def test_fisher_adds_places_before_squaring_and_averages_images() -> None:
    net = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(net.weight)
    images = torch.tensor([[[[1.0, 2.0]]], [[[3.0, -3.0]]]])
    assert fisher(Probe(net, images, loss=summed)) == pytest.approx((3**2 + 0**2) / 2 / 2)


def test_zico_by_hand() -> None:
    found = Probe(nn.Sequential(linear([2.0])), random_images((3, 1), 5), seed=5, loss=summed)
    first, second = (found.minibatch(step).sum().item() for step in (0, 1))
    mean, spread = (abs(first) + abs(second)) / 2, abs(first - second) / 2
    assert zico(found) == pytest.approx(math.log(mean / spread), rel=1e-4)


def test_synflow_by_hand() -> None:
    # |w| gives 3 and 4, then 3 + 8; each layer's weights carry the whole flow
    assert synflow(probe()) == pytest.approx(math.log(2 * 11))


def test_synflow_does_not_overflow() -> None:
    depth, width = 300, 64
    net = nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))
    for layer in net:
        nn.init.constant_(layer.weight, -1.0)
    expected = math.log(depth) + (depth + 1) * math.log(width)
    assert expected > math.log(1e308)
    assert synflow(Probe(net, torch.zeros(1, width))) == pytest.approx(expected)


def test_synflow_ignores_how_scale_is_shared_between_layers() -> None:
    net = two_layers()
    with torch.no_grad():
        net[0].weight *= 8
        net[2].weight /= 8
    assert synflow(Probe(net, torch.ones(1, 2))) == pytest.approx(synflow(probe()))


def test_synflow_refuses_a_network_without_a_way_through() -> None:
    with pytest.raises(ValueError, match="no finite flow"):
        synflow(Probe(NB201Net(["none"] * 6), random_images((2, 3, 16, 16), 0)))


CODES = ([1.0, -1.0], [1.0, 1.0], [-1.0, 1.0])


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.LeakyReLU(0.2)]
)
def test_nwot_is_the_determinant_of_agreements(activation: nn.Module) -> None:
    # codes 110 and 011 agree with themselves in 3 places and with one another in 1
    net = nn.Sequential(linear(*CODES), activation)
    assert nwot(Probe(net, torch.eye(2))) == pytest.approx(math.log(3 * 3 - 1))


def test_nwot_adds_all_activations_and_forgets_scales() -> None:
    net, images = NB201Net(["nor_conv_1x1", "none"] * 3), random_images((4, 3, 8, 8), 0)
    made = Probe(net, images)
    codes = torch.cat(made.codes, 1).double()
    agreements = codes @ codes.T + (1 - codes) @ (1 - codes).T
    assert nwot(made) == pytest.approx(float(torch.logdet(agreements)))
    shuffled = Probe(net, images[[2, 0, 3, 1]])
    assert nwot(shuffled) == pytest.approx(nwot(made), rel=1e-3)


def test_swap_counts_patterns_over_the_images() -> None:
    net = nn.Sequential(linear(*CODES, [2.0, -3.0]), nn.ReLU())
    assert swap(Probe(net, torch.eye(2).repeat(16, 1))) == 3
    assert regularised(3.0, size=5.0, mean=3.0, spread=2.0) == pytest.approx(3 * math.exp(-2))
    # bits of a pattern fit into one integer, so that of a hundred images 62 are read
    many = torch.cat([torch.eye(2).repeat(31, 1), torch.full((38, 2), 9.0)])
    assert swap(Probe(net, many)) == 3


def test_regularised_swap_prefers_the_mean_size_of_the_references() -> None:
    known = PROXIES["swap_regularised"]
    references = [{"swap": 1.0, "params": size} for size in (10.0, 30.0)]
    scores = [known.score({"swap": 8.0, "params": size}, references) for size in (20.0, 30.0, 10.0)]
    # twice the variance is 200, and each of the outer two is 10 away
    assert scores == pytest.approx([8.0, 8 * math.exp(-0.5), 8 * math.exp(-0.5)])
    net = nn.Sequential(linear(*CODES, [2.0, -3.0]), nn.ReLU())
    parts = known.parts(Probe(net, torch.eye(2).repeat(16, 1)))
    assert parts["swap"] == 3 and parts["params"] == sum(each.numel() for each in net.parameters())
    assert known.score(parts, [parts, parts]) == 3


def test_swap_tells_networks_apart_that_few_images_cannot() -> None:
    small, large = (NB201Net([word] * 6) for word in ("skip_connect", "nor_conv_3x3"))
    few, many = (random_images((number, 3, 16, 16), 0) for number in (4, 32))
    scores = [swap(Probe(net, few)) for net in (small, large)]
    assert 2**4 < scores[0] < scores[1]
    first = torch.cat([few, *(random_images(few.shape, 0, step) for step in range(1, 8))])
    assert scores[0] == swap(Probe(small, first)) != swap(Probe(small, many))


def test_codes_need_activations() -> None:
    with pytest.raises(UserError, match="Linear has no activations"):
        nwot(Probe(linear([1.0, 2.0]), torch.eye(2)))


def test_jacov_of_equal_and_of_unrelated_images() -> None:
    same = nn.Sequential(linear([1.0, 2.0, 4.0]))
    # both gradients are the weights, so the correlations have the eigenvalues 2 and 0
    expected = -sum(math.log(v + SMALL) + 1 / (v + SMALL) for v in (2.0, 0.0))
    assert jacov(Probe(same, random_images((2, 3), 0))) == pytest.approx(expected, rel=1e-6)
    # one image opens the first neuron and one the second, with uncorrelated weights
    apart = nn.Sequential(linear([1.0, 0.0, -1.0], [1.0, -2.0, 1.0]), nn.ReLU())
    images = torch.tensor([[1.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    assert torch.equal(apart(images) > 0, torch.eye(2).bool())
    unrelated = -2 * (math.log(1 + SMALL) + 1 / (1 + SMALL))
    assert jacov(Probe(apart, images)) == pytest.approx(unrelated, rel=1e-6)


def test_epe_by_hand() -> None:
    same = nn.Sequential(linear([1.0, 2.0, 4.0]))
    # two classes of two images, whose four correlations are all one
    assert epe(Probe(same, random_images((4, 3), 0))) == pytest.approx(8 * math.log(1 + SMALL), rel=1e-3)
    assert epe_of_classes([1.0, -2.0]) == 3
    many = [float(number % 2) for number in range(102)]
    assert epe_of_classes(many) == pytest.approx(2 * 51 * 51 / (102 * 101))


def test_zen_by_hand() -> None:
    net, images = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), random_images((3, 1, 2, 2), 1)
    weights = torch.Generator().manual_seed(derive(4, "proxies/zen"))
    noise = torch.Generator().manual_seed(derive(4, "proxies/zen/noise"))
    weight = torch.randn(2, 1, 1, 1, generator=weights)
    moved = images + 0.01 * torch.randn(3, 1, 2, 2, generator=noise)

    def normed(x: Tensor) -> Tensor:
        y = weight.reshape(2, 1, 1) * x
        return (y - y.mean((0, 2, 3), True)) / (y.var((0, 2, 3), correction=0, keepdim=True) + SMALL).sqrt()

    gap = (normed(images) - normed(moved)).flatten(1).norm(dim=1).mean()
    variance = (weight.reshape(2, 1, 1) * images).var((0, 2, 3), correction=0).mean()
    expected = gap.log() + variance.sqrt().log()
    assert zen(Probe(net, images, seed=4)) == pytest.approx(float(expected), abs=1e-3)


def test_zen_refuses_a_network_that_ignores_its_input() -> None:
    with pytest.raises(ValueError, match="does not depend on the image"):
        zen(Probe(NB201Net(["none"] * 6), random_images((2, 3, 16, 16), 0)))


def test_meco_by_hand() -> None:
    net = nn.Conv2d(2, 2, 1, bias=False)
    net.weight = nn.Parameter(torch.eye(2).reshape(2, 2, 1, 1))
    rows = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 5.0]])
    first = torch.tensor(rows, dtype=torch.float32).reshape(1, 2, 2, 2)
    images = torch.cat([first, torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(0))])
    assert meco(Probe(net, images)) == pytest.approx(1 - np.corrcoef(rows)[0, 1], abs=1e-5)
    # more channels than places leave an eigenvalue of zero
    assert meco(Probe(net, images[..., :1])) == 0


def test_az_nas_by_hand() -> None:
    net = nn.Sequential(*(nn.Conv2d(1, 1, 1, bias=False) for _ in range(2)))
    nn.init.constant_(net[0].weight, 1.0)
    nn.init.constant_(net[1].weight, -2.0)
    parts = az_nas(Probe(net, random_images((2, 1, 4, 4), 0)))
    # a single channel has no entropy; Jacobians of norm 1 and 2 are worth 0 and -1/2
    assert parts == pytest.approx(
        {"expressivity": 0, "progressivity": 0, "trainability": -0.25, "complexity": 32}, abs=1e-5
    )


def test_az_nas_measures_the_evenness_of_features() -> None:
    even = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]).T.reshape(1, 2, 2, 2)
    net = nn.Sequential(nn.Identity(), nn.Conv2d(2, 2, 1, bias=False))
    net[1].weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 0.0]]).reshape(2, 2, 1, 1))
    parts = az_nas(Probe(net, even))
    assert parts["expressivity"] == pytest.approx(math.log(2))
    assert parts["progressivity"] == pytest.approx(-math.log(2))


def test_az_nas_wants_blocks() -> None:
    assert len(blocks_of(NB201Net(["skip_connect"] * 6))) == 15
    with pytest.raises(UserError, match="needs a sequence of blocks"):
        blocks_of(linear([1.0]))


def test_saswot_counts_true_entries_of_whole_layers() -> None:
    # softmax of (0, 0, 0, 0) is 1/4 each
    weight, gradient = torch.zeros(2, 2), torch.tensor([[0.3, 0.2], [-1.0, 9.0]])
    assert below(weight, gradient) == 2
    # (0.09, 0.24, 0.66, 0.01) against (1, 1, 0, 0), and (0.95, 0.05) against (3, 2)
    assert saswot_minus(probe()) == 4


def test_parts_become_one_number_in_a_set() -> None:
    ranges, ranks = (Proxy("p", lambda _: {"a": 0.0, "b": 0.0}, rule) for rule in ("ranges", "ranks"))
    references = [{"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 0.0}, {"a": 2.0, "b": 0.0}]
    assert ranges.score({"a": 2.0, "b": 5.0}, references) == pytest.approx(0.5 + 0)
    assert ranges.score({"a": 5.0, "b": 0.0}, references) == pytest.approx(2.0)
    # three quarters of four, and all of them
    assert ranks.score({"a": 2.0, "b": 0.0}, references) == pytest.approx(math.log(3 / 4))
    assert ranks.score({"a": 0.0, "b": -1.0}, references) == pytest.approx(2 * math.log(1 / 4))


@pytest.mark.parametrize("name", ["synflow + nwot", "zen + nwot", "saswot"])
def test_a_reference_without_a_score_is_left_out(name: str) -> None:
    cells = [["none"] * 6, ["nor_conv_1x1"] * 6, ["nor_conv_3x3", "skip_connect"] * 3]
    scorer = Scorer(name, (2, 3, 16, 16), 0, lambda number: NB201Net(cells[number]), references=3)
    assert len(scorer.references()) == 2
    dead = Scorer(name, (2, 3, 16, 16), 0, lambda _: NB201Net(cells[0]), references=2)
    with pytest.raises(UserError, match="not finite for any of 2"):
        dead.references()


def test_grasp_has_the_whole_hessian_where_kernels_are() -> None:
    """Kernels have no second derivative, and without it a part of the Hessian would be zero."""
    space = evonet_space("tiny", depths=[1, 1, 2, 1])
    family = EvoNet(space, [8, 8, 16, 16], [2, 2, 2, 2], 8, 1.0, 1.0)
    net = extract(Supernet(family, DenseHead(family.levels, 1, width=8)), space.largest())
    probe = Probe(net, random_images((2, 3, 32, 32), 0), seed=1)
    found = grasp(probe)
    with backend.use("reference"):
        assert grasp(probe) == found
    image = probe.images.double()
    exact = Probe(net.double(), image, seed=1)
    assert found == pytest.approx(grasp(exact), rel=1e-3)


class Beside(nn.Module):
    """Answers with an auxiliary head while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.side = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> object:
        answer = self.act(self.main(x))
        return AuxiliaryOutput(answer, self.side(x), 0.4) if self.training else answer


@pytest.mark.parametrize(
    "name", ["nwot", "snip", "swap", "saswot", "grasp", "jacov", "meco", "zen", "synflow"]
)
def test_an_auxiliary_head_is_left_out_of_scores(name: str) -> None:
    images = random_images((4, 3, 8, 8), 0)
    alone = proxy(name).parts(Probe(Beside(), images, 0))
    assert all(math.isfinite(each) for each in alone.values())


def test_a_detector_has_no_such_score() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net.register_forward_hook(lambda *_: {"boxes": 1})
    with pytest.raises(UserError, match="got dict"):
        Probe(net, random_images((2, 3, 8, 8), 0)).codes  # noqa: B018


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (["nwot", "zen"], "is not one proxy"),
        (None, "is not one proxy"),
        ("saswot + nwot", "is a sum already"),
    ],
)
def test_what_is_no_proxy_is_named(name: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        proxy(name)


def test_networks_know_the_classes_of_their_data() -> None:
    assert [NB201Net(["none"] * 6, each).classify.out_features for each in ("c10", "c100", "in16")] == [
        10, 100, 120,
    ]  # fmt: skip
    with pytest.raises(UserError, match="c1000 is unknown in NAS-Bench-201"):
        NB201Net(["none"] * 6, "c1000")
    with pytest.raises(UserError, match="nine tiles"):
        TransNASNet(["conv1x1"] * 6, "jigsaw")(random_images((2, 3, 32, 32), 0))


def test_an_unknown_proxy_is_answered_with_the_known() -> None:
    with pytest.raises(UserError, match="no proxy 'magic'") as caught:
        proxy("magic")
    assert "saswot_minus" in str(caught.value.hint)


def test_a_score_that_is_not_finite_is_no_score() -> None:
    dead = Probe(NB201Net(["none"] * 6), random_images((2, 3, 16, 16), 0))
    with pytest.raises(ValueError, match="the proxy nwot is -inf"):
        proxy("nwot").parts(dead)


@pytest.mark.parametrize("name", PROXIES)
def test_every_proxy_scores_cells_and_leaves_them_alone(name: str) -> None:
    net = NB201Net(["nor_conv_3x3", "none", "skip_connect", "none", "avg_pool_3x3", "nor_conv_1x1"]).eval()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    images = random_images((2, 3, 8, 8), 0)
    parts = proxy(name).parts(Probe(net, images, 1))
    assert parts == proxy(name).parts(Probe(net, images, 1))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters()) and not net.training


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("task", ["class_scene", "jigsaw"])
def test_every_proxy_scores_skeletons(name: str, task: str) -> None:
    # at stride 64 a map is one position
    net = TransNASNet(["both", "resolution", "resolution", "resolution"], task, 1)
    shape = image_shape(net, 2, (64, 64) if task == "class_scene" else (32, 32))
    assert shape == ((2, 3, 64, 64) if task == "class_scene" else (2, 9, 3, 32, 32))
    parts = proxy(name).parts(Probe(net, random_images(shape, 0), 1))
    assert all(map(math.isfinite, parts.values()))
    assert not name.startswith(("nwot", "snip", "grad_norm", "saswot")) or min(parts.values()) > 0


def test_az_nas_reads_the_blocks_of_skeletons() -> None:
    assert len(blocks_of(TransNASNet(["both", "normal", "resolution", "normal"], "normal", None))) == 8


def test_dense_networks_and_tiles_are_scored_as_well() -> None:
    words = ["conv1x1", "none", "skip", "skip", "none", "conv1x1"]
    dense = TransNASNet(words, "segmentsemantic")
    assert dense(torch.zeros(1, 3, 32, 64)).shape == (1, 17, 32, 64)
    assert nwot(Probe(dense, random_images((2, 3, 32, 32), 0))) > 0
    tiles = TransNASNet(words, "jigsaw")
    assert tiles(torch.zeros(2, 9, 3, 32, 32)).shape == (2, 1000)
    assert nwot(Probe(tiles, random_images((2, 9, 3, 32, 32), 0))) > 0


def test_words_of_another_space_are_refused() -> None:
    with pytest.raises(UserError, match="not a cell of NAS-Bench-201"):
        NB201Net(["conv3x3"] * 6)
    with pytest.raises(UserError, match="not a cell of TransNAS"):
        TransNASNet(["skip"] * 5)
    with pytest.raises(UserError, match="task=depth is unknown"):
        TransNASNet(["skip"] * 6, "depth")
