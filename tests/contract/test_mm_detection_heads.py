"""mmdet's heads keep the contract of detectors' heads, and answer as mmdet itself does."""

from functools import partial
from pathlib import Path

import pytest
import torch
from test_detection_heads import CLASSES, HEIGHT, LEVELS, WIDTH, RegionHeadContract, maps, truth
from torch.testing import assert_close

from evonas.mm.installed import packages
from evonas.mm.rcnn import MMDetRCNN
from evonas.nn.detection.base import LABEL, PLAIN, SCORE, RegionHead
from evonas.nn.necks.fpn import FPN
from evonas.nn.necks.mamba_fpn import MambaFPN

if "mmdet" not in packages():
    pytest.skip("mmdet is not installed", allow_module_level=True)


def small(detections: int, masks: bool = True) -> MMDetRCNN:
    return MMDetRCNN(
        LEVELS,
        CLASSES,
        neck=partial(FPN, out_channels=16),
        masks=masks,
        hidden=24,
        proposals=50,
        training_proposals=60,
        samples=32,
        detections=detections,
    )


class TestMMDetRCNN(RegionHeadContract):
    def make(self, with_masks: bool) -> RegionHead:
        return small(self.detections, with_masks)


def spread(head: MMDetRCNN) -> MMDetRCNN:
    """Weights so large that scores differ and boxes move, but no equal scores, nor sides that shrink by 60.

    There mmdet stops, and torchvision's decoding does not.
    """
    box = head.roi.bbox_head
    with torch.no_grad():
        for part, factor in (
            (head.rpn.rpn_cls, 3),
            (head.rpn.rpn_reg, 5),
            (box.fc_cls, 20),
            (box.fc_reg, 20),
        ):
            part.weight.mul_(factor)
    return head.eval()


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_its_onnx_form_answers_alike(tmp_path: Path, masks: bool) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    head, levels, path = spread(small(20, masks)), maps(), tmp_path / "head.onnx"
    torch.onnx.export(head, (levels,), path, dynamo=True, opset_version=18, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    given = {name: each.numpy() for name, each in zip(names, levels, strict=True)}
    (found,) = session.run(None, given)
    with torch.no_grad():
        expected = head(levels)
    assert float(expected[..., SCORE].min()) > 0
    assert_close(torch.from_numpy(found), expected, atol=1e-3, rtol=1e-3)


def about() -> list[dict[str, object]]:
    return [{"img_shape": (HEIGHT, WIDTH), "scale_factor": (1.0, 1.0), "ori_shape": (HEIGHT, WIDTH)}] * 2


@torch.no_grad()
def test_proposals_are_those_of_mmdets_own_settings() -> None:
    from mmengine.config import ConfigDict

    head = spread(small(20))
    pyramid = head.neck(maps())
    settings = {"nms_pre": 50, "max_per_img": 50, "nms": {"type": "nms", "iou_threshold": 0.7}}
    limits = ConfigDict({**settings, "min_bbox_size": 0})
    expected = head.rpn.predict_by_feat(*head.rpn(pyramid), batch_img_metas=about(), cfg=limits)
    found = head.searched(pyramid, (HEIGHT, WIDTH), 50)
    for boxes, alive, known in zip(found.boxes, found.alive, expected, strict=True):
        assert len(known.bboxes) == int(alive.sum()) > 10
        assert_close(boxes[alive], known.bboxes, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_answers_are_those_of_mmdets_own_settings() -> None:
    from mmengine.config import ConfigDict
    from mmengine.structures import InstanceData

    head, levels = spread(small(20)), maps()
    table, pyramid = head(levels), head.neck(levels)
    proposals = head.searched(pyramid, (HEIGHT, WIDTH), 50)
    # the same regions bit for bit: one that rounds across a whole number of cells is read otherwise
    given = [
        InstanceData(bboxes=boxes[alive])
        for boxes, alive in zip(proposals.boxes, proposals.alive, strict=True)
    ]
    limits = {"score_thr": 0.05, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 20}
    expected = head.roi.predict_bbox(pyramid, about(), given, ConfigDict(limits))
    for rows, known in zip(table, expected, strict=True):
        found = rows[rows[:, SCORE] > 0]
        assert len(found) == len(known.scores) > 5
        assert_close(found[:, SCORE], known.scores, atol=1e-5, rtol=1e-4)
        assert torch.equal(found[:, LABEL].long(), known.labels)
        assert_close(found[:, :4], known.bboxes, atol=1e-3, rtol=1e-4)


def test_masks_that_fill_their_boxes_are_learnt_as_such() -> None:
    head, batch = small(20), truth()
    batch["masks"] = torch.ones_like(batch["masks"])
    last = head.roi.mask_head.conv_logits
    torch.nn.init.zeros_(last.weight)
    for bias, worst in ((20.0, True), (-20.0, False)):
        torch.nn.init.constant_(last.bias, bias)
        loss = float(head.train()(maps()).losses(batch)["mask"].detach())
        # most of a region lies within its object, whose mask is one everywhere
        assert (loss < 10) if worst else (loss > 10)


def test_the_published_heads_have_the_published_size() -> None:
    from evonas.supernets.evonet.family import EvoNet
    from evonas.supernets.evonet.published import PUBLISHED
    from evonas.supernets.evonet.space import evonet_space
    from evonas.supernets.static_net import static_net

    space = evonet_space()
    family = EvoNet(space, [64, 128, 256, 512], [2, 4, 8, 16])
    head = MMDetRCNN(family.levels, 80, MambaFPN, masks=True)
    assert sum(each.numel() for each in head.parameters()) == 17_543_920 + 5_866_633
    net = static_net(family, head, space.parse(PUBLISHED["coco-base"].genotype), seed=None)
    # 42.3 million by the published configuration
    assert round(sum(each.numel() for each in net.parameters()) / 1e6, 1) == 42.3


def test_the_table_holds_masks_of_the_rows_class() -> None:
    table = spread(small(20))(maps())
    masks = table[table[..., SCORE] > 0][:, PLAIN:]
    assert masks.shape[1] == 28 * 28 and 0 < float(masks.mean()) < 1
