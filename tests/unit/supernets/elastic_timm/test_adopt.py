"""Weights that somebody else trained, and the order of channels."""

from pathlib import Path

import pytest
import timm
import torch

from evonas import weights
from evonas.errors import DataError, UserError
from evonas.nn.heads import DenseHead
from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.order import norm_scores, sort, taylor_scores
from evonas.supernets.elastic_timm.space import elastic_space
from evonas.supernets.supernet import Supernet

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def theirs():
    """A whole timm model with statistics, as somebody trained it."""
    model = timm.create_model("test_resnet", pretrained=False, num_classes=7).eval()
    source = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if "running" in name or ("bn" in name and tensor.is_floating_point()):
            tensor.uniform_(0.5, 1.5, generator=source)
    return model


def _supernet(order="norm", name="test_resnet"):
    family = ElasticTimm(elastic_space(name), name, order=order)
    return Supernet(family, DenseHead(family.levels, 2, width=8)).eval()


def _maps(model):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(images)


def _features(theirs):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return theirs.forward_intermediates(images, intermediates_only=True)[1:]


def test_timms_weights_give_timms_features_bit_for_bit(theirs):
    net = _supernet("none")
    adoption = net.family.adopt(net, theirs.state_dict(), "zeros")
    assert all(map(torch.equal, _maps(net.backbone), _features(theirs)))
    assert adoption.naming.endswith("name") and adoption.unused == ("fc.bias", "fc.weight")
    assert (
        all(name.startswith("head.") for name in adoption.left) and "tensors adopted" in adoption.sentence()
    )


