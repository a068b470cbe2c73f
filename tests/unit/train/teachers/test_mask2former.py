"""Mask2Former on Depth Anything: its file of weights, its answers, and what a student is taught by them."""

import hashlib
from pathlib import Path
from typing import Any

import original_names
import pytest
import torch

from evonas.errors import DataError, UserError
from evonas.nn.heads import DenseHead
from evonas.tasks.segmentation import Segmentation
from evonas.train.loop.data import seeded

pytest.importorskip("transformers")

from evonas.train.teachers import checkpoint_names, mask2former
from evonas.train.teachers.mask2former import DECODERS, Mask2Former

# of the sorted names of Feature2Pyramid and Mask2FormerHead with two layers below and three above, as
# mmsegmentation 1.4 on mmdetection 3.5 saves them
NAMES_OF_TINY = "b5bd543bbab6172474380431c281e23f80c7e89f7462df6df08875d6ded7d96c"
# counted over the published configuration
PARAMS_OF_LARGE = 556_609_431
CLASSES = 5


def tiny(**options: Any) -> Mask2Former:
    with seeded(0, "test"):
        return Mask2Former("ade20k", CLASSES, "tiny", **options)


def images(size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def published(teacher: Mask2Former) -> dict[str, torch.Tensor]:
    """The teacher's weights as the project's own file has them."""
    state = teacher.network.state_dict()
    encoder = {
        name.removeprefix("encoder."): each for name, each in state.items() if name.startswith("encoder.")
    }
    named = original_names.encoder(encoder, 4)
    tiny_decoder = DECODERS["tiny"]
    return {
        **{f"backbone.dinov2.{name}": tensor for name, tensor in named.items()},
        **original_names.mask2former(state, tiny_decoder.below, tiny_decoder.above),
        "decode_head.loss_cls.class_weight": torch.ones(CLASSES + 1),
    }


def test_the_projects_own_file_is_read(tmp_path: Path) -> None:
    teacher = tiny()
    torch.save({"state_dict": published(teacher)}, tmp_path / "ade.pth")
    loaded = Mask2Former("ade20k", CLASSES, "tiny", weights=str(tmp_path / "ade.pth"))
    pairs = zip(teacher.forward_with_features(images()), loaded.forward_with_features(images()), strict=True)
    (answer, same), (maps, others) = pairs
    assert torch.equal(answer, same) and torch.equal(maps[0], others[0])
    assert not loaded.origin.is_random


def test_all_names_of_mmsegmentation_are_known() -> None:
    named = {
        name: each for name, each in published(tiny()).items() if name.startswith(("neck", "decode_head"))
    }
    named.pop("decode_head.loss_cls.class_weight")
    assert hashlib.sha256("\n".join(sorted(named)).encode()).hexdigest() == NAMES_OF_TINY
    rest = checkpoint_names.segmenter_names(named).rest
    ours = {name for name in tiny().network.state_dict() if not name.startswith("encoder.")}
    assert set(rest) == ours


@pytest.mark.parametrize("change", ["missing", "other"])
def test_a_file_of_another_network_is_refused(change: str, tmp_path: Path) -> None:
    state = published(tiny())
    if change == "missing":
        del state["decode_head.cls_embed.bias"]
    else:
        state["decode_head.cls_embed.weight"] = torch.zeros(20, 32)
    torch.save(state, tmp_path / "ade.pth")
    with pytest.raises(DataError, match="another network"):
        Mask2Former("ade20k", CLASSES, "tiny", weights=str(tmp_path / "ade.pth"))


def test_the_published_size() -> None:
    with torch.device("meta"):
        network = mask2former._segmenter("large", 150, None)
    assert sum(p.numel() for p in network.parameters()) == PARAMS_OF_LARGE


@pytest.mark.parametrize("data", ["ade20k", "cityscapes"])
def test_missing_weights_name_the_file_and_its_page(data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=mask2former.CHECKPOINTS[data]) as error:
        Mask2Former(data, 150, folder=str(tmp_path))
    assert "checkpoints_semseg" in error.value.hint
    with pytest.raises(UserError, match=r"teacher\.size=base"):
        Mask2Former(data, 150, "base")


def test_answers_are_the_shares_of_the_scores() -> None:
    """p = max(score, 0) / sum: what the task takes a softmax of, so that softmax gives p back."""
    teacher = tiny()
    with torch.no_grad():
        scores, last = teacher.network(torch.nn.functional.pad(images(), (0, 2, 0, 6)))
    answer, maps = teacher.forward_with_features(images())
    wanted = scores[..., :64, :96]
    torch.testing.assert_close(answer.softmax(dim=1), wanted / wanted.sum(1, keepdim=True))
    assert torch.equal(maps[0], last) and maps[0].shape == (2, 32, 5, 7)


def test_distillation_is_the_divergence_of_the_shares() -> None:
    data = type("Data", (), {"size": (64, 96), "classes": list("abcde")})()
    task = Segmentation(data, DenseHead, name="taught")
    student, truth = torch.randn(2, CLASSES, 64, 96), torch.zeros(2, 64, 96, dtype=torch.int64)
    truth[:, :10] = 255
    answer = tiny()(images())
    share = answer.exp()
    wanted = (share * (answer - student.log_softmax(dim=1))).sum(dim=1)[:, 10:].mean()
    torch.testing.assert_close(task.distillation_loss(student, answer, {"classes": truth}), wanted)
