"""Detection: losses that fall, scores computed by hand, teachers, judges, lessons and pictures."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import default_collate
from trees import coco

from evonas.data.detection.base import Objects
from evonas.data.detection.coco import Coco
from evonas.errors import UserError
from evonas.nn.detection.base import PLAIN, Regions, Samples, output_regions
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.level import Level
from evonas.nn.necks.fpn import FPN
from evonas.objectives.accumulator import MetricAccumulator
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.prefix import PrefixExecutor
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import Meter, Task, best_of
from evonas.tasks.detection import Detection, bounded_boxes, common_boxes, soft_classes
from evonas.tasks.detection_metrics import NAMES, DetectionMeter
from evonas.train.distillation.inplace import InPlaceDistillation, mean_output
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.sampling.loss_oracle import BatchLossOracle
from evonas.train.teachers.base import Teacher

LEVELS = (Level(8, 4), Level(16, 8), Level(16, 16), Level(24, 32))
HEAD = partial(
    RCNN,
    neck=partial(FPN, out_channels=16),
    hidden=32,
    anchor_scale=4.0,
    proposals=40,
    training_proposals=60,
    samples=32,
    detections=10,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco.write(tmp_path_factory.mktemp("coco"))


def task_of(root: Path, masks: bool = False) -> Detection:
    data = Coco(str(root), 64, 96, masks=masks, validation=0.25)
    return Detection(data, partial(HEAD, masks=masks), "coco")


@pytest.fixture
def task(root: Path) -> Detection:
    return task_of(root)


def batch_of(task: Task, split: Any = "holdout") -> dict[str, Tensor]:
    data = task.dataset(split)
    data.augment = False
    return default_collate([*data])


def perfect(batch: Mapping[str, Tensor], rows: int = 10) -> Tensor:
    """The table of a detector that knows the truth."""
    found = torch.zeros(len(batch["boxes"]), rows, PLAIN)
    found[..., 5] = -1
    count = batch["boxes"].shape[1]
    there = (batch["labels"] >= 0).float()
    found[:, :count, :4] = batch["boxes"]
    # no two scores are equal, or their order would decide
    scores = 0.9 - 0.01 * torch.arange(found[:, :count, 4].numel()).view(-1, count)
    found[:, :count, 4] = there * scores
    found[:, :count, 5] = batch["labels"].float()
    return found


def supernet_of(task: Task) -> Supernet:
    space = evonet_space(name="t", mlp_ratio=[0.5, 1], d_state=[8, 16], expand=[0.5, 1], depths=[1, 1, 2, 1])
    family = EvoNet(space, dims=[8, 16, 16, 16], heads=[2, 2, 2, 2], stem_dim=8)
    return Supernet(family, task.head(family.levels))


def test_it_is_a_task(task: Detection) -> None:
    assert isinstance(task, Task) and isinstance(task.meter(), Meter)
    assert not task.error_is_mean
    head = task.head(LEVELS)
    assert isinstance(head, RCNN) and head.num_classes == 2


def test_who_knows_the_truth_makes_no_error(root: Path) -> None:
    for masks in (False, True):
        task = task_of(root, masks)
        meter = task.meter()
        for split in ("holdout", "test"):
            batch = batch_of(task, split)
            table = perfect(batch)
            if masks:
                small = nn.functional.interpolate(batch["masks"].float(), size=(28, 28))
                padded = torch.zeros(len(table), table.shape[1], 28, 28)
                padded[:, : small.shape[1]] = small
                table = torch.cat((table, padded.flatten(2)), dim=2)
            meter.update(table, batch)
        found = meter.compute()
        assert best_of(found, task) == pytest.approx(0, abs=1e-6)
        if masks:
            # masks of 28 pixels lose a little of the outlines
            assert found["mask_map_50"] == pytest.approx(1) and found["mask_map"] > 0.6


class Given:
    """Two pictures of 100 x 100 pixels with the objects that a test gives."""

    size = (100, 100)
    has_masks = False

    def __init__(self, *boxes: list[list[float]], crowd: bool = False) -> None:
        self._boxes, self._crowd = boxes, crowd

    def objects(self, part: int, place: int) -> Objects:  # noqa: ARG002
        boxes = np.array(self._boxes[place], dtype=np.float64).reshape(-1, 4)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        crowd = np.zeros(len(boxes), dtype=np.bool_)
        crowd[-1:] = self._crowd
        return Objects(100, 100, boxes, np.zeros(len(boxes), dtype=np.int64), areas, crowd)


def by_pycocotools(truths: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, float]:
    """What pycocotools says of a document and of results, through its own readers."""
    document = COCO()
    document.dataset = {
        "images": [{"id": number, "height": 400, "width": 400} for number in (1, 2)],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": truths,
    }
    document.createIndex()
    evaluation = COCOeval(document, document.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(NAMES, map(float, evaluation.stats), strict=False))


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_pycocotools_own(seed: int) -> None:
    random = np.random.default_rng(seed)
    truths, found, tables, pictures = [], [], [], []
    for image in (1, 2):
        count = 12
        corners = random.uniform(0, 250, (count, 2)).round(2)
        sides = random.choice([20.0, 32.0, 60.0, 96.0, 140.0], (count, 2))
        boxes = np.concatenate([corners, corners + sides], axis=1)
        # as the documents of others have them: none, those of masks, and those at the edges of the bins
        areas = random.choice([0.0, 0.0, 1024.0, 1024.0001, 9216.0, 9216.0001, 9215.0], count)
        labels, crowd = random.integers(0, 2, count), random.random(count) < 0.1
        pictures.append(Objects(400, 400, boxes, labels, areas, crowd))
        for box, label, area, many in zip(boxes.tolist(), labels.tolist(), areas, crowd, strict=True):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"image_id": image, "category_id": label + 1, "bbox": xywh}
            truths.append({**entry, "id": len(truths) + 1, "area": float(area), "iscrowd": int(many)})
        moved = np.clip(boxes + random.normal(0, 6, boxes.shape), 0, 400).astype(np.float32)
        scores = random.permutation(np.linspace(0.1, 0.9, count)).astype(np.float32)
        rows = np.concatenate([moved, scores[:, None], labels[:, None]], axis=1).astype(np.float32)
        tables.append(rows)
        for x1, y1, x2, y2, score, label in rows.astype(float).tolist():
            entry = {"image_id": image, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            found.append({**entry, "score": score})

    class Drawn:
        size, has_masks = (400, 400), False

        def objects(self, part: int, place: int) -> Objects:  # noqa: ARG002
            return pictures[place]

    meter = DetectionMeter(Drawn())  # type: ignore[arg-type]
    for place, rows in enumerate(tables):
        batch = {"scale": torch.ones(1, 2), "picture": torch.tensor([[1, place]])}
        meter.update(torch.from_numpy(rows)[None], batch)
    mine, theirs = meter.compute(), by_pycocotools(truths, found)
    assert {name: mine.get(name, -1.0) for name in NAMES} == pytest.approx(theirs, abs=1e-12)
    assert theirs["map_small"] > -1 and theirs["map_medium"] > -1 and theirs["map_large"] > -1


def scored(data: Any, *tables: list[list[float]]) -> dict[str, float]:
    meter = DetectionMeter(data)
    for place, rows in enumerate(tables):
        output = torch.tensor(rows, dtype=torch.float32).reshape(1, -1, 5)
        output = torch.cat((output, torch.zeros(1, output.shape[1], 1)), dim=2)
        meter.update(output, {"scale": torch.ones(1, 2), "picture": torch.tensor([[1, place]])})
    return meter.compute()


def test_the_precision_is_the_one_of_the_book() -> None:
    # of two objects one is found, below a false alarm: precision 1/2 up to a recall of 1/2, which are
    # 51 of the 101 points at which COCO looks
    data = Given([[0, 0, 40, 40], [50, 50, 90, 90]])
    found = scored(data, [[60, 0, 99, 30, 0.9], [0, 0, 40, 40, 0.8]])
    assert found["map_50"] == pytest.approx(51 / 101 / 2)
    assert found["one_minus_map"] == pytest.approx(1 - 51 / 101 / 2)
    # a box that covers 0.72 of the union counts at five of the ten thresholds
    found = scored(Given([[0, 0, 100, 100]]), [[0, 0, 72, 100, 0.5]])
    assert found["map"] == pytest.approx(0.5) and found["map_75"] == 0
    assert "map_small" not in found


def test_a_crowd_counts_for_nobody_and_against_nobody() -> None:
    data = Given([[0, 0, 40, 40], [50, 50, 100, 100]], crowd=True)
    found = scored(data, [[0, 0, 40, 40, 0.8], [60, 60, 80, 80, 0.9]])
    assert found["map"] == pytest.approx(1)


def test_pictures_without_any_object_have_no_score() -> None:
    with pytest.raises(UserError, match="No image of the split has an object"):
        scored(Given([]), [[0, 0, 9, 9, 0.5]])


def test_scores_are_taken_in_the_pixels_of_the_file() -> None:
    meter = DetectionMeter(Given([[20, 20, 60, 60]]))
    table = torch.tensor([[[10.0, 5.0, 30.0, 15.0, 0.9, 0.0]]])
    meter.update(table, {"scale": torch.tensor([[0.5, 0.25]]), "picture": torch.tensor([[1, 0]])})
    assert meter.compute()["map"] == pytest.approx(1)


def test_neither_order_nor_batch_size_matters_to_the_meter(task: Detection) -> None:
    batch = batch_of(task, "test")
    table = perfect(batch)
    table[:, 0, 0] += 4
    whole, parts = task.meter(), task.meter()
    whole.update(table, batch)
    for place in reversed(range(len(table))):
        parts.update(
            table[place : place + 1], {key: value[place : place + 1] for key, value in batch.items()}
        )
    assert whole.compute() == pytest.approx(parts.compute())
    assert 0 < whole.compute()["one_minus_map"] < 1


def test_a_tally_takes_tables_piece_by_piece(task: Detection) -> None:
    tally, batch = MetricAccumulator(task, by_pieces=True), batch_of(task, "test")
    tally.add(perfect(batch), batch)
    error, facts = tally.result()
    assert error == pytest.approx(0, abs=1e-6) and facts["error_sizes"] == [4]


@pytest.mark.parametrize("masks", [False, True])
def test_who_looks_at_no_image_is_bad(root: Path, masks: bool) -> None:
    name, metrics = task_of(root, masks).baseline()
    assert "common" in name and 0.3 < metrics["one_minus_map"] <= 1
    assert ("mask_map" in metrics) == masks


def test_common_boxes_are_those_that_others_resemble() -> None:
    boxes = torch.tensor([[[0, 0, 10, 10], [50, 50, 60, 60]], [[1, 0, 11, 10], [0, 0, 0, 0]]]).float()
    labels = torch.tensor([[0, 1], [0, -1]])
    items = [{"boxes": box, "labels": label} for box, label in zip(boxes, labels, strict=True)]
    found = common_boxes(items)
    assert found[:, 4].tolist() == pytest.approx([2 / 3, 1 / 3]) and found[:, 5].tolist() == [0, 1]


@pytest.mark.parametrize("masks", [False, True])
def test_the_losses_of_one_picture_fall(root: Path, masks: bool) -> None:
    task = task_of(root, masks)
    net = supernet_of(task).train()
    batch = {key: value[:1] for key, value in batch_of(task, "train").items()}
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for step in range(6 if masks else 16):
        torch.manual_seed(step)
        loss = task.loss(net(batch["image"], net.space.smallest()), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-2:]) < (0.85 if masks else 0.75) * sum(losses[:2])


def test_an_extracted_detector_answers_as_its_slice_and_as_its_walk(task: Detection) -> None:
    net, batch = supernet_of(task).eval(), batch_of(task)
    for genotype in (net.space.smallest(), net.space.largest()):
        with torch.no_grad():
            answer = net(batch["image"], genotype)
            assert torch.equal(extract(net, genotype)(batch["image"]), answer)
            walked = PrefixExecutor(net).subnet(genotype)
            assert torch.equal(walked(batch["image"]), answer)


def test_soft_classes_are_those_of_the_formula() -> None:
    student, teacher = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[20.0, 0.0, 0.0]])
    assert float(soft_classes(student, teacher)) == pytest.approx(np.log(3), rel=1e-4)
    background = torch.tensor([[0.0, 0.0, 20.0]])
    assert float(soft_classes(student, background)) == pytest.approx(1.5 * np.log(3), rel=1e-4)


def test_boxes_learn_only_where_the_teacher_is_better() -> None:
    samples = Samples(torch.zeros(3, 5), torch.tensor([0, 1, 2]), torch.zeros(3, 4))
    student, teacher = torch.zeros(3, 2, 4), torch.zeros(3, 2, 4)
    student[0, 0, 0], teacher[0, 0, 0] = 2.0, 1.0
    student[1, 1, 0], teacher[1, 1, 0] = 1.0, 3.0
    # two objects: the first costs 2^2, the second nothing; half of half of the mean
    assert float(bounded_boxes(student, teacher, samples)) == pytest.approx(0.5 * 0.5 * 4 / 2)
    background = Samples(torch.zeros(1, 5), torch.tensor([2]), torch.zeros(1, 4))
    assert float(bounded_boxes(student[:1], teacher[:1], background)) == 0


def test_a_student_learns_from_what_its_teacher_says_of_its_regions(task: Detection) -> None:
    batch = batch_of(task, "train")
    maps = [torch.randn(len(batch["image"]), v.channels, 64 // v.stride, 96 // v.stride) for v in LEVELS]
    student, other = task.head(LEVELS), RCNN(LEVELS, 2, neck=partial(FPN, out_channels=8), hidden=16, seed=1)
    output_regions(other.eval())
    said = other([each.clone().requires_grad_() for each in maps])
    loss = task.distillation_loss(student.train()(maps), said, batch)
    loss.backward()
    assert float(loss.detach()) > 0
    assert student.box.fc6.weight.grad is not None and other.box.fc6.weight.grad is None
    with pytest.raises(UserError, match=r"distill\.cache=false"):
        task.distillation_loss(student(maps), other.detect(maps), batch)


class Body(nn.Module):
    """A teacher's body of one convolution."""

    levels = (Level(8, 4), Level(16, 8))
    origin = None
    has_output = True
    scales = False
    head_settings = None
    num_params = 0

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 16, 2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.fine(x)
        return [fine, self.coarse(fine)]

    def restored(self, output: Any, size: tuple[int, int]) -> Any:  # noqa: ARG002
        return output


