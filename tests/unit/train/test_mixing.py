"""Mixup and cutmix in batches: draws, labels, and what networks learn from one another on mixes of their own."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.schema import Recipe
from evonas.space.genotype import Genotype
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.supernet import Supernet
from evonas.tasks.classification import Classification
from evonas.train.distillation.inplace import InPlaceDistillation
from evonas.train.distillation.soft_labels import SoftLabels
from evonas.train.fit import Devices, fit
from evonas.train.loop.data import EpochBatches, TrainingData, seeded
from evonas.train.mixing import Mixing
from evonas.train.module import SupernetModule
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.recipe import decisive_settings, optimizer_options
from evonas.train.teachers.timm_classifiers import TimmClassifiers

CLASSES, IMAGES, SIDE = 3, 6, 32


class Pictures(torch.utils.data.Dataset[dict[str, Tensor]]):
    num_classes, size = CLASSES, (SIDE, SIDE)

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        source = torch.Generator().manual_seed(index)
        return {"image": torch.randn(3, SIDE, SIDE, generator=source), "label": torch.tensor(index % CLASSES)}

    def dataset(self, _: Any) -> "Pictures":
        return self


def batch(order: Sequence[int] = range(IMAGES)) -> dict[str, Tensor]:
    return {key: torch.stack([Pictures()[at][key] for at in order]) for key in ("image", "label")}


def of_one_class_each() -> dict[str, Tensor]:
    return {**batch(), "label": torch.arange(IMAGES)}


def test_mixup_blends_an_image_and_its_label_with_those_of_another() -> None:
    plain = of_one_class_each()
    views = Mixing(mixup=1.0).views(plain, 3, seed=1, step=5)
    shares = [view["share"] for view in views]
    assert len({float(share[0]) for share in shares}) == 3
    for view in views:
        other = plain["image"][view["partner"]]
        share = view["share"].view(-1, 1, 1, 1)
        torch.testing.assert_close(view["image"], share * plain["image"] + (1 - share) * other)
        assert (view["partner"] != plain["label"]).all() and torch.equal(view["label"], plain["label"])
    assert len({tuple(view["partner"].tolist()) for view in views}) > 1


def test_cutmix_pastes_a_part_of_another_image() -> None:
    plain = of_one_class_each()
    for view in Mixing(cutmix=1.0).views(plain, 3, seed=2, step=0):
        own = view["image"] == plain["image"]
        pasted = view["image"] == plain["image"][view["partner"]]
        assert (own | pasted).all()
        torch.testing.assert_close(own.float().mean((1, 2, 3)), view["share"])


def test_draws_are_functions_of_seed_step_network_and_rank() -> None:
    mixing, plain = Mixing(mixup=0.5, cutmix=0.5), batch()

    def images(*about: int) -> list[Tensor]:
        return [view["image"] for view in mixing.views(plain, 2, *about)]

    before = torch.get_rng_state()
    first = images(1, 3, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first, images(1, 3, 0)))
    for other in (images(2, 3, 0), images(1, 4, 0), images(1, 3, 1), first[::-1]):
        assert not any(map(torch.equal, first, other))
    # with both, either is drawn
    kinds = {
        bool((view["image"] == plain["image"]).any())
        for step in range(8)
        for view in mixing.views(plain, 1, 0, step)
    }
    assert kinds == {True, False}


def test_one_draw_for_the_batch_is_one_batch_and_none_is_the_batch_itself() -> None:
    plain = batch()
    one, other = Mixing(mixup=1.0, each="batch").views(plain, 2, 0, 0)
    assert one is other and one is not plain
    assert all(view is plain for view in Mixing().views(plain, 2, 0, 0))
    alone = {"image": plain["image"][:1], "label": plain["label"][:1]}
    [view] = Mixing(mixup=1.0).views(alone, 1, 0, 0)
    torch.testing.assert_close(view["image"], alone["image"])
    assert float(view["share"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"mixup": -1.0}, {}, "must not be negative"),
        ({"mixup": float("nan")}, {}, "must not be negative"),
        ({"mixup": 1.0, "each": "image"}, {}, "mix_each=image is unknown"),
        ({"mixup": 1.0}, {"share": torch.ones(IMAGES)}, "mixed already"),
        ({"mixup": 1.0}, {"label": torch.zeros(IMAGES, 4, 4)}, "have none"),
    ],
)
def test_what_cannot_be_mixed_is_refused(settings: Any, changes: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Mixing(**settings).views({**batch(), **changes}, 1, 0, 0)


def test_identities_of_recipes_that_mix_nothing_stay() -> None:
    later = {"mixup", "cutmix", "mix_each", "undecayed"}
    assert not later & decisive_settings(Recipe(mix_each="batch")).keys()
    assert later - {"undecayed"} <= decisive_settings(Recipe(mixup=0.2, cutmix=0.1, mix_each="batch")).keys()
    options = optimizer_options(Recipe(mixup=0.2, undecayed=["*.a"]))
    assert options["mixing"] == Mixing(0.2) and options["undecayed"] == ["*.a"]


SPACE = ofa_space("small", ((1, 2),) * 5, (3, 5), (1, 3), (SIDE,))


class Fixed:
    """Always the same subnets."""

    def __init__(self, genotypes: list[Genotype]) -> None:
        self._genotypes = genotypes

    def genotypes(self, _: int) -> list[Genotype]:
        return self._genotypes


@pytest.mark.parametrize("teaching", ["before", "first"])
def test_every_network_learns_on_the_images_that_it_sees(teaching: str) -> None:
    """One step of plain SGD moves weights by the rate times the gradient of losses that are written out here.

    Networks that learn from no other one learn from an external teacher on their own mix. A network that learns from
    others has their probabilities on its own mix.
    """
    family, rate = OFAMobileNetV3(SPACE, 0.25), 0.01
    head = MobileNetV3Head(family.levels, CLASSES, dropout=0.0)
    # in the order of the loader, which decides what is mixed
    [order] = EpochBatches(IMAGES, IMAGES, 0, 0)
    net, images = Supernet(family, head, 1), batch(order)
    middle = SPACE.encode({**SPACE.decode(SPACE.largest()), "k1": 3, "e2": 1.0})
    genotypes = [SPACE.largest(), middle, SPACE.smallest()]
    with seeded(0, "teacher"):
        teacher = TimmClassifiers(["resnet10t"], CLASSES, temperature=0.5, size="tiny")
    mixing, seed = Mixing(mixup=1.0), 7
    before = {name: tensor.clone() for name, tensor in net.named_parameters()}
    reference = copy.deepcopy(net)
    for module in reference.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    views = mixing.views(images, 3, seed, 0)
    total = torch.zeros(())
    for index, (view, genotype) in enumerate(zip(views, genotypes, strict=True)):
        teachers = {"before": {2: [0, 1]}, "first": {1: [0], 2: [0]}}[teaching].get(index)
        with torch.no_grad():
            target = (
                teacher(view["image"]).softmax(1)
                if teachers is None
                else torch.stack(
                    [copy.deepcopy(reference)(view["image"], genotypes[at]).softmax(1) for at in teachers]
                ).mean(0)
            )
        logs = reference(view["image"], genotype).log_softmax(1)
        total = total + F.kl_div(logs, target, reduction="batchmean")
    (total / 3).backward()
    module = SupernetModule(
        net,
        Fixed(genotypes),
        Classification(Pictures(), MobileNetV3Head, "pictures"),  # type: ignore[arg-type]
        Schedule(1, 0, rate, rate, rate),
        seed,
        InPlaceDistillation(teaching),
        optimizer="momentum",
        optimizer_options={"momentum": 0.0},
        weight_decay=0.0,
        mixing=mixing,
        teacher=teacher,
        distiller=SoftLabels(1, 1),
    )
    fit(module, TrainingData(Pictures(), IMAGES, 0), 1, Devices())
    for (name, after), (_, mine) in zip(net.named_parameters(), reference.named_parameters(), strict=True):
        moved = torch.zeros_like(after) if mine.grad is None else rate * mine.grad
        torch.testing.assert_close(before[name] - after, moved, rtol=2e-3, atol=2e-6, msg=name)
    # running statistics are those of the networks' own passes
    for (name, after), (_, mine) in zip(net.named_buffers(), reference.named_buffers(), strict=True):
        torch.testing.assert_close(after, mine, msg=name)
