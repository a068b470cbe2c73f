"""Rendered data: splits, sizes, memory and what the manifest depends on."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evonas.data.render.scene import make_scene
from evonas.data.render.trace import View, render
from evonas.data.synthetic.scenes import STRIDE, SyntheticScenes
from evonas.errors import UserError


def source(**changes: int) -> SyntheticScenes:
    return SyntheticScenes(**{"train": 4, "validation": 3, "test": 2, "height": 32, "width": 64, **changes})


def test_items_are_what_the_renderer_drew() -> None:
    item = source().dataset("test")[1]
    scene = make_scene(0, 2 * STRIDE + 1)
    view = render(scene, scene.view(0), 32, 64)
    np.testing.assert_allclose(item["depth"][0].numpy(), view.depth, rtol=1e-3)
    np.testing.assert_array_equal(item["classes"].numpy(), view.classes)
    np.testing.assert_array_equal(item["instances"].numpy(), view.instances)
    assert {key: tuple(value.shape) for key, value in item.items()} == {
        "image": (3, 32, 64),
        "depth": (1, 32, 64),
        "valid": (1, 32, 64),
        "classes": (32, 64),
        "instances": (32, 64),
    }


def test_the_sky_and_what_is_far_are_not_valid() -> None:
    items = [source().dataset("train")[i] for i in range(4)]
    for item in items:
        np.testing.assert_array_equal(
            item["valid"].numpy(), (item["depth"].numpy() > 0) & (item["depth"].numpy() < 20)
        )
        assert not item["valid"][0][item["classes"] == 0].any()
    assert 0.3 < np.mean([item["valid"].float().mean() for item in items]) < 1


def test_ground_at_the_horizon_is_as_deep_as_the_sky(monkeypatch: pytest.MonkeyPatch) -> None:
    def distant(*given: Any) -> View:
        view = render(*given)
        return replace(view, depth=np.full_like(view.depth, 1e5))

    monkeypatch.setattr("evonas.data.synthetic.scenes.render", distant)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        item = source().dataset("test")[0]
    assert item["depth"].isinf().all() and not item["valid"].any()


def test_flips_turn_everything_together() -> None:
    data = source().dataset("train")
    data.augment = False
    plain = data[0]
    data.augment = True
    mirrored = 0
    for epoch in range(12):
        data.set_epoch(epoch)
        item = data[0]
        same = torch.equal(item["depth"], plain["depth"])
        for key in ("depth", "valid", "classes", "instances"):
            assert torch.equal(item[key], plain[key] if same else plain[key].flip(-1))
        mirrored += not same
    assert 0 < mirrored < 12


def test_normals_come_when_asked_for_and_change_nothing_else() -> None:
    plain, asked = (source(normals=wanted).dataset("test") for wanted in (False, True))
    assert plain.manifest() != asked.manifest()
    # what it was before there were normals
    assert plain.manifest() == "029aec900f22590308266f2984eff85161e46f4331a3ceb75de36d122c1a6adc"
    for key, value in plain[1].items():
        assert torch.equal(asked[1][key], value)
    scene = make_scene(0, 2 * STRIDE + 1)
    view = render(scene, scene.view(0), 32, 64)
    np.testing.assert_allclose(asked[1]["normals"].permute(1, 2, 0).numpy(), view.normals, atol=1e-3)


def test_a_mirror_turns_normals_to_the_other_side() -> None:
    data = source(normals=True).dataset("train")
    data.augment = False
    plain = data[0]
    data.augment = True
    for epoch in range(6):
        data.set_epoch(epoch)
        item = data[0]
        same = torch.equal(item["depth"], plain["depth"])
        turned = (
            plain["normals"]
            if same
            else plain["normals"].flip(-1) * torch.tensor([-1.0, 1, 1])[:, None, None]
        )
        assert torch.equal(item["normals"], turned)


def test_counts_and_seeds_change_the_manifest_and_the_run_seed_does_not() -> None:
    manifests = {
        source(**change).dataset("test").manifest()
        for change in ({}, {"seed": 1}, {"test": 5}, {"height": 64}, {"far": 10})
    }
    assert len(manifests) == 5
    assert source(augment_seed=3).dataset("test").manifest() == source().dataset("test").manifest()
    assert source().dataset("train").manifest() != source().dataset("test").manifest()


def test_pictures_are_drawn_once_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        "evonas.data.synthetic.scenes.make_scene", lambda *a: drawn.append(a) or make_scene(*a)
    )
    data = source()
    _ = data.dataset("test"), data.dataset("train")
    assert drawn == []
    for _ in range(2):
        data.dataset("test")[0]
    assert drawn == [(0, 2 * STRIDE)]


@pytest.mark.parametrize("changes", [{"train": 0}, {"height": 50}, {"width": 16}, {"test": STRIDE}])
def test_impossible_sizes_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UserError, match=str(next(iter(changes.values())))):
        source(**changes)


def test_unknown_splits_and_items_are_refused() -> None:
    with pytest.raises(UserError, match="val"):
        source().dataset("val")
    data = source().dataset("test")
    with pytest.raises(IndexError):
        data[2]
    assert torch.equal(data[-1]["depth"], data[1]["depth"])
    assert len(list(data)) == 2
