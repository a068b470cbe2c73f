"""The teacher's answers on disk: whole or not at all, and the same bits as the teacher's own."""

import hashlib
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.errors import EngineError, UserError
from evonas.randomness import derive
from evonas.train.distillation.cross_architecture import Distiller
from evonas.train.fit import Devices, fit
from evonas.train.loop.data import TrainingData, seeded
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.teachers import feature_cache
from evonas.train.teachers.base import TimmBackbone
from evonas.train.teachers.feature_cache import (
    CachedTeacher,
    IndexedImages,
    RecordFile,
    human_size,
    image_outputs,
    teacher_outputs,
)

SHAPES = [(1, 4, 6), (3, 2, 2)]
IMAGES, HEIGHT, WIDTH, EPOCHS = 6, 32, 64, 2


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def records(path: Path, key: str = "k", count: int = 5) -> RecordFile:
    return RecordFile(path / "cache.bin", key, SHAPES, count)


def values(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def same(first: list[Tensor] | None, second: list[Tensor]) -> bool:
    return first is not None and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_records_come_back_bit_for_bit_in_any_order(tmp_path: Path) -> None:
    kept = records(tmp_path)
    assert kept.read(0) is None
    special = [torch.full((1, 4, 6), float("inf")), torch.full((3, 2, 2), 1e-45)]
    kept.write(3, values(3))
    kept.write(0, special)
    assert same(kept.read(3), values(3)) and same(records(tmp_path).read(0), special)
    assert kept.read(1) is None and kept.read(4) is None


@pytest.mark.parametrize("place", [0, 31, 32, 100, 32 + 36 * 4 - 1])
def test_a_damaged_record_does_not_count(tmp_path: Path, place: int) -> None:
    kept = records(tmp_path)
    for index in range(3):
        kept.write(index, values(index))
    content = bytearray(kept.path.read_bytes())
    length = len(content) // 3
    content[length + place] ^= 1
    kept.path.write_bytes(content)
    assert same(kept.read(0), values(0)) and same(kept.read(2), values(2))
    assert kept.read(1) is None


def test_a_torn_file_keeps_what_is_whole(tmp_path: Path) -> None:
    kept = records(tmp_path)
    for index in range(2):
        kept.write(index, values(index))
    content = kept.path.read_bytes()
    kept.path.write_bytes(content[:-1])
    assert same(kept.read(0), values(0)) and kept.read(1) is None
    kept.write(1, values(1))
    assert kept.path.read_bytes() == content


def test_records_of_another_key_or_place_do_not_count(tmp_path: Path) -> None:
    kept = records(tmp_path)
    kept.write(0, values(0))
    assert records(tmp_path, key="other").read(0) is None
    content = kept.path.read_bytes()
    kept.path.write_bytes(content * 2)
    assert same(kept.read(0), values(0)) and kept.read(1) is None


def test_many_may_write_at_once(tmp_path: Path) -> None:
    kept = records(tmp_path, count=40)

    def fill(first: int) -> None:
        for index in range(first, 40, 2):
            records(tmp_path, count=40).write(index, values(index))

    threads = [threading.Thread(target=fill, args=(first,)) for first in (0, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(kept.read(index), values(index)) for index in range(40))
    assert kept.path.stat().st_size == kept.num_bytes


def test_a_disk_too_small_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 500))
    with pytest.raises(EngineError, match=r"needs 880 B, but .* has 500 B left"):
        records(tmp_path).check_space()
    assert not (tmp_path / "cache.bin").exists()


def test_a_disk_that_fills_up_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache.os, "pwrite", full)
    with pytest.raises(EngineError, match="No space left on device"):
        records(tmp_path).write(0, values(0))


def test_sizes_for_people() -> None:
    assert [human_size(n) for n in (12, 203_008, 2_560_000, 63e9, 2.5e12)] == [
        "12 B",
        "203 kB",
        "2.56 MB",
        "63 GB",
        "2.5 TB",
    ]


class Counting(nn.Module):
    """A real convolutional network that counts the images it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(0, "teacher"):
            self.body = TimmBackbone("resnet10t", [1, 2])
        self.levels, self.asked = self.body.levels, 0

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.asked += len(x)
        maps = self.body(x)
        return maps[-1].mean((2, 3)), maps


class Student(nn.Module):
    """One convolution and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(0, "student"):
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), nn.BatchNorm2d(4))
            self.head = nn.Linear(4, 128)

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        level = self.body(x)
        return self.head(level.mean((2, 3))), [level]


