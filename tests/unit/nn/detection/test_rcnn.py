"""The torchvision head's parts against torchvision itself and against hand-computed boxes."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import MultiScaleRoIAlign, batched_nms

from evonas.errors import UserError
from evonas.nn.detection.anchors import anchors
from evonas.nn.detection.boxes import code, coded_from
from evonas.nn.detection.pooling import pooled
from evonas.nn.detection.proposals import proposed
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.detection.regions import seen_through
from evonas.nn.detection.suppression import survivors
from evonas.nn.level import Level
from evonas.nn.necks.fpn import FPN
from evonas.nn.necks.mamba_fpn import MambaFPN
from evonas.nn.necks.registry import described, made

COCO = (Level(64, 4), Level(128, 8), Level(256, 16), Level(512, 32))


def random_boxes(count: int, size: float = 100.0, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * size * 0.7
    sides = 4 + torch.rand(count, 2, generator=random) * size * 0.3
    return torch.cat((corner, corner + sides), dim=1)


def test_a_head_for_coco_has_the_published_size() -> None:
    head = RCNN(COCO, 80, neck=FPN, masks=True)
    own = sum(p.numel() for p in head.parameters()) - sum(p.numel() for p in head.neck.parameters())
    assert own == 17_543_920


def test_anchors_are_those_of_torchvision() -> None:
    maps = [torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4)]
    reference = AnchorGenerator(((32,), (64,)), ((0.5, 1.0, 2.0),) * 2)
    wanted = reference(ImageList(torch.zeros(1, 3, 24, 32), [(24, 32)]), maps)[0]
    found = torch.cat(anchors(maps, [4, 8], 8.0, (0.5, 1.0, 2.0)))
    # torchvision rounds the sides of its anchors to whole pixels
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 0.5


def test_survivors_are_those_of_suppression_one_image_at_a_time() -> None:
    boxes = torch.stack([random_boxes(60, seed=1), random_boxes(60, seed=2)])
    scores = torch.rand(2, 60, generator=torch.Generator().manual_seed(3))
    scores[0, :5] = 0
    groups = (torch.arange(60) % 3).expand(2, -1)
    alive = survivors(boxes, scores, groups, 0.5)
    for image in range(2):
        some = torch.nonzero(scores[image] > 0).squeeze(1)
        kept = some[batched_nms(boxes[image, some], scores[image, some], groups[image, some], 0.5)]
        assert alive[image].nonzero().squeeze(1).tolist() == sorted(kept.tolist())


def test_pooling_is_that_of_torchvision_up_to_its_half_pixel() -> None:
    random = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 3, 64 // step, 64 // step, generator=random) for step in (1, 2, 4)]
    boxes = random_boxes(20, size=256.0)
    reference = MultiScaleRoIAlign(["0", "1", "2"], 7, 2)
    named = {str(index): each for index, each in enumerate(maps)}
    rois = torch.cat((torch.zeros(20, 1), boxes), dim=1)
    found = pooled(maps, [4, 8, 16], rois, 7)
    # torchvision's pooler reads half a cell further than the centres of cells say
    for index in range(3):
        stride = 4 << index
        moved = boxes - stride / 2
        wanted = reference(named, [moved], [(256, 256)])
        same = torch.isclose(found, wanted, atol=1e-4).flatten(1).all(dim=1)
        sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
        level = torch.floor(4 + torch.log2(sides / 224)).clamp(2, 4) - 2
        inside = (boxes[:, :2] > stride).all(dim=1) & (boxes[:, 2:] < 240).all(dim=1)
        assert same[(level == index) & inside].all()


def test_proposals_are_those_of_torchvision() -> None:
    random = torch.Generator().manual_seed(0)
    counts = (300, 80)
    levels = [random_boxes(count, seed=count) for count in counts]
    logits = [torch.randn(2, count, 1, generator=random) for count in counts]
    offsets = [0.1 * torch.randn(2, count, 4, generator=random) for count in counts]
    found = proposed(logits, offsets, levels, (100, 100), 50)
    network = RegionProposalNetwork(
        None, None, 0.7, 0.3, 256, 0.5, {"testing": 50, "training": 50}, {"testing": 50, "training": 50}, 0.7
    ).eval()
    moved = network.box_coder.decode(torch.cat(offsets, 1).flatten(0, 1), [torch.cat(levels)] * 2)
    wanted, _ = network.filter_proposals(
        moved.view(2, -1, 4), torch.cat(logits, 1).flatten(), [(100, 100)] * 2, list(counts)
    )
    for image in range(2):
        torch.testing.assert_close(found.boxes[image][found.alive[image]], wanted[image])


def test_coded_boxes_come_back() -> None:
    boxes, regions = random_boxes(10, seed=1), random_boxes(10, seed=2)
    back = coded_from(code(boxes, regions)[:, None], regions)
    torch.testing.assert_close(back[:, 0], boxes, atol=1e-3, rtol=1e-4)
    # half a side to the right is an offset of 0.5, over the deviation 0.1
    one = code(torch.tensor([[5.0, 0.0, 15.0, 10.0]]), torch.tensor([[0.0, 0.0, 10.0, 10.0]]))
    torch.testing.assert_close(one, torch.tensor([[5.0, 0.0, 0.0, 0.0]]))


def test_a_mask_is_seen_through_a_region() -> None:
    mask = torch.zeros(1, 112, 112, dtype=torch.uint8)
    mask[:, :, 56:] = 1
    box = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    own = seen_through(box, box, mask, 28)[0]
    assert float(own[:, :13].max()) == 0 and float(own[:, 15:].min()) == 1
    right = seen_through(torch.tensor([[20.0, 10.0, 30.0, 30.0]]), box, mask, 28)[0]
    assert float(right[:, 1:].min()) == 1
    beside = seen_through(torch.tensor([[40.0, 40.0, 60.0, 60.0]]), box, mask, 28)[0]
    assert float(beside.max()) == 0


@pytest.mark.parametrize("count", [2, 3])
def test_backbones_with_few_levels_have_a_head(count: int) -> None:
    levels = COCO[:count]
    head = RCNN(levels, 2, neck=partial(FPN, out_channels=8), hidden=16, proposals=20, detections=5).eval()
    maps = [torch.randn(1, each.channels, 64 // each.stride, 64 // each.stride) for each in levels]
    assert head(maps).shape == (1, 5, 6)


def test_necks_describe_themselves() -> None:
    neck = partial(MambaFPN, out_channels=16, pool_sizes=(4, 2))
    found = described(neck)
    assert found == {"kind": "mamba", "out_channels": 16, "pool_sizes": [4, 2]}
    again = made(found)(COCO)
    assert [each.channels for each in again.levels] == [16] * 5
    assert described(FPN) == {"kind": "fpn"}
    assert described(lambda _: None) is None
    with pytest.raises(UserError, match="kind=bifpn is unknown"):
        made({"kind": "bifpn"})
