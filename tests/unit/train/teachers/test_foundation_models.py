"""Foundation teachers: what they load, what they show, and what they refuse."""

import hashlib
import math
import sys
import threading
from pathlib import Path
from typing import Any

import original_names
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evonas.data import augment
from evonas.errors import DataError, UserError
from evonas.train.loop.data import seeded

pytest.importorskip("transformers")

from evonas.train.teachers import checkpoint_names, transformers_models
from evonas.train.teachers.depth_anything import STAGE_4, DepthAnything, published
from evonas.train.teachers.dinov2 import DINOv2Backbone

# names of the published checkpoint of Depth Anything v1 with metric depth at size small, one a
# line and sorted: taken from an instance of the project's own classes
NAMES_OF_SMALL = "0d63aae962995997ea09d53736ff6bd13b090fa5f5fcdeb6abfcab2b5f6d3e06"
PARAMS = {"small": 24_785_089, "base": 97_470_785, "large": 335_315_649}


def tiny(family: str = "depth_anything", seed: int = 0, **options: Any) -> DepthAnything:
    with seeded(seed, "test"):
        made = DepthAnything(family, "tiny", **{"input_size": (56, 84), "max_depth": 1e6, **options})
        # transformers draws weights so small that all answers are alike
        for parameter in made.network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    return made


def images(size: tuple[int, int] = (64, 96), seed: int = 0) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def own_names(teacher: DepthAnything) -> dict[str, Tensor]:
    """The teacher's weights as its project would have saved them."""
    if teacher.trunk is teacher.network:
        return original_names.depth(teacher.network.state_dict(), 4)
    parts = teacher.network
    return original_names.binned(parts.relative.state_dict(), parts.bins.state_dict(), 4)


