"""Segmentation: losses and scores against values worked out another way."""

import numpy as np
import pytest
import torch

from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.errors import UserError
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.tasks.drawing import CLASS_COLOURS, class_picture
from evonas.tasks.iou import IouMeter, to_size
from evonas.tasks.segmentation import Segmentation

CLASSES = ("road", "tree", "car")


def task(**options: object) -> Segmentation:
    data = SyntheticScenes(train=4, validation=2, test=2, height=32, width=64)
    return Segmentation(data, DenseHead, **{"classes": data.classes, "name": "scenes", **options})


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 6, 8, generator=random)
    truth = torch.randint(0, 3, (2, 6, 8), generator=random)
    truth[0, 0] = 255
    return logits, truth


def one_hot(truth: torch.Tensor, classes: int) -> torch.Tensor:
    known = torch.where(truth < classes, truth, 0)
    return 10.0 * torch.nn.functional.one_hot(known, classes).permute(0, 3, 1, 2)


def test_iou_against_sets_of_pixels() -> None:
    logits, truth = random_case()
    meter = IouMeter(CLASSES, 255)
    meter.update(logits, {"classes": truth})
    known = (truth != 255).numpy()
    p, t = logits.argmax(1).numpy()[known], truth.numpy()[known]
    ious = [((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c in range(3)]
    metrics = meter.compute()
    assert metrics["miou"] == pytest.approx(np.mean(ious))
    assert metrics["one_minus_miou"] == pytest.approx(1 - np.mean(ious))
    assert metrics["pixel_accuracy"] == pytest.approx((p == t).mean())
    assert [metrics[f"iou_{name}"] for name in CLASSES] == pytest.approx(ious)


def test_classes_that_never_occur_are_left_out() -> None:
    truth = torch.tensor([[[0, 0, 1, 255]]])
    meter = IouMeter(CLASSES, 255)
    meter.update(one_hot(truth, 3), {"classes": truth})
    assert meter.compute() == {
        "one_minus_miou": 0.0,
        "miou": 1.0,
        "pixel_accuracy": 1.0,
        "iou_road": 1.0,
        "iou_tree": 1.0,
    }


def test_a_predicted_class_that_is_not_there_counts_as_zero() -> None:
    meter = IouMeter(CLASSES, 255)
    meter.update(one_hot(torch.tensor([[[0, 0, 1, 2]]]), 3), {"classes": torch.tensor([[[0, 0, 1, 1]]])})
    assert meter.compute()["iou_car"] == 0
    assert meter.compute()["miou"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_split_without_classes_is_refused() -> None:
    meter = IouMeter(CLASSES, 255)
    meter.update(torch.zeros(1, 3, 1, 1), {"classes": torch.full((1, 1, 1), 255)})
    with pytest.raises(UserError, match="has a class"):
        meter.compute()


def test_scores_are_taken_at_the_size_of_the_mask() -> None:
    truth = torch.zeros(1, 8, 8, dtype=torch.int64)
    truth[:, :, 4:] = 1
    small = one_hot(truth[:, ::2, ::2], 3)
    meter = IouMeter(CLASSES, 255)
    meter.update(small, {"classes": truth})
    assert meter.compute()["pixel_accuracy"] == 1.0
    assert int(meter._confusion.sum()) == 64
    assert to_size(small, (8, 8)).shape == (1, 3, 8, 8)


def test_cross_entropy_by_hand_without_ignored_pixels() -> None:
    logits, truth = random_case()
    known = truth != 255
    chances = torch.softmax(logits.double(), dim=1).permute(0, 2, 3, 1)[known]
    expected = -np.log(chances.numpy()[np.arange(len(chances)), truth[known].numpy()]).mean()
    loss = task(classes=CLASSES).loss(logits, {"classes": truth})
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_nothing_to_learn_is_zero_and_finite() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    batch = {"classes": torch.full((1, 4, 4), 255)}
    for loss in (
        task(classes=CLASSES).loss(logits, batch),
        task(classes=CLASSES).distillation_loss(logits, torch.randn(1, 3, 4, 4), batch),
    ):
        (slope,) = torch.autograd.grad(loss, logits)
        assert float(loss) == 0
        assert (slope == 0).all()


def test_distillation_is_the_divergence_on_known_pixels() -> None:
    logits, truth = random_case()
    teacher, _ = random_case(1)
    known = truth != 255
    p, q = (torch.softmax(x.double(), 1).permute(0, 2, 3, 1)[known] for x in (teacher, logits))
    expected = float((p * (p / q).log()).sum(-1).mean())
    found = task(classes=CLASSES).distillation_loss(logits, teacher, {"classes": truth})
    assert float(found) == pytest.approx(expected, rel=1e-4)
    same = task(classes=CLASSES).distillation_loss(teacher, teacher, {"classes": truth})
    assert float(same) == pytest.approx(0, abs=1e-6)


def test_the_baseline_is_the_most_common_class() -> None:
    scenes = task()
    train, test = scenes.dataset("train"), scenes.dataset("test")
    counts = np.bincount(np.concatenate([item["classes"].flatten() for item in train]), minlength=6)
    common = int(counts.argmax())
    name, metrics = scenes.baseline()
    assert name == f"always {scenes.classes[common]}"
    share = np.mean([float((item["classes"] == common).float().mean()) for item in test])
    assert metrics["pixel_accuracy"] == pytest.approx(share)


def test_the_head_has_a_channel_per_class() -> None:
    head = task().head([Level(8, 4), Level(16, 8)])
    out = head([torch.randn(1, 8, 16, 24), torch.randn(1, 16, 8, 12)])
    assert out.shape == (1, 6, 64, 96)
    assert float(out.min()) < 0


def test_pictures_are_black_where_nothing_is_known() -> None:
    _, truth = random_case()
    batch = {"classes": truth, "image": torch.zeros(2, 3, 6, 8)}
    first, second = task(classes=CLASSES).pictures(one_hot(truth, 3), batch)
    assert (first["truth"][0] == 0).all()
    np.testing.assert_array_equal(first["truth"][1:], first["prediction"][1:])
    np.testing.assert_array_equal(second["truth"], second["prediction"])


def test_class_colours_differ() -> None:
    picture = class_picture(np.arange(12).reshape(3, 4))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == len(CLASS_COLOURS)
    assert (0, 0, 0) not in CLASS_COLOURS


@pytest.mark.parametrize("classes", [[], ["road"], ["road", "road"]])
def test_classes_must_differ(classes: list[str]) -> None:
    with pytest.raises(UserError, match="distinct names"):
        task(classes=classes)


def test_the_loss_is_the_mean_over_images_of_the_mean_over_pixels() -> None:
    logits, truth = random_case()
    meter = IouMeter(CLASSES, 255, with_loss=True)
    meter.update(logits, {"classes": truth})
    # an image without any class does not count
    meter.update(logits[:1], {"classes": torch.full_like(truth[:1], 255)})
    each = [
        torch.nn.functional.cross_entropy(logits[i : i + 1], truth[i : i + 1], ignore_index=255).item()
        for i in range(2)
    ]
    assert meter.compute()["loss"] == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize(
    ("error", "name", "is_mean"), [("miou", "one_minus_miou", False), ("loss", "loss", True)]
)
def test_the_error_may_be_the_loss(error: str, name: str, is_mean: bool) -> None:
    made = task(error=error)
    assert (made.error_name, made.error_is_mean) == (name, is_mean)
    logits, truth = random_case()
    meter = IouMeter(CLASSES, 255, with_loss=is_mean)
    meter.update(logits, {"classes": truth})
    assert name in meter.compute()
    with pytest.raises(UserError, match=r"task\.error=iou"):
        task(error="iou")


def test_classes_may_be_those_of_the_data_and_costs_of_another_size() -> None:
    made = task(classes=None, input_size=[64, 128])
    assert made.classes == tuple(SyntheticScenes.classes) and made.input_size == (64, 128)
    assert task().input_size == (32, 64)
    with pytest.raises(UserError, match="30x64"):
        task(input_size=[30, 64])


def test_many_classes_are_not_listed_one_by_one() -> None:
    names = [f"c{number}" for number in range(40)]
    meter = IouMeter(names, 255)
    truth = torch.randint(0, 40, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    meter.update(one_hot(truth, 40), {"classes": truth})
    assert set(meter.compute()) == {"one_minus_miou", "miou", "pixel_accuracy"}
