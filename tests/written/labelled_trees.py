"""Small trees of labelled pictures, as folders, as tars and as tables, with the same content."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n03")
COUNTS = {"train": 5, "val": 2}


def encoded(part: str, label: int, number: int) -> bytes:
    """A PNG of 40 x 48 pixels that no other picture equals."""
    random = np.random.default_rng([list(COUNTS).index(part), label, number])
    small = random.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.repeat(np.repeat(small, 8, 0), 8, 1)).save(stream, format="PNG")
    return stream.getvalue()


def samples(part: str) -> list[tuple[int, str, bytes]]:
    """Class, name and bytes, in the order of classes and names."""
    return [
        (label, f"{CLASSES[label]}_{number}", encoded(part, label, number))
        for label in range(len(CLASSES))
        for number in range(COUNTS[part])
    ]


def write_folders(root: Path) -> None:
    """<root>/train/<class>/<name>.PNG and likewise val."""
    for part in COUNTS:
        for label, name, content in samples(part):
            folder = root / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.PNG").write_bytes(content)


def write_tars(root: Path) -> None:
    """Two webdataset shards of `train` and one of `val`."""
    root.mkdir(parents=True, exist_ok=True)
    train = samples("train")
    parts = {"set-train-0.tar": train[:7], "set-train-1.tar": train[7:], "set-val-0.tar": samples("val")}
    for name, chosen in parts.items():
        with tarfile.open(root / name, "w") as archive:
            for label, key, content in chosen:
                add(archive, f"{key}.png", content)
                add(archive, f"{key}.cls", str(label).encode())


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """One plain member."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def write_tables(root: Path) -> None:
    """One parquet table of each part, in row groups of four."""
    import pyarrow
    import pyarrow.parquet

    root.mkdir(parents=True, exist_ok=True)
    for part in COUNTS:
        rows = [
            {"image": {"bytes": content, "path": name}, "label": label}
            for label, name, content in samples(part)
        ]
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(rows), root / f"{part}-0.parquet", row_group_size=4
        )
