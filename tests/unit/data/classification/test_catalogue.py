"""Public classification sets in their true layouts, written here, two pictures a class."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from evonas.data.base import SPLITS
from evonas.data.classification.augment import Views
from evonas.data.classification.catalogue import KINDS, NamedImages
from evonas.data.classification.imagefolder import ImageFolder
from evonas.data.io.split_lists import MissingFilesError
from evonas.errors import DataError, UserError

PER_CLASS = 2
VIEWS = Views(size=32, resize=32, operations=0, erase=0.0, mixup=0.0, cutmix=0.0)


def jpeg(path: Path, label: int) -> None:
    """A picture whose red is its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 48, 3), (label, 100, 100), dtype=np.uint8)).save(path, quality=100)


def labels(count: int) -> list[int]:
    return [label for label in range(count) for _ in range(PER_CLASS)]


def records(chosen: list[int], side: int, prefix: Callable[[int], list[int]]) -> bytes:
    """Records of bytes whose red plane is the class."""
    plane = side * side
    rows = [bytes(prefix(label)) + bytes([label]) * plane + bytes([100]) * 2 * plane for label in chosen]
    return b"".join(rows)


def cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for number in range(5):
        content = records(list(range(10)), 32, lambda label: [label])
        (folder / f"data_batch_{number + 1}.bin").write_bytes(content)
    (folder / "test_batch.bin").write_bytes(records(list(range(10)), 32, lambda label: [label]))
    (folder / "batches.meta.txt").write_text("\n".join(f"class {n}" for n in range(10)) + "\n\n")


def cifar100(root: Path) -> None:
    folder = root / "cifar-100-binary"
    folder.mkdir()
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(records(labels(100), 32, lambda label: [label // 5, label]))
    (folder / "fine_label_names.txt").write_text("\n".join(f"class {n}" for n in range(100)))


def stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(records(labels(10), 96, lambda _: []))
        (folder / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels(10)))
    (folder / "class_names.txt").write_text("\n".join(f"class {n}" for n in range(10)))


def cinic10(root: Path) -> None:
    for part in ("train", "valid", "test"):
        for place, label in enumerate(labels(10)):
            jpeg(root / "CINIC-10" / part / f"c{label}" / f"{place}.png", label)


def flowers102(root: Path) -> None:
    base = root / "flowers-102"
    chosen = labels(102) * 3
    for place, label in enumerate(chosen, start=1):
        jpeg(base / "jpg" / f"image_{place:05}.jpg", label)
    savemat(base / "imagelabels.mat", {"labels": np.array([[label + 1 for label in chosen]])})
    parts = np.split(np.arange(1, len(chosen) + 1), 3)
    savemat(base / "setid.mat", dict(zip(("trnid", "valid", "tstid"), parts, strict=True)))


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for part in ("trainval", "test"):
        lines = []
        for place, label in enumerate(labels(37)):
            name = f"breed_{label}_{part}{place}"
            jpeg(base / "images" / f"{name}.jpg", label)
            lines.append(f"{name} {label + 1} 1 1")
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines))


def dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for part in ("train", "val", "test"):
        names = [f"c{label:02}/c{label:02}_{part}{n}.jpg" for n, label in enumerate(labels(47))]
        for name, label in zip(names, labels(47), strict=True):
            jpeg(base / "images" / name, label)
        (base / "labels" / f"{part}1.txt").write_text("\n".join(names))


def aircraft(root: Path) -> None:
    base = root / "fgvc-aircraft-2013b" / "data"
    for part in ("trainval", "test"):
        lines = []
        for place, label in enumerate(labels(100)):
            number = f"{place + (500 if part == 'test' else 0):07}"
            jpeg(base / "images" / f"{number}.jpg", label)
            lines.append(f"{number} Model {label}")
        (base / f"images_variant_{part}.txt").write_text("\n".join(lines))
    (base / "variants.txt").write_text("\n".join(f"Model {label}" for label in range(100)))


def cars(root: Path) -> None:
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    files = {
        "train": base / "devkit" / "cars_train_annos.mat",
        "test": base / "cars_test_annos_withlabels.mat",
    }
    for part, file in files.items():
        rows = [(f"{place:05}.jpg", label + 1) for place, label in enumerate(labels(196))]
        for name, label in rows:
            jpeg(base / f"cars_{part}" / name, label - 1)
        savemat(file, {"annotations": np.array(rows, dtype=[("fname", object), ("class", object)])})
    names = np.array([f"car {n}" for n in range(196)], dtype=object)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})


def food101(root: Path) -> None:
    base = root / "food-101"
    (base / "meta").mkdir(parents=True)
    for part in ("train", "test"):
        listed: dict[str, list[str]] = {}
        for place, label in enumerate(labels(101)):
            name = f"c{label:03}/{part}{place}"
            jpeg(base / "images" / f"{name}.jpg", label)
            listed.setdefault(f"c{label:03}", []).append(name)
        (base / "meta" / f"{part}.json").write_text(json.dumps(listed))


WRITERS = {
    each.__name__: each
    for each in (cifar10, cifar100, stl10, cinic10, flowers102, pets, dtd, aircraft, cars, food101)
}


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
