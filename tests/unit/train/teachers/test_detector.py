"""A detector on a frozen DINOv2: a pyramid from layers of one stride, and images that are filled up."""

from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch.testing import assert_close

from evonas import config
from evonas.cli import conf_dir
from evonas.errors import UserError
from evonas.nn.detection.base import BOX, SCORE, Regions, input_size, output_regions, within
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.level import Level
from evonas.nn.necks.fpn import FPN, Steps
from evonas.nn.necks.mamba_fpn import MambaFPN
from evonas.train.teachers.base import Teacher

PLAIN = [Level(8, 14)] * 4
SIDES = (70, 50)


def detector(**options: object) -> Teacher:
    pytest.importorskip("transformers")
    from evonas.train.teachers.dinov2 import DINOv2Backbone

    body = DINOv2Backbone("tiny", **options)
    head = RCNN(body.levels, 3, neck=partial(FPN, out_channels=8), hidden=16, anchor_scale=4.0)
    return Teacher(body, head).eval()


def image() -> torch.Tensor:
    return torch.randn(2, 3, *SIDES, generator=torch.Generator().manual_seed(0))


def test_layers_of_one_stride_are_stepped() -> None:
    steps = Steps(PLAIN)
    assert [level.stride for level in steps.levels] == [7, 14, 28, 56]
    maps = [torch.arange(15.0).view(1, 1, 3, 5).expand(1, 8, 3, 5) for _ in PLAIN]
    found = steps(maps)
    assert [tuple(each.shape[-2:]) for each in found] == [(6, 10), (3, 5), (2, 3), (1, 2)]
    assert torch.equal(found[1], maps[1])
    # the largest of each square, and what overhangs is kept
    assert found[2][0, 0].tolist() == [[6.0, 8.0, 9.0], [11.0, 13.0, 14.0]]
    assert found[3][0, 0].tolist() == [[13.0, 14.0]]


def test_other_levels_stay_as_they_are() -> None:
    levels = [Level(8, 4), Level(8, 8)]
    maps = [torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)]
    assert Steps(levels)(maps) is maps and Steps(levels).levels == tuple(levels)
    assert Steps(PLAIN[:1]).levels == (PLAIN[0],)
    with pytest.raises(UserError, match="even stride, got 7"):
        Steps([Level(8, 7)] * 2)


@pytest.mark.parametrize("kind", [FPN, MambaFPN])
def test_necks_take_layers_of_one_stride(kind: type) -> None:
    neck = kind(PLAIN, out_channels=4).eval()
    assert [level.stride for level in neck.levels] == [7, 14, 28, 56, 112]
    maps = [torch.randn(1, 8, 5, 4) for _ in PLAIN]
    assert [tuple(each.shape[-2:]) for each in neck(maps)] == [(10, 8), (5, 4), (3, 2), (2, 1), (1, 1)]


def test_it_judges_regions_of_images_whose_sides_divide_by_nothing() -> None:
    teacher = detector()
    table, maps = teacher.forward_with_features(image())
    assert [level.stride for level in teacher.levels] == [14] * 4
    assert input_size(maps, 14) == (70, 56)
    assert float(table[..., 2].max()) <= SIDES[1] and float(table[..., 3].max()) <= SIDES[0]
    assert float(table[..., SCORE].max()) > 0
    output_regions(teacher)
    regions = teacher(image())
    assert isinstance(regions, Regions)
    logits, _ = regions.predict_rois(torch.tensor([[0.0, 4.0, 4.0, 40.0, 60.0], [1.0, 0.0, 0.0, 50.0, 70.0]]))
    assert logits.shape == (2, 4)
    assert not any(each.requires_grad for each in maps)


def test_boxes_end_where_the_image_does() -> None:
    table = torch.tensor([[[10.0, 20.0, 56.0, 70.0, 0.9, 1.0], [0.0, 0.0, 5.0, 5.0, 0.5, 0.0]]])
    cut = within(table, SIDES)
    assert cut[0, 0].tolist() == pytest.approx([10.0, 20.0, 50.0, 70.0, 0.9, 1.0])
    assert_close(cut[0, 1], table[0, 1])
    assert float(table[..., BOX].max()) == 70.0


def test_a_body_that_scales_images_is_refused() -> None:
    with pytest.raises(UserError, match="must not resize images"):
        detector(input_size=(70, 56))(image())


def test_the_published_teacher_is_a_choice_of_config() -> None:
    pytest.importorskip("transformers")
    folder = conf_dir() / "teacher"
    node = OmegaConf.merge(
        *(OmegaConf.load(folder / f"{name}.yaml") for name in ("dinov2", "dinov2_detector")),
        {"size": "tiny", "folder": ""},
    )
    del node["defaults"]
    body = config.build(node)
    head = RCNN(body.levels, 80, **body.head_settings)
    assert [level.stride for level in head.neck.levels] == [7, 14, 28, 56, 112]
    assert {level.channels for level in head.neck.levels} == {256}
    assert head.anchor_scale == 4.0 and head.input_stride == 14
