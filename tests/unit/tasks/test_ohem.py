"""The loss of hard pixels."""

import pytest
import torch

from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.heads import DenseHead
from evonas.tasks.ohem import OHEM
from evonas.tasks.segmentation import Segmentation


def _logits(chances: list[float]) -> torch.Tensor:
    """Two classes; the first one has these probabilities in a row of pixels."""
    first = torch.tensor(chances)
    return torch.stack([first.log(), (1 - first).log()])[None, :, None]


def _loss(chances: list[float], ohem: OHEM, truth: list[int] | None = None) -> float:
    known = torch.zeros(len(chances), dtype=torch.long) if truth is None else torch.tensor(truth)
    return ohem(_logits(chances), known[None, None], 255).item()


def _mean(chances: list[float]) -> float:
    return -torch.tensor(chances).log().mean().item()


def test_pixels_below_the_threshold_count() -> None:
    chances = [0.2, 0.6, 0.8, 0.9]
    assert _loss(chances, OHEM(0.7, 0)) == pytest.approx(_mean([0.2, 0.6]), rel=1e-5)
    assert _loss(chances, OHEM(1.0, 0)) == pytest.approx(_mean(chances), rel=1e-5)


def test_a_share_of_all_pixels_counts_at_least() -> None:
    chances = [0.75, 0.8, 0.85, 0.9, 0.91, 0.92, 0.93, 0.94]
    assert _loss(chances, OHEM(0.7, 0.25)) == pytest.approx(_mean(chances[:2]), rel=1e-5)
    # the share is that of all pixels, ignored ones as well; those that count have labels
    truth = [255, 255, 255, 255, 0, 0, 0, 0]
    assert _loss(chances, OHEM(0.7, 0.25), truth) == pytest.approx(_mean([0.91, 0.92]), rel=1e-5)
    assert _loss(chances, OHEM(0.7, 1.0), truth) == pytest.approx(_mean(chances[4:]), rel=1e-5)


def test_without_labels_it_is_zero() -> None:
    logits = _logits([0.5, 0.5]).requires_grad_()
    loss = OHEM()(logits, torch.full((1, 1, 2), 255), 255)
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None and not logits.grad.any()


def test_easy_pixels_have_no_gradient() -> None:
    logits = _logits([0.2, 0.95]).requires_grad_()
    OHEM(0.7, 0)(logits, torch.zeros(1, 1, 2, dtype=torch.long), 255).backward()
    assert logits.grad is not None and logits.grad[..., 0].any() and not logits.grad[..., 1].any()


@pytest.mark.parametrize("arguments", [{"threshold": 0.0}, {"threshold": 1.5}, {"least": -0.1}, {"least": 2}])
def test_wrong_arguments(arguments: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"task\.ohem needs a threshold"):
        OHEM(**arguments)


class _NoData:
    size = (32, 32)
    classes = ("a", "b")


def test_every_head_of_a_segmenter_has_it() -> None:
    plain, hard = (
        Segmentation(_NoData(), DenseHead, "two", ohem=ohem)  # type: ignore[arg-type]
        for ohem in (None, OHEM(0.7, 0))
    )
    main, one, two = _logits([0.2, 0.9]), _logits([0.6, 0.8]), _logits([0.5, 0.95])
    batch = {"classes": torch.zeros(1, 1, 2, dtype=torch.long)}
    output = AuxiliaryOutput(main, (one, two), 0.2)
    assert hard.loss(output, batch).item() == pytest.approx(
        _mean([0.2]) + 0.2 * (_mean([0.6]) + _mean([0.5])), rel=1e-5
    )
    assert plain.loss(output, batch).item() == pytest.approx(
        _mean([0.2, 0.9]) + 0.2 * (_mean([0.6, 0.8]) + _mean([0.5, 0.95])), rel=1e-5
    )