class Imitation:
    """The part of a task that a training uses: the teacher is all there is to learn from."""

    def loss(self, output: Tensor, batch: Any) -> Tensor:
        return (output.mean(1) - batch["image"].mean((1, 2, 3))).square().mean()

    def distillation_loss(self, output: Tensor, teacher: Tensor, batch: Any) -> Tensor:  # noqa: ARG002
        return (output - teacher).square().mean()


def scenes() -> IndexedImages:
    return IndexedImages(SyntheticScenes(train=IMAGES, height=HEIGHT, width=WIDTH).dataset("train"))


def cached(folder: Path, teacher: Counting) -> CachedTeacher:
    example = image_outputs(teacher.eval(), scenes()[0]["image"][None], -1)
    shapes = [tuple(part.shape) for part in example]
    teacher.asked = 0
    return CachedTeacher(teacher, RecordFile(folder / "cache.bin", "key", shapes, IMAGES), -1)


def trained(teacher: nn.Module, batch_size: int = 3) -> str:
    """The sha256 of a student after two epochs of distillation."""
    with seeded(0, "distiller"):
        distiller = Distiller(
            4, 128, ratio=0.5, heads=1, head_dim=4, expansion=0.1, query_grid=[2, 2], position_grid=[2, 2]
        )
    steps = EPOCHS * IMAGES // batch_size
    module = SubnetModule(
        Student(), Imitation(), Schedule(steps, 1, 0.01, 0.001, 0.0), 0, teacher=teacher, distiller=distiller
    )
    fit(module, TrainingData(scenes(), batch_size, derive(0, "order")), EPOCHS, Devices())
    state = module.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def test_an_empty_a_half_full_and_a_full_cache_train_the_same_bits(tmp_path: Path) -> None:
    teacher = Counting()
    first = trained(cached(tmp_path, teacher))
    assert teacher.asked == IMAGES
    assert trained(cached(tmp_path, teacher)) == first
    assert teacher.asked == 0
    content = (tmp_path / "cache.bin").read_bytes()
    (tmp_path / "cache.bin").write_bytes(content[: len(content) // 2])
    assert trained(cached(tmp_path, teacher)) == first
    assert 0 < teacher.asked < IMAGES
    assert (tmp_path / "cache.bin").read_bytes() == content


def test_with_batches_of_one_the_cache_changes_no_bit(tmp_path: Path) -> None:
    assert trained(cached(tmp_path, Counting()), batch_size=1) == trained(Counting(), batch_size=1)


def test_in_batches_the_cache_differs_from_the_teacher_by_rounding_alone(tmp_path: Path) -> None:
    teacher, images = Counting(), scenes()
    kept = cached(tmp_path, teacher)
    batch = {name: torch.stack([images[i][name] for i in (4, 0, 2)]) for name in ("image", "index")}
    with torch.no_grad():
        fresh, found = teacher_outputs(teacher, batch), teacher_outputs(kept, batch)
    assert torch.allclose(fresh[0], found[0], atol=1e-5)
    assert torch.allclose(fresh[1][-1], found[1][0], atol=1e-5) and len(found[1]) == 1


def test_numbered_images_are_not_augmented_and_know_their_place() -> None:
    source = SyntheticScenes(train=IMAGES, height=HEIGHT, width=WIDTH)
    plain, numbered = source.dataset("train"), scenes()
    plain.augment = False
    assert numbered.manifest() == plain.manifest() and len(numbered) == IMAGES
    for epoch in (0, 3):
        numbered.set_epoch(epoch)
        assert torch.equal(numbered[2]["image"], plain[2]["image"])
    assert [int(numbered[index]["index"]) for index in (0, 5, -1)] == [0, 5, 5]
    assert numbered[0]["index"].dtype == torch.int64
    with pytest.raises(IndexError):
        numbered[IMAGES]


def test_augmented_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without augmentation") as caught:
        teacher_outputs(cached(tmp_path, Counting()), {"image": torch.zeros(1, 3, HEIGHT, WIDTH)})
    assert "augment=false" in caught.value.hint
