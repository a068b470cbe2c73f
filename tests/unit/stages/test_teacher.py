"""stage=teacher with teachers that others trained, and what later stages make of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_stages
import torch

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.stages.base import Context
from evonas.stages.build import factory, teacher_checkpoint
from evonas.stages.pretrain import Pretrain
from evonas.stages.supernet import Supernet
from evonas.stages.teacher import Teacher
from evonas.stages.training.setup import TrainingSetup

pytest.importorskip("transformers")

OPTIONS = [
    "data.train=6",
    "data.validation=2",
    "data.test=2",
    "data.width=64",
    "train.panel_random=0",
    "train.teacher.epochs=1",
    "train.teacher.batch_size=3",
    "train.supernet.batch_size=3",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 2}]",
]
TINY = ["teacher=depth_anything_tiny", "teacher.input_size=[28,56]"]
CACHED = [*TINY, "distill.cache=true", "train.supernet.augment=false"]
DINO = ["teacher=dinov2", "teacher.size=tiny"]


pytestmark = pytest.mark.usefixtures("one_thread")


def context(folder: Path, *overrides: str, resume: bool = False, inputs: Path | None = None) -> Context:
    return small_stages.context(folder, *OPTIONS, *overrides, resume=resume, inputs=inputs)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny Depth Anything v2, as somebody else would have saved them."""
    from evonas.train.teachers.depth_anything import DepthAnything

    path = tmp_path_factory.mktemp("foreign") / "model.pth"
    torch.save(DepthAnything("depth_anything_v2", "tiny").network.state_dict(), path)
    return path


def foreign(path: Path) -> list[str]:
    return [*TINY, "teacher.family=depth_anything_v2", f"teacher.weights={path}"]


def test_a_loaded_teacher_is_scored_and_noted_and_not_copied(tmp_path: Path, weights_file: Path) -> None:
    line = Teacher().run(context(tmp_path, *foreign(weights_file)))
    assert line.startswith("Teacher, not trained here, validation AbsRel")
    result = read(tmp_path / "teacher/result.json")
    assert result["steps"] == 0 and result["metrics"]["abs_rel"] > 0
    assert result["params"] > 100_000
    assert result["origin"] == {
        "weights": str(weights_file),
        "sha256": files.sha256(weights_file),
        "random": False,
    }
    assert files_below(tmp_path / "teacher") == ["metrics.csv", "result.json"]
    found = factory.load_teacher(context(tmp_path, *foreign(weights_file)))
    assert not found.training and found.origin.sha256 == result["origin"]["sha256"]
    assert teacher_checkpoint.has_output(context(tmp_path).run)


def test_a_resumed_check_is_not_repeated(tmp_path: Path, weights_file: Path) -> None:
    first = context(tmp_path, *foreign(weights_file), resume=True)
    Teacher().run(first)
    assert Teacher().run(first).startswith("The teacher is known")
    other = context(tmp_path, *foreign(weights_file), "teacher.input_size=[42,56]", resume=True)
    assert "not trained here" in Teacher().run(other)


def test_a_file_that_changed_or_was_not_checked_is_refused(tmp_path: Path, weights_file: Path) -> None:
    copy = tmp_path / "copy.pth"
    shutil.copy(weights_file, copy)
    with pytest.raises(UserError, match="teacher/result") as caught:
        factory.load_teacher(context(tmp_path, *foreign(copy)))
    assert "stage=teacher" in caught.value.hint
    Teacher().run(context(tmp_path, *foreign(copy)))
    with pytest.raises(UserError, match=r"teacher\.input_size=\[56, 56\]"):
        factory.load_teacher(context(tmp_path, *foreign(copy), "teacher.input_size=[56,56]"))
    # the same bytes elsewhere are the same teacher
    factory.load_teacher(context(tmp_path, *foreign(weights_file)))
    state = torch.load(copy, weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in state.items()}, copy)
    with pytest.raises(DataError, match=r"copy\.pth changed since stage=teacher"):
        factory.load_teacher(context(tmp_path, *foreign(copy)))


def test_missing_weights_stop_the_stage_with_the_projects_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Metric-Outdoor-Large-hf") as caught:
        Teacher().run(context(tmp_path, "teacher=depth_anything_v2_outdoor", "paths.data=nowhere"))
    assert "teacher.weights=<file>" in caught.value.hint


def test_random_weights_are_announced_and_follow_the_runs_seed(tmp_path: Path) -> None:
    assert Teacher().run(context(tmp_path, *TINY)).startswith("RANDOM weights")
    assert read(tmp_path / "teacher/result.json")["origin"]["random"] is True
    factory.load_teacher(context(tmp_path, *TINY))
    with pytest.raises(DataError, match="random weights of the teacher changed"):
        factory.load_teacher(context(tmp_path, *TINY, "seed=5"))


def test_depth_is_cut_at_the_tasks_largest(tmp_path: Path) -> None:
    found = factory.teacher(context(tmp_path, *TINY, "task.max_depth=7").setup)
    assert found.max_depth == 7.0


