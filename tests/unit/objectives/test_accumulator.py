"""A subnet whose output is not finite anywhere has no score, whatever a meter would make of it."""

import pytest
import torch
from small_stages import composed

from evonas.objectives.accumulator import MetricAccumulator
from evonas.stages.build.setup import Setup
from evonas.train.validation_panel import batches


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", [0, 1500, -1])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_not_finite_is_seen(value: float, place: int, dtype: torch.dtype) -> None:
    task = Setup(composed("data.validation=2")).task
    [batch] = batches(task.dataset("holdout"), 2)
    output = torch.full_like(batch["depth"], 2.0, dtype=dtype)
    tally = MetricAccumulator(task)
    tally.add(output, batch)
    output.view(-1)[place] = value
    with pytest.raises(ValueError, match="output is not finite"):
        tally.add(output, batch)
    assert tally.result()[0] > 0
