"""Classifiers of timm as frozen teachers: their mean at a temperature, their files, and what is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from evonas.errors import DataError, UserError
from evonas.train.distillation.soft_labels import SoftLabels
from evonas.train.loop.data import seeded
from evonas.train.teachers.base import TeacherModel
from evonas.train.teachers.timm_classifiers import TimmClassifiers

NAMES = ("test_resnet", "test_byobnet")


def _write(folder: Path, name: str, ending: str, classes: int = 5) -> torch.nn.Module:
    with seeded(0, name):
        net = timm.create_model(name, num_classes=classes)
    if ending == ".pth":
        torch.save({"state_dict": net.state_dict()}, folder / f"{name}.pth")
    else:
        safetensors.torch.save_file(net.state_dict(), folder / f"{name}{ending}")
    return net.eval()


def test_the_output_is_the_mean_of_probabilities_at_the_temperature(tmp_path: Path) -> None:
    nets = [
        _write(tmp_path, name, ending) for name, ending in zip(NAMES, (".safetensors", ".pth"), strict=True)
    ]
    teacher = TimmClassifiers(NAMES, 5, folder=str(tmp_path), temperature=0.2)
    assert isinstance(teacher, TeacherModel)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = sum((net(images) / 0.2).softmax(1) for net in nets) / 2
        output, maps = teacher.forward_with_features(images)
    torch.testing.assert_close(output.softmax(1), expected)
    torch.testing.assert_close(teacher(images), output)
    assert [tuple(each.shape[1:]) for each in maps] == [(teacher.levels[0].channels, 2, 2)]
    assert teacher.levels[0].stride == 32
    # frozen: nothing to train or save, and its weights are known by their content
    assert not list(teacher.parameters()) and not teacher.state_dict()
    assert teacher.num_params == sum(each.numel() for net in nets for each in net.parameters())
    assert teacher.origin is not None and not teacher.origin.is_random
    files = [
        str(tmp_path / f"{name}{end}") for name, end in zip(NAMES, (".safetensors", ".pth"), strict=True)
    ]
    assert TimmClassifiers(NAMES, 5, files, temperature=0.2).origin == teacher.origin


def test_one_network_has_its_logits_and_trials_have_a_small_random_one(tmp_path: Path) -> None:
    net = _write(tmp_path, "test_resnet", ".safetensors")
    teacher = TimmClassifiers(["test_resnet"], 5, folder=str(tmp_path), temperature=2.0)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(teacher(images), net(images) / 2.0)
    tiny = TimmClassifiers(["resnext101_32x8d"], 7, size="tiny")
    assert tiny.origin is not None and tiny.origin.is_random
    assert tiny(images).shape == (2, 7) and tiny.num_params < 10_000_000


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ["test_resnet"], "folder": "nowhere"}, r"missing: nowhere/test_resnet\.safetensors"),
        ({"names": ["test_resnet"], "weights": ["a.pth"]}, r"missing: a\.pth does not exist"),
        ({"names": ["test_resnet"], "weights": []}, "need an entry for each network"),
        ({"names": "test_resnet"}, "need an entry for each network"),
        ({"names": [], "size": "tiny"}, "need an entry for each network"),
        ({"names": ["test_resnet"], "temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_what_cannot_teach_is_refused(settings: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        TimmClassifiers(**{"classes": 5, **settings})


def test_files_of_other_networks_and_networks_without_maps_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "test_resnet", ".safetensors")
    with pytest.raises(UserError, match=r"noresnet is not a classifier of timm"):
        (tmp_path / "noresnet.pth").write_bytes(b"")
        TimmClassifiers(["noresnet"], 5, folder=str(tmp_path))
    with pytest.raises(DataError):
        TimmClassifiers(["test_byobnet"], 5, [str(tmp_path / "test_resnet.safetensors")])
    with pytest.raises(DataError):
        # of another number of classes
        TimmClassifiers(["test_resnet"], 6, folder=str(tmp_path))
    _write(tmp_path, "test_vit", ".safetensors")
    with pytest.raises(UserError, match="must be convolutional"):
        TimmClassifiers(["test_vit"], 5, folder=str(tmp_path))


def test_soft_labels_compare_no_features() -> None:
    soft = SoftLabels(3, 4, ratio=0.5)
    assert (soft.ratio, soft.cache, list(soft.parameters())) == (0.5, False, [])
    task, none = (
        SimpleNamespace(distillation_loss=lambda mine, theirs, _: mine - theirs),
        list[torch.Tensor](),
    )
    found = soft.loss(torch.tensor(8.0), (torch.tensor(3.0), none), (torch.tensor(1.0), none), {}, task)
    assert float(found) == 0.5 * 8 + 0.5 * 2
    for ratio in (0.0, 1.5):
        with pytest.raises(UserError, match=r"distill\.ratio"):
            SoftLabels(3, 4, ratio=ratio)
