"""Exported networks inside OpenMMLab's own configurations."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.mm.extension import load
from evonas.mm.installed import packages
from evonas.nn.heads import DenseHead
from evonas.stages.networks.exported import CONFIG, FORMAT, MODEL, describe, load_backbone
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import StaticNet, static_net

if not {"mmdet", "mmseg"} <= packages().keys():
    pytest.skip("mmdet and mmseg are not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def net() -> StaticNet:
    space = evonet_space()
    family = EvoNet(space, [8, 12, 16, 24], [2, 2, 2, 2], stem_dim=8)
    return static_net(family, DenseHead(family.levels, 2, width=8), space.smallest()).eval()


@pytest.fixture(scope="module")
def folder(net: StaticNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    digest = weights.save(made / MODEL, net.state_dict())
    files.write_json(made / CONFIG, {"format": FORMAT, "sha256": digest, **describe(net)})
    return made


def base(package: str, name: str) -> Any:
    """A base configuration as the package ships it."""
    import importlib

    from mmengine.config import Config

    home = importlib.import_module(package).__file__
    assert home is not None
    return Config.fromfile(Path(home).parent / ".mim" / "configs" / "_base_" / "models" / name).model


def images() -> Tensor:
    return torch.randint(0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture
def detector(folder: Path) -> Any:
    import evonas.stages.networks.openmmlab  # noqa: F401 - what custom_imports does

    load("mmdet", "a test")
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    model = base("mmdet", "mask-rcnn_r50_fpn.py")
    model.backbone = {"type": "evonas.EvoNet", "checkpoint": str(folder)}
    model.neck = {
        "type": "evonas.MambaFPN",
        "in_channels": [8, 12, 16, 24],
        "out_channels": 256,
        "num_outs": 5,
    }
    model.test_cfg.rcnn.score_thr = 0.0
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(model)


def test_a_mask_rcnn_of_mmdet_learns_and_answers_on_an_exported_backbone(
    detector: Any, net: StaticNet
) -> None:
    import numpy as np
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    about = {
        "img_shape": (64, 96),
        "ori_shape": (64, 96),
        "scale_factor": (1.0, 1.0),
        "batch_input_shape": (64, 96),
    }
    masks = BitmapMasks(np.pad(np.ones((1, 32, 32), np.uint8), ((0, 0), (8, 24), (8, 56))), 64, 96)
    sample = DetDataSample(metainfo=about)
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([3]), masks=masks
    )
    batch = detector.data_preprocessor({"inputs": [images()], "data_samples": [sample]}, training=True)
    seen = detector.backbone.eval()(batch["inputs"])
    expected = net.features(batch["inputs"])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(seen, expected, strict=True))
    losses = detector.train()(**batch, mode="loss")
    total = sum(
        sum(each) if isinstance(each, list) else each for name, each in losses.items() if "loss" in name
    )
    total.backward()
    assert torch.isfinite(total) and "loss_mask" in losses
    assert all(each.grad is not None for each in detector.backbone.parameters())
    with torch.no_grad():
        (answer,) = detector.eval()(**batch, mode="predict")
    found = answer.pred_instances
    assert len(found.scores) == 100 and found.masks.shape == (100, 64, 96)


def test_a_segmentor_of_mmseg_learns_and_answers_with_the_papers_head(folder: Path) -> None:
    import evonas.stages.networks.openmmlab  # noqa: F401

    load("mmseg", "a test")
    from mmengine.registry import DefaultScope
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    model = base("mmseg", "upernet_r50.py")
    model.pretrained = None
    model.backbone = {"type": "evonas.ExportedBackbone", "checkpoint": str(folder), "frozen": True}
    sizes = {
        "in_channels": [8, 12, 16, 24],
        "channels": 16,
        "norm_cfg": {"type": "BN", "requires_grad": True},
    }
    model.decode_head.pop("pool_scales")
    model.decode_head.update(type="evonas.MambaUPerHead", **sizes)
    model.auxiliary_head.update(in_channels=16, channels=8, norm_cfg=sizes["norm_cfg"])
    model.data_preprocessor.size = (64, 96)
    with DefaultScope.overwrite_default_scope("mmseg"):
        made = MODELS.build(model)
    sample = SegDataSample(metainfo={"img_shape": (64, 96), "ori_shape": (64, 96)})
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 64, 96, dtype=torch.long))
    pictures = {"inputs": [images(), images()], "data_samples": [sample, sample.clone()]}
    batch = made.data_preprocessor(pictures, training=True)
    losses = made.train().loss(batch["inputs"], batch["data_samples"])
    (losses["decode.loss_ce"] + losses["aux.loss_ce"]).backward()
    assert not made.backbone.trunk.training
    assert all(each.grad is None for each in made.backbone.parameters())
    assert all(each.grad is not None for each in made.decode_head.parameters())
    with torch.no_grad():
        answer = made.eval().predict(batch["inputs"], batch["data_samples"])
    assert answer[0].seg_logits.data.shape == (19, 64, 96)


def test_levels_may_be_chosen(folder: Path) -> None:
    from evonas.stages.networks.openmmlab import ExportedBackbone

    backbone = ExportedBackbone(str(folder), out_indices=[1, 3]).eval()
    assert backbone.out_channels == [12, 24] and backbone.strides == [8, 32]
    assert [each.shape[1] for each in backbone(torch.zeros(1, 3, 64, 64))] == [12, 24]
    with pytest.raises(UserError, match=r"got \[4\]"):
        ExportedBackbone(str(folder), out_indices=[4])


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no exported network"):
        load_backbone(tmp_path)
