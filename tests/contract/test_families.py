"""What every supernet family promises; one more family is one more line in FAMILIES.

The promises are those of `evonas/supernets/base.py`. Bits are those of fp32 on the CPU.
"""

import copy
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.nn.checkpointing import recomputing
from evonas.nn.count import count_costs
from evonas.nn.heads import DenseHead
from evonas.nn.initialise import initialise
from evonas.ops import backend
from evonas.space.edges import edge_cell
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.networks.export_formats import capture, write_onnx
from evonas.supernets import base, families
from evonas.supernets.backbone import Backbone
from evonas.supernets.base import Cut, Derived, SupernetFamily
from evonas.supernets.cost_table import CostTable
from evonas.supernets.elastic_head import head_cuts
from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.model import CentredLinear
from evonas.supernets.elastic_timm.space import elastic_space
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.space import vit_space
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.space import fasterseg_space
from evonas.supernets.mbconv.family import MBConv
from evonas.supernets.mbconv.space import mbconv_space
from evonas.supernets.nb201_cell.cost import EDGES
from evonas.supernets.nb201_cell.family import NB201
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.prefix import PrefixExecutor, shared_length
from evonas.supernets.prefix_statistics import PrefixStatistics
from evonas.supernets.profile import distinct_steps, profile
from evonas.supernets.slices import bind, cut
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract
from evonas.train.loop.sync_batchnorm import SyncedNorm, synchronise

# such that resolutions differ: a side is not reduced below 32 pixels
SIZE = (40, 64)
ODD = ((33, 47), (65, 97))
SMALLER_THAN_STRIDE = (20, 9)


def _evonet(resolutions: Sequence[float] | None = None, **settings: str) -> EvoNet:
    space = evonet_space("small", (0.5, 1, 2), (4, 8), (0.5, 1, 2), (1, 2, 1), resolutions)
    return EvoNet(space, (8, 8, 16), (2, 2, 4), 8, 2.0, 2.0, drop_path=0.2, **settings)


def _mbconv() -> MBConv:
    widths, depths = ((4, 8), (8, 12), (8, 16), (16,)), ((1, 2), (1, 2, 3), (2, 3), (1,))
    space = mbconv_space("small", widths, depths, (3, 5, 7), (1, 2.5), (0.5, 0.75, 1.0))
    return MBConv(space, (8, 8, 12, 16), 8, drop_path=0.2)


def _ofa() -> OFAMobileNetV3:
    depths = ((1, 2), (1, 2, 3), (2,), (1, 2), (1,))
    space = ofa_space("small", depths, (3, 5, 7), (1, 3), (0.5, 0.75, 1.0))
    return OFAMobileNetV3(space, 0.25, drop_path=0.2)


def _elasticvit() -> ElasticViT:
    widths = ((8, 16), (8, 16), (8, 16, 24), (16, 32), (16, 32, 48), (32, 48), (32, 48))
    depths = ((1, 2), (1, 2), (1, 2), (1, 2), (1,), (1, 2), (1,))
    space = vit_space("small", widths, depths, (3, 5), (1, 3), (1, 2.5), (1, 2), (0.5, 0.75, 1.0))
    # so that odd sides reach beyond the tables
    return ElasticViT(space, bias_side=64, drop_path=0.2)


def _fasterseg() -> FasterSeg:
    return FasterSeg(fasterseg_space("small", 9, (32, 16), ("zoom", "conv2"), (4, 8)), base=2, stem_width=4)


def _nb201() -> NB201:
    words = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    edges = {f"e{at}": list(pair) for at, pair in enumerate(EDGES, start=1)}
    return NB201(edge_cell("small", dict.fromkeys(edges, words), edges, "none", "skip_connect"), 4, 2)


def _elastic(model: str, order: str = "norm", streams: Sequence[float] = ()) -> ElasticTimm:
    return ElasticTimm(elastic_space(model, streams=streams), model, drop_path=0.2, order=order)


