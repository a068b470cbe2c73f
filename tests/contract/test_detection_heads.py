"""What every detector's head promises, checked through `RegionHead` and `Regions` alone.

A head of another library passes when a class derived from `RegionHeadContract` makes it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from evonas.nn.count import count_head
from evonas.nn.detection.base import EMPTY, LABEL, PLAIN, SCORE, RegionHead, Regions, output_regions
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.level import Level
from evonas.nn.necks.fpn import FPN

LEVELS = (Level(8, 4), Level(12, 8), Level(16, 16), Level(24, 32))
HEIGHT, WIDTH, CLASSES, MASK = 64, 96, 3, 28


def maps(seed: int = 0, batch: int = 2) -> list[Tensor]:
    """Random maps of images of 64x96 pixels."""
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, each.channels, HEIGHT // each.stride, WIDTH // each.stride, generator=random)
        for each in LEVELS
    ]


def truth() -> dict[str, Tensor]:
    """Two objects in the first image, none in the second."""
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 40.0], [50.0, 10.0, 90.0, 60.0]], [[0.0] * 4] * 2])
    masks = torch.zeros(2, 2, 112, 112, dtype=torch.uint8)
    masks[0, :, 28:84, 28:84] = 1
    return {"boxes": boxes, "labels": torch.tensor([[0, 2], [EMPTY, EMPTY]]), "masks": masks}


class RegionHeadContract(ABC):
    """Subclass, and make a head for `LEVELS` and three classes, with random weights."""

    detections: ClassVar[int] = 20

    @abstractmethod
    def make(self, with_masks: bool) -> RegionHead:
        """A small head with `detections` rows; called anew in every test."""

    @pytest.fixture(params=[False, True], ids=["boxes", "masks"])
    def head(self, request: pytest.FixtureRequest) -> RegionHead:
        torch.manual_seed(0)
        return self.make(request.param)

    def regions(self, head: RegionHead, levels: list[Tensor]) -> Regions:
        found = head.train()(levels)
        assert isinstance(found, Regions)
        return found

    def test_it_answers_with_a_table_of_fixed_size(self, head: RegionHead) -> None:
        table = head.eval()(maps())
        side = head.mask_side
        assert table.shape == (2, self.detections, PLAIN + side * side)
        assert table.dtype == torch.float32 and not table.requires_grad
        assert torch.isfinite(table).all()
        assert side in (0, MASK)

    def test_rows_are_ordered_within_the_image_and_empty_where_nothing_is_found(
        self, head: RegionHead
    ) -> None:
        table = head.eval()(maps())
        scores, labels = table[..., SCORE], table[..., LABEL]
        assert (scores[:, :-1] >= scores[:, 1:]).all() and (scores <= 1).all()
        found = scores > 0
        assert found.any()
        assert labels[found].min() >= 0 and labels[found].max() < CLASSES
        assert (labels[~found] == EMPTY).all()
        x1, y1, x2, y2 = table[..., :4].unbind(-1)
        assert (x2[found] > x1[found]).all() and (y2[found] > y1[found]).all()
        assert table[..., :4].min() >= 0 and x2.max() <= WIDTH and y2.max() <= HEIGHT
        assert (table[..., :4][~found] == 0).all()
        if head.mask_side:
            masks = table[..., PLAIN:]
            assert masks.min() >= 0 and masks.max() <= 1 and (masks[~found] == 0).all()

    def test_an_image_is_answered_alike_alone_and_in_a_batch(self, head: RegionHead) -> None:
        head.eval()
        both = maps()
        alone = head([each[1:] for each in both])
        torch.testing.assert_close(alone[0], head(both)[1], atol=1e-3, rtol=1e-4)

    def test_proposals_do_not_learn_what_an_object_is(self, head: RegionHead) -> None:
        """Their losses are the same for the same boxes of any class."""
        found = []
        for label in range(CLASSES):
            batch = truth()
            batch["labels"][0] = label
            torch.manual_seed(0)
            losses = self.regions(head, maps()).losses(batch)
            found.append([losses["objectness"].detach(), losses["proposals"].detach()])
            assert float(found[-1][1]) > 0
        assert found[0] == found[1] == found[2]

    def test_losses_reach_every_weight_and_the_maps(self, head: RegionHead) -> None:
        levels = [each.requires_grad_() for each in maps()]
        losses = self.regions(head, levels).losses(truth())
        assert all(each.shape == () and torch.isfinite(each) for each in losses.values())
        total = torch.stack(list(losses.values())).sum()
        assert float(total.detach()) > 0
        total.backward()
        without = [name for name, each in head.named_parameters() if each.requires_grad and each.grad is None]
        assert without == []
        assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in levels)

    def test_images_without_objects_have_losses(self, head: RegionHead) -> None:
        batch = {key: value[1:] for key, value in truth().items()}
        losses = self.regions(head, maps(batch=1)).losses(batch)
        assert all(torch.isfinite(each) for each in losses.values())

    def test_the_global_generator_alone_decides_what_is_sampled(self, head: RegionHead) -> None:
        def total() -> Tensor:
            torch.manual_seed(7)
            return torch.stack(list(self.regions(head, maps()).losses(truth()).values())).sum()

        assert torch.equal(total(), total())

    def test_samples_are_drawn_once(self, head: RegionHead) -> None:
        regions, batch = self.regions(head, maps()), truth()
        first = regions.samples(batch)
        regions.losses(batch)
        again = regions.samples(batch)
        assert torch.equal(first.rois, again.rois) and torch.equal(first.labels, again.labels)
        assert first.rois.shape[1] == 5 and set(first.rois[:, 0].tolist()) <= {0.0, 1.0}
        assert first.labels.min() >= 0 and first.labels.max() == CLASSES
        # the objects themselves are among the regions, and need no correction
        own = (first.labels < CLASSES) & (first.rois[:, 1:] == truth()["boxes"][0, 0]).all(dim=1)
        assert own.any()
        assert float(first.targets[own].abs().max()) < 1e-5

    def test_judged_regions_are_those_of_the_box_head(self, head: RegionHead) -> None:
        regions = self.regions(head, maps())
        rois = regions.samples(truth()).rois
        logits, boxes = regions.predict_rois(rois)
        assert logits.shape == (len(rois), CLASSES + 1) and boxes.shape == (len(rois), CLASSES, 4)
        assert logits.requires_grad and boxes.requires_grad

    def test_a_detached_answer_leads_no_slope_to_the_maps(self, head: RegionHead) -> None:
        levels = [each.requires_grad_() for each in maps()]
        regions = self.regions(head, levels)
        rois = regions.samples(truth()).rois
        regions.detach().predict_rois(rois)[0].sum().backward()
        assert all(each.grad is None for each in levels)

    def test_a_shown_head_gives_regions_while_its_layers_stay_in_eval_mode(self, head: RegionHead) -> None:
        net = nn.Sequential(head).eval()
        output_regions(net)
        assert isinstance(head(maps()), Regions)
        assert not any(part.training for part in head.modules() if part is not head)

    def test_its_work_is_counted_without_memory_and_is_that_of_an_image(self, head: RegionHead) -> None:
        params, macs = count_head(head, LEVELS, HEIGHT, WIDTH)
        assert params == sum(each.numel() for each in head.parameters())
        from torch.utils.flop_counter import FlopCounterMode

        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            head.eval()(maps(batch=1))
        assert counter.get_total_flops() // 2 == macs > 0

    def test_its_settings_make_it_again(self, head: RegionHead) -> None:
        settings: Mapping[str, Any] = head.settings
        again = type(head)(LEVELS, **settings)
        again.load_state_dict(head.state_dict())
        torch.testing.assert_close(again.eval()(maps()), head.eval()(maps()))


class TestRCNN(RegionHeadContract):
    def make(self, with_masks: bool) -> RegionHead:
        return RCNN(
            LEVELS,
            CLASSES,
            neck=partial(FPN, out_channels=16),
            masks=with_masks,
            hidden=24,
            proposals=50,
            training_proposals=60,
            samples=32,
            detections=self.detections,
        )
