"""The stand-in for mmcv's compiled operations, by definition and by hand; needs no OpenMMLab package."""

import itertools
import sys

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou, roi_align

from evonas.errors import UserError
from evonas.mm import extension
from evonas.mm.extension import Extension


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def boxes(generator: torch.Generator, count: int = 30) -> Tensor:
    corner = 40 * torch.rand(count, 2, generator=generator)
    return torch.cat((corner, corner + 2 + 20 * torch.rand(count, 2, generator=generator)), dim=1)


def areas(some: Tensor, offset: int) -> Tensor:
    return (some[..., 2] - some[..., 0] + offset) * (some[..., 3] - some[..., 1] + offset)


@pytest.mark.parametrize("offset", [0, 1])
def test_suppression_leaves_what_no_better_kept_box_covers(generator: torch.Generator, offset: int) -> None:
    some, scores = boxes(generator), torch.rand(30, generator=generator)
    kept = extension.nms(some, scores, 0.3, offset).tolist()
    expected: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        corners = [
            torch.cat(
                (torch.max(some[index, :2], some[each, :2]), torch.min(some[index, 2:], some[each, 2:]))
            )
            for each in expected
        ]
        inside = [
            areas(each, offset) if (each[2:] - each[:2] + offset > 0).all() else 0.0 for each in corners
        ]
        whole = [
            areas(some[index], offset) + areas(some[each], offset) - part
            for each, part in zip(expected, inside, strict=True)
        ]
        if all(part / total <= 0.3 for part, total in zip(inside, whole, strict=True)):
            expected.append(index)
    assert kept == expected and 1 < len(kept) < 30


@pytest.mark.parametrize(
    ("method", "factor"), [(1, lambda iou: 1 - iou), (2, lambda iou: torch.exp(-(iou**2) / 0.5))]
)
def test_soft_suppression_of_two_boxes_by_hand(method: int, factor: object) -> None:
    some = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 15], [50, 50, 60, 60]])
    scores, written = torch.tensor([0.6, 0.9, 0.7]), torch.zeros(3, 5)
    kept = extension.softnms(some, scores, written, 0.3, 0.5, 1e-3, method, 0)
    assert kept.tolist() == [1, 2, 0]
    lowered = 0.6 * factor(box_iou(some[:1], some[1:2])[0, 0])
    assert_close(written[:, 4], torch.tensor([0.9, 0.7, float(lowered)]))
    assert torch.equal(written[:, :4], some[kept])


def test_soft_suppression_may_drop(generator: torch.Generator) -> None:
    some, scores, written = boxes(generator), torch.rand(30, generator=generator), torch.zeros(30, 5)
    kept = extension.softnms(some, scores, written, 0.3, 0.5, 0.05, 0, 0)
    hard = extension.nms(some, scores, 0.3, 0)
    assert kept.tolist() == [each for each in hard.tolist() if scores[each] >= 0.05]


def test_regions_are_averages_with_the_slope_of_averages(generator: torch.Generator) -> None:
    maps = torch.randn(2, 3, 12, 10, generator=generator, dtype=torch.float64)
    rois = torch.cat((torch.tensor([[0.0], [1.0], [1.0]]), boxes(generator, 3)), dim=1).double()
    slope = torch.randn(3, 3, 4, 4, generator=generator, dtype=torch.float64)
    output, found, unused = torch.zeros(3, 3, 4, 4).double(), torch.zeros_like(maps), torch.zeros(0)
    places = {
        "aligned_height": 4,
        "aligned_width": 4,
        "spatial_scale": 0.25,
        "sampling_ratio": 0,
        "pool_mode": 1,
        "aligned": True,
    }
    extension.roi_align_forward(maps, rois, output, unused, unused, **places)
    with torch.no_grad():
        extension.roi_align_backward(slope, rois, unused, unused, found, **places)
    known = maps.clone().requires_grad_()
    expected = roi_align(known, rois, 4, 0.25, 0, aligned=True)
    expected.backward(slope)
    assert_close(output, expected.detach())
    assert_close(found, known.grad)


def test_the_largest_of_a_region_is_refused() -> None:
    empty = torch.zeros(0)
    with pytest.raises(UserError, match="pool_mode='max'"):
        extension.roi_align_forward(empty, empty, empty, empty, empty, 1, 1, 1.0, 0, 0, True)


@pytest.mark.parametrize("weighted", [False, True])
def test_focal_losses_and_their_slopes_by_their_formula(generator: torch.Generator, weighted: bool) -> None:
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    target, weight = torch.tensor([0, 2, 1, 3, 3]), torch.tensor([1.0, 2.0, 0.5]).double()
    given = weight if weighted else weight[:0]
    output, found = torch.zeros_like(logits), torch.zeros_like(logits)
    extension.sigmoid_focal_loss_forward(logits, target, given, output, 2.0, 0.25)
    extension.sigmoid_focal_loss_backward(logits, target, given, found, 2.0, 0.25)
    for row, column in itertools.product(range(5), range(3)):
        logit = logits[row, column].clone().requires_grad_()
        p = logit.sigmoid()
        loss = -0.25 * (1 - p) ** 2 * p.log() if target[row] == column else -0.75 * p**2 * (1 - p).log()
        loss = loss * (weight[min(int(target[row]), 2)] if weighted else 1.0)
        loss.backward()
        assert_close(output[row, column], loss.detach())
        assert_close(found[row, column], logit.grad)


def test_other_operations_exist_and_are_refused_by_name_when_called() -> None:
    stand_in = Extension()
    assert hasattr(stand_in, "deform_conv_forward")
    with pytest.raises(UserError, match=r"(?s)'deform_conv_forward'.*MMCV_WITH_OPS"):
        stand_in.deform_conv_forward(torch.zeros(1))


def test_a_compiled_extension_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mmcv._ext", raising=False)
    monkeypatch.setattr(extension.installed, "has_compiled_ops", lambda: True)
    assert not extension.stand_in() and "mmcv._ext" not in sys.modules
    monkeypatch.setattr(extension.installed, "has_compiled_ops", lambda: False)
    assert extension.stand_in()
    monkeypatch.delitem(sys.modules, "mmcv._ext")
