"""One contract for every teacher, whoever trained it: `evonas/train/teachers/base.py`, first page."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from evonas import files, weights
from evonas.nn.heads import DenseHead
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.space import fasterseg_space
from evonas.train.loop.data import seeded
from evonas.train.teachers.base import Teacher, TeacherBackbone, TeacherModel, TimmBackbone
from evonas.train.teachers.frozen import frozen
from evonas.train.teachers.subnet import SubnetBackbone

MAX_DEPTH, CLASSES = 20.0, 5
SIZES = [(64, 96), (32, 64), (70, 50)]


def with_head(body: Any, is_wanted: bool = True) -> Teacher:
    head = DenseHead(body.levels, 1, width=8, output="sigmoid", scale=MAX_DEPTH) if is_wanted else None
    return Teacher(body, head)


def trained() -> Teacher:
    return with_head(TimmBackbone("resnet10t", [1, 2, 3]))


def depth_anything(family: str) -> Any:
    pytest.importorskip("transformers")
    from evonas.train.teachers.depth_anything import DepthAnything

    return DepthAnything(family, "tiny", input_size=(56, 84), max_depth=MAX_DEPTH)


def dinov2(**options: Any) -> Teacher:
    pytest.importorskip("transformers")
    from evonas.train.teachers.dinov2 import DINOv2Backbone

    return with_head(DINOv2Backbone("tiny", **options), options.get("head", True))


def mask2former(**options: Any) -> Any:
    pytest.importorskip("transformers")
    from evonas.train.teachers.mask2former import Mask2Former

    return Mask2Former("ade20k", CLASSES, "tiny", **options)


def deeplabv3plus(**options: Any) -> Any:
    pytest.importorskip("segmentation_models_pytorch")
    from evonas.train.teachers.deeplab import DeepLabV3Plus

    return DeepLabV3Plus(CLASSES, "tiny", **options)


def subnet() -> Teacher:
    """FasterSeg's smallest network in a space of nine layers."""
    space = fasterseg_space("try", layers=9, widths=[4])
    return with_head(SubnetBackbone(FasterSeg(space, base=3), space.format(space.smallest())))


def from_a_file(make: Callable[[], Any]) -> Any:
    """The same teacher, frozen with weights that were trained before."""
    network = make()
    body = getattr(network, "body", network)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        weights.save(path, network.state_dict(), {})
        return frozen(make(), path, body.renames)


TEACHERS: dict[str, Callable[[], Any]] = {
    "timm": trained,
    "depth_anything": lambda: depth_anything("depth_anything"),
    "depth_anything_v2": lambda: depth_anything("depth_anything_v2"),
    "dinov2": dinov2,
    "dinov2_resized": lambda: dinov2(input_size=(42, 70)),
    "dinov2_features": lambda: dinov2(head=False),
    "mask2former": mask2former,
    "mask2former_resized": lambda: mask2former(input_size=(42, 70)),
    "deeplabv3plus": deeplabv3plus,
    "deeplabv3plus_fine": lambda: deeplabv3plus(output_stride=8),
    "deeplabv3plus_frozen": lambda: from_a_file(deeplabv3plus),
    "subnet": subnet,
    "subnet_frozen": lambda: from_a_file(subnet),
}
TRAINED = ("timm", "deeplabv3plus", "deeplabv3plus_fine", "subnet")
FOREIGN = [name for name in TEACHERS if name not in TRAINED]
# those whose weights come from a file that these tests write
FROM_FILES = ("deeplabv3plus_frozen", "subnet_frozen")


def made(name: str) -> Any:
    with seeded(0, name):
        return TEACHERS[name]().eval()


