"""Whatever a reader is given, it answers or says what is wrong with it; nothing else gets out."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from evonas import cli_args, config, weights
from evonas.data.detection.coco_annotations import read_instances
from evonas.data.detection.voc import convert
from evonas.data.io import safe
from evonas.data.views.cameras import opened
from evonas.data.views.colmap import read_colmap
from evonas.data.views.nerf import read_transforms
from evonas.errors import DataError, UserError
from evonas.report.results import SearchResults
from evonas.report.selection.rules import choose
from evonas.supernets.evonet.space import evonet_space

fuzz = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SPACE = evonet_space(name="tiny", depths=[1, 1, 2, 1])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def survives(act: Callable[[], Any], folder: Path | None = None) -> bool:
    """Whether it was answered; an error of ours is no answer, and any other error fails the test."""
    before = sorted(folder.rglob("*")) if folder else []
    try:
        act()
        return True
    except (UserError, DataError) as error:
        assert error.message and (folder is None or sorted(folder.rglob("*")) == before)
        return False


@st.composite
def changed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some bytes cut out, and others put in their place."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + draw(st.sampled_from([0, 1, 4, 64])))))
    return whole[:start] + draw(st.binary(max_size=8)) + whole[end:]


@fuzz
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_lists(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    survives(lambda: safe.read_lines(path, tmp_path), tmp_path)
    survives(lambda: safe.read_rows(path, columns=2), tmp_path)


COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
    "categories": [{"id": 1, "name": "cell"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 1, 3, 3],
            "iscrowd": 0,
            "area": 9,
            "segmentation": [[1, 1, 4, 1, 4, 4]],
        }
    ],
}


def places(node: Any) -> list[list[Any]]:
    """The way to every value inside."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [[], *([key, *rest] for key, child in items for rest in places(child))]


@st.composite
def documents(draw: st.DrawFn, original: Any) -> Any:
    """A document with some value replaced by any other."""
    whole = json.loads(json.dumps(original))
    way = draw(st.sampled_from(places(original)))
    if not way:
        return draw(JSON)
    node = whole
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = draw(JSON)
    return whole


@fuzz
@given(document=documents(COCO))
def test_objects(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(document))
    survives(lambda: read_instances(path, with_masks=True, max_pixels=10_000), tmp_path)


def test_the_document_is_good(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(COCO))
    assert survives(lambda: read_instances(path, with_masks=True, max_pixels=10_000))


SCENE = {
    "fl_x": 40.0,
    "w": 72,
    "h": 40,
    "k1": 0.01,
    "frames": [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}],
}


@fuzz
@given(document=documents(SCENE) | st.sampled_from([SCENE | {"frames": [{"file_path": "a" * 5000}]}]))
def test_cameras(document: Any, tmp_path: Path) -> None:
    Image.new("RGB", (72, 40)).save(tmp_path / "a.png")
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    survives(lambda: opened(read_transforms(tmp_path)[0], (32, 32)), tmp_path)


def test_the_scene_is_good(tmp_path: Path) -> None:
    Image.new("RGB", (72, 40)).save(tmp_path / "a.png")
    (tmp_path / "transforms.json").write_text(json.dumps(SCENE))
    assert survives(lambda: opened(read_transforms(tmp_path)[0], (32, 32)))


CAMERAS, IMAGES = b"1 PINHOLE 72 40 40 40 36 20\n", b"1 1 0 0 0 0 0 0 1 a.png\n\n"


@fuzz
@given(cameras=changed(CAMERAS), images=changed(IMAGES) | st.just(IMAGES.replace(b"a.png", b"a\0.png")))
def test_models(cameras: bytes, images: bytes, tmp_path: Path) -> None:
    model = tmp_path / "sparse"
    (tmp_path / "images").mkdir(exist_ok=True)
    model.mkdir(exist_ok=True)
    Image.new("RGB", (72, 40)).save(tmp_path / "images/a.png")
    for one, other in ((cameras, IMAGES), (CAMERAS, images)):
        (model / "cameras.txt").write_bytes(one)
        (model / "images.txt").write_bytes(other)
        survives(lambda: opened(read_colmap(tmp_path)[0], (32, 32)), tmp_path)


BOX = b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
VOC = b"<annotation><object><name>cell</name><difficult>0</difficult>" + BOX + b"</object></annotation>"


@fuzz
@given(content=changed(VOC))
def test_annotations(content: bytes, tmp_path: Path) -> None:
    tree = tmp_path / "voc"
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "ImageSets/Main/train.txt").write_text("a\n")
    (tree / "Annotations/a.xml").write_bytes(content)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tree / "JPEGImages/a.jpg")
    survives(lambda: convert(tree, tmp_path / "coco", {"train": "train"}), tmp_path)


@fuzz
@given(
    text=changed(SPACE.format(SPACE.smallest()).encode()).map(lambda each: each.decode("latin-1"))
    | st.text(max_size=30)
)
def test_genotypes(text: str) -> None:
    survives(lambda: SPACE.contains(SPACE.parse(text)))


FACTS = SearchResults(("error", "macs"), ("a", "b", "c"), np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]))
WORDS = st.sampled_from(
    [
        "knee",
        "spread",
        "best",
        "asf",
        "tradeoff",
        ":",
        "<=",
        "=",
        ",",
        "&",
        "macs",
        "error",
        "1",
        "-",
        "nan",
        "1e999",
        " ",
    ]
)


@fuzz
@given(rule=st.lists(WORDS, max_size=7).map("".join) | st.text(max_size=12))
def test_rules(rule: str) -> None:
    survives(lambda: choose(FACTS, [rule]))


@fuzz
@given(
    words=st.lists(
        st.text(max_size=12)
        | st.sampled_from(
            ["+task=synthetic", "stage=", "run=last", "=", "+", "~", "networks=[", "-m", "--cfg", "report"]
        )
        | st.sampled_from(
            ["networks=run:a#b,run:c", "debug=fast", "a.b=1", "${x}", "--config-dir", "run=../x"]
        ),
        max_size=4,
    )
)
def test_overrides(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    survives(lambda: cli_args.rewrite(words), tmp_path)


@fuzz
@given(
    text=changed(b"# @package _global_\ndefaults:\n  - override /a: b\na: {b: '${c}', d: [1, 2.5, null]}\n")
)
def test_options(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(text)
    survives(lambda: config.check_yaml(tmp_path / "x.yaml"), tmp_path)


def checkpoint() -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": {"w": torch.arange(3.0)}, "epoch": 3}, stream)
    return stream.getvalue()


@st.composite
def altered_checkpoints(draw: st.DrawFn) -> bytes:
    """A whole archive around a changed pickle, because a changed archive never comes so far."""
    if draw(st.booleans()):
        return draw(changed(CHECKPOINT))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(CHECKPOINT)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry, draw(changed(content)) if entry.filename.endswith(".pkl") else content)
    return out.getvalue()


CHECKPOINT = checkpoint()


@settings(fuzz, max_examples=80)
@given(content=altered_checkpoints())
def test_checkpoints(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    survives(lambda: weights.load_foreign(path), tmp_path)


def table() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, words=np.array(["a", "b"]), error=np.arange(2.0))
    return stream.getvalue()


@fuzz
@given(content=changed(table()))
def test_tables(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    survives(lambda: safe.read_arrays(path), tmp_path)