def test_a_teacher_shows_regions_while_it_teaches_alone(task: Detection) -> None:
    teacher = Teacher(Body(), task.head(Body.levels))
    image = batch_of(task)["image"]
    assert isinstance(teacher.eval()(image), Tensor)
    net = extract(supernet_of(task), supernet_of(task).space.smallest())
    module = SubnetModule(net, task, Schedule(4, 0, 1e-3, 1e-3, 1e-3), 0, teacher=teacher)
    (hidden,) = module._teacher
    assert isinstance(hidden(image), Regions) and not hidden.body.training


def test_a_teacher_that_scales_images_is_refused(task: Detection) -> None:
    class Halving(Body):
        scales = True

        def forward(self, x: Tensor) -> list[Tensor]:
            return super().forward(x[..., ::2, ::2])

    with pytest.raises(UserError, match="must not resize images"):
        Teacher(Halving(), task.head(Body.levels)).eval()(batch_of(task)["image"])


def test_a_judge_draws_the_same_regions_for_all_and_leaves_no_trace(task: Detection) -> None:
    net, batch = supernet_of(task).train(), batch_of(task, "train")
    genotype = net.space.smallest()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = BatchLossOracle(net, task, batch)([genotype, genotype])
    assert first == second and np.isfinite(first)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in net.modules())


