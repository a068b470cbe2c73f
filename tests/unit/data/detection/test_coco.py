"""Sets in COCO's format, written by tests/trees/coco.py: boxes, masks, splits, what is broken; Pascal VOC."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import encoded, exif
from PIL import Image
from torch.utils.data import default_collate
from trees import coco

from evonas.data.base import SPLITS
from evonas.data.detection.base import MASK_SIDE, Objects, ObjectSource
from evonas.data.detection.coco import TEST, TRAIN, Coco, Fit, _covered, on_file
from evonas.data.detection.instance_masks import cut, decoded
from evonas.data.detection.voc import convert
from evonas.data.io.safe import read_xml
from evonas.data.io.split_lists import MissingFilesError
from evonas.errors import DataError, UserError

BCCD = Path(__file__).resolve().parents[5] / "shared" / "images" / "bccd"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco.write(tmp_path_factory.mktemp("coco"))


def source(root: Path, **options: Any) -> Coco:
    return Coco(str(root), **{"height": 64, "width": 64, "validation": 0.25, "masks": True, **options})


def plain(dataset: Any) -> Any:
    dataset.augment = False
    return dataset


def test_it_is_a_source_of_objects_in_disjoint_splits(tree: Path) -> None:
    data = source(tree)
    assert isinstance(data, ObjectSource)
    assert data.class_names() == ("square", "disc")
    found = {split: data.dataset(split) for split in SPLITS}
    assert {split: len(each) for split, each in found.items()} == {"train": 6, "holdout": 2, "test": 4}
    assert sorted(found["train"].places + found["holdout"].places) == list(range(8))
    assert len({each.manifest() for each in found.values()}) == 3
    assert source(tree, seed=1).dataset("holdout").places != found["holdout"].places
    assert data.dataset("test").manifest() == source(tree).dataset("test").manifest()


def test_an_examined_image_says_which_object_covers_a_pixel(tree: Path) -> None:
    images = source(tree).dataset("train")
    found = images.examine(0)
    objects = images._source.objects(TRAIN, images.places[0])
    assert found.covered is not None and found.covered.shape == (64, 96)
    wanted = {
        label: sum(
            int(decoded(shape, 64, 96).sum())
            for shape, of in zip(objects.shapes, objects.labels.tolist(), strict=True)
            if of == label
        )
        for label in set(objects.labels.tolist())
    }
    labels, counts = np.unique(found.covered, return_counts=True)
    assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == {
        -1: 64 * 96 - sum(wanted.values()),
        **wanted,
    }
    small = found.reduced(48)
    assert (
        small.covered is not None
        and small.covered.shape == (32, 48)
        and set(wanted) < set(np.unique(small.covered))
    )
    assert plain(source(tree, masks=False).dataset("train")).examine(0).covered is None


def test_small_objects_lie_over_large_ones() -> None:
    square = (
        [[10.0, 10.0, 60.0, 10.0, 60.0, 60.0, 10.0, 60.0]],
        [[20.0, 20.0, 30.0, 20.0, 30.0, 30.0, 20.0, 30.0]],
    )
    for order in ((0, 1), (1, 0)):
        boxes = np.array([[10.0, 10, 60, 60], [20, 20, 30, 30]])[list(order)]
        areas = np.array([2500.0, 100.0])[list(order)]
        shapes = tuple(square[at] for at in order)
        found = _covered(Objects(64, 96, boxes, np.array(order), areas, np.array([False, False]), shapes))
        assert (found[25, 25], found[50, 50], found[5, 5]) == (1, 0, -1)


def test_a_picture_keeps_its_proportions_and_its_boxes_move_with_it(tree: Path) -> None:
    data = source(tree)
    item = data.dataset("test")[1]
    part, place = item["picture"].tolist()
    objects = data.objects(part, place)
    # 64 x 96 pixels fit into 64 x 64 at two thirds
    assert torch.allclose(item["scale"], torch.tensor([64 / 96, 43 / 64]))
    assert float(item["image"][:, 43:].abs().max()) == 0
    assert float(item["image"][:, :43].abs().min(dim=0).values.max()) > 0
    count = len(objects.single())
    wanted = torch.from_numpy(objects.boxes) * item["scale"].double().repeat(2)
    assert torch.allclose(item["boxes"][:count].double(), wanted, atol=1e-4)
    assert (item["labels"][count:] == -1).all() and item["labels"][:count].tolist() == objects.labels.tolist()
    back = on_file(item["boxes"][:count].double().numpy(), item["scale"].tolist(), objects)
    assert np.allclose(back, objects.boxes, atol=1e-4)


def test_crowds_are_kept_for_scores_and_not_for_learning(tree: Path) -> None:
    data = source(tree)
    objects = data.objects(TEST, 0)
    assert objects.crowd.tolist() == [False, False, True]
    assert int((data.dataset("test")[0]["labels"] >= 0).sum()) == 2
    crowd = decoded(objects.shapes[2], objects.height, objects.width)
    assert crowd.shape == (64, 96) and crowd[:8, :12].all() and crowd.sum() == 96


def test_masks_are_cut_to_their_boxes(tree: Path) -> None:
    item = source(tree).dataset("test")[1]
    shares = {0: [], 1: []}
    for mask, label in zip(item["masks"], item["labels"].tolist(), strict=True):
        if label >= 0:
            assert mask.shape == (MASK_SIDE, MASK_SIDE)
            shares[label].append(float(mask.float().mean()))
    # a square fills its box, a polygon of 24 corners in a circle a little less than pi / 4 of it
    assert all(share > 0.98 for share in shares[0])
    assert all(abs(share - 0.776) < 0.02 for share in shares[1])
    assert shares[0] or shares[1]


def test_run_lengths_and_polygons_of_one_shape_are_one_mask() -> None:
    polygon = [[10.0, 8.0, 30.0, 8.0, 30.0, 24.0, 10.0, 24.0]]
    mask = decoded(polygon, 40, 50)
    runs = np.flatnonzero(np.diff(np.concatenate(([0], mask.T.flatten(), [2]))))
    counts = np.diff(np.concatenate(([0], runs))).tolist()
    lengths = {"size": [40, 50], "counts": counts}
    assert np.array_equal(decoded(lengths, 40, 50), mask)
    box = (10.0, 8.0, 30.0, 24.0)
    both = [cut(shape, 40, 50, box, 56) for shape in (polygon, lengths)]
    assert float((both[0] != both[1]).mean()) < 0.03


def test_mirrors_move_boxes_and_masks(tree: Path) -> None:
    objects = source(tree).objects(TRAIN, 0)
    straight, turned = (Fit.of(objects, (64, 64), mirrors) for mirrors in ((False, False), (True, True)))
    boxes = turned.boxes(objects.boxes)
    assert np.allclose(64 - boxes[:, [2, 0]], straight.boxes(objects.boxes)[:, [0, 2]])
    assert np.allclose(43 - boxes[:, [3, 1]], straight.boxes(objects.boxes)[:, [1, 3]])
    masks = [each.masks(objects, 3) for each in (straight, turned)]
    assert torch.equal(masks[0].flip(1, 2), masks[1])


def test_augmentation_is_a_function_of_seed_epoch_and_index(tree: Path) -> None:
    data = source(tree, vertical=True)
    first, again = data.dataset("train"), data.dataset("train")
    seen = set()
    for epoch in range(6):
        first.set_epoch(epoch), again.set_epoch(epoch)
        one, other = first[0], again[0]
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["boxes"], other["boxes"])
        # a box still lies on the object that it names
        label, (x1, y1, x2, y2) = int(one["labels"][0]), one["boxes"][0].round().int().tolist()
        colour = one["image"][:, (y1 + y2) // 2, (x1 + x2) // 2]
        assert (colour[0] > colour[1]) == (label == 0)
        seen.add(tuple(one["boxes"][0].tolist()))
    assert len(seen) > 1


def test_items_stack_and_a_picture_may_be_empty(tree: Path) -> None:
    train, held = (plain(source(tree).dataset(split)) for split in ("train", "holdout"))
    batch = default_collate([*train, *held])
    assert batch["boxes"].shape == (8, 2, 4) and batch["masks"].shape == (8, 2, MASK_SIDE, MASK_SIDE)
    assert ((batch["labels"] >= 0).sum(dim=1) == 0).sum() == 1


def test_an_item_is_described_without_its_image(tree: Path) -> None:
    test = source(tree).dataset("test")
    item, described = test[1], test.described(1)
    assert item.keys() - described.keys() == {"image", "masks"}
    assert all(torch.equal(item[key], value) for key, value in described.items())


def test_without_masks_segmentations_are_not_read(tree: Path) -> None:
    item = source(tree, masks=False).dataset("test")[0]
    assert "masks" not in item
    assert source(tree, masks=False).objects(TEST, 0).shapes == ()


def broken(tree: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Coco:
    """The tree with a changed training document."""
    (folder / "annotations").mkdir(parents=True)
    for part in ("train2017", "val2017"):
        (folder / part).symlink_to(tree / part)
        text = (tree / "annotations" / f"instances_{part}.json").read_text()
        document = json.loads(text)
        if part == "train2017":
            change(document)
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))
    return source(folder)


def one(**changed: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["annotations"][1].update(changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one(image_id=5), "annotation 2 contains unknown image_id 5"),
        (one(category_id=1), "annotation 2 contains unknown category_id 1"),
        (one(bbox=[1, 2, 3]), r"annotation 2: bbox must be .* got \[1, 2, 3\]"),
        (one(bbox=[1, 2, 3, "x"]), "annotation 2: bbox must be"),
        (one(area=-1), "annotation 2: area must be a number of pixels, got -1"),
        (one(segmentation=[]), "annotation 2 has no segmentation"),
        (
            one(segmentation={"size": [1, 1], "counts": [1]}),
            "annotation 2: run lengths do not match",
        ),
        (lambda document: document.pop("images"), "has no list of images"),
        (lambda document: document.update(images=[]), "has 0 images"),
        (lambda document: document["images"][0].update(height=10**6), "image 100 has 1000000x96 pixels"),
        (lambda document: document["images"][0].update(file_name=3), "image 100 must have file_name"),
        (lambda document: document["images"][0].update(id="a"), "the id of an image must be an integer"),
        (
            lambda document: document["categories"].append({"id": 9, "name": "disc"}),
            "two categories with the name 'disc'",
        ),
        (
            lambda document: document["categories"].append({"id": 7, "name": "x"}),
            "two categories with the id 7",
        ),
        (lambda document: document["categories"].append({"id": 9}), "category 9 has no name"),
        (
            lambda document: document["images"].append({**document["images"][0], "file_name": "x.jpg"}),
            "two images with the id 100",
        ),
        (
            lambda document: document["images"].append({**document["images"][0], "id": 900}),
            "two images with the file_name '000000000000.jpg'",
        ),
        (one(id=1.0), "two annotations with the id 1"),
        (one(id="first"), "annotation 'first': the id must be an integer"),
        (lambda document: document["images"][0].update(width=95.5), "image 100 must .* width 95.5"),
        (lambda document: document["images"][0].update(width=None), "image 100 must .* width None"),
        (lambda document: document["images"][0].update(height="inf"), "image 100 must .* height 'inf'"),
        (one(image_id=100.5), "annotation 2 contains unknown image_id 100.5"),
        (one(category_id=True), "annotation 2 contains unknown category_id True"),
        (one(area=10**400), "annotation 2: area must be a number of pixels, got 1000"),
        (one(area=1e300), "annotation 2: area 1e.300 is far larger than the image"),
        (one(area=None), "annotation 2: area must be a number of pixels, got None"),
        (one(area="wide"), "annotation 2: area must be a number of pixels, got 'wide'"),
        (one(bbox=[1, 2, 3, 10**400]), "annotation 2: bbox must be"),
        (one(bbox=[1, 2, 3, float("nan")]), "annotation 2: bbox must be"),
        (one(iscrowd="no"), "annotation 2: iscrowd must be 0 or 1, got 'no'"),
        (one(iscrowd=2), "annotation 2: iscrowd must be 0 or 1, got 2"),
        (one(iscrowd=None), "annotation 2: iscrowd must be 0 or 1, got None"),
        (one(segmentation=[[1, 2, 3, 4]]), "annotation 2: a polygon .* has 2 points; 3 are the least"),
        (one(segmentation=[1, 2, 3, 4, 5, 6]), "annotation 2: segmentation must be polygons"),
        (one(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "annotation 2: segmentation must be polygons"),
        (one(segmentation=[[1, 2, 3, 4, 5, "x"]]), "annotation 2: its polygon has the point"),
        (one(segmentation=[[1, 2, 3, 4, 5, 1e9]]), r"annotation 2: its polygon has the point \[5, 1000"),
        (one(segmentation=[[1, 2, 3, 4, 5, 10**400]]), "annotation 2: its polygon has the point"),
        (one(segmentation={"size": [64, 96], "counts": "010"}), "annotation 2: run .* cover 1 of 6144"),
        (
            one(segmentation={"size": [64, 96], "counts": "zzz~~~~"}),
            "annotation 2: run .* cannot be read: 'z",
        ),
        (one(segmentation={"size": [64, 96], "counts": [6144, -1]}), "annotation 2: run .* cannot be read"),
        (one(segmentation={"size": [64, 96], "counts": [6145]}), "annotation 2: run .* cover 6145 of 6144"),
        (one(segmentation={"size": [64, 96], "counts": []}), "annotation 2: run .* cover 0 of 6144"),
        (one(segmentation={"size": [96, 64], "counts": [6144]}), "annotation 2: run .* do not match"),
    ],
)
def test_a_broken_document_is_told_by_file_and_entry(
    tree: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        len(broken(tree, tmp_path / "b", change).dataset("train"))
    assert "instances_train2017.json" in str(caught.value)


def test_values_of_another_type_are_read_where_they_are_exact(tree: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        for image in document["images"]:
            image.update(id=float(image["id"]), height=float(image["height"]), width=str(image["width"]))
        for category in document["categories"]:
            category["id"] = str(category["id"])
        for annotation in document["annotations"]:
            annotation.update(
                iscrowd=str(annotation["iscrowd"]),
                image_id=str(annotation["image_id"]),
                category_id=float(annotation["category_id"]),
                area=str(annotation["area"]),
            )
        runs = {"size": [64.0, 96.0], "counts": [0.0, 6144.0]}
        document["annotations"][1].update(iscrowd=True, segmentation=runs)

    plain_set = source(tree)
    data = broken(tree, tmp_path / "b", change)
    assert data.class_names() == plain_set.class_names()
    for place in range(8):
        mine, wanted = data.objects(TRAIN, place), plain_set.objects(TRAIN, place)
        assert (mine.height, mine.width) == (wanted.height, wanted.width)
        assert np.array_equal(mine.boxes, wanted.boxes) and np.array_equal(mine.labels, wanted.labels)
        assert np.allclose(mine.areas, wanted.areas)
        assert mine.crowd.tolist() == ([False, True] if place == 0 else wanted.crowd.tolist())
    assert decoded(data.objects(TRAIN, 0).shapes[1], 64, 96).all()


def test_pieces_of_too_few_points_are_left_out_beside_whole_ones(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][0]["segmentation"] += [[1, 2, 3, 4], []]

    with caplog.at_level(logging.WARNING):
        found = broken(tree, tmp_path / "b", change).objects(TRAIN, 0).shapes
    assert found == source(tree).objects(TRAIN, 0).shapes
    assert "1 of 14 segmentations" in caplog.text and "annotation 1" in caplog.text


def test_a_polygon_far_larger_than_its_box_takes_no_more_memory() -> None:
    # at the scale of this box the polygon would be 11 million pixels wide
    box = (10.0, 10.0, 10.001, 10.001)
    assert cut([[0.0, 0.0, 96.0, 0.0, 96.0, 64.0, 0.0, 64.0]], 64, 96, box, 112).all()


def test_boxes_are_clipped_and_those_without_area_left_out(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][0]["bbox"] = [-5, -5, 1000, 1000]
        document["annotations"][1]["bbox"] = [10, 10, 0, 5]
        # so far outside that its area would be infinite
        document["annotations"].append(
            {key: value for key, value in document["annotations"][1].items() if key not in ("id", "area")}
            | {"bbox": [1e200, 1e200, 5, 5]}
        )

    with caplog.at_level(logging.WARNING):
        objects = broken(tree, tmp_path / "b", change).objects(TRAIN, 0)
    assert objects.boxes.tolist() == [[0, 0, 96, 64]]
    assert "2 of 15 boxes" in caplog.text


def test_names_that_leave_the_folder_are_refused(tree: Path, tmp_path: Path) -> None:
    data = broken(
        tree, tmp_path / "b", lambda document: document["images"][0].update(file_name="../secret.jpg")
    )
    with pytest.raises(DataError, match="leaves the data folder"):
        data.read(TRAIN, 0)


def test_a_missing_picture_is_named_by_the_manifest(tree: Path, tmp_path: Path) -> None:
    data = broken(
        tree, tmp_path / "b", lambda document: document["images"][0].update(file_name="nowhere.jpg")
    )
    with pytest.raises(DataError, match=r"nowhere\.jpg"):
        [data.dataset(split).manifest() for split in ("train", "holdout")]


def test_a_picture_of_another_size_is_refused(tree: Path, tmp_path: Path) -> None:
    data = broken(tree, tmp_path / "b", lambda document: document["images"][0].update(height=63))
    with pytest.raises(DataError, match="is 64x96, but its annotations are for 63x96"):
        data.read(TRAIN, 0)


def test_mistakes_of_the_user_are_told(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"instances_train2017\.json does not exist"):
        len(source(tmp_path).dataset("train"))
    with pytest.raises(DataError, match="has 2 classes, not 80"):
        source(tree, num_classes=80).class_names()
    with pytest.raises(UserError, match="validation=0"):
        source(tree, validation=0)
    with pytest.raises(UserError, match="multiples of 32"):
        source(tree, height=60)


def voc(folder: Path, name: str, objects: str) -> None:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{name}.jpg")
    text = f"<annotation><filename>/home/x.jpg</filename>{objects}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(text)
    for part in ("trainval", "test"):
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text(f"{name}\n")


def boxed(name: str, *corners: int, more: str = "") -> str:
    keys = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


PARTS = {"train": "trainval", "test": "test"}


def test_a_voc_tree_becomes_a_coco_tree(tmp_path: Path) -> None:
    objects = [
        boxed("cat", 1, 1, 10, 20),
        boxed("dog", 5, 5, 60, 50, more="<difficult>1</difficult>"),
        boxed("", 5, 5, 10, 10),
        boxed("dog", 7, 7, 7, 7),
    ]
    voc(tmp_path / "voc", "a.1", "".join(objects))
    found = convert(tmp_path / "voc", tmp_path / "coco", PARTS)
    assert found.images == {"train": 1, "test": 1} and found.boxes == 4
    assert len(found.dropped) == 4 and "object 3 has the invalid name ''" in found.dropped[0]
    assert "object 4 has a box without area" in found.dropped[1]
    data = Coco(str(tmp_path / "coco"), 32, 32, train="train", test="test")
    assert data.class_names() == ("cat", "dog")
    read = data.objects(TRAIN, 0)
    # corners count from one and belong to the box; what reaches beyond the picture is cut off
    assert read.boxes.tolist() == [[0, 0, 10, 20], [4, 4, 40, 30]]
    assert read.crowd.tolist() == [False, True]
    assert data.read(TRAIN, 0).size == (40, 30)


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ("<object><name>a</name></object>", "object 1 must have a bndbox of four numbers"),
        (boxed("a", 1, 2, 3, 4).replace(">2<", ">two<"), "object 1 must have a bndbox of four numbers"),
        (boxed("a", 1, 2, 3, 4).replace(">4<", ">inf<"), "object 1 must have a bndbox of finite numbers"),
        (boxed("a", 1, 2, 3, 4, more="<difficult>yes</difficult>"), "difficult must be 0 or 1, got 'yes'"),
        ("<object>", "is not an XML document"),
        ("", "has no boxes"),
    ],
)
def test_a_broken_voc_tree_is_told_by_file_and_object(tmp_path: Path, objects: str, said: str) -> None:
    voc(tmp_path, "a", objects)
    with pytest.raises(DataError, match=said):
        convert(tmp_path, tmp_path / "coco", PARTS)


def test_xml_with_entities_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xml"
    path.write_text('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;&b;</a>')
    with pytest.raises(DataError, match="document type"):
        read_xml(path)
    path.write_text("<a><!-- a remark --><b/></a>")
    assert read_xml(path).find("b") is not None


def test_a_list_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    voc(tmp_path, "a", boxed("a", 1, 2, 3, 4))
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("../../secret\n")
    with pytest.raises(DataError, match="not an image name"):
        convert(tmp_path, tmp_path / "coco", PARTS)


def test_a_list_names_an_image_once(tmp_path: Path) -> None:
    voc(tmp_path, "a", boxed("a", 1, 2, 3, 4))
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("a\na\n")
    with pytest.raises(DataError, match="line 2 names the image 'a' again"):
        convert(tmp_path, tmp_path / "coco", PARTS)


def test_the_command_converts_and_asks_for_what_is_missing(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    voc(tmp_path / "voc", "a", boxed("a", 1, 2, 13, 14))
    ended = evonas_command("convert", f"stage.voc={tmp_path / 'voc'}", f"stage.coco={tmp_path / 'coco'}")
    assert ended.code == 0 and "train 1, test 1 images, 2 boxes, 0 left out" in ended.out
    assert evonas_command("convert").code == 2
    assert not (tmp_path / "outputs").exists()


@pytest.mark.skipif(not BCCD.is_dir(), reason="the sample is not here")
def test_real_cells_are_read(tmp_path: Path) -> None:
    found = convert(BCCD, tmp_path, PARTS)
    assert found.images == {"train": 292, "test": 72}
    assert (found.boxes, len(found.dropped)) == (4886, 2)
    data = Coco(str(tmp_path), 192, 256, train="train", test="test", validation=0.2)
    assert data.class_names() == ("Platelets", "RBC", "WBC")
    assert [len(data.dataset(split)) for split in SPLITS] == [234, 58, 72]
    item = data.dataset("test")[0]
    assert torch.allclose(item["scale"], torch.tensor([0.4, 0.4])) and int((item["labels"] >= 0).sum()) > 3
    objects: Objects = data.objects(TEST, 0)
    assert (objects.height, objects.width) == (480, 640)


def copied(tree: Path, folder: Path) -> Path:
    """The tree as files of its own."""
    shutil.copytree(tree, folder)
    return folder


def test_missing_images_are_named_before_anything_is_trained(tree: Path, tmp_path: Path) -> None:
    root = copied(tree, tmp_path / "a")
    (root / "val2017/000000000002.jpg").unlink()
    assert len(source(root).dataset("train")) == 6
    for ask in (len, lambda dataset: dataset.manifest()):
        with pytest.raises(
            MissingFilesError,
            match=r"instances_val2017\.json: 1 of 4 files are missing: .*val2017/000000000002\.jpg\.",
        ):
            ask(source(root).dataset("test"))


def test_images_without_an_entry_are_counted(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = copied(tree, tmp_path / "a")
    for name in ("x.jpg", "y.PNG", "notes.txt"):
        (root / "train2017" / name).touch()
    with caplog.at_level(logging.WARNING):
        assert len(source(root).dataset("train")) == 6
    assert "Skipped: 2 images in" in caplog.text and "such as x.jpg" in caplog.text


def test_training_images_are_not_tested_on(tree: Path, tmp_path: Path) -> None:
    root = copied(tree, tmp_path / "a")
    document = (root / "annotations/instances_train2017.json").read_text()
    (root / "annotations/instances_again.json").write_text(document)
    (root / "again").symlink_to(root / "train2017")
    with pytest.raises(DataError, match=r"splits train and test share 8 of 8 images: .*000000000000\.jpg"):
        len(source(root, test="again").dataset("test"))


def test_names_with_accents_are_found_in_either_spelling(tree: Path, tmp_path: Path) -> None:
    root = copied(tree, tmp_path / "a")
    path = root / "annotations/instances_val2017.json"
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = "caf\u00e9.jpg"
    path.write_text(json.dumps(document))
    (root / "val2017/000000000000.jpg").rename(root / "val2017/cafe\u0301.jpg")
    assert source(root).dataset("test").manifest()
    assert source(root).read(TEST, 0).size == (96, 64)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 1), (8, 3)])
def test_the_document_decides_whether_exif_turns_an_image(
    tree: Path, tmp_path: Path, orientation: int, turns: int
) -> None:
    root = copied(tree, tmp_path / "a")
    path = root / "val2017/000000000000.jpg"
    upright = np.asarray(Image.open(path))
    stored = np.ascontiguousarray(np.rot90(upright, turns))
    path.write_bytes(encoded(Image.fromarray(stored), "JPEG", quality=100, exif=exif(orientation)).content)
    shown = np.asarray(source(root).read(TEST, 0)).astype(int)
    assert shown.shape == upright.shape and np.abs(shown - upright).mean() < 2
    if orientation == 3:
        return
    # boxes of the stored pixels lie on these
    document = json.loads((root / "annotations/instances_val2017.json").read_text())
    document["images"][0].update(height=96, width=64)
    document["annotations"] = []
    (root / "annotations/instances_val2017.json").write_text(json.dumps(document))
    assert np.abs(np.asarray(source(root).read(TEST, 0)).astype(int) - stored).mean() < 2
    document["images"][0].update(height=30, width=40)
    (root / "annotations/instances_val2017.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"is 64x96 \(stored as 96x64 with EXIF orientation {orientation}"):
        source(root).read(TEST, 0)


@pytest.mark.parametrize(
    ("stated", "size"), [((40, 30), (40, 30)), ((30, 40), (30, 40)), (("", 9), (40, 30))]
)
def test_voc_sizes_decide_whether_exif_turns_an_image(
    tmp_path: Path, stated: tuple[object, object], size: tuple[int, int]
) -> None:
    # height and width; the image is stored as 30x40
    sides = f"<size><height>{stated[0]}</height><width>{stated[1]}</width></size>"
    voc(tmp_path / "voc", "a", sides + boxed("cat", 2, 3, 20, 25))
    file = encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif(6))
    (tmp_path / "voc/JPEGImages/a.jpg").write_bytes(file.content)
    (tmp_path / "voc/ImageSets/Main/trainval.txt").write_text("a\n")
    convert(tmp_path / "voc", tmp_path / "coco", {"train": "trainval"})
    [image] = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())["images"]
    assert (image["height"], image["width"]) == size


def test_a_name_that_no_file_can_have_is_missing(tree: Path, tmp_path: Path) -> None:
    for name in ("a" * 3000 + ".jpg", "a" * 3000 + "/b.jpg", "\u00fc" * 3000 + ".jpg", "a\0b.jpg"):
        folder = tmp_path / str(hash(name))
        data = broken(tree, folder, lambda document, name=name: document["images"][0].update(file_name=name))
        with pytest.raises(DataError, match=r"1 of 8 files are missing|cannot be followed"):
            len(data.dataset("train"))


@pytest.mark.parametrize("ending", [".png", ".JPG", ".jpeg"])
def test_voc_images_may_have_other_suffixes(tmp_path: Path, ending: str) -> None:
    voc(tmp_path / "voc", "a", boxed("cat", 2, 3, 20, 25))
    path = tmp_path / "voc/JPEGImages/a.jpg"
    Image.open(path).save(path.with_name(f"a{ending}"))
    path.unlink()
    (tmp_path / "voc/ImageSets/Main/trainval.txt").write_text("a\n")
    convert(tmp_path / "voc", tmp_path / "coco", {"train": "trainval"})
    assert (tmp_path / f"coco/train/a{ending}").is_file()


def test_boxes_in_shares_of_the_image_are_refused(tree: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        for each in document["annotations"]:
            each.update(bbox=[0.1, 0.2, 0.5, 0.4], area=0.2)

    with pytest.raises(
        DataError, match=r"train2017\.json: all 14 boxes lie within the first pixel"
    ) as caught:
        len(broken(tree, tmp_path / "b", change).dataset("train"))
    assert "in pixels" in caught.value.hint
    # a single one may be small
    assert len(broken(tree, tmp_path / "c", one(bbox=[0, 0, 0.5, 0.5])).dataset("train"))


def test_corners_in_place_of_sides_are_suspected(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(document: dict[str, Any]) -> None:
        for each in document["annotations"]:
            x, y, _, _ = each["bbox"]
            each["bbox"] = [x + 2, y + 2, 96, 64]

    with caplog.at_level(logging.WARNING):
        len(broken(tree, tmp_path / "b", change).dataset("train"))
    assert "14 of 14 boxes" in caplog.text and "not two corners" in caplog.text


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [64, 96], "counts": [6144]},
        [[80, 50, 90, 50, 90, 60]],
        [[1, 1, 5, 1, 9, 1]],
    ],
    ids=["no foreground", "beside the box", "without area"],
)
def test_segmentations_that_show_nothing_of_their_box_are_counted(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, segmentation: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        plain_set = broken(tree, tmp_path / "a", lambda _: None)
        len(plain_set.dataset("train"))
        assert "segmentations" not in caplog.text
        changed = one(segmentation=segmentation, bbox=[1, 1, 20, 20], iscrowd=0)
        len(broken(tree, tmp_path / "b", changed).dataset("train"))
    assert "1 of 14 segmentations in instances_train2017.json cover nothing of their boxes" in caplog.text
    assert "annotation 2" in caplog.text
