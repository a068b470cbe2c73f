"""The metric by which people know a task's error, and the conversion between both."""

import math

import pytest

from evonas.metric import Metric, converted, known_metric, metric_of, readable, reading


@pytest.mark.parametrize(
    ("error", "metrics", "name", "value"),
    [
        ("one_minus_miou", {"one_minus_miou": 0.58, "miou": 0.42}, "mIoU", 0.42),
        ("one_minus_map", {"one_minus_map": 0.7, "map": 0.3}, "mAP", 0.3),
        ("one_minus_miou", {"one_minus_miou": 0.58}, "mIoU", 0.42),
        ("error", {"error": 0.25, "top1": 0.75, "top5": 0.9}, "top-1", 0.75),
        ("rmse", {"rmse": 0.1, "psnr": 20.5}, "PSNR", 20.5),
        ("one_minus_f1", {"one_minus_f1": 0.2, "f1": 0.8}, "f1", 0.8),
    ],
)
def test_an_error_is_read_as_its_metric(
    error: str, metrics: dict[str, float], name: str, value: float
) -> None:
    metric, found = reading(error, metrics)
    assert (metric.name, metric.higher_is_better) == (name, True)
    assert found == pytest.approx(value)
    assert metric.to_error(metric.from_error(0.37)) == pytest.approx(0.37)
    assert metric.from_error(0.3) > metric.from_error(0.4)


@pytest.mark.parametrize(
    ("error", "name"), [("abs_rel", "AbsRel"), ("angle", "mean angle"), ("rmse", "RMSE"), ("error", "error")]
)
def test_other_errors_are_read_as_they_are(error: str, name: str) -> None:
    metric, value = reading(error, {error: 0.3})
    assert (metric.name, metric.direction, value) == (name, "lower is better", 0.3)


def test_a_metric_that_the_error_does_not_determine_is_not_guessed() -> None:
    metric = metric_of("rmse", {"psnr"})
    assert not metric.is_exact and metric.from_error(0.1) == pytest.approx(20.0)
    assert converted("rmse", {"psnr"}).name == "RMSE" and converted("error", {"top1"}).name == "top-1"


def test_labels_state_unit_and_direction() -> None:
    psnr = metric_of("rmse", {"psnr"})
    assert (psnr.label, psnr.arrow, psnr.direction) == ("PSNR (dB)", "PSNR (dB) ↑", "higher is better")
    assert known_metric("d1").name == "delta1" and known_metric("mask_map_50").name == "mask mAP50"
    assert Metric("latency", unit="ms").arrow == "latency (ms) ↓"
    assert psnr.best([20.0, 21.0]) == 21.0 and Metric("latency").best([3.0, 2.0]) == 2.0


def test_tables_of_metrics_leave_out_complements() -> None:
    found = readable("one_minus_miou", {"one_minus_miou": 0.58, "miou": 0.42, "pixel_accuracy": None})
    assert [(metric.name, value) for metric, value in found] == [("mIoU", 0.42), ("pixel accuracy", None)]
    names = [metric.name for metric, _ in readable("rmse", {"rmse": 0.1, "psnr": 20.5, "ssim": 0.8})]
    assert names == ["PSNR", "RMSE", "SSIM"]
    assert math.isclose(readable("one_minus_f1", {"one_minus_f1": 0.25})[0][1] or 0.0, 0.75)
