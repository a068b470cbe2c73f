"""Progressive shrinking of Once-for-All: every rule of `sampler=progressive_shrinking` against a plain computation."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import small_supernet
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.schema import Recipe
from evonas.space.genotype import Genotype
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.classification import Classification
from evonas.train.curriculum import Curriculum
from evonas.train.distillation.inplace import FullNetwork, InPlaceDistillation
from evonas.train.fit import Devices, fit
from evonas.train.loop.data import TrainingData
from evonas.train.module import SupernetModule
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.recipe import schedule
from evonas.train.sampling.step import CurriculumStep, StepSampler

SPACE = ofa_space()
SMALL = ofa_space("small", ((1, 2),) * 5, (3, 5), (1, 3), (32, 40, 48))
CLASSES, IMAGES = 3, 4


def curriculum() -> Curriculum:
    return small_supernet.curriculum("progressive_shrinking", SPACE)


def test_the_published_stages() -> None:
    made = curriculum()
    assert [step.num_subnets for step in made.steps] == [1, 1, 2, 2, 4, 4]
    # the published number of epochs comes behind the warm-up
    assert [step.epochs - int(step.warmup_epochs) for step in made.steps] == [180, 120, 25, 120, 25, 120]
    assert [step.warmup_epochs for step in made.steps] == [5, 5, 0, 5, 0, 5]
    # for 32 workers with 64 images each
    base = [step.lr / 32 for step in made.steps if step.lr is not None]
    assert base == pytest.approx([2.6 / 32, 0.03, 0.0025, 0.0075, 0.0025, 0.0075])
    assert (made.continue_from, made.reduction, made.shared) == ("last", "sum", ("r1",))
    lesson = made.inplace_distillation
    assert lesson is not None
    assert (lesson.teacher, lesson.ratio, lesson.task_weight) == ("full", 1.0, 1.0)


@pytest.mark.parametrize(
    ("index", "kernels", "depths", "expansions"),
    [
        (0, {7}, {4}, {6}),
        (1, {3, 5, 7}, {4}, {6}),
        (2, {3, 5, 7}, {3, 4}, {6}),
        (3, {3, 5, 7}, {2, 3, 4}, {6}),
        (4, {3, 5, 7}, {2, 3, 4}, {4, 6}),
        (5, {3, 5, 7}, {2, 3, 4}, {3, 4, 6}),
    ],
)
def test_what_a_stage_trains(index: int, kernels: set, depths: set, expansions: set) -> None:
    made = curriculum()
    sampler, seen, sizes = made.sampler(made.steps[index]), dict[str, set](), set()
    for step in range(120):
        genotypes = sampler.genotypes(step)
        assert len(genotypes) == made.steps[index].num_subnets
        decoded = [SPACE.decode(each) for each in genotypes]
        # one size of images a batch, the teacher's as well
        assert len({values["r1"] for values in decoded}) == 1
        sizes.add(decoded[0]["r1"])
        for values in decoded:
            first = 1
            for stage in range(1, 6):
                depth = values[f"d{stage}"]
                seen.setdefault("d", set()).add(depth)
                for block in range(first, first + depth):
                    seen.setdefault("k", set()).add(values[f"k{block}"])
                    seen.setdefault("e", set()).add(values[f"e{block}"])
                first += 4
    assert (seen["k"], seen["d"], seen["e"]) == (kernels, depths, expansions)
    assert sizes == set(range(128, 225, 4))


def test_draws_are_functions_of_seed_and_step() -> None:
    made = curriculum()
    one, other = made.sampler(made.steps[5]), curriculum().sampler(made.steps[5])
    assert one.genotypes(7) == other.genotypes(7) != one.genotypes(8)


def test_always_trained_subnets_have_the_shared_genes_too() -> None:
    step = CurriculumStep("all", {}, 3, always=("largest", "smallest"))
    sampler = StepSampler(SMALL, 0, step, ("r1",))
    for number in range(5):
        largest, smallest, drawn = (SMALL.decode(each) for each in sampler.genotypes(number))
        assert largest["r1"] == smallest["r1"] == drawn["r1"]
        assert largest["d1"] == 2 and smallest["d1"] == 1


def test_the_cosine_begins_behind_the_warm_up_and_ends_at_zero() -> None:
    recipe = Recipe(schedule="cosine_after_warmup", lr=0.96, lr_start=0.03, lr_min=0.0)
    step = CurriculumStep("kernel", epochs=125, warmup_epochs=5)
    rates = schedule(recipe, step.length, 10)
    assert rates.at(0) == 0.03 and rates.at(25) == pytest.approx((0.03 + 0.96) / 2)
    for number in (0, 1, 600, 1199):
        expected = 0.5 * 0.96 * (1 + math.cos(math.pi * number / 1200))
        assert rates.at(50 + number) == pytest.approx(expected)
    assert rates.at(1249) < 1e-5


class Pictures(torch.utils.data.Dataset[dict[str, Tensor]]):
    num_classes, size = CLASSES, (48, 48)

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        source = torch.Generator().manual_seed(index)
        return {"image": torch.randn(3, 48, 48, generator=source), "label": torch.tensor(index % CLASSES)}

    def dataset(self, _: Any) -> "Pictures":
        return self


def task() -> Classification:
    return Classification(Pictures(), MobileNetV3Head, "pictures", smoothing=0.1)  # type: ignore[arg-type]


def supernet(seed: int) -> Supernet:
    family = OFAMobileNetV3(SMALL, 0.25)
    net = Supernet(family, MobileNetV3Head(family.levels, CLASSES, dropout=0.0, seed=seed), seed)
    source = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith(("running_mean", "_matrix")):
            tensor.normal_(0, 0.3, generator=source)
    return net


def plain(net: Supernet, genotype: Genotype) -> nn.Module:
    """The network alone, with statistics of the batch."""
    made = extract(net, genotype)
    for module in made.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    return made


def test_the_teacher_is_the_whole_network_with_statistics_of_the_batch() -> None:
    net = supernet(1)
    teacher = FullNetwork(copy.deepcopy(net), ("r1",)).eval()
    images = torch.stack([Pictures()[index]["image"] for index in range(IMAGES)])
    largest = SMALL.decode(SMALL.largest())
    for side in (32, 48):
        like = SMALL.encode({**SMALL.decode(SMALL.smallest()), "r1": side})
        whole = SMALL.encode({**largest, "r1": side})
        assert teacher.genotype(like) == whole
        expected = plain(net, whole)(images)
        torch.testing.assert_close(teacher(images, like), expected)
        assert not torch.allclose(extract(net, whole).eval()(images), expected, atol=1e-3)
    teacher.train()
    assert not teacher.supernet.head.classifier.dropout.training
    # without shared genes it reads images at its own size
    assert FullNetwork(net).genotype(SMALL.smallest()) == SMALL.largest()


class Fixed:
    """Always the same subnets."""

    def __init__(self, genotypes: list[Genotype]) -> None:
        self._genotypes = genotypes

    def genotypes(self, _: int) -> list[Genotype]:
        return self._genotypes


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_are_those_of_both_losses_over_all_subnets(reduction: Any) -> None:
    """One step of plain SGD moves weights by the rate times the gradient of a loss that is written out here."""
    net, teacher, rate = supernet(2), supernet(3), 0.01
    small, large = (
        SMALL.encode({**SMALL.decode(each), "r1": 32}) for each in (SMALL.smallest(), SMALL.largest())
    )
    before = {name: tensor.clone() for name, tensor in net.named_parameters()}
    batch = {key: torch.stack([Pictures()[at][key] for at in range(IMAGES)]) for key in ("image", "label")}
    soft = plain(teacher, large)(batch["image"]).softmax(1).detach()
    hard = F.one_hot(batch["label"], CLASSES) * 0.9 + 0.1 / CLASSES
    reference = copy.deepcopy(net)
    for module in reference.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    total = torch.zeros(())
    for genotype in (small, large):
        logs = reference(batch["image"], genotype).log_softmax(1)
        total = total - (soft * logs).sum(1).mean() - (hard * logs).sum(1).mean()
    (total if reduction == "sum" else total / 2).backward()
    lesson = InPlaceDistillation("full", 1.0, task_weight=1.0)
    module = SupernetModule(
        net,
        Fixed([small, large]),
        task(),
        Schedule(1, 0, rate, rate, rate),
        0,
        lesson,
        None,
        FullNetwork(teacher, ("r1",)),
        reduction=reduction,
        optimizer="momentum",
        optimizer_options={"momentum": 0.0},
        weight_decay=0.0,
    )
    heard: list[float] = []
    fit(
        module,
        TrainingData(Pictures(), IMAGES, 0),
        1,
        Devices(),
        listen=lambda _, values: heard.append(values["loss"]),
    )
    for (name, after), (_, mine) in zip(net.named_parameters(), reference.named_parameters(), strict=True):
        moved = torch.zeros_like(after) if mine.grad is None else rate * mine.grad
        torch.testing.assert_close(before[name] - after, moved, rtol=2e-3, atol=2e-6, msg=name)
    # what is shown is a mean, whatever is trained; the distillation loss leaves out the entropy of its targets
    entropy = -(soft * soft.log()).sum(1).mean()
    assert heard == [pytest.approx((total / 2 - entropy).item(), rel=1e-4)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reduction": "max"}, "sampler.reduction=max is unknown"),
        ({"shared": ["hue"]}, "sampler.shared has 'hue'"),
        ({"shared": "resolution"}, "must be a list"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Curriculum(SMALL, 0, [{"name": "all"}], **settings)


@pytest.mark.parametrize("rate", [-1.0, math.nan, "fast", True])
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(UserError, match="lr"):
        CurriculumStep("all", lr=rate)
    with pytest.raises(UserError, match="task_weight"):
        InPlaceDistillation(task_weight=-1.0)


def test_identities_of_steps_without_rates_of_their_own_stay() -> None:
    assert set(CurriculumStep("all").plain()) & {"lr", "lr_start", "milestones"} == set()
    assert CurriculumStep("all", lr=0.1).plain()["lr"] == 0.1


def test_the_limited_curriculum_keeps_its_rules() -> None:
    made = curriculum().within(1)
    assert (made.shared, made.reduction) == (("r1",), "sum")
    assert [step.lr for step in made.steps] == [step.lr for step in curriculum().steps]


def test_the_teacher_of_a_stage_is_what_the_first_one_left(tmp_path: Path) -> None:
    """Run through the trainer, and resumed after its third stage."""
    import small_stages

    from evonas.run import Run
    from evonas.stages.base import Context
    from evonas.stages.training.supernet_trainer import SupernetTrainer

    words = (
        "+task=shapes",
        "network=ofa_nano",
        "head=mobilenet_v3",
        "space.resolutions=[32,48]",
        "sampler=progressive_shrinking",
        "data.train=8",
        "data.validation=4",
        "limits.max_epochs=1",
        "train.panel_random=0",
        "train.bn_calibration_images=0",
        "train.supernet.optimizer=sgd",
        "tracker=none",
        "distill=none",
    )
    cfg = small_stages.composed_alone(*words)
    cfg.sampler.steps = [
        {"name": "whole", "opened": {"kernel": "max", "depth": "max", "expand": "max"}, "lr": 0.01},
        {"name": "kernel", "opened": {"depth": "max", "expand": "max"}, "lr": 0.02},
        {"name": "expand", "num_subnets": 2, "lr": 0.005},
    ]
    made = Context(cfg, Run(tmp_path, "shapes"))
    trainer = SupernetTrainer(made, "supernet", None)
    peaks, teachers = list[float](), list[dict[str, Tensor]]()
    real = trainer._module

    def module(index: int, step: CurriculumStep) -> SupernetModule:
        found = real(index, step)
        peaks.append(found.schedule.peak)
        teachers.append(
            {name: tensor.clone() for net in found._start for name, tensor in net.state_dict().items()}
        )
        if index == 0:
            assert not found._start
        return found

    trainer._module = module  # type: ignore[method-assign]
    whole: dict[str, Tensor] = {}
    write = trainer._write_panel

    def panel(step: CurriculumStep, done: Any) -> None:
        if step.name == "whole":
            whole.update({name: tensor.clone().cpu() for name, tensor in trainer.net.state_dict().items()})
        write(step, done)

    trainer._write_panel = panel  # type: ignore[method-assign]
    trainer.run()
    assert peaks == [0.01, 0.02, 0.005]
    for teacher in teachers[1:]:
        # before its own forward passes, which move running statistics that it does not use
        assert {
            name.removeprefix("supernet."): tensor for name, tensor in teacher.items()
        }.keys() == whole.keys()
        assert all(
            torch.equal(whole[name.removeprefix("supernet.")], tensor) for name, tensor in teacher.items()
        )
    assert any(not torch.equal(whole[name], tensor) for name, tensor in trainer.net.state_dict().items())
