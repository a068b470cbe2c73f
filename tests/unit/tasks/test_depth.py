"""Depth: the loss, nine metrics, crops and the constant baseline against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.errors import UserError
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.tasks.depth import Depth
from evonas.tasks.depth_metrics import METRICS, DepthMeter, crop_box, inside_crop, silog

TRUTH = torch.rand(2, 1, 8, 12, generator=torch.Generator().manual_seed(0)) * 9 + 0.5
ALL = torch.ones_like(TRUTH, dtype=torch.bool)


def task(**options: object) -> Depth:
    data = SyntheticScenes(train=6, validation=2, test=3, height=32, width=64)
    return Depth(data, DenseHead, **{"max_depth": 20.0, "name": "synthetic", **options})


@pytest.mark.parametrize("factor", [0.5, 1.25, 2.0, 7.0])
def test_silog_of_a_scaled_truth(factor: float) -> None:
    """10 |ln c| sqrt(0.15), for the mean counts with 0.85 only; in double precision to seven digits."""
    expected = 10 * abs(math.log(factor)) * math.sqrt(0.15)
    assert float(silog(factor * TRUTH, TRUTH, ALL)) == pytest.approx(expected, rel=1e-3)
    exact = TRUTH.double()
    assert float(silog(factor * exact, exact, ALL)) == pytest.approx(expected, rel=1e-7)


def test_silog_against_its_definition() -> None:
    prediction = TRUTH * (1 + torch.rand(TRUTH.shape, generator=torch.Generator().manual_seed(1)))
    d = np.log(prediction.double().numpy() / TRUTH.double().numpy())
    expected = 10 * math.sqrt((d**2).mean() - 0.85 * d.mean() ** 2)
    assert float(silog(prediction, TRUTH, ALL)) == pytest.approx(expected, rel=1e-4)


def test_silog_looks_at_valid_pixels_only() -> None:
    valid = ALL.clone()
    valid[..., :3] = False
    truth, prediction = TRUTH.clone(), 2 * TRUTH
    prediction[..., :3], truth[..., :3] = 99.0, 0.0
    prediction.requires_grad_()
    loss = silog(prediction, truth, valid)
    assert loss.item() == pytest.approx(10 * math.log(2) * math.sqrt(0.15), rel=1e-3)
    (slope,) = torch.autograd.grad(loss, prediction)
    assert torch.isfinite(slope).all()
    assert (slope[..., :3] == 0).all()


@pytest.mark.parametrize("prediction", [TRUTH, torch.zeros_like(TRUTH)], ids=["perfect", "zero"])
@pytest.mark.parametrize("valid", [ALL, ~ALL], ids=["all", "none"])
def test_silog_has_a_finite_slope_everywhere(prediction: torch.Tensor, valid: torch.Tensor) -> None:
    leaf = prediction.clone().requires_grad_()
    loss = silog(leaf, TRUTH, valid)
    (slope,) = torch.autograd.grad(loss, leaf)
    assert torch.isfinite(loss) and torch.isfinite(slope).all()
    if not valid.any():
        assert loss.item() < 2e-4 and (slope == 0).all()


def test_the_nine_metrics_by_hand() -> None:
    truth, prediction = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.6, 3.0, 16.0])
    meter = DepthMeter(20)
    meter.update(
        torch.tensor(prediction, dtype=torch.float32).view(1, 1, 2, 2),
        {
            "depth": torch.tensor(truth, dtype=torch.float32).view(1, 1, 2, 2),
            "valid": torch.ones(1, 1, 2, 2, dtype=torch.bool),
        },
    )
    logs = np.log(prediction / truth)
    expected = {
        "silog": 100 * np.sqrt(np.mean(logs**2) - np.mean(logs) ** 2),
        "abs_rel": (0 + 0.3 + 0.25 + 1.0) / 4,
        "log10": np.mean(np.abs(np.log10(prediction / truth))),
        "rms": math.sqrt((0.36 + 1 + 64) / 4),
        "sq_rel": (0.36 / 2 + 1 / 4 + 64 / 8) / 4,
        "log_rms": np.sqrt(np.mean(logs**2)),
        "d1": 1 / 4,
        "d2": 3 / 4,
        "d3": 3 / 4,
    }
    assert tuple(expected) == METRICS
    assert meter.compute() == pytest.approx(expected, rel=1e-5)


def test_images_count_equally_however_many_valid_pixels_they_have() -> None:
    valid = ALL.clone()
    valid[0, :, 1:] = False
    prediction = TRUTH * torch.tensor([1.5, 1.1]).view(2, 1, 1, 1)
    meter = DepthMeter(40)
    meter.update(prediction, {"depth": TRUTH, "valid": valid})
    assert meter.compute()["abs_rel"] == pytest.approx(0.3, rel=1e-4)


def test_predictions_are_clamped() -> None:
    prediction = torch.tensor([0.0, 1e30, -5.0, 100.0]).view(1, 1, 2, 2)
    meter = DepthMeter(20)
    meter.update(
        prediction, {"depth": torch.full((1, 1, 2, 2), 10.0), "valid": torch.ones(1, 1, 2, 2).bool()}
    )
    metrics = meter.compute()
    # two at 1e-3 m and two at 20 m
    assert metrics["abs_rel"] == pytest.approx((2 * 0.9999 + 2 * 1.0) / 4)
    assert all(math.isfinite(value) for value in metrics.values())


def test_images_without_valid_pixels_do_not_count() -> None:
    valid = ALL.clone()
    valid[0] = False
    meter = DepthMeter(40)
    meter.update(1.2 * TRUTH, {"depth": TRUTH, "valid": valid})
    assert meter.compute()["abs_rel"] == pytest.approx(0.2, rel=1e-4)
    empty = DepthMeter(40)
    empty.update(TRUTH, {"depth": TRUTH, "valid": ~ALL})
    with pytest.raises(UserError, match="valid depth"):
        empty.compute()


def test_crops_of_the_literature() -> None:
    assert crop_box(352, 1216, "garg") == (143, 349, 43, 1172)
    assert crop_box(480, 640, "nyu") == (45, 471, 41, 601)
    assert crop_box(352, 1216, "eigen")[:2] == (117, 321)
    assert crop_box(64, 96, "none") == (0, 64, 0, 96)
    with pytest.raises(UserError, match="64x96"):
        crop_box(64, 96, "nyu")
    with pytest.raises(UserError, match="crop=half"):
        crop_box(64, 96, "half")


def test_only_the_crop_is_scored() -> None:
    valid = torch.ones(1, 1, 352, 1216, dtype=torch.bool)
    assert int(inside_crop(valid, "garg").sum()) == (349 - 143) * (1172 - 43)
    truth = torch.full((1, 1, 352, 1216), 5.0)
    prediction = torch.where(inside_crop(valid, "garg"), truth, 2 * truth)
    meter = DepthMeter(80, "garg")
    meter.update(prediction, {"depth": truth, "valid": valid})
    assert meter.compute()["abs_rel"] == 0


@pytest.mark.parametrize("crop", ["none", "garg", "eigen"])
def test_no_other_constant_beats_the_baseline_on_train(crop: str) -> None:
    """Within the crop that is scored, where depths are others than outside it."""
    depth = task(crop=crop)
    name, metrics = depth.baseline()
    best = depth._best_constant()
    assert name == f"constant depth {best:.1f} m"
    assert set(metrics) == set(METRICS)

    def error(constant: float) -> float:
        meter, train = depth.meter(), depth.dataset("train")
        train.augment = False
        for item in train:
            meter.update(torch.full((1, 1, 32, 64), constant), {k: v[None] for k, v in item.items()})
        return meter.compute()["abs_rel"]

    lowest = error(best)
    assert all(error(best * factor) >= lowest - 1e-6 for factor in (0.8, 0.95, 0.99, 1.01, 1.05, 1.25))
    assert (best == task()._best_constant()) == (crop == "none")


def test_distillation_follows_the_teacher_where_the_truth_is_unknown() -> None:
    batch = {"depth": torch.zeros_like(TRUTH), "valid": ~ALL}
    assert float(task().distillation_loss(TRUTH, TRUTH, batch)) == pytest.approx(0, abs=1e-3)
    loss = task().distillation_loss(2 * TRUTH, TRUTH, batch)
    assert float(loss) == pytest.approx(10 * math.log(2) * math.sqrt(0.15), rel=1e-3)


def test_an_answer_pulls_less_the_nearer_it_is_than_it_is_right() -> None:
    batch = {"depth": TRUTH, "valid": ALL}
    torch.manual_seed(0)
    answer = TRUTH * torch.exp(0.1 * torch.randn_like(TRUTH))
    away = torch.randn_like(TRUTH)

    def pull(distance: float, of: Tensor) -> tuple[float, float]:
        student = (of * torch.exp(distance * away)).requires_grad_()
        loss = task().distillation_loss(student, of, batch)
        (slope,) = torch.autograd.grad(loss, student)
        return float(loss.detach()), float((slope * student.detach()).norm())

    far, near, nearer = pull(1.0, answer), pull(1e-2, answer), pull(5e-3, answer)
    # within the answer's error of about a tenth slopes shrink with the distance, and losses with its square
    assert near[1] == pytest.approx(2 * nearer[1], rel=1e-3) and near[0] == pytest.approx(
        4 * nearer[0], rel=1e-3
    )
    # a right answer pulls the same from everywhere, and a wrong one from far away as strongly
    assert pull(1e-2, TRUTH)[1] == pytest.approx(pull(1.0, TRUTH)[1], rel=1e-2)
    assert far[1] == pytest.approx(pull(1.0, TRUTH)[1], rel=1e-2)
    # the two forms meet
    below, above = (pull(distance, answer) for distance in (0.0999, 0.1001))
    assert below[0] == pytest.approx(above[0], rel=2e-2)


def test_the_head_ends_at_max_depth() -> None:
    head = task(max_depth=7.0).head([Level(8, 4), Level(16, 8)])
    with torch.no_grad():
        out = head([torch.randn(1, 8, 16, 24) * 50, torch.randn(1, 16, 8, 12) * 50])
    assert out.shape == (1, 1, 64, 96)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 7.0


def test_pictures_show_near_as_bright_and_unknown_as_black() -> None:
    depth = task()
    item = depth.dataset("test")[0]
    batch = {key: value[None] for key, value in item.items()}
    (picture,) = depth.pictures(batch["depth"], batch)
    valid = item["valid"][0].numpy()
    assert (picture["truth"][~valid] == 0).all()
    np.testing.assert_array_equal(picture["truth"][valid], picture["prediction"][valid])
    brightness = picture["truth"].sum(axis=-1)[valid]
    metres = item["depth"][0].numpy()[valid]
    assert np.corrcoef(brightness, metres)[0, 1] < -0.9


def test_a_depth_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="max_depth=0"):
        task(max_depth=0)
