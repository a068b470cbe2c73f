"""Novel views: what a network learns from them, how they are scored, and the items they are made of."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import default_collate
from trees import posed as tree

from evonas.data.augment import MEAN, STD
from evonas.data.base import Item
from evonas.data.synthetic.views import SyntheticViews
from evonas.data.views.base import Shot, Shots, item, mirrored, unit_baseline
from evonas.data.views.video_windows import Sequences
from evonas.errors import DataError, UserError
from evonas.nn.gaussians import GaussianHead
from evonas.nn.heads import DenseHead
from evonas.nn.perceptual import Perceptual
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet
from evonas.tasks.splat import Splat
from evonas.tasks.view_metrics import ViewMeter, averages, decibels, depth_error, view_metrics


def task(every: int = 2, **settings: object) -> Splat:
    data = SyntheticViews(train=2, validation=2, test=2, height=32, width=64)
    return Splat(data, GaussianHead, name="splat", planes=16, features=8, every=every, **settings)  # type: ignore[arg-type]


def network(of: Splat) -> Supernet:
    space = evonet_space("tiny", depths=[1, 1, 1, 1])
    family = EvoNet(space, [16, 16, 16, 16], [2, 2, 2, 2], stem_dim=8, stem_ratio=1.0, merge_ratio=1.0)
    return Supernet(family, of.head(family.levels))


def test_slopes_reach_the_first_layer() -> None:
    of = task()
    net = network(of)
    batch = default_collate([of.dataset("train")[0]])
    of.loss(net(batch["image"], net.space.largest()), batch).backward()
    for name, weight in net.backbone.stem.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
    assert float(net.backbone.stem.enter[0].weight.grad.abs().max()) > 0


def test_a_scene_can_be_learnt_until_it_beats_its_nearest_view() -> None:
    of = task(every=1)
    net = network(of)
    data = of.dataset("train")
    data.augment = False
    batch = default_collate([data[0]])
    context = torch.from_numpy(STD)[:, None, None] * batch["image"][0] + torch.from_numpy(MEAN)[:, None, None]
    copies = [view_metrics(each[None], batch["target"][0])["psnr"] for each in context.split(64, dim=2)]
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(20):
        adam.zero_grad()
        of.loss(net(batch["image"], net.space.largest()), batch).backward()
        adam.step()
    meter = of.meter()
    meter.update(net.eval()(batch["image"], net.space.largest()), batch)
    assert meter.compute()["psnr"] > max(copies) + 1


def test_known_depth_can_be_learnt_as_well() -> None:
    of, other = task(depth_weight=1.0), task()
    batch = default_collate([of.dataset("train")[0]])
    output = torch.zeros(1, of.layout.channels(4), 8, 32)
    assert float(of.loss(output, batch)) > float(other.loss(output, batch)) + 0.05
    del batch["context_depth"]
    assert_close(of.loss(output, batch), other.loss(output, batch))


def test_equal_answers_teach_nothing() -> None:
    of = task()
    batch = default_collate([of.dataset("train")[0]])
    output = 0.1 * torch.randn(1, of.layout.channels(4), 8, 32, generator=torch.Generator().manual_seed(0))
    assert float(of.distillation_loss(output, output, batch)) == 0


def test_other_heads_are_refused_in_a_sentence() -> None:
    of = Splat(SyntheticViews(train=1, validation=1, test=1, height=32, width=64), DenseHead, name="splat")
    batch = default_collate([of.dataset("holdout")[0]])
    output = torch.zeros(1, of.layout.channels(4), 32, 128)
    with pytest.raises(UserError, match="does not fit the layout") as caught:
        of.loss(output, batch)
    assert caught.value.hint == "Use head=gaussians."


@pytest.mark.parametrize("settings", [{"ssim_weight": 2.0}, {"depth_weight": -1.0}, {"lpips_weight": 1.0}])
def test_impossible_losses_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError):
        task(**settings)


class TestMetrics:
    def test_decibels_by_hand(self) -> None:
        truth = torch.full((1, 3, 16, 16), 0.5)
        found = view_metrics(truth + 0.1, truth)
        assert found["rmse"] == pytest.approx(0.1, abs=1e-6)
        assert found["psnr"] == pytest.approx(20, abs=1e-4)
        assert decibels(0.0) == 100

    def test_views_are_averaged_one_by_one(self) -> None:
        truth = torch.full((2, 3, 16, 16), 0.5)
        moved = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
        assert view_metrics(moved, truth)["psnr"] == pytest.approx(30, abs=1e-3)

    def test_nothing_known_of_depth_is_left_out(self) -> None:
        assert depth_error(torch.ones(1, 2, 2), torch.zeros(1, 2, 2)) is None
        rows = iter([[{"rmse": 0.5}], [{"rmse": 0.1, "abs_rel": 0.3}]])
        meter = ViewMeter(lambda output, batch: next(rows))  # noqa: ARG005
        meter.update(torch.zeros(1), {})
        meter.update(torch.zeros(1), {})
        assert meter.compute() == {"rmse": pytest.approx(0.3), "abs_rel": pytest.approx(0.3)}

    def test_a_view_that_is_not_finite_leaves_no_score(self) -> None:
        truth = torch.full((2, 3, 16, 16), 0.5)
        drawn = truth.clone()
        drawn[1, 0, 3, 3] = math.nan
        found = averages([view_metrics(drawn, truth), view_metrics(truth, truth)])
        assert all(math.isnan(found[name]) for name in ("rmse", "psnr", "ssim"))

    def test_no_view_at_all_is_an_error(self) -> None:
        with pytest.raises(UserError, match="No view"):
            ViewMeter(lambda output, batch: []).compute()  # noqa: ARG005


class TestViews:
    def shots(self) -> Shots:
        return SyntheticViews(height=32, width=64).shots("train", 0)

    def test_the_first_context_camera_is_the_world(self) -> None:
        found = item(self.shots())
        assert_close(found["context_view"][0], torch.eye(4), atol=1e-6, rtol=0)
        assert found["image"].shape == (3, 32, 128)
        assert found["target"].shape == (2, 3, 32, 64)
        # the second context camera stands 0.8 m to the right
        assert float(found["context_view"][1, :3, 3].norm()) == pytest.approx(0.8, abs=1e-4)

    def test_depth_and_cameras_agree_between_the_views(self) -> None:
        """What the first view sees is as far for the second as its depth map says, where nothing hides it."""
        found = item(self.shots())
        depth, (first, second) = found["context_depth"], found["context_lens"]
        rows, columns = torch.meshgrid(torch.arange(32.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
        rays = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ torch.linalg.inv(first).T
        points = rays * depth[0, ..., None]
        moved = points @ found["context_view"][1, :3, :3].T + found["context_view"][1, :3, 3]
        place = (moved / moved[..., 2:]) @ second.T
        seen = (depth[0] > 0) & (place[..., 0] > 0) & (place[..., 0] < 64) & (place[..., 1] > 0)
        seen &= place[..., 1] < 32
        there = depth[1][place[..., 1][seen].long(), place[..., 0][seen].long()]
        error = (there - moved[..., 2][seen]).abs() / moved[..., 2][seen]
        assert float(error.median()) < 0.03

    def test_a_mirrored_scene_is_a_scene(self) -> None:
        shot = self.shots().target[0]
        twice = mirrored(mirrored(shot))
        np.testing.assert_allclose(twice.view, shot.view)
        np.testing.assert_allclose(twice.lens, shot.lens)
        np.testing.assert_array_equal(twice.colours, shot.colours)
        point, other = np.array([0.3, 6.0, 0.5, 1]), np.array([-0.3, 6.0, 0.5, 1])
        before, after = (shot.view @ point)[:3], (mirrored(shot).view @ other)[:3]
        seen, seen_mirrored = shot.lens @ before / before[2], mirrored(shot).lens @ after / after[2]
        assert seen_mirrored[0] == pytest.approx(64 - seen[0])
        assert seen_mirrored[1] == pytest.approx(seen[1])

    def test_lengths_count_in_baselines(self) -> None:
        scaled = unit_baseline(self.shots(), "here")
        places = [np.linalg.inv(shot.view)[:3, 3] for shot in scaled.context]
        assert np.linalg.norm(places[1] - places[0]) == pytest.approx(1)
        still = Shots((scaled.context[0],) * 2, scaled.target, 1, 10)
        with pytest.raises(DataError, match="do not move"):
            unit_baseline(still, "here")

    def test_an_epoch_draws_its_target(self) -> None:
        data = SyntheticViews(train=1, targets=4, height=32, width=64).dataset("train")
        drawn = set()
        for epoch in range(12):
            data.set_epoch(epoch)
            drawn.add(tuple(data[0]["target_view"][0, :3, 3].abs().tolist()))
        assert len(drawn) > 2

    @pytest.mark.parametrize(
        "settings", [{"context": 1}, {"targets": 0}, {"near": 0.0}, {"far": 1.0}, {"train": 0}, {"width": 50}]
    )
    def test_impossible_scenes_are_refused(self, settings: dict[str, int]) -> None:
        with pytest.raises(UserError):
            SyntheticViews(**settings)  # type: ignore[arg-type]


class TestSequences:
    def source(self, root: Path, layout: str = "realestate", **settings: object) -> Sequences:
        sizes = {"height": 32, "width": 64, "gap": (3, 5), "targets": 2, "validation": 0.4}
        return Sequences(str(root), layout, **{**sizes, **settings})  # type: ignore[arg-type]

    def test_layouts_of_scenes(self, tmp_path: Path) -> None:
        for part in ("train", "test"):
            for number in range(3):
                tree.write_transforms(tmp_path / "nerf" / part / f"s{number}", seed=number)
                tree.write_colmap_text(tmp_path / "colmap" / part / f"s{number}")
        nerf, colmap = (
            self.source(tmp_path / "nerf", "transforms"),
            self.source(tmp_path / "colmap", "colmap"),
        )
        for split, count in (("train", 2), ("holdout", 1), ("test", 3)):
            assert len(nerf.dataset(split)) == len(colmap.dataset(split)) == count  # type: ignore[arg-type]
        one, other = nerf.dataset("test")[0], colmap.dataset("test")[0]
        for key in ("context_view", "context_lens", "target_view", "image"):
            assert_close(one[key], other[key], atol=1e-4, rtol=0)

    def test_targets_lie_between_the_context_views(self, tmp_path: Path) -> None:
        for number in range(3):
            tree.write_realestate(tmp_path, "train", f"v{number}", count=9)
        data = self.source(tmp_path).dataset("train")
        for epoch in range(4):
            data.set_epoch(epoch)
            found: Item = data[0]
            assert abs(float(found["context_view"][1, :3, 3].norm()) - 1) < 1e-4
            across = -found["target_view"][:, 0, 3] * torch.sign(-found["context_view"][1, 0, 3])
            assert ((across > 0.05) & (across < 0.95)).all()

    def test_short_sequences_show_a_target_twice(self, tmp_path: Path) -> None:
        for number in range(3):
            tree.write_realestate(tmp_path, "train", f"v{number}", count=3)
        found = self.source(tmp_path).dataset("holdout")[0]
        assert found["target"].shape[0] == 2
        assert_close(found["target"][0], found["target"][1])

    @pytest.mark.parametrize("count, sentence", [(2, "too few for 2 views")])
    def test_too_short_is_refused(self, tmp_path: Path, count: int, sentence: str) -> None:
        for number in range(3):
            tree.write_realestate(tmp_path, "train", f"v{number}", count=count)
        with pytest.raises(DataError, match=sentence):
            self.source(tmp_path).dataset("train")[0]

    def test_chunks_are_refused_with_a_way_out(self, tmp_path: Path) -> None:
        (tmp_path / "train").mkdir()
        (tmp_path / "train/000000.torch").write_bytes(b"pickle")
        with pytest.raises(DataError, match="pickles") as caught:
            len(self.source(tmp_path).dataset("train"))
        assert "frames/<part>/<video>/<time>.jpg" in str(caught.value.hint)

    def test_what_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist"):
            len(self.source(tmp_path).dataset("test"))
        (tmp_path / "test").mkdir()
        with pytest.raises(DataError, match="contains no sequence"):
            len(self.source(tmp_path).dataset("test"))

    @pytest.mark.parametrize(
        "settings",
        [{"gap": (1, 5)}, {"gap": (5, 4)}, {"missing": "maybe"}, {"layout": "zip"}, {"validation": 1.0}],
    )
    def test_impossible_settings_are_refused(self, tmp_path: Path, settings: dict[str, object]) -> None:
        with pytest.raises(UserError):
            self.source(tmp_path, **settings)


def test_lpips_takes_vgg_from_a_file_and_no_other(tmp_path: Path) -> None:
    import torchvision

    with torch.device("meta"):
        shapes = torchvision.models.vgg16(weights=None).features.state_dict()
    drawn = torch.Generator().manual_seed(0)
    state = {name: 0.05 * torch.randn(each.shape, generator=drawn) for name, each in shapes.items()}
    torch.save({f"features.{name}": tensor for name, tensor in state.items()}, tmp_path / "vgg16.pth")
    distance = Perceptual(str(tmp_path / "vgg16.pth"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert_close(distance(images, images), torch.zeros(2))
    assert (distance(images, images.flip(0)) > 0).all()
    first = distance.network.net.slice1[0].weight
    assert_close(first.data, state["0.weight"])
    assert not any(weight.requires_grad for weight in distance.parameters())
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="is not torchvision's VGG-16"):
        Perceptual(str(tmp_path / "other.pth"))


def test_a_shot_keeps_what_it_is_given() -> None:
    shot = Shot(np.zeros((2, 4, 3), np.float32), np.eye(4), np.eye(3))
    assert mirrored(shot).depth is None
