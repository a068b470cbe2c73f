"""The meter of tasks that average pixels: every image weighs the same, and only valid pixels count."""

import math

import pytest
import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import Batch, Meter
from evonas.tasks.image_means import ImageMeans


def terms(output: Tensor, batch: Batch) -> dict[str, Tensor]:
    error = (output - batch["truth"]).abs()
    return {"error": error, "within_1": error < 1}


def batch(valid: list[list[bool]]) -> dict[str, Tensor]:
    mask = torch.tensor(valid)[:, None, None]
    return {"truth": torch.zeros(mask.shape), "valid": mask}


def test_an_image_with_few_pixels_weighs_as_much_as_one_with_many() -> None:
    meter = ImageMeans(terms)
    assert isinstance(meter, Meter)
    output = torch.tensor([[1.0, 2, 3, 4], [8, 0, 0, 0]])[:, None, None]
    meter.update(output, batch([[True] * 4, [True, False, False, False]]))
    assert meter.compute() == {"error": (2.5 + 8) / 2, "within_1": 0}


def test_what_is_not_valid_does_not_count_whatever_it_is() -> None:
    meter = ImageMeans(lambda output, of: {"inverse": 1 / (output - of["truth"])})
    output = torch.tensor([[0.5, 0.0], [0.0, 0.0]])[:, None, None]
    meter.update(output, batch([[True, False], [False, False]]))
    assert meter.compute() == {"inverse": 2}


def test_an_output_that_is_not_finite_has_no_score() -> None:
    meter = ImageMeans(lambda output, _: {"output": output + 1})
    meter.update(torch.tensor([1.0, float("inf")])[:, None, None, None], batch([[True], [True]]))
    meter.update(torch.ones(1, 1, 1, 1), batch([[True]]))
    assert math.isnan(meter.compute()["output"])


def test_without_any_truth_there_is_no_score() -> None:
    meter = ImageMeans(terms)
    with pytest.raises(UserError, match="valid pixels"):
        meter.compute()
    meter.update(torch.ones(1, 1, 1, 2), batch([[False, False]]))
    with pytest.raises(UserError, match="valid pixels"):
        meter.compute()