FAMILIES: dict[str, Callable[[], SupernetFamily]] = {
    "evonet": _evonet,
    "evonet_bidirectional": lambda: _evonet(width_slicing="per_head", mixer="bidirectional"),
    "evonet_resolutions": lambda: _evonet((0.5, 0.75, 1.0)),
    "mbconv": _mbconv,
    "ofa": _ofa,
    "elasticvit": _elasticvit,
    "fasterseg": _fasterseg,
    "nb201": _nb201,
    "resnet": lambda: _elastic("test_resnet"),
    "mobilenet": lambda: _elastic("mobilenetv3_small_050"),
    "vit": lambda: _elastic("test_vit"),
    "vit_centred": lambda: _elastic("test_vit", "centred"),
    "vit_rotated": lambda: _elastic("test_vit", "rotated"),
    "resnet_streams": lambda: _elastic("test_resnet", streams=(0.5, 1.0)),
    "mobilenet_streams": lambda: _elastic("mobilenetv3_small_050", streams=(0.5, 0.75, 1.0)),
    "vit_streams": lambda: _elastic("test_vit", streams=(0.5, 1.0)),
    "vit_rotated_streams": lambda: _elastic("test_vit", "rotated", (0.5, 1.0)),
}


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request: pytest.FixtureRequest) -> SupernetFamily:
    """A small instance."""
    made: SupernetFamily = request.param()
    return made


@pytest.fixture(scope="module")
def drawn(family: SupernetFamily) -> Supernet:
    """Its supernet with a head, in training mode, with statistics as training leaves them."""
    return _supernet(family)


@pytest.fixture
def net(drawn: Supernet) -> Supernet:
    """A copy of it, on the same family."""
    return copy.deepcopy(drawn, {id(drawn.family): drawn.family})


def _supernet(family: SupernetFamily, seed: int | None = 0) -> Supernet:
    made = Supernet(family, DenseHead(family.levels, 2, width=8), seed)
    source = torch.Generator().manual_seed(3)
    for norm in _norms(made):
        norm.running_mean.normal_(0, 0.1, generator=source)
        norm.running_var.uniform_(0.5, 1.5, generator=source)
        norm.weight.data.uniform_(0.5, 1.5, generator=source)
    for module in made.modules():
        if isinstance(module, CentredLinear):
            module.mean.normal_(0, 0.1, generator=source)
    return made


def _norms(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if getattr(module, "running_mean", None) is not None]