def test_distillation_works_with_one_teacher_and_refuses_a_mean(task: Detection) -> None:
    net, batch = supernet_of(task).train(), batch_of(task, "train")
    largest, smallest = (net(batch["image"], each) for each in (net.space.largest(), net.space.smallest()))
    lesson = InPlaceDistillation("first", ratio=0.5)
    target = lesson.target(1, 2, [largest.detach()], None, task)
    lesson.loss(smallest, target, batch, task).backward()
    assert net.head.box.fc6.weight.grad is not None
    assert mean_output([largest], task) is largest
    with pytest.raises(UserError, match="cannot be averaged"):
        mean_output([largest, smallest], task)


def test_pictures_show_what_is_sure_enough(task: Detection) -> None:
    batch = batch_of(task, "test")
    sure, unsure = perfect(batch), perfect(batch)
    unsure[..., 4] *= 0.1
    for drawn, bare in zip(task.pictures(sure, batch), task.pictures(unsure, batch), strict=True):
        assert drawn["image"].shape == (64, 96, 3) and drawn["image"].dtype == np.uint8
        assert np.array_equal(drawn["truth"], drawn["prediction"])
        assert np.array_equal(bare["image"], bare["prediction"])
        assert not np.array_equal(drawn["image"], drawn["truth"])


def test_masks_are_asked_for_on_both_sides(root: Path) -> None:
    boxes_alone = Detection(Coco(str(root), 64, 96), partial(HEAD, masks=True), "coco")
    with pytest.raises(UserError, match=r"data\.masks=true"):
        boxes_alone.head(LEVELS)
    task = task_of(root, masks=True)
    batch = batch_of(task)
    with pytest.raises(UserError, match=r"data\.masks=false"):
        task.meter().update(perfect(batch), batch)
