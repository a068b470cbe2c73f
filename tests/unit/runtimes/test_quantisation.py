"""Networks in int8: what is quantised, what stays in float, and what is refused."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.onnx_model import onnx_model, open_session
from evonas.runtimes.quantisation import Quantisation, arrays, check_kept, layers_of, quantised

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = (16, 24)


class Net(nn.Module):
    """Convolutions with norms, one of them within a stage, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()) for _ in range(2))
        self.head = nn.Sequential(nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(4 * 8 * 12, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        found: Tensor = self.head(x)
        return found


@pytest.fixture(scope="module")
def net() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = Net().eval()
    for each in made.parameters():
        nn.init.normal_(each, std=0.3, generator=generator)
    return made


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn((6, 3, *SIZE), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model(net: nn.Module, images: Tensor) -> bytes:
    return onnx_model(net, images[:1])


def made(model: bytes, images: Tensor, settings: Quantisation) -> bytes:
    return quantised(model, arrays([images], (1, 3, *SIZE), 6), settings)


def outputs(model: bytes, images: Tensor) -> np.ndarray:
    session = open_session(model)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: each.numpy()})[0] for each in images.split(1)])


def in_float(model: bytes) -> set[str]:
    """Layers whose weights are float in a model that was quantised."""
    whole = onnx.load_from_string(model)
    stored = {each.name for each in whole.graph.initializer}
    return {
        name
        for node in whole.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and any(each in stored for each in node.input[1:2])
        for name in layers_of(whole)[node.name]
    }


LAYERS = ["stem.0", "stages.0.0", "stages.1.0", "head.0", "head.2"]


def test_outputs_are_those_of_float_up_to_a_step(model: bytes, images: Tensor) -> None:
    small, expected = made(model, images, Quantisation()), outputs(model, images)
    assert in_float(small) == set()
    difference = np.abs(outputs(small, images) - expected).max()
    assert 0 < difference < 0.05 * np.abs(expected).max()


def test_it_is_the_same_whenever_it_is_made(model: bytes, images: Tensor) -> None:
    assert made(model, images, Quantisation()) == made(model, images, Quantisation())


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (["first"], {"stem.0"}),
        (["last"], {"head.2"}),
        (["head"], {"head.0", "head.2"}),
        (["stages.1"], {"stages.1.0"}),
        (["stages.0.0", "head.2"], {"stages.0.0", "head.2"}),
        (["stage"], set()),
    ],
)
def test_layers_are_kept_in_float(
    model: bytes, images: Tensor, kept: Sequence[str], expected: set[str]
) -> None:
    assert in_float(made(model, images, Quantisation(keep_float=kept))) & set(LAYERS) == expected


def test_layers_are_kept_in_a_model_of_the_other_exporter(net: nn.Module, images: Tensor) -> None:
    program = torch.onnx.export(net, (images[:1],), dynamo=True, verbose=False)
    assert program is not None
    model = program.model_proto.SerializeToString()
    assert "head.2" in in_float(made(model, images, Quantisation(keep_float=["head"])))
    kept = in_float(made(model, images, Quantisation(keep_float=["stem"])))
    assert "stem.0" in kept and "head.2" not in kept


