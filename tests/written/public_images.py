"""Public classification sets in their true layouts, two images a class of 40 x 48 pixels, or 32 and 96 a side."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

PER_CLASS = 2


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
