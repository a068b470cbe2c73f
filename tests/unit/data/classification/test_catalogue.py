"""Public classification sets in their true layouts, written here, two pictures a class."""

from pathlib import Path

import numpy as np
import pytest
import torch
from public_images import WRITERS, cifar10, jpeg, labels, stl10

from evonas.data.base import SPLITS
from evonas.data.classification.augment import Views
from evonas.data.classification.catalogue import KINDS, NamedImages
from evonas.data.classification.imagefolder import ImageFolder
from evonas.data.io.split_lists import MissingFilesError
from evonas.errors import DataError, UserError

VIEWS = Views(size=32, resize=32, operations=0, erase=0.0, mixup=0.0, cutmix=0.0)


def source(name: str, root: Path, **options: float) -> NamedImages:
    return NamedImages(name, str(root), VIEWS, **{"validation": 0.2, **options})


def test_every_set_is_written_here() -> None:
    assert WRITERS.keys() == KINDS.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    data = source(name, tmp_path)
    assert len(data.class_names()) == data.num_classes == KINDS[name].classes
    for split in SPLITS:
        images = data.dataset(split)
        assert set(data.labels(split)) == set(range(data.num_classes))
        for index in (0, len(images) // 2, len(images) - 1):
            item = images[index]
            assert item["image"].shape == (3, 32, 32) and item["label"] == data.labels(split)[index]
            if split == "test":
                # red is the class, give or take JPEG
                red = float(item["image"][0].mean()) * 0.229 + 0.485
                assert abs(red * 255 - float(item["label"])) < 4
    manifests = {data.dataset(split).manifest() for split in SPLITS}
    assert len(manifests) == 3 and source(name, tmp_path).dataset("test").manifest() in manifests


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_set_says_where_it_should_be(name: str, tmp_path: Path) -> None:
    data = source(name, tmp_path)
    with pytest.raises(DataError, match=KINDS[name].folder) as error:
        len(data.dataset("train"))
    assert "docs/data.md" in error.value.hint


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "cinic10"])
def test_damaged_indexes_are_data_errors(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    for file in (tmp_path / KINDS[name].folder).rglob("*"):
        if file.suffix in (".bin", ".mat", ".json", ".txt"):
            file.write_bytes(b"\x00\x01 broken")
    with pytest.raises(DataError):
        len(source(name, tmp_path).dataset("train"))


@pytest.mark.parametrize("name", ["pets", "dtd", "flowers102"])
def test_missing_pictures_are_named_when_a_split_is_listed(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    for path in (tmp_path / KINDS[name].folder).rglob("*.jpg"):
        path.unlink()
    with pytest.raises(MissingFilesError, match=r"(\d+) of \1 files are missing: .*\.jpg"):
        len(source(name, tmp_path).dataset("test"))


def test_a_picture_of_no_class_is_refused(tmp_path: Path) -> None:
    cifar10(tmp_path)
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    batch.write_bytes(b"\x0a" + batch.read_bytes()[1:])
    with pytest.raises(DataError, match="contains unknown class id 10"):
        len(source("cifar10", tmp_path).dataset("train"))


def test_stl_pictures_are_stored_by_columns(tmp_path: Path) -> None:
    stl10(tmp_path)
    path = tmp_path / "stl10_binary" / "test_X.bin"
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(-1, 3, 96, 96).copy()
    whole[0, 0] = np.arange(96, dtype=np.uint8)[:, None]
    path.write_bytes(whole.tobytes())
    red = np.asarray(source("stl10", tmp_path).shelf("test").open(0))[..., 0]
    np.testing.assert_array_equal(red, np.arange(96)[None].repeat(96, axis=0))


def test_an_unknown_set_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"data\.name=mnist"):
        NamedImages("mnist", "", VIEWS)


def test_folders_without_a_test_split_are_cut(tmp_path: Path) -> None:
    for place, label in enumerate(labels(3) * 5):
        jpeg(tmp_path / f"sport{label}" / f"{place}.jpg", label)
    first, other = (
        ImageFolder(str(tmp_path), 3, VIEWS, ".", None, seed=seed, validation=0.25, test_share=0.4)
        for seed in (0, 1)
    )
    assert [len(first.dataset(split)) for split in SPLITS] == [12, 6, 12]
    assert first.dataset("test").manifest() == other.dataset("test").manifest()
    assert first.dataset("holdout").manifest() != other.dataset("holdout").manifest()
    described = [
        {first.shelf(part).describe(place) for place in range(len(first.shelf(part).labels))}
        for part in ("train", "test")
    ]
    assert not described[0] & described[1] and len(described[0] | described[1]) == 30
    assert torch.isfinite(first.dataset("train")[0]["image"]).all()
    with pytest.raises(UserError, match="test_share=0"):
        ImageFolder(str(tmp_path), 3, VIEWS, test=None, test_share=0)
