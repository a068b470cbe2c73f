"""Labelled pictures from folders, tars and tables: the same items, held out and augmented by seed."""

import io
import logging
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import encoded as written
from image_files import exif
from labelled_trees import CLASSES, add, encoded, samples, write_folders, write_tables, write_tars
from PIL import Image
from torch import Tensor

from evonas.data.classification.augment import Views, drawn
from evonas.data.classification.base import LabelledImageSource, held_out
from evonas.data.classification.imagefolder import ImageFolder
from evonas.data.classification.shards import ParquetShard, Shards, TarShard
from evonas.data.io import safe
from evonas.errors import DataError, UserError

Make = Callable[..., LabelledImageSource]


def views(**options: object) -> Views:
    return Views(**{"size": 32, "resize": 36, **options})  # type: ignore[arg-type]


def folders(root: Path, **options: object) -> LabelledImageSource:
    write_folders(root)
    return ImageFolder(str(root), **{"num_classes": 3, "views": views(), "validation": 0.2, **options})  # type: ignore[arg-type]


def tars(root: Path, **options: object) -> LabelledImageSource:
    write_tars(root)
    return Shards(str(root), **{"num_classes": 3, "views": views(), "validation": 0.2, **options})  # type: ignore[arg-type]


def tables(root: Path, **options: object) -> LabelledImageSource:
    pytest.importorskip("pyarrow")
    write_tables(root)
    return Shards(str(root), **{"num_classes": 3, "views": views(), "validation": 0.2, **options})  # type: ignore[arg-type]


EVERY = pytest.mark.parametrize("make", [folders, tars, tables])


@EVERY
def test_splits_are_disjoint_and_every_class_is_held_out(tmp_path: Path, make: Make) -> None:
    source = make(tmp_path)
    assert [len(source.dataset(split)) for split in ("train", "holdout", "test")] == [12, 3, 6]
    assert sorted(source.labels("holdout")) == [0, 1, 2]
    assert not set(source.places("train").tolist()) & set(source.places("holdout").tolist())
    items = [item["label"].item() for item in source.dataset("test")]
    assert items == source.labels("test") == [0, 0, 1, 1, 2, 2]


@EVERY
def test_all_forms_hold_the_same_items(tmp_path: Path, make: Make) -> None:
    first, second = folders(tmp_path / "a"), make(tmp_path / "b")
    for split in ("train", "holdout", "test"):
        for one, two in zip(first.dataset(split), second.dataset(split), strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[key], two[key]) for key in one)


def test_another_seed_holds_out_others(tmp_path: Path) -> None:
    chosen = {tuple(folders(tmp_path, seed=seed).places("holdout").tolist()) for seed in range(6)}
    assert len(chosen) > 1


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.2, 2), (0.5, 5), (0.99, 9)])
def test_the_share_is_of_every_class(share: float, expected: int) -> None:
    labels = np.repeat([0, 1, 2], [10, 10, 1])
    held = held_out(labels, share, seed=0)
    assert [int(held[labels == number].sum()) for number in range(3)] == [expected, expected, 0]


def test_an_item_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    source = folders(tmp_path)
    data = source.dataset("train")
    data.set_epoch(2)
    forward = [data[index]["image"] for index in range(len(data))]
    state = torch.get_rng_state()
    torch.rand(5)
    again = folders(tmp_path).dataset("train")
    again.set_epoch(2)
    assert all(torch.equal(again[i]["image"], forward[i]) for i in reversed(range(len(forward))))
    other = folders(tmp_path, augment_seed=1).dataset("train")
    other.set_epoch(2)
    assert not any(torch.equal(other[i]["image"], forward[i]) for i in range(len(forward)))
    assert not torch.equal(state, torch.get_rng_state())


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    data = folders(tmp_path).dataset("train")
    before = torch.get_rng_state()
    data[0], data[1]
    assert torch.equal(before, torch.get_rng_state())
    with drawn(7):
        first = torch.rand(3)
    with drawn(7):
        assert torch.equal(first, torch.rand(3))


