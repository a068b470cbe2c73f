"""Classification: targets, scores and pictures, by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from evonas.data.synthetic.outlines import NAMES, SILHOUETTES
from evonas.data.synthetic.shapes import Shapes, draw
from evonas.errors import UserError
from evonas.nn.classifier import Classifier
from evonas.nn.level import Level
from evonas.randomness import generator
from evonas.tasks.classification import Classification
from evonas.tasks.classification_metrics import WORST_LOSS, TopMeter
from evonas.tasks.drawing import captioned

LEVELS = (Level(4, 4), Level(6, 32))


def task(**options: float) -> Classification:
    return Classification(Shapes(train=20, validation=10, test=25), Classifier, "shapes", **options)


def logits(rows: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed))


def test_smoothing_is_torchs() -> None:
    label = torch.tensor([0, 3, 9, 1, 1, 2])
    ours = task(smoothing=0.1).loss(logits(), {"label": label})
    torch.testing.assert_close(ours, F.cross_entropy(logits(), label, label_smoothing=0.1))


def test_mixed_images_have_soft_targets() -> None:
    label, partner = torch.tensor([0, 3, 9, 1, 1, 2]), torch.tensor([5, 3, 0, 0, 4, 4])
    share = torch.tensor([1.0, 0.5, 0.25, 0.0, 0.8, 0.6])
    soft = share[:, None] * F.one_hot(label, 10) + (1 - share)[:, None] * F.one_hot(partner, 10)
    ours = task(smoothing=0.1).loss(logits(), {"label": label, "partner": partner, "share": share})
    torch.testing.assert_close(ours, F.cross_entropy(logits(), soft, label_smoothing=0.1))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_compares_softened_distributions(temperature: float) -> None:
    one, two = logits(seed=1), logits(seed=2)
    ours = task(temperature=temperature).distillation_loss(one, two, {})
    p, q = (two / temperature).softmax(1), (one / temperature).softmax(1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(ours, expected)
    assert float(task().distillation_loss(one, one, {})) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("options", [{"smoothing": 1.0}, {"smoothing": -0.1}, {"temperature": 0.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        task(**options)


def test_the_first_one_and_the_first_five() -> None:
    meter = TopMeter(10)
    output = torch.arange(10.0).flip(0).expand(4, -1)
    label = torch.tensor([0, 4, 5, 9])
    meter.update(output, {"label": label})
    metrics = meter.compute()
    assert (metrics["top1"], metrics["top5"], metrics["error"]) == (0.25, 0.5, 0.75)
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(output, label)))


def test_constants_do_not_score() -> None:
    for output in (torch.zeros(3, 10), torch.tensor([[-1e30] * 3 + [1e30] * 7] * 3)):
        meter = TopMeter(10)
        meter.update(output, {"label": torch.tensor([0, 1, 2])})
        metrics = meter.compute()
        assert metrics["top1"] == metrics["top5"] == 0
        assert 0 < metrics["loss"] <= WORST_LOSS
    with pytest.raises(UserError, match="has no images"):
        TopMeter(10).compute()


def test_the_baseline_knows_the_frequencies() -> None:
    name, metrics = task().baseline()
    assert name == "always disc"
    assert metrics["top1"] == pytest.approx(3 / 25) and metrics["top5"] == pytest.approx(15 / 25)
    assert metrics["loss"] == pytest.approx(math.log(10), abs=0.02)


def test_the_head_reads_the_mean_of_the_deepest_level() -> None:
    maps = [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 2, 3)]
    head = Classifier(LEVELS, 3, seed=1)
    expected = F.linear(maps[1].flatten(2).mean(2), head.linear.weight, head.linear.bias)
    torch.testing.assert_close(head(maps), expected)
    normed = Classifier(LEVELS, 3, norm=True, seed=1)
    torch.testing.assert_close(normed(maps), normed.linear(F.layer_norm(maps[1].mean((2, 3)), (6,))))
    with pytest.raises(UserError, match="sigmoid"):
        Classifier(LEVELS, 3, output="sigmoid")


def test_pictures_are_framed_and_named() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    first, second = captioned(image, 0, "disc"), captioned(image, 1, "disc")
    other = captioned(image, 0, "ring")
    assert first.shape == image.shape and (image == 200).all()
    assert (first[0] != second[0]).any() and (first[0] == other[0]).all()
    assert (first[50:] != other[50:]).any() and (first[20:40, 20:40] == 200).all()


def test_every_class_occurs_equally_often() -> None:
    labels = task().dataset("train")._source.labels("train")  # type: ignore[attr-defined]
    assert sorted(labels) == sorted(list(range(10)) * 2)
    data = Shapes(train=12).dataset("train")
    assert [int(data[index]["label"]) for index in range(12)] == [*range(10), 0, 1]


def test_a_picture_is_a_function_of_seed_split_and_index() -> None:
    first, second = Shapes(), Shapes()
    np.testing.assert_array_equal(first.image("train", 7), second.image("train", 7))
    others = (Shapes(seed=1).image("train", 7), first.image("test", 7), first.image("train", 17))
    assert not any((first.image("train", 7) == other).all() for other in others)


def test_silhouettes_differ_whatever_their_angle() -> None:
    """No rotation lays one on another: they overlap by less than nine tenths of their union."""
    line = np.linspace(-1, 1, 61)
    u, v = np.meshgrid(line, line)
    turns = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)]
    for number, one in enumerate(SILHOUETTES):
        mask = one(u, v)
        assert 0.05 < mask.mean() < 0.7 and not mask[np.hypot(u, v) > 1.07].any(), NAMES[number]
        for two in SILHOUETTES[:number]:
            turned = [two(c * u + s * v, c * v - s * u) for c, s in turns]
            overlap = max((mask & other).sum() / (mask | other).sum() for other in turned)
            assert overlap < 0.9, (one, two)


def test_colour_does_not_tell_the_class() -> None:
    """Mean colours of two classes are as far apart as two halves of one class."""
    means = np.array(
        [
            [draw(number, (32, 32), generator(3, "colours", k)).mean((0, 1)) for k in range(16)]
            for number in range(10)
        ]
    )
    between = np.abs(means.mean(1) - means.mean((0, 1))).max()
    assert between < 25


@pytest.mark.parametrize("options", [{"train": 0}, {"height": 40}])
def test_impossible_data_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError):
        Shapes(**options)