def lost(net: nn.Module, images: Tensor, **settings: object) -> float:
    """Largest difference that quantisation makes, as a part of the largest output."""
    model = onnx_model(net, images[:1])
    expected = outputs(model, images)
    found = outputs(made(model, images, Quantisation(**settings)), images)  # type: ignore[arg-type]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def pair() -> nn.Sequential:
    """Two convolutions without biases."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)).eval()
    with torch.no_grad():
        for each in net.parameters():
            nn.init.normal_(each, generator=generator)
    return net


def test_a_wide_channel_of_weights_needs_a_scale_of_its_own(images: Tensor) -> None:
    net = pair()
    with torch.no_grad():
        # they cancel out, so that activations are as narrow as before
        net[0].weight[0, :2, 0, 0] = torch.tensor([1000.0, -1000.0])
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert lost(net, grey, per_channel=False) > 0.2
    assert lost(net, grey) < 0.1


def test_a_wide_channel_of_activations_needs_float(images: Tensor) -> None:
    net = pair()
    with torch.no_grad():
        # all channels count in the output
        net[0].weight[0] *= 1000
        net[1].weight[:, 0] /= 1000
    assert lost(net, images) > 0.2
    assert lost(net, images, keep_float=["0", "1"]) < 0.01


@pytest.mark.parametrize("settings", [{"calibration": "percentile"}, {"calibration": "entropy"}])
def test_other_ranges_of_activations(model: bytes, images: Tensor, settings: dict[str, str]) -> None:
    expected = outputs(model, images)
    difference = outputs(made(model, images, Quantisation(**settings)), images) - expected  # type: ignore[arg-type]
    assert 0 < np.abs(difference).max() < 0.1 * np.abs(expected).max()


def test_signed_activations_are_symmetric(model: bytes, images: Tensor) -> None:
    whole = onnx.load_from_string(made(model, images, Quantisation(activations="int8")))
    points = [each for each in whole.graph.initializer if each.name.endswith("_zero_point")]
    assert points and all(not onnx.numpy_helper.to_array(each).any() for each in points)


def test_norms_over_two_dimensions_stay_in_float(images: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm([*SIZE]), nn.Conv2d(4, 2, 1)).eval()
    model = onnx_model(net, images[:1])
    found, expected = outputs(made(model, images, Quantisation()), images), outputs(model, images)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_nodes_have_names_of_their_own(model: bytes) -> None:
    names = Counter(node.name for node in onnx.load_from_string(model).graph.node)
    assert max(names.values()) == 1
    assert {"/stages.0.0/Conv", "/stages.1.0/Conv", "/head.2/Gemm"} <= set(names)


class TestCalibrationImages:
    def test_batches_are_filled_and_images_limited(self) -> None:
        images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 2, 2)
        found = arrays([images[:2], images[2:]], (2, 3, 2, 2), 3)
        assert [each[:, 0, 0, 0].tolist() for each in found] == [[0, 1], [2, 0]]

    def test_other_sizes_are_resized(self) -> None:
        [found] = arrays([torch.ones(1, 3, 8, 8)], (1, 3, 4, 6), 1)
        assert found.shape == (1, 3, 4, 6) and (found == 1).all()

    def test_none_is_refused(self) -> None:
        with pytest.raises(UserError, match="there is none"):
            arrays([], (1, 3, 4, 4), 8)


class TestSettings:
    def test_nearest_layers_are_named(self, net: nn.Module) -> None:
        known = [name for name, _ in net.named_modules() if name]
        check_kept(["first", "last", "head", "stages", "stages.1.0"], known)
        with pytest.raises(UserError, match="no network has a layer called 'haed'") as caught:
            check_kept(["haed"], known)
        assert "head" in caught.value.hint

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"images": 0}, "runtime.int8.images must be at least 1, got 0"),
            ({"calibration": "mse"}, "runtime.int8.calibration=mse is unknown"),
            ({"activations": "int4"}, "runtime.int8.activations=int4 is unknown"),
            ({"percentile": 0.5}, "runtime.int8.percentile must be in"),
        ],
    )
    def test_wrong_ones_are_refused(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Quantisation(**settings)  # type: ignore[arg-type]

    def test_what_outputs_depend_on_is_in_the_identity(self) -> None:
        changes: list[dict[str, object]] = [
            {},
            {"images": 8},
            {"calibration": "percentile"},
            {"per_channel": False},
        ]
        changes += [{"keep_float": ["head"]}, {"activations": "int8"}, {"reduce_range": True}]
        changes.append({"calibration": "percentile", "percentile": 99.0})
        found = [Quantisation(**change).identity() for change in changes]  # type: ignore[arg-type]
        assert all(one != other for at, one in enumerate(found) for other in found[:at])


def test_what_the_tool_cannot_quantise_is_said(images: Tensor) -> None:
    with pytest.raises(UserError, match="cannot quantise this network to int8"):
        quantised(
            onnx_model(nn.Conv2d(3, 2, 1).eval(), images[:1]),
            [np.zeros((1, 3, 2, 2), "float32")],
            Quantisation(),
        )