def images(size: tuple[int, int], count: int = 2) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", TEACHERS)
class TestTeacher:
    def test_answers_lie_on_the_image_and_maps_match_the_levels(self, name: str) -> None:
        teacher = made(name)
        assert isinstance(teacher, TeacherModel)
        # strides of 16 need sides of 16
        for size in SIZES if name != "timm" else SIZES[:2]:
            output, maps = teacher.forward_with_features(images(size))
            assert [found.shape[:2] for found in maps] == [(2, level.channels) for level in teacher.levels]
            assert all(torch.isfinite(found).all() for found in maps)
            if teacher.has_output:
                channels, low, high = 1, 0.0, MAX_DEPTH
                if name.startswith(("mask2former", "deeplab")):
                    # Mask2Former's are logarithms of shares
                    channels, low = CLASSES, -float("inf")
                    high = 1e-6 if name.startswith("mask2former") else float("inf")
                assert output.shape == (2, channels, *size) and output.dtype == torch.float32
                assert output.min() >= low and output.max() <= high
            else:
                assert output is None

    def test_it_answers_alike_whatever_was_asked_before(self, name: str) -> None:
        teacher, x = made(name), images((64, 96))
        first = teacher.forward_with_features(x)[1]
        teacher.train()
        teacher.eval()
        teacher.forward_with_features(images((32, 64)))
        again = teacher.forward_with_features(x)[1]
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))

    def test_it_moves_as_a_whole(self, name: str) -> None:
        teacher = made(name).to(torch.float64)
        hidden = getattr(getattr(teacher, "body", teacher), "network", teacher)
        assert all(p.dtype == torch.float64 for p in [*teacher.parameters(), *hidden.parameters()])

    def test_it_runs_in_the_precision_of_the_run(self, name: str) -> None:
        teacher = made(name)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            output, maps = teacher.forward_with_features(images((64, 96)))
        assert all(torch.isfinite(found).all() for found in [*maps, *([] if output is None else [output])])
        exact = teacher.forward_with_features(images((64, 96)))[1]
        similar = torch.cosine_similarity(maps[-1].float(), exact[-1].detach(), dim=1)
        assert similar.mean() > 0.99

    def test_parameters_are_counted_whoever_trained_them(self, name: str) -> None:
        teacher = made(name)
        assert teacher.num_params >= sum(p.numel() for p in teacher.parameters())
        assert teacher.num_params > 10_000


@pytest.mark.parametrize("name", FOREIGN)
class TestForeignWeights:
    def test_they_are_hidden_frozen_and_never_in_training_mode(self, name: str) -> None:
        teacher = made(name).train()
        body = getattr(teacher, "body", teacher)
        assert not list(body.parameters()) and not body.state_dict()
        assert not any(p.requires_grad for p in body.network.parameters())
        assert not any(module.training for module in body.network.modules())

    def test_no_gradient_reaches_them(self, name: str) -> None:
        teacher = made(name)
        _, maps = teacher.forward_with_features(images((64, 96)).requires_grad_())
        assert not any(found.requires_grad for found in maps)

    def test_random_weights_say_so_and_follow_the_seed(self, name: str) -> None:
        if name in FROM_FILES:
            pytest.skip("its weights come from a file")
        first, again = made(name).origin, made(name).origin
        assert first == again and first.is_random and first.facts()["random"] is True
        with seeded(1, name):
            assert TEACHERS[name]().origin.sha256 != first.sha256


def test_a_trained_teacher_has_no_origin() -> None:
    assert trained().origin is None and list(trained().parameters())


@pytest.mark.parametrize("name", ["timm", "dinov2", "dinov2_resized", "subnet"])
def test_bodies_keep_their_part_of_the_contract(name: str) -> None:
    body = made(name).body
    assert isinstance(body, TeacherBackbone) and not isinstance(body, TeacherModel)


def test_every_configured_teacher_is_one_of_these(root: Path) -> None:
    targets = {
        "TimmBackbone", "DepthAnything", "DINOv2Backbone", "Mask2Former", "DeepLabV3Plus", "SubnetBackbone",
        "TimmClassifiers",
    }  # fmt: skip
    for path in (root / "conf" / "teacher").glob("*.yaml"):
        node = OmegaConf.load(path)
        # one that only changes another names it first
        if "_target_" not in node:
            node = OmegaConf.load(path.with_name(f"{node.defaults[0]}.yaml"))
        assert node._target_.rpartition(".")[2] in targets


def test_the_sha256_of_a_file_is_its_origin(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from evonas.train.teachers.dinov2 import DINOv2Backbone

    state = {name: tensor.clone() for name, tensor in DINOv2Backbone("tiny").network.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    body = DINOv2Backbone("tiny", weights=str(tmp_path / "weights.pth"))
    assert body.origin.facts() == {
        "weights": str(tmp_path / "weights.pth"),
        "sha256": files.sha256(tmp_path / "weights.pth"),
        "random": False,
    }
    assert all(torch.equal(state[name], found) for name, found in body.network.state_dict().items())
