"""Weights of whole trained teachers from the user's files: their layouts, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.nn.fcn_head import FCNHead
from evonas.space.space import Space
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.space import fasterseg_space
from evonas.supernets.static_net import StaticNet
from evonas.train.loop.data import seeded
from evonas.train.teachers.base import Teacher
from evonas.train.teachers.frozen import frozen
from evonas.train.teachers.subnet import SubnetBackbone

CLASSES = 4


@pytest.fixture(scope="module")
def space() -> Space:
    return fasterseg_space("try", layers=9, widths=[4])


def teacher(space: Space, seed: int, classes: int = CLASSES, genotype: str | None = None) -> Teacher:
    with seeded(seed, "teacher"):
        body = SubnetBackbone(FasterSeg(space, base=3), genotype or space.format(space.smallest()))
    return Teacher(body, FCNHead(body.levels, classes, seed=seed))


def written(net: Any, path: Path, prefix: str = "") -> Path:
    weights.save(path, {prefix + name: tensor for name, tensor in net.state_dict().items()}, {})
    return path


def test_all_layouts_of_our_files_give_the_same_answers(space: Space, tmp_path: Path) -> None:
    known, x = teacher(space, 1).eval(), torch.randn(1, 3, 64, 128)
    family = FasterSeg(space, base=3)
    alone = StaticNet(family.build(space.smallest(), 5), FCNHead(family.levels, CLASSES, seed=5))
    alone.load_state_dict(
        {name.replace("body.network.", "backbone."): tensor for name, tensor in known.state_dict().items()}
    )
    # an exported network has no auxiliary heads
    without = {name: each for name, each in alone.state_dict().items() if "auxiliary" not in name}
    torch.save({"state_dict": {f"module.{name}": each for name, each in without.items()}}, tmp_path / "c.pth")
    paths = written(known, tmp_path / "a.safetensors"), written(alone, tmp_path / "b.safetensors")
    with torch.no_grad():
        wanted = known(x)
        for path in (*paths, tmp_path / "c.pth"):
            found = frozen(teacher(space, 2), path, SubnetBackbone.renames)
            assert torch.equal(found(x), wanted)
            assert found.origin is not None and found.origin.sha256 == files.sha256(path)
            assert not found.state_dict() and found.levels == known.levels


def test_it_resizes_images_as_students_do(space: Space, tmp_path: Path) -> None:
    found = frozen(
        teacher(space, 2), written(teacher(space, 1), tmp_path / "a.safetensors"), SubnetBackbone.renames
    )
    output = found(torch.randn(1, 3, 70, 50))
    assert output is not None and output.shape == (1, CLASSES, 70, 50)


def test_other_networks_and_classes_are_refused_whole(space: Space, tmp_path: Path) -> None:
    net, path = teacher(space, 2), tmp_path / "a.safetensors"
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    written(teacher(space, 1, classes=CLASSES + 1), path)
    with pytest.raises(DataError, match=r"has 2 in another shape \(head\.main\.predict\.weight is") as caught:
        frozen(net, path, SubnetBackbone.renames)
    assert "leave teacher.weights out" in caught.value.hint
    written(teacher(space, 1, genotype=space.format(space.largest())), path)
    with pytest.raises(DataError, match=r"lacks \d+ of its \d+ tensors"):
        frozen(net, path, SubnetBackbone.renames)
    weights.save(path, {"x": torch.zeros(1)}, {})
    with pytest.raises(DataError, match=r"lacks \d+ of its \d+ tensors"):
        frozen(net, path, SubnetBackbone.renames)
    with pytest.raises(UserError, match=r"teacher\.weights=.*none\.pth is not a file"):
        frozen(net, tmp_path / "none.pth", SubnetBackbone.renames)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_published_teacher_goes_by_its_name_and_has_its_settings() -> None:
    space = fasterseg_space()
    with pytest.raises(UserError, match=r"fasterseg_teacher has teacher\.network\.base=12, not 2"):
        SubnetBackbone(FasterSeg(space, base=2, stem_width=12, head_width=12), "fasterseg_teacher")
    with pytest.raises(UserError, match=r"stem_width=12, not 8"):
        SubnetBackbone(FasterSeg(space), "fasterseg_teacher")
    with pytest.raises(UserError, match=r"teacher\.genotype=best is not a network") as caught:
        SubnetBackbone(FasterSeg(space), "best")
    assert "fasterseg_teacher" in caught.value.hint