def test_a_head_on_frozen_features_is_trained_and_saved_alone(tmp_path: Path) -> None:
    line = Teacher().run(context(tmp_path, *DINO))
    assert line.startswith("RANDOM weights") and "validation AbsRel" in line
    saved = weights.load(tmp_path / factory.TEACHER)
    assert saved and all(name.startswith("head.") for name in saved)
    found = factory.load_teacher(context(tmp_path, *DINO))
    assert all(torch.equal(saved[name], tensor) for name, tensor in found.state_dict().items())
    assert Teacher().run(context(tmp_path, *DINO, resume=True)).endswith(str(tmp_path / factory.TEACHER))
    with pytest.raises(DataError, match="changed since"):
        factory.load_teacher(context(tmp_path, *DINO, "seed=5"))


@pytest.mark.parametrize("overrides", [TINY, CACHED])
def test_a_stage_loads_its_teacher_once(tmp_path: Path, overrides: list[str]) -> None:
    made = context(tmp_path, *overrides)
    Teacher().run(made)
    student = factory.supernet(made.setup).levels
    training = TrainingSetup(made, "supernet")
    first, second = (training.distillation(student, purpose) for purpose in ("first", "second"))
    assert first["teacher"] is second["teacher"]
    states = [options["distiller"].state_dict() for options in (first, second)]
    assert not all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_features_alone_need_a_ratio_of_zero(tmp_path: Path) -> None:
    alone = [*DINO, "teacher.head=false"]
    assert "features alone" in Teacher().run(context(tmp_path, *alone))
    assert not teacher_checkpoint.has_output(context(tmp_path).run)
    student = factory.supernet(context(tmp_path).setup).levels
    made = context(tmp_path, *alone)
    with pytest.raises(UserError, match=r"distill\.ratio=0\.1") as caught:
        TrainingSetup(made, "supernet").distillation(student, "test")
    assert "distill.ratio=0" in caught.value.hint
    made = context(tmp_path, *alone, "distill.ratio=0.0")
    assert set(TrainingSetup(made, "supernet").distillation(student, "test")) == {
        "teacher",
        "distiller",
    }


def test_the_origin_of_a_training_follows_the_teacher(tmp_path: Path, weights_file: Path) -> None:
    Teacher().run(context(tmp_path, *TINY))
    first = TrainingSetup(context(tmp_path, *TINY), "supernet").distillation_origin()
    Teacher().run(context(tmp_path, *foreign(weights_file)))
    second = TrainingSetup(context(tmp_path, *foreign(weights_file)), "supernet").distillation_origin()
    assert first["teacher"] != second["teacher"] and first["distill"] == second["distill"]
    Teacher().run(context(tmp_path))
    assert TrainingSetup(context(tmp_path), "supernet").distillation_origin()["teacher"] == weights.digest(
        tmp_path / factory.TEACHER
    )


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet that learnt from a tiny Depth Anything, whose answers were kept."""
    folder = tmp_path_factory.mktemp("distilled")
    for stage in (Pretrain(), Teacher(), Supernet()):
        stage.run(context(folder, *CACHED))
    return folder


def supernet_again(distilled: Path, folder: Path, *overrides: str) -> dict[str, torch.Tensor]:
    Supernet().run(context(folder, *(overrides or CACHED), inputs=distilled))
    return weights.load(folder / factory.SUPERNET)


def test_a_supernet_learns_the_same_bits_from_kept_answers(
    distilled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = weights.load(distilled / factory.SUPERNET)
    (kept,) = (distilled / teacher_checkpoint.CACHE).iterdir()
    assert kept.stat().st_size == 6 * (32 + 4 * (32 * 64 + 32 * 1 * 2))
    place = tmp_path / teacher_checkpoint.CACHE
    shutil.copytree(distilled / teacher_checkpoint.CACHE, place)
    before = [(path.name, path.stat().st_mtime_ns) for path in place.iterdir()]
    found = supernet_again(distilled, tmp_path)
    assert all(torch.equal(straight[name], found[name]) for name in straight)
    assert [(path.name, path.stat().st_mtime_ns) for path in place.iterdir()] == before
    assert "The teacher's outputs for 6 images take 50.9 kB when all are cached" in capsys.readouterr().out


def test_with_batches_of_one_a_supernet_is_the_same_without_the_cache(
    distilled: Path, tmp_path: Path
) -> None:
    one = ["train.supernet.batch_size=1"]
    kept = supernet_again(distilled, tmp_path / "kept", *CACHED, *one)
    plain = [*TINY, "train.supernet.augment=false", *one]
    fresh = supernet_again(distilled, tmp_path / "fresh", *plain)
    assert not (tmp_path / "fresh/teacher/cache").exists()
    assert all(torch.equal(kept[name], fresh[name]) for name in kept)


def test_other_data_and_another_teacher_have_other_caches(distilled: Path) -> None:
    made = context(distilled, *CACHED)
    names = {path.name for path in (distilled / teacher_checkpoint.CACHE).iterdir()}
    for overrides in ([], ["data.seed=4"], ["hardware.precision=bf16-mixed"]):
        made = context(distilled, *CACHED, *overrides)
        net = factory.load_teacher(made)
        names.add(teacher_checkpoint.cached(made, net, -1).records.path.name)
    # the first is the one of the training, but for the level, of which this teacher has one
    assert len(names) == 4


def test_a_cache_of_augmented_images_is_refused(distilled: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without augmentation"):
        supernet_again(distilled, tmp_path, *TINY, "distill.cache=true")