def test_mixed_items_say_with_what_and_how_much(tmp_path: Path) -> None:
    data = folders(tmp_path).dataset("train")
    items = [data[index] for index in range(len(data))]
    shares = [float(item["share"]) for item in items]
    assert all(0 <= share <= 1 for share in shares) and len(set(shares)) > 6
    assert {int(item["partner"]) for item in items} == {0, 1, 2}
    plain = folders(tmp_path, views=views(mixup=0.0, cutmix=0.0)).dataset("train")
    assert plain[0].keys() == {"image", "label"}
    data.augment = False
    assert data[0].keys() == {"image", "label"}


def two() -> tuple[Tensor, Tensor]:
    return torch.zeros(3, 32, 32), torch.ones(3, 32, 32)


def test_mixup_adds_and_cutmix_pastes() -> None:
    for seed in range(5):
        with drawn(seed):
            added, share = views(cutmix=0.0).mixed(*two())
        torch.testing.assert_close(added, torch.full_like(added, 1 - share))
        with drawn(seed):
            pasted, share = views(mixup=0.0).mixed(*two())
        assert set(pasted.unique().tolist()) <= {0.0, 1.0}
        assert float(pasted.mean()) == pytest.approx(1 - share, abs=1e-6)


def test_both_kinds_of_mixing_take_turns() -> None:
    kinds = set()
    for seed in range(20):
        with drawn(seed):
            mixed, _ = views().mixed(*two())
        kinds.add(len(mixed.unique()) > 1 or bool((mixed == 0).all() or (mixed == 1).all()))
    assert kinds == {True, False}


def test_magnitude_nine_of_ten_turns_by_27_degrees() -> None:
    """What VSSD's and timm's m9 means; torchvision's own default of 31 bins would turn by 9."""
    augment = views()._training.transforms[2]
    magnitudes, _ = augment._AUGMENTATION_SPACE["Rotate"]
    assert magnitudes(augment.num_magnitude_bins, 224, 224)[augment.magnitude] == pytest.approx(27.0)


def test_evaluation_shows_the_middle() -> None:
    array = np.zeros((36, 72, 3), dtype=np.uint8)
    array[:, 20:52] = 255
    picture = views().evaluation(Image.fromarray(array))
    assert picture.shape == (3, 32, 32) and picture.min() > 2


@pytest.mark.parametrize("options", [{"size": 30}, {"resize": 20}, {"magnitude": 11}, {"mixup": -1.0}])
def test_impossible_views_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        views(**options)


def test_folders_that_do_not_fit_are_named(tmp_path: Path) -> None:
    source = folders(tmp_path, num_classes=4)
    with pytest.raises(DataError, match="contains 3 classes, not 4") as caught:
        len(source.dataset("train"))
    assert "data.num_classes=3" in caught.value.hint
    (tmp_path / "val" / "stranger").mkdir()
    with pytest.raises(DataError, match="stranger"):
        len(folders(tmp_path).dataset("test"))
    with pytest.raises(DataError, match="nowhere") as caught:
        len(ImageFolder("nowhere", 3, views()).dataset("train"))
    assert "<class>" in caught.value.hint


def test_a_flat_validation_folder_is_explained(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for path in list((tmp_path / "val").rglob("*.PNG")):
        path.rename(tmp_path / "val" / path.name)
    for folder in (tmp_path / "val").iterdir():
        if folder.is_dir():
            folder.rmdir()
    source = ImageFolder(str(tmp_path), 3, views())
    with pytest.raises(DataError, match="no class folders"):
        len(source.dataset("test"))


def test_broken_pictures_are_named(tmp_path: Path) -> None:
    source = folders(tmp_path)
    for path in (tmp_path / "val" / CLASSES[0]).iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"n01_0\.PNG"):
        source.dataset("test")[0]
    with pytest.raises(DataError, match="a tar: a picture"):
        safe.open_image(safe.Encoded("a tar: a picture", b"\x89PNG\r\n\x1a\n"))
    with pytest.raises(DataError, match="not a PNG or JPEG"):
        safe.open_image(safe.Encoded("text", b"hello"))