@pytest.mark.parametrize("family", ["depth_anything", "depth_anything_v2"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_projects_own_files_are_read(family: str, wrapped: bool, tmp_path: Path) -> None:
    source, path = tiny(family), tmp_path / "weights.pt"
    named = own_names(source)
    content = {"model": {f"module.{name}": each for name, each in named.items()}, "epoch": 3}
    torch.save(content if wrapped else named, path)
    with seeded(1, "other"):
        loaded = DepthAnything(family, "tiny", weights=str(path), input_size=(56, 84), max_depth=1e6)
    assert not loaded.origin.is_random
    expected, found = (each.forward_with_features(images()) for each in (source, loaded))
    assert torch.equal(expected[0], found[0]) and torch.equal(expected[1][0], found[1][0])
    assert expected[0].std() > 1e-3


def test_the_hubs_files_are_read(tmp_path: Path) -> None:
    """The hub's files keep the names of transformers 4, with a module more around the attention."""
    from safetensors.torch import save_file

    source, parts = tiny("depth_anything_v2"), {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    named = {}
    for name, tensor in source.network.state_dict().items():
        for new, old in parts.items():
            name = name.replace(f"attention.{new}", f"attention.attention.{old}")
        named[name.replace("attention.o_proj", "attention.output.dense")] = tensor.contiguous()
    save_file(named, tmp_path / "model.safetensors")
    with seeded(5, "other"):
        loaded = DepthAnything(
            "depth_anything_v2", "tiny", weights=str(tmp_path / "model.safetensors"), input_size=(56, 84)
        )
    loaded.max_depth = source.max_depth
    assert torch.equal(source(images()), loaded(images()))


def test_dinov2s_own_file_is_read(tmp_path: Path) -> None:
    with seeded(0, "test"):
        source = DINOv2Backbone("tiny")
    torch.save(original_names.encoder(source.network.state_dict(), 4), tmp_path / "d.pth")
    loaded = DINOv2Backbone("tiny", weights=str(tmp_path / "d.pth"))
    pairs = zip(source(images()), loaded(images()), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_all_published_names_are_known() -> None:
    with torch.device("meta"):
        teacher = _small_on_meta()
    named = original_names.binned(
        teacher["relative"].state_dict(),
        teacher["bins"].state_dict(),
        transformers_models.ENCODERS["small"].layers,
    )
    assert hashlib.sha256("\n".join(sorted(named)).encode()).hexdigest() == NAMES_OF_SMALL
    core, bins = checkpoint_names.binned_names(named)
    assert set(bins) == set(teacher["bins"].state_dict())
    assert len(core) == len(teacher["relative"].state_dict())


def _small_on_meta() -> dict[str, Any]:
    from evonas.train.teachers import depth_anything

    of = transformers_models.ENCODERS["small"]
    made = depth_anything._version_1(of, None)
    return {"relative": made.relative, "bins": made.bins}


@pytest.mark.parametrize("size", PARAMS)
def test_sizes_are_the_published_ones(size: str) -> None:
    """24.8 M, 97.5 M and 335.3 M parameters (README of Depth Anything v2)."""
    from evonas.train.teachers import depth_anything

    with torch.device("meta"):
        network = depth_anything._version_2(transformers_models.ENCODERS[size], 80.0, None)
    assert sum(p.numel() for p in network.parameters()) == PARAMS[size]


def test_layers_that_are_decoded() -> None:
    """v1: the last four; v2: 5, 12, 18, 24 of large and 3, 6, 9, 12 of the others."""
    large, base = transformers_models.ENCODERS["large"], transformers_models.ENCODERS["base"]
    assert large.last == (21, 22, 23, 24) and large.spread == (5, 12, 18, 24)
    assert base.last == (9, 10, 11, 12) and base.spread == (3, 6, 9, 12)


@pytest.mark.parametrize("family", ["depth_anything", "depth_anything_v2"])
def test_the_default_feature_enters_the_last_projection(family: str) -> None:
    teacher, entered = tiny(family), []
    handle = teacher.trunk.get_submodule("neck.convs.3").register_forward_pre_hook(
        lambda _, given: entered.append(given[0])
    )
    _, maps = teacher.forward_with_features(images())
    handle.remove()
    assert torch.equal(entered[-1], maps[0]) and maps[0].shape == (2, 32, 2, 3)
    assert teacher.levels[0].stride == 28


def test_at_392_x_518_stage_4_has_14_x_19_positions() -> None:
    _, maps = tiny("depth_anything_v2", input_size=(392, 518)).forward_with_features(images((352, 1216))[:1])
    assert maps[0].shape[-2:] == (14, 19)


def test_a_layers_tokens_become_a_map() -> None:
    layer = "backbone.encoder.layer.2"
    teacher = tiny(feature=layer)
    with transformers_models.recorded_outputs(teacher.trunk, layer) as seen:
        _, maps = teacher.forward_with_features(images())
    assert teacher.levels[0].stride == 14 and maps[0].shape == (2, 32, 4, 6)
    # the class token, a row of six, and two more
    assert torch.equal(maps[0][:, :, 1, 2], seen[layer][:, 1 + 6 + 2])


def test_images_and_depths_are_resized_with_aligned_corners_and_cut() -> None:
    teacher, x = tiny(max_depth=1e6), images()
    small = F.interpolate(x, size=(56, 84), mode="bilinear", align_corners=True)
    inside = teacher.network(small)
    expected = F.interpolate(inside, size=(64, 96), mode="bilinear", align_corners=True)
    assert torch.equal(teacher(x), expected)
    teacher.max_depth = float(expected.median())
    assert torch.equal(teacher(x), expected.clamp(0, teacher.max_depth))


def test_teachers_see_the_normalisation_of_our_data() -> None:
    """ImageNet's, which DINOv2 and Depth Anything were trained with."""
    assert augment.MEAN.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert augment.STD.tolist() == pytest.approx([0.229, 0.224, 0.225])


def cubic(values: list[float], place: float) -> float:
    """Keys' cubic convolution with a = -0.75 (IEEE TASSP 29, 1981), edges repeated."""
    first, total = math.floor(place), 0.0
    for index in range(first - 1, first + 3):
        t = abs(place - index)
        near = (1.25 * t - 2.25) * t * t + 1
        far = ((-0.75 * t + 3.75) * t - 6) * t + 3
        total += (near if t <= 1 else far) * values[min(max(index, 0), len(values) - 1)]
    return total


def test_positions_are_resampled_as_dinov2_does() -> None:
    """A patch more by 0.1 is counted, so row i lies at (i + 0.5) 37 / 28.1 - 0.5."""
    body = DINOv2Backbone("tiny")
    wave = [math.sin(row / 3) for row in range(37)]
    grid = torch.tensor(wave).view(37, 1).expand(37, 37).reshape(1, -1, 1).expand(1, 37 * 37, 32)
    embeddings = body.network.embeddings
    embeddings.position_embeddings.data = torch.cat((torch.zeros(1, 1, 32), grid), dim=1)
    placed = embeddings.interpolate_pos_encoding(torch.empty(0), 392, 518)[0, 1:, 0].view(28, 37)
    expected = [cubic(wave, (row + 0.5) * 37 / 28.1 - 0.5) for row in range(28)]
    assert placed[:, 5].tolist() == pytest.approx(expected, abs=1e-5)
    assert embeddings.interpolate_pos_encoding(torch.empty(0), 518, 518) is embeddings.position_embeddings


def test_no_hook_stays_behind_even_after_an_error() -> None:
    teacher = tiny()
    teacher(images())
    # transformers has hooks of its own
    before = [len(module._forward_hooks) for module in teacher.network.modules()]
    teacher(images())
    with pytest.raises(RuntimeError), transformers_models.recorded_outputs(teacher.trunk, STAGE_4):
        teacher.network(torch.zeros(1, 3, 5, 5))
    with pytest.raises(UserError), transformers_models.recorded_outputs(teacher.trunk, STAGE_4, "nowhere"):
        pass
    assert [len(module._forward_hooks) for module in teacher.network.modules()] == before


def test_threads_see_their_own_features() -> None:
    teacher, found = tiny("depth_anything_v2"), {}
    alone = [teacher.forward_with_features(images(seed=seed)) for seed in range(3)]

    def ask(seed: int) -> None:
        found[seed] = [teacher.forward_with_features(images(seed=seed)) for _ in range(5)]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, (output, maps) in enumerate(alone):
        for again, seen in found[seed]:
            assert torch.equal(output, again) and torch.equal(maps[0], seen[0])


def test_missing_weights_name_the_file_its_project_and_what_to_type() -> None:
    with pytest.raises(UserError, match=r"data/depth_anything_metric_depth_outdoor\.pt") as caught:
        DepthAnything(folder="data")
    assert "huggingface.co/spaces/LiheYoung/Depth-Anything" in caught.value.hint
    assert "teacher.weights=<file>" in caught.value.hint
    with pytest.raises(UserError, match=r"Metric-Indoor-Small-hf/model\.safetensors") as caught:
        DepthAnything("depth_anything_v2", "small", "indoor", folder="data")
    assert "depth_anything_v2_metric_hypersim_vits.pth" in caught.value.hint
    with pytest.raises(UserError, match="No weights of depth_anything base outdoor: none are published"):
        DepthAnything(size="base")
    with pytest.raises(UserError, match=r"dinov2-large/model\.safetensors"):
        DINOv2Backbone()
    with pytest.raises(UserError, match=r"nowhere\.pt does not exist"):
        DepthAnything(size="tiny", weights="nowhere.pt")


@pytest.mark.parametrize("scene", ["indoor", "outdoor"])
def test_a_published_file_is_found_in_the_folder(scene: str, tmp_path: Path) -> None:
    offered = published("depth_anything_v2", "base", scene)
    (tmp_path / offered[1].file).touch()
    found = transformers_models.find_weights(None, str(tmp_path), offered, "base", "x")
    assert found == tmp_path / offered[1].file


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    named = own_names(tiny())
    path = tmp_path / "weights.pt"
    torch.save({**named, "core.core.pretrained.norm.weight": torch.ones(5)}, path)
    with pytest.raises(DataError, match="another network"):
        DepthAnything(size="tiny", weights=str(path))
    torch.save({name: each for name, each in named.items() if "norm1" not in name}, path)
    with pytest.raises(DataError, match="8 weights are missing"):
        DepthAnything(size="tiny", weights=str(path))
    torch.save({**named, "core.core.pretrained.more": torch.ones(5)}, path)
    with pytest.raises(DataError, match="1 weights are unexpected"):
        DepthAnything(size="tiny", weights=str(path))
    with pytest.raises(DataError, match="another network"):
        DepthAnything("depth_anything_v2", "tiny", weights=str(path))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"family": "midas"}, "family=midas"),
        ({"size": "huge"}, "size=huge"),
        ({"scene": "sea"}, "scene=sea"),
        ({"size": "tiny", "input_size": (56, 80)}, r"\[56,80\]"),
        ({"size": "tiny", "feature": "neck.nothing"}, "neck.nothing"),
        ({"size": "tiny", "feature": "neck.fusion_stage.layers.0.residual_layer1"}, "does not run in"),
        ({"size": "tiny", "feature": "head"}, "not a feature map"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        DepthAnything(**options)


def test_without_the_package_the_command_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="'transformers'") as caught:
        DINOv2Backbone("tiny")
    assert caught.value.hint == "pip install 'evonas[teachers]'"


def test_loading_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(own_names(tiny()), tmp_path / "weights.pt")
    DepthAnything(size="tiny", weights=str(tmp_path / "weights.pt"))
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
