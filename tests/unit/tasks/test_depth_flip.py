"""The flip test: its ramps, where it is used, and what it changes in the identity of an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.nn.heads import DenseHead
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.tasks import depth as depth_task
from evonas.tasks.base import predict
from evonas.tasks.depth import Depth, evenly
from evonas.tasks.depth_metrics import MIN_DEPTH, blend, silog
from evonas.train import validation_panel

SPACE = {
    "_target_": "evonas.supernets.evonet.space.evonet_space",
    "name": "tiny",
    "mlp_ratio": [1],
    "d_state": [8],
    "expand": [1],
    "depths": [1, 1, 1, 1],
}


def task(**options: object) -> Depth:
    data = SyntheticScenes(train=6, validation=3, test=3, height=32, width=64)
    return Depth(data, DenseHead, **{"max_depth": 20.0, "name": "synthetic", **options})


def ramp(images: Tensor) -> Tensor:
    """A network that sees distance in the place alone, so that a mirror image contradicts it."""
    place = torch.linspace(1, 2, images.shape[-1])
    return place.expand(len(images), 1, *images.shape[-2:])


def test_ramps_are_those_published() -> None:
    """101 columns are percents: the mirror look up to 5, half of it at 7.5, the mean from 10 to 90."""
    first, second = torch.zeros(2, 1, 3, 101), torch.ones(2, 1, 3, 101)
    row = blend(first, second)[0, 0, 1].numpy()
    expected = np.full(101, 0.5)
    expected[:6], expected[95:] = 1.0, 0.0
    expected[6:10] = [0.9, 0.8, 0.7, 0.6]
    expected[91:95] = [0.4, 0.3, 0.2, 0.1]
    np.testing.assert_allclose(row, expected, atol=1e-5)
    torch.testing.assert_close(blend(second, second), second)


def test_a_net_that_ignores_sides_gains_nothing() -> None:
    images = torch.randn(2, 3, 8, 40)
    seen = task(flip_test=True).predict(lambda x: x.mean(1, keepdim=True), images)
    torch.testing.assert_close(seen, images.mean(1, keepdim=True))


def test_the_mirror_look_is_turned_back() -> None:
    images = torch.zeros(2, 3, 4, 100)
    seen = task(flip_test=True).predict(ramp, images)
    torch.testing.assert_close(seen, blend(ramp(images), ramp(images).flip(-1)))
    torch.testing.assert_close(seen[..., 20:80], torch.full((2, 1, 4, 60), 1.5))
    assert torch.equal(task().predict(ramp, images), ramp(images))


def test_tasks_without_a_way_of_their_own_are_asked_once() -> None:
    class Plain:
        pass

    calls = []

    def net(images: Tensor) -> Tensor:
        calls.append(images.shape)
        return images

    plain: Any = Plain()
    assert predict(plain, net, torch.ones(1, 3, 2, 2)).shape == (1, 3, 2, 2)
    assert len(calls) == 1


def test_scores_use_it() -> None:
    cpu = torch.device("cpu")
    scores = [validation_panel.score(ramp, task(flip_test=on), "holdout", 2, cpu) for on in (False, True)]
    meter = task().meter()
    for item in task().dataset("holdout"):
        batch: Mapping[str, Tensor] = {key: value[None] for key, value in item.items()}
        once = ramp(batch["image"])
        meter.update(blend(once, once.flip(-1)), batch)
    assert scores[1] == pytest.approx(meter.compute())
    assert scores[0]["abs_rel"] != scores[1]["abs_rel"]


def bench(tmp_path: Path, **options: object) -> EvaluationContext:
    data = {
        "_target_": "evonas.data.synthetic.scenes.SyntheticScenes",
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    head = {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True}
    config = {
        "_target_": "evonas.tasks.depth.Depth",
        "name": "s",
        "max_depth": 20.0,
        "data": data,
        "head": head,
    }
    weights = tmp_path / "supernet.safetensors"
    weights.write_bytes(b"anything: an identity reads no weights, only their digest")
    return EvaluationContext(SPACE, {}, {**config, **options}, weights)


def test_errors_scored_in_another_way_are_other_facts(tmp_path: Path) -> None:
    one, same = (Error().identity(bench(tmp_path)) for _ in range(2))
    assert one == same
    for other in ({"flip_test": True}, {"crop": "garg"}, {"max_depth": 10.0}):
        assert Error().identity(bench(tmp_path, **other)) != one


def test_the_loss_also_learns_from_what_lies_beyond_the_cap() -> None:
    """As published: valid is what was measured; only scores are capped."""
    near = task(max_depth=10.0)
    truth = torch.full((1, 1, 4, 4), 5.0)
    truth[..., 0] = 15.0
    output = torch.full_like(truth, 5.0)
    batch = {"depth": truth, "valid": truth > 0}
    assert float(near.loss(output, batch)) == pytest.approx(float(silog(output, truth, truth > MIN_DEPTH)))
    meter = near.meter()
    meter.update(output, batch)
    assert meter.compute()["abs_rel"] == 0


def test_the_baseline_samples_large_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(11, 3) == [0, 5, 10]
    whole = task()._best_constant()
    monkeypatch.setattr(depth_task, "SAMPLED_PIXELS", 128)
    assert task()._best_constant() == pytest.approx(whole, rel=0.1)
    monkeypatch.setattr(depth_task, "SAMPLED_IMAGES", 1)
    read: list[int] = []
    of = task()
    train = of.dataset("train")
    monkeypatch.setattr(of, "dataset", lambda split: _Counting(train, read))  # noqa: ARG005
    of._best_constant()
    assert read == [0]


class _Counting:
    def __init__(self, images: Any, read: list[int]) -> None:
        self.images, self.read = images, read

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return self.images[index]