def test_manifests_follow_the_bytes(tmp_path: Path) -> None:
    before = folders(tmp_path).dataset("test").manifest()
    assert folders(tmp_path).dataset("test").manifest() == before
    target = tmp_path / "val" / CLASSES[1] / "n02_1.PNG"
    target.write_bytes(target.read_bytes() + b"\0")
    source = ImageFolder(str(tmp_path), 3, views(), validation=0.2)
    assert source.dataset("test").manifest() != before


def archive(path: Path, change: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w") as target:
        add(target, "a.png", encoded("val", 0, 0))
        add(target, "a.cls", b"0")
        change(target)
    return path


def linked(kind: bytes) -> Callable[[tarfile.TarFile], None]:
    def change(target: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("b.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        target.addfile(entry)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: add(t, "../b.png", b"x"), "leaves the archive"),
        (lambda t: add(t, "/b.png", b"x"), "leaves the archive"),
        (lambda t: add(t, "b\n.png", b"x"), "leaves the archive"),
        (linked(tarfile.SYMTYPE), "b.png"),
        (linked(tarfile.LNKTYPE), "b.png"),
        (linked(tarfile.CHRTYPE), "b.png"),
        (linked(tarfile.FIFOTYPE), "b.png"),
        (lambda t: add(t, "b.cls", b"1"), "'b' has cls"),
        (lambda t: add(t, "a.png", b"x"), "occurs twice"),
        (lambda t: (add(t, "b.png", b"x"), add(t, "b.cls", b"one")), "not a class id"),
        (lambda t: (add(t, "b.png", b"x"), add(t, "b.cls", b"1" * 99)), "too many"),
    ],
)
def test_hostile_and_broken_tars_are_refused_by_name(
    tmp_path: Path, change: Callable[[tarfile.TarFile], None], said: str
) -> None:
    path = archive(tmp_path / "x.tar", change)
    with pytest.raises(DataError, match=said) as caught:
        TarShard(path)
    assert "x.tar" in caught.value.message


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    def change(target: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("b.png")
        entry.size = safe.MAX_IMAGE_BYTES + 1
        target.fileobj.write(entry.tobuf())  # type: ignore[union-attr]
        target.offset += 512

    with pytest.raises(DataError, match=r"b\.png"):
        TarShard(archive(tmp_path / "x.tar", change))


def test_compressed_and_torn_tars_are_refused(tmp_path: Path) -> None:
    write_tars(tmp_path)
    whole = (tmp_path / "set-val-0.tar").read_bytes()
    with tarfile.open(tmp_path / "zipped.tar", "w:gz") as target:
        add(target, "a.png", b"x")
    (tmp_path / "torn.tar").write_bytes(whole[: 512 + 100])
    for name in ("zipped.tar", "torn.tar"):
        with pytest.raises(DataError, match=name):
            TarShard(tmp_path / name)


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    for rows, said in (
        ([{"image": b"x", "class": 1}], "no column label"),
        ([{"image": b"x", "label": "one"}], "must be numbers"),
        ([{"image": b"x", "label": None}, {"image": b"x", "label": 1}], "1 rows have no label"),
    ):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        with pytest.raises(DataError, match=said):
            ParquetShard(path)
    parquet.write_table(
        pyarrow.Table.from_pylist([{"image": {"bytes": None, "path": "x"}, "label": 1}]), path
    )
    with pytest.raises(DataError, match="row 0 contains no image bytes"):
        ParquetShard(path).read(0)
    path.write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(DataError, match="not a parquet table"):
        ParquetShard(path)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown class id 2"):
        len(tars(tmp_path, num_classes=2).dataset("train"))


def test_a_folder_without_shards_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'\*train\*'"):
        len(Shards(str(tmp_path), 3, views()).dataset("train"))


def test_samples_are_read_by_position(tmp_path: Path) -> None:
    write_tars(tmp_path)
    shard = TarShard(tmp_path / "set-train-1.tar")
    expected = samples("train")[7:]
    for place in (5, 0, 7):
        assert shard.read(place).content == expected[place][2]
        assert shard.labels[place] == expected[place][0]
    assert io.BytesIO(shard.read(0).content).read(4) == b"\x89PNG"


def test_what_class_folders_skip_is_counted_and_empty_classes_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folders(tmp_path)
    for name in ("a.webp", "b.bmp", "c.BMP", ".hidden"):
        (tmp_path / "train/n01" / name).touch()
    (tmp_path / "train/n02/more").mkdir()
    source = ImageFolder(str(tmp_path), 3, views(), validation=0.2)
    with caplog.at_level(logging.WARNING):
        assert len(source.labels("train")) == 12
    assert "2 .bmp files, 1 .webp file and 1 folder" in caplog.text and str(tmp_path / "train") in caplog.text
    caplog.clear()
    source = ImageFolder(str(tmp_path / "train"), 3, views(), train=".", test=None)
    assert len(source.labels("train")) + len(source.labels("holdout")) + len(source.labels("test")) == 15
    assert caplog.text.count("Skipped") == 1
    for path in (tmp_path / "train/n02").glob("*.PNG"):
        path.rename(path.with_suffix(".webp"))
    with pytest.raises(
        DataError, match=r"class .*train/n02 has no images .* contains 5 \.webp files and 1 folder"
    ):
        ImageFolder(str(tmp_path), 3, views()).labels("train")


def test_a_class_without_test_images_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folders(tmp_path)
    for path in (tmp_path / "val/n02").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"val/n02 has no images .* contains nothing"):
        ImageFolder(str(tmp_path), 3, views()).labels("test")
    (tmp_path / "val/n02").rmdir()
    with caplog.at_level(logging.WARNING):
        assert ImageFolder(str(tmp_path), 3, views()).labels("test") == [0, 0, 2, 2]
    assert "val has no images of 1 of 3 classes: n02" in caplog.text


def test_class_folders_match_in_either_spelling(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "train/n02").rename(tmp_path / "train/caf\u00e9")
    (tmp_path / "val/n02").rename(tmp_path / "val/cafe\u0301")
    source = ImageFolder(str(tmp_path), 3, views())
    # folders are in the order of their names
    assert source.class_names() == ("caf\u00e9", "n01", "n03") and source.labels("test") == [0, 0, 1, 1, 2, 2]


def test_training_and_test_images_are_different_files(tmp_path: Path) -> None:
    write_folders(tmp_path)
    with pytest.raises(DataError, match="training and the test images are both those of") as caught:
        ImageFolder(str(tmp_path), 3, views(), test="train").labels("train")
    assert "data.test=null" in caught.value.hint
    write_tars(tmp_path / "tars")
    source = Shards(str(tmp_path / "tars"), 3, views(), train="*")
    source.labels("test")
    with pytest.raises(DataError, match=r"test and train share 1 of 3 images: .*set-val-0\.tar"):
        source.labels("train")


def test_pictures_of_classes_are_upright_and_laid_on_white(tmp_path: Path) -> None:
    write_folders(tmp_path)
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:16] = (200, 30, 90, 255)
    file = written(Image.fromarray(pixels), exif=exif(6))
    (tmp_path / "val/n01/n01_0.PNG").write_bytes(file.content)
    shown = ImageFolder(str(tmp_path), 3, views(resize=32)).dataset("test")[0]["image"]
    # the upper half is at the right; below, transparent black is white
    assert float(shown[1, :, :14].min()) > 2.4 and float(shown[1, :, 18:].max()) < -1.3


def test_a_class_number_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    def change(target: tarfile.TarFile) -> None:
        add(target, "b.png", encoded("val", 1, 0))
        add(target, "b.cls", b"\xef\xbb\xbf1\r\n")

    assert TarShard(archive(tmp_path / "x.tar", change)).labels.tolist() == [0, 1]


def test_classes_and_images_under_two_names_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path)
    image = next((tmp_path / "val/n01").iterdir())
    image.unlink()
    image.symlink_to(next((tmp_path / "train/n01").iterdir()))
    source = ImageFolder(str(tmp_path), 3, views())
    source.labels("train")
    with pytest.raises(DataError, match=r"train and test share 1 of 6 images: .* \(also named .*val/n01"):
        source.labels("test")
    (tmp_path / "train/n04").symlink_to(tmp_path / "train/n02")
    with pytest.raises(DataError, match=r"The classes .*n02 and .*n04 are one folder"):
        ImageFolder(str(tmp_path), 4, views()).labels("train")