def test_sorted_weights_give_the_same_features(theirs):
    net = _supernet("norm")
    net.family.adopt(net, theirs.state_dict(), "zeros")
    for one, other in zip(_maps(net.backbone), _features(theirs), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    norms = net.backbone.net.layer1[0].conv2.weight.abs().sum((0, 2, 3))
    assert torch.equal(norms, norms.sort(descending=True).values)


def test_other_names_in_the_same_order_are_matched(theirs, tmp_path: Path):
    renamed, layers = {}, {}
    for name, tensor in theirs.state_dict().items():
        module, _, key = name.rpartition(".")
        layers.setdefault(module, f"features.{len(layers)}")
        renamed[f"{layers[module]}.{key}"] = tensor.clone()
    # files of safetensors list tensors by name, and `features.10` before `features.9`
    weights.save(tmp_path / "theirs.safetensors", renamed)
    net = _supernet("none")
    adoption = net.family.adopt(net, weights.load_foreign(tmp_path / "theirs.safetensors"), "zeros")
    assert adoption.naming.endswith("order")
    assert all(map(torch.equal, _maps(net.backbone), _features(theirs)))


def test_prefixes_of_wrappers_are_looked_through(theirs):
    net = _supernet("none")
    net.family.adopt(net, {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}, "zeros")
    assert all(map(torch.equal, _maps(net.backbone), _features(theirs)))


def test_another_networks_weights_are_refused_by_name(theirs):
    net = _supernet(name="mobilenetv3_small_050")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(DataError, match="does not hold mobilenetv3_small_050") as caught:
        net.family.adopt(net, theirs.state_dict(), "zeros")
    assert "network.weights=" in str(caught.value.hint)
    wrong = {**theirs.state_dict(), "conv1.0.weight": torch.zeros(5, 3, 3, 3)}
    with pytest.raises(DataError, match="1 in another shape"):
        _supernet().family.adopt(_supernet(), wrong, "zeros")
    with pytest.raises(UserError, match="widening"):
        net.family.adopt(net, theirs.state_dict(), "copies")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_positions_of_another_grid_are_resized():
    model = timm.create_model("test_vit", pretrained=False, img_size=96)
    net = _supernet("none", "test_vit")
    adoption = net.family.adopt(net, model.state_dict(), "zeros")
    assert adoption.padded == ("backbone.net.pos_embed",)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_relabelling_changes_no_output(name):
    net = _supernet(name=name)
    before = _maps(net.backbone)
    with torch.no_grad():
        for parameter in net.backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.05)
        before = _maps(net.backbone)
    changed = {key: tensor.clone() for key, tensor in net.backbone.state_dict().items()}
    structure, model = net.family.structure, net.backbone.net
    sort(structure, model, norm_scores(structure, model))
    assert any(not torch.equal(tensor, changed[key]) for key, tensor in net.backbone.state_dict().items())
    for one, other in zip(_maps(net.backbone), before, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def _token_losses(net):
    """Of two batches, with gradients everywhere."""
    for seed in (1, 2):
        source = torch.Generator().manual_seed(seed)
        images, weight = (torch.randn(2, count, 64, 64, generator=source) for count in (3, 1))
        yield lambda images=images, weight=weight: (net(images, net.space.largest()) * weight).sum()


@pytest.mark.parametrize("order", ["centred", "rotated"])
def test_centred_layers_put_means_in_the_place_of_what_is_cut(order):
    net = _supernet(order, "test_vit")
    net.family.adopt(net, timm.create_model("test_vit", pretrained=False).state_dict(), "zeros")
    before = _maps(net.backbone)
    net.family.sort_finally(net, _token_losses(net))
    for one, other in zip(_maps(net.backbone), before, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    x = torch.randn(2, 5, 512, generator=torch.Generator().manual_seed(3))
    whole, smallest = net.backbone.net, dict(net.subnet(net.space.smallest()).backbone.net.named_modules())
    layers = {name for name in net.family.structure.centred if name in smallest}
    assert len(layers) >= 6
    for name in layers:
        layer, cut = whole.get_submodule(name), smallest[name]
        given = layer.mean.expand(2, 5, -1).clone()
        # of rotated heads, the first channels of each
        places = torch.arange(layer.in_features)
        if order == "rotated" and name.endswith("proj"):
            heads = whole.get_submodule(name.removesuffix(".proj")).num_heads
            places = places.view(heads, -1)[:, : cut.in_features // heads].flatten()
        places = places[: cut.in_features]
        given[..., places] = x[..., places]
        assert cut.in_features < layer.in_features and layer.mean.abs().min() > 0
        assert torch.allclose(cut(x[..., places]), layer(given), atol=1e-5)


@pytest.mark.parametrize("order", ["centred", "taylor"])
def test_a_neuron_that_is_always_the_same_goes_first_where_its_mean_stays(order):
    net = _supernet(order, "test_vit")
    with torch.no_grad():
        for block in net.backbone.net.blocks:
            block.mlp.fc1.weight[7], block.mlp.fc1.bias[7], block.mlp.fc2.weight[:, 7] = 0.0, 5.0, 1.0
    net.family.sort_finally(net, _token_losses(net))
    for block in net.backbone.net.blocks:
        is_constant = (block.mlp.fc1.weight == 0).all(1)
        assert is_constant.sum() == 1 and is_constant[-1 if order == "centred" else 0]


def test_models_without_biases_to_move_means_into_are_not_centred():
    with pytest.raises(UserError, match=r"network\.order=centred needs linear layers.*test_resnet has none"):
        _supernet("centred")


def test_taylor_is_the_derivative_by_a_gate():
    net = _supernet()
    structure, model = net.family.structure, net.backbone.net
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    def loss():
        return net.backbone(images)[0].square().mean()

    index = next(at for at, group in enumerate(structure.groups) if "layer1.0" in group.axes[0].tensor)
    [score] = [taylor_scores(structure, model, [loss])[index]]
    weight, step, wanted = model.layer1[0].conv2.weight.data, 1e-2, []
    for channel in range(4):
        ends = []
        for scale in (1 + step, (1 - step) / (1 + step)):
            weight[:, channel] *= scale
            ends.append(loss().item())
        weight[:, channel] /= 1 - step
        wanted.append(abs(ends[0] - ends[1]) / (2 * step))
    assert torch.allclose(score[:4], torch.tensor(wanted), rtol=0.05, atol=1e-4)