def _images(count: int = 2, size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def _points(space: Space, count: int, seed: int = 0) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def _some(family: SupernetFamily, count: int = 3) -> list[Genotype]:
    """The ends of the space and a few points between them."""
    return [family.space.smallest(), family.space.largest(), *_points(family.space, count)]


def _related(family: SupernetFamily, count: int = 3) -> list[Genotype]:
    """Points of which some have long beginnings in common."""
    rng = np.random.default_rng(5)
    some = _some(family, count)
    near = [family.space.neighbours(each) for each in some]
    return [*some, *(each[int(rng.integers(len(each)))] for each in near for _ in range(2))]


def _answer(net: Callable[[Tensor], Tensor], seed: int = 0) -> Tensor:
    """To images of a seed, which decides what paths are dropped, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return net(_images(seed=seed))


def _loss(net: Callable[[Tensor], Tensor], seed: int = 0) -> Tensor:
    return _answer(net, seed).square().mean()


def _gradients(net: nn.Module) -> dict[str, Tensor]:
    """By parameter; zero where nothing arrived."""
    return {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in net.named_parameters()
    }


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("one_thread")
class TestFamily:
    """One promise a method."""

    def test_is_a_family(self, family: SupernetFamily) -> None:
        assert isinstance(family, SupernetFamily)
        assert family.name in families.FAMILIES

    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    def test_extracted_computes_the_same_bits(self, net: Supernet, training: bool) -> None:
        net.train(training)
        for genotype in _some(net.family):
            alone = extract(net, genotype)
            assert alone.training == training and alone.backbone.training == training
            assert torch.equal(_answer(net.subnet(genotype)), _answer(alone))
            # statistics moved alike, too
            assert _same(extract(net, genotype).state_dict(), alone.state_dict())

    def test_extracted_shares_nothing(self, net: Supernet) -> None:
        before = copy.deepcopy(net.state_dict())
        alone = extract(net, net.space.largest())
        with torch.no_grad():
            for tensor in alone.state_dict().values():
                tensor.zero_()
        assert _same(dict(net.state_dict()), dict(before))

    @pytest.mark.parametrize("size", [SIZE, ODD[0], SMALLER_THAN_STRIDE])
    def test_price_is_what_is_counted(self, net: Supernet, size: tuple[int, int]) -> None:
        for genotype in _some(net.family, 1):
            total = base.cost(net.family, genotype, size)
            # causal mixers are priced as their recurrence, which others than the reference reorder
            with backend.use("reference"):
                counted = count_costs(extract(net, genotype).backbone, size)
            assert {"params": total.params, "macs": total.macs} == counted

    def test_cost_table_adds_the_prices_up(self, family: SupernetFamily) -> None:
        space, rng = family.space, np.random.default_rng(1)
        rows = [row for _ in range(150) if _is_point(space, row := rng.integers(space.cardinalities))]
        rows += [each.genes for each in _points(space, 150)]
        wanted = [base.cost(family, space.from_vector(row), SIZE).macs for row in rows]
        assert CostTable(family, SIZE).macs(np.array(rows)).tolist() == wanted
        assert len(rows) > 150

    def test_equal_beginnings_compute_equal_bits(self, net: Supernet) -> None:
        net.eval()
        most = 0
        for one, other in itertools.pairwise(sorted(_related(net.family), key=net.family.path)):
            first, second = (bind(net.family, net.backbone, each) for each in (one, other))
            shared = shared_length(first.path, second.path)
            most = max(most, shared)
            a, b = (_reached(each, shared) for each in (first, second))
            assert all(map(torch.equal, a, b))
        assert most > 3

    def test_different_genotypes_have_different_paths(self, family: SupernetFamily) -> None:
        points = {*_points(family.space, 200), *_related(family)}
        assert len({family.path(each) for each in points}) == len(points)

    def test_prefix_executor_computes_the_same_bits(self, net: Supernet) -> None:
        net.eval()
        order = sorted(_related(net.family), key=net.family.path)
        walk = PrefixExecutor(net)
        with torch.no_grad():
            for genotype, following in zip(order, [*order[1:], None], strict=True):
                subnet = walk.subnet(genotype, following)
                for look in (_images(), _images().flip(-1)):
                    assert torch.equal(subnet(look), net(look, genotype))

    def test_prefix_statistics_are_those_of_bn_calibration(self, net: Supernet) -> None:
        net.eval()
        before = copy.deepcopy(net.state_dict())
        order = sorted(dict.fromkeys(_related(net.family, 1)), key=net.family.path)
        batches, statistics = [_images(seed=1), _images(3, seed=2)], PrefixStatistics()
        with torch.no_grad():
            for number, batch in enumerate(batches):
                statistics.learn(number)
                _ = list(_walked(net, order, batch, statistics))
            statistics.learn(None)
            for genotype, found in zip(order, _walked(net, order, _images(), statistics), strict=True):
                alone = extract(net, genotype)
                calibrate_batch_norm(alone, batches)
                assert torch.equal(found, alone(_images()))
        assert _same(dict(net.state_dict()), dict(before))

    def test_gradients_reach_exactly_the_slices(self, net: Supernet) -> None:
        for genotype in _some(net.family):
            alone = extract(net, genotype)
            _loss(alone).backward()
            net.zero_grad()
            _loss(net.subnet(genotype)).backward()
            found = _gradients(net)
            assert _same(found, _spread(net, genotype, _gradients(alone)))
            net.zero_grad()
            with recomputing():
                _loss(net.subnet(genotype)).backward()
            assert _same(_gradients(net), found)

    def test_statistics_are_updated_once_where_activations_are_recomputed(self, net: Supernet) -> None:
        plain, genotype = copy.deepcopy(net), net.space.largest()
        _loss(plain.subnet(genotype)).backward()
        with recomputing():
            _loss(net.subnet(genotype)).backward()
        assert _same(dict(net.state_dict()), dict(plain.state_dict()))

    def test_interleaved_subnets_do_not_disturb_one_another(self, net: Supernet) -> None:
        points = _points(net.space, 2, seed=4)
        for at, genotype in enumerate(points):
            _loss(net.subnet(genotype), at).backward()
        one_by_one = _gradients(net)
        net.zero_grad()
        sum(_loss(net.subnet(genotype), at) for at, genotype in enumerate(points)).backward()
        if any(isinstance(module, CentredLinear) for module in net.modules()):
            # a weight that is used twice in a forward pass adds its gradients in another order
            torch.testing.assert_close(_gradients(net), one_by_one, rtol=1e-4, atol=1e-6)
        else:
            assert _same(_gradients(net), one_by_one)

    def test_threads_do_not_disturb_one_another(self, net: Supernet) -> None:
        net.eval()
        points = _points(net.space, 2, seed=4)
        with torch.no_grad():
            wanted = [net(_images(), each) for each in points]
        right: list[bool] = []

        @torch.no_grad()
        def look(genotype: Genotype, answer: Tensor) -> None:
            for _ in range(8):
                right.append(torch.equal(net(_images(), genotype), answer))

        threads = [threading.Thread(target=look, args=pair) for pair in zip(points, wanted, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(right) == 16 and all(right)

    def test_calls_leave_nothing_behind(self, net: Supernet) -> None:
        def state() -> list[tuple[str, object]]:
            modules = list(net.backbone.named_modules())
            tensors = [*net.backbone.named_parameters(), *net.backbone.named_buffers()]
            return [(name, tuple(vars(module))) for name, module in modules] + [
                (name, (id(tensor), tensor.data_ptr())) for name, tensor in tensors
            ]

        before = state()
        for genotype in _some(net.family):
            _loss(net.subnet(genotype)).backward()
            net.features(_images(), genotype)
            extract(net, genotype)
        assert state() == before

    def test_state_dict_round_trip(self, net: Supernet) -> None:
        other = Supernet(net.family, copy.deepcopy(net.head), seed=None)
        other.load_state_dict(net.state_dict())
        net.eval(), other.eval()
        for genotype in _some(net.family, 1):
            assert torch.equal(net(_images(), genotype), other(_images(), genotype))

    def test_a_description_is_enough_to_build_a_backbone(self, net: Supernet) -> None:
        net.eval()
        for genotype in _some(net.family, 1):
            alone = extract(net, genotype)
            restored = families.restore(json.loads(json.dumps(net.family.describe(genotype))))
            restored.load_state_dict(alone.backbone.state_dict())
            assert restored.levels == alone.levels == base.levels_of(net.family, genotype)
            again = StaticNet(restored.eval(), alone.head, training=False)
            assert torch.equal(again(_images()), alone(_images()))

    def test_own_weights_are_adopted_whole(self, net: Supernet) -> None:
        other = _supernet(net.family, seed=1)
        adoption = net.family.adopt(other, dict(net.state_dict()), "zeros")
        assert not adoption.left and not adoption.unused
        assert _same(dict(other.state_dict()), dict(net.state_dict()))

    def test_every_norm_is_synchronised(self, net: Supernet) -> None:
        if not _norms(net):
            pytest.skip("a family without batch norms")
        plain, genotype = copy.deepcopy(net), net.space.smallest()
        synchronise(net)
        assert all(isinstance(norm, SyncedNorm) for norm in _norms(net))
        assert torch.equal(_answer(net.subnet(genotype)), _answer(plain.subnet(genotype)))

    def test_every_parameter_is_drawn(self, family: SupernetFamily) -> None:
        backbone = family.build(None, None)
        with torch.no_grad():
            for tensor in (*backbone.parameters(), *backbone.buffers()):
                tensor.fill_(torch.nan if tensor.is_floating_point() else 77)
        initialise(backbone, 0)
        assert _same(dict(backbone.state_dict()), dict(family.build(None, 0).state_dict()))
        assert all(tensor.isfinite().all() for tensor in backbone.state_dict().values())
        backbone.odd = _Odd()
        with pytest.raises(TypeError, match="odd"):
            initialise(backbone, 0)

    @pytest.mark.parametrize("size", [*ODD, SMALLER_THAN_STRIDE])
    def test_ends_of_the_space_run_at_any_size(self, net: Supernet, size: tuple[int, int]) -> None:
        net.eval()
        for genotype in (net.space.smallest(), net.space.largest()):
            output, maps = net.subnet(genotype).forward_with_features(_images(size=size))
            assert tuple(output.shape[-2:]) == size
            own = net.family.input_size(genotype, size)
            grids = [[-(-side // level.stride) for side in own] for level in net.levels]
            assert [list(each.shape[-2:]) for each in maps] == grids
            own_levels = base.levels_of(net.family, genotype)
            assert [each.shape[1] for each in maps] == [level.channels for level in own_levels]

    def test_onnx_computes_the_same(self, net: Supernet, tmp_path: Path) -> None:
        net.eval()
        # an export takes seconds, however small the network, and more with every chunk of tokens
        [between] = _points(net.space, 1)
        own = extract(net, between).eval()
        images = _images(size=(8, 40))
        program = capture(own, images)
        with torch.no_grad():
            difference = write_onnx(program, tmp_path / "net.onnx", images, own(images))
        assert difference is not None and difference < 1e-4

    def test_samples_are_canonical(self, family: SupernetFamily) -> None:
        points = [*_points(family.space, 200), *_related(family)]
        assert all(family.space.contains(each) for each in points)

    def test_steps_are_known(self, family: SupernetFamily) -> None:
        known = {step.label for step, _ in distinct_steps(family)}
        work = dict[str, tuple[object, ...]]()
        for genotype in _points(family.space, 200):
            steps = family.path(genotype)
            assert [step.at for step in steps] == sorted({step.at for step in steps})
            assert {step.at for step in steps} <= family.places.keys()
            assert {step.label for step in steps} <= known
            for step in steps:
                cost = family.price(step, SIZE)
                assert not step.label or work.setdefault(step.label, (step.choice, cost)) == (
                    step.choice,
                    cost,
                )

    def test_every_label_is_profiled(self, net: Supernet) -> None:
        known: set[str] = set()
        for step in profile(net.eval(), _images(1)):
            step.run(step.given)
            known.add(step.label)
        for genotype in _points(net.space, 200):
            assert set(base.labels(net.family, genotype, SIZE)) <= known

    def test_genes_of_a_place_decide_its_step(self, family: SupernetFamily) -> None:
        found: dict[tuple[object, ...], object] = {}
        space = family.space
        for genotype in _points(space, 200):
            steps = {step.at: step for step in family.path(genotype)}
            for place, genes in family.places.items():
                values = tuple(genotype.genes[base.column(space, gene)] for gene in genes)
                assert found.setdefault((place, *values), steps.get(place)) == steps.get(place)

    def test_draws_one_stage_a_level(self, family: SupernetFamily) -> None:
        for genotype in _some(family):
            stages = family.draw(genotype)
            assert len(stages) == len(family.levels)
            assert all(any(stage.blocks) and stage.width > 0 for stage in stages)
            bars = [bar for stage in stages for block in stage.blocks if block for bar in block]
            assert {bar.style for bar in bars} <= {"s0", "s1", "s2"}

    def test_features_are_numbers_of_one_length(self, family: SupernetFamily) -> None:
        rows = [family.features(genotype) for genotype in _some(family)]
        assert len({len(row) for row in rows}) == 1
        assert np.isfinite(np.array(rows, dtype=float)).all()


class _Odd(nn.Module):
    """A layer that nothing knows how to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


def _is_point(space: Space, row: Sequence[int]) -> bool:
    try:
        space.from_vector(row)
    except UserError:
        return False
    return True


def _reached(backbone: Backbone, steps: int) -> list[Tensor]:
    """The map and the levels behind some steps."""
    with torch.no_grad():
        at = backbone.begin(_images())
        for index in range(steps):
            at = backbone.run(index, at)
    # nothing in common: not even the size of the images is
    return [at.map, *at.levels] if steps else []


def _walked(
    net: Supernet, order: Sequence[Genotype], images: Tensor, statistics: PrefixStatistics
) -> Iterator[Tensor]:
    walk = PrefixExecutor(net, statistics)
    for genotype, following in zip(order, [*order[1:], None], strict=True):
        yield walk.subnet(genotype, following)(images)


def _spread(net: Supernet, genotype: Genotype, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A subnet's gradients at their places in the supernet's tensors, zero elsewhere."""
    shared = dict(net.backbone.named_parameters())
    found = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    cuts = {f"backbone.{name}": how for name, how in net.family.cuts(genotype).items()}
    head = head_cuts(net.head, base.level_channels(net.family, genotype))
    cuts |= {f"head.{name}": how for name, how in head.items()}
    for name, gradient in own.items():
        how = cuts.get(name, ())
        if not isinstance(how, Derived):
            _place(found[name], how, gradient)
            continue
        slices = [cut(shared[source].detach(), each).requires_grad_() for source, each in how.sources]
        parts = torch.autograd.grad(how.function(*slices), slices, gradient)
        for (source, each), part in zip(how.sources, parts, strict=True):
            _place(found[f"backbone.{source}"], each, part)
    return found


def _place(whole: Tensor, cuts: Sequence[Cut], gradient: Tensor) -> None:
    places = torch.arange(whole.numel()).view_as(whole)
    whole.view(-1)[cut(places, cuts).reshape(-1)] = gradient.reshape(-1)
