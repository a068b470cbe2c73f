"""The curriculum: the published one as data, and its samplers."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from evonas.errors import UserError
from evonas.space.genes import Axis
from evonas.space.space import Space
from evonas.supernets.evonet.space import evonet_space
from evonas.train.curriculum import Curriculum
from evonas.train.distillation.inplace import InPlaceDistillation
from evonas.train.optim.gradient_merge import NasVit, PcGrad
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.step import CurriculumStep
from evonas.train.validation_panel import members_within

CONF = Path(__file__).resolve().parents[3] / "conf"
KITTI, NYU = 1448, 2266


@pytest.fixture(scope="module")
def space() -> Space:
    return evonet_space()


def read(name: str, space: Space) -> Curriculum:
    node = OmegaConf.load(CONF / "sampler" / f"{name}.yaml")
    return Curriculum(space, seed=0, steps=OmegaConf.to_container(node.steps))


def test_the_published_curriculum_as_data(space: Space) -> None:
    steps = read("pst", space).steps
    assert [step.epochs for step in steps] == [40, 5, 20, 5, 20, 5, 20, 25]
    assert [step.warmup_epochs for step in steps] == [3, 0, 1, 0, 1, 0, 1, 1]
    assert [step.num_subnets for step in steps] == [1, 1, 1, 2, 2, 4, 4, 4]


def test_the_published_length(space: Space) -> None:
    curriculum = read("pst", space)
    assert curriculum.optimizer_steps(KITTI) == 202_720
    assert curriculum.optimizer_steps(NYU) == 317_240
    assert curriculum.passes() == 315


ADE_BATCHES = 1263
LENGTHS = {
    "pst": ("epochs", [40, 5, 20, 5, 20, 5, 20, 25], 140),
    "pst_coco": ("epochs", [12, 2, 8, 2, 8, 2, 8, 12], 54),
    "pst_ade20k": ("iterations", [n * 1000 for n in (160, 30, 160, 30, 160, 30, 160, 160)], 890_000),
    "pst_cityscapes": ("epochs", [108, 27, 108, 27, 108, 27, 108, 108], 621),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_every_published_length(space: Space, name: str) -> None:
    unit, lengths, total = LENGTHS[name]
    curriculum = read(name, space)
    assert [getattr(step, unit) for step in curriculum.steps] == lengths
    assert [step.num_subnets for step in curriculum.steps] == [1, 1, 1, 2, 2, 4, 4, 4]
    assert curriculum.optimizer_steps(1 if unit == "epochs" else ADE_BATCHES) == total
    assert [step.opened for step in curriculum.steps] == [step.opened for step in read("pst", space).steps]
    assert [step.name for step in curriculum.steps] == list(OPEN)


def test_iterations_are_those_of_any_data(space: Space) -> None:
    curriculum = read("pst_ade20k", space)
    assert curriculum.optimizer_steps(10) == curriculum.optimizer_steps(10**9) == 890_000
    assert {step.warmup_steps(ADE_BATCHES) for step in curriculum.steps} == {1500}


def test_the_shorter_of_two_lengths_counts(space: Space) -> None:
    step = CurriculumStep("a", epochs=2, iterations=25, warmup_epochs=0.5)
    assert [step.optimizer_steps(batches) for batches in (10, 100)] == [20, 25]
    assert [step.warmup_steps(batches) for batches in (10, 100)] == [5, 25]
    assert CurriculumStep("b").optimizer_steps(7) == 7
    ceiling = Curriculum(space, 0, [CurriculumStep("c", iterations=1000), step], continue_from="last").within(
        1
    )
    assert [each.optimizer_steps(10) for each in ceiling.steps] == [10, 10]
    assert [each.optimizer_steps(5000) for each in ceiling.steps] == [1000, 25]
    assert ceiling.continue_from == "last"


def test_chains_are_best_or_last(space: Space) -> None:
    assert read("pst", space).continue_from == "best"
    with pytest.raises(UserError, match="continue_from=first"):
        Curriculum(space, 0, [CurriculumStep("a")], continue_from="first")


def test_a_steps_panel_stays_within_its_opening(space: Space) -> None:
    curriculum = read("pst", space)
    panels = {step.name: members_within(curriculum.sampler(step), 4) for step in curriculum.steps}
    assert [member.genotype for member in panels["maxnet"]] == [space.largest()]
    # an opening of eight subnets may draw one twice; none is measured twice
    assert all(len({member.genotype for member in each}) == len(each) for each in panels.values())
    assert [len(panels[name]) for name in ("mlp2", "expand2", "depth")] == [6, 6, 6]
    for name, panel in panels.items():
        values = [space.decode(member.genotype) for member in panel]
        for prefix, allowed in zip("sme", OPEN[name], strict=True):
            assert {v for each in values for key, v in each.items() if key[0] == prefix} <= set(allowed)
    assert panels["depth"][1].genotype == space.smallest()
    again = members_within(curriculum.sampler(curriculum.steps[-1]), 2)
    assert [member.genotype for member in again] == [member.genotype for member in panels["depth"][:4]]


OPEN = {
    "maxnet": ({64}, {4.0}, {4}),
    "state1": ({48, 64}, {4.0}, {4}),
    "state2": ({16, 32, 48, 64}, {4.0}, {4}),
    "mlp1": ({16, 32, 48, 64}, {3, 3.5, 4.0}, {4}),
    "mlp2": ({16, 32, 48, 64}, {0.5, 1, 2, 3, 3.5, 4}, {4}),
    "expand1": ({16, 32, 48, 64}, {0.5, 1, 2, 3, 3.5, 4}, {2, 3, 4}),
    "expand2": ({16, 32, 48, 64}, {0.5, 1, 2, 3, 3.5, 4}, {0.5, 1, 2, 3, 4}),
    "depth": ({16, 32, 48, 64}, {0.5, 1, 2, 3, 3.5, 4}, {0.5, 1, 2, 3, 4}),
}


@pytest.mark.parametrize("name", OPEN)
def test_each_step_draws_exactly_what_it_opens(space: Space, name: str) -> None:
    curriculum = read("pst", space)
    step = next(step for step in curriculum.steps if step.name == name)
    sampler = curriculum.sampler(step)
    drawn = [space.decode(g) for index in range(150) for g in sampler.genotypes(index)]
    for prefix, expected in zip("sme", OPEN[name], strict=True):
        assert {v for values in drawn for key, v in values.items() if key[0] == prefix} == set(expected)
    depths = {values["d3"] for values in drawn}
    assert (len(depths) > 20) if name == "depth" else (depths == {(True,) * 8})


def test_samplers_are_functions_of_seed_and_step(space: Space) -> None:
    step = CurriculumStep("all", num_subnets=3)
    first, again = Curriculum(space, 1, [step]).sampler(step), Curriculum(space, 1, [step]).sampler(step)
    assert isinstance(first, Sampler)
    backwards = {index: again.genotypes(index) for index in reversed(range(20))}
    assert [first.genotypes(index) for index in range(20)] == [backwards[index] for index in range(20)]
    assert Curriculum(space, 2, [step]).sampler(step).genotypes(0) != first.genotypes(0)
    assert all(space.contains(g) for g in first.genotypes(5))


def test_corners_are_always_trained_where_asked(space: Space) -> None:
    opened = {"s": [16, 32], "d": "all"}
    step = CurriculumStep("sandwich", opened, num_subnets=4, always=("largest", "smallest"))
    drawn = Curriculum(space, 0, [step]).sampler(step).genotypes(7)
    assert len(drawn) == 4
    largest, smallest = (space.decode(genotype) for genotype in drawn[:2])
    assert (largest["s1"], largest["m4"], largest["d3"]) == (32, 4, (True,) * 8)
    assert (smallest["s1"], smallest["m4"], smallest["d3"]) == (16, 0.5, (True,) * 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a", "num_subnets": 0},
        {"name": "a", "num_subnets": 2.5},
        {"name": "a", "epochs": 1.5},
        {"name": "a", "iterations": 7.5},
        {"name": "a", "epochs": -1},
        {"name": "a", "iterations": -1},
        {"name": "a", "warmup_epochs": 1, "warmup_iterations": 10},
        {"name": "a", "always": ["middle"]},
        {"name": "a", "always": ["largest", "smallest"], "num_subnets": 1},
        {"name": "a", "opened": {}, "epoch": 3},
        {"name": "a", "opened": {"s": 8}},
        {"name": "a", "opened": {"s": [5]}},
        {"name": "a", "opened": {"z": "free"}},
        {"name": "a", "always": 3},
    ],
)
def test_malformed_steps_are_the_users_error(space: Space, wrong: dict) -> None:
    with pytest.raises(UserError, match="'a'"):
        Curriculum(space, 0, [wrong])


@pytest.mark.parametrize("part", ["strategy", "inplace_distillation", "merge"])
def test_the_name_of_a_part_is_not_the_part(space: Space, part: str) -> None:
    with pytest.raises(UserError, match=rf"sampler\.{part} must be of type .* got kl"):
        Curriculum(space, 0, [CurriculumStep("a")], **{part: "kl"})


def test_names_must_differ_and_there_must_be_one(space: Space) -> None:
    with pytest.raises(UserError):
        Curriculum(space, 0, [])
    with pytest.raises(UserError):
        Curriculum(space, 0, [CurriculumStep("a"), CurriculumStep("a")])
    for wrong in (5, "steps", {"name": "a"}):
        with pytest.raises(UserError, match="must be a list of steps"):
            Curriculum(space, 0, wrong)


@pytest.mark.parametrize(
    ("more", "corner"),
    [
        ({"always": ("largest",)}, "largest"),
        ({"opened": {"m": "max", "s": "max", "e": "max", "d": "max"}}, "largest"),
        ({"opened": {"m": "min", "s": "min", "e": "min", "d": "min"}, "num_subnets": 2}, "smallest"),
        ({"opened": {"d": "all"}}, None),
        ({"always": ("largest", "smallest"), "num_subnets": 2}, None),
    ],
)
def test_a_step_knows_whether_it_trains_one_subnet_alone(
    space: Space, more: dict, corner: str | None
) -> None:
    sampler = Curriculum(space, 0, [CurriculumStep("a", **more)]).sampler(CurriculumStep("a", **more))
    assert sampler.trained_alone == (None if corner is None else sampler.corner(corner))
    drawn = {genotype for step in range(8) for genotype in sampler.genotypes(step)}
    assert (len(drawn) == 1) == (corner is not None)


def test_corners_know_genes_opened_by_name(space: Space) -> None:
    step = CurriculumStep("named", {"s": [16, 32], "s2": [48]}, num_subnets=2, always=("largest", "smallest"))
    largest, smallest = (
        space.decode(each) for each in Curriculum(space, 0, [step]).sampler(step).genotypes(0)
    )
    assert (largest["s1"], largest["s2"], smallest["s1"], smallest["s2"]) == (32, 48, 16, 48)


def test_the_narrowest_is_the_smallest_that_reads_whole_images() -> None:
    axes = Axis("r1", (0.5, 0.75, 1.0)), Axis("e1", (0.25, 0.5, 1.0))
    space = Space("toy", axes, groups={"resolution": ["r"]})
    step = CurriculumStep("s", {"e": [0.5, 1.0]}, num_subnets=4, always=("narrowest", "smallest", "largest"))
    drawn = Curriculum(space, 0, [step]).sampler(step).genotypes(0)[:3]
    assert [space.decode(genotype) for genotype in drawn] == [
        {"r1": 1.0, "e1": 1.0},
        {"r1": 1.0, "e1": 0.5},
        {"r1": 0.5, "e1": 0.5},
    ]


def test_without_a_gene_for_the_resolution_the_narrowest_is_the_smallest(space: Space) -> None:
    step = CurriculumStep("s", num_subnets=2, always=("narrowest",))
    assert Curriculum(space, 0, [step]).sampler(step).genotypes(0)[0] == space.smallest()


def test_the_largest_comes_first_however_corners_are_listed(space: Space) -> None:
    step = CurriculumStep("s", num_subnets=3, always=("smallest", "largest"))
    assert Curriculum(space, 0, [step]).sampler(step).genotypes(0)[:2] == [space.largest(), space.smallest()]


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({}, []),
        ({"inplace_distillation": InPlaceDistillation("first")}, ["free", "small"]),
        ({"merge": NasVit()}, ["free", "small"]),
        ({"inplace_distillation": InPlaceDistillation("before"), "merge": PcGrad()}, []),
    ],
)
def test_steps_whose_first_subnet_ought_to_be_the_largest_are_known(
    space: Space, parts: dict[str, Any], named: list[str]
) -> None:
    steps = [
        CurriculumStep("free", num_subnets=2),
        CurriculumStep("small", num_subnets=2, always=("smallest",)),
        CurriculumStep("both", num_subnets=2, always=("smallest", "largest")),
        CurriculumStep("alone"),
    ]
    assert Curriculum(space, 0, steps, **parts).without_largest() == named


@pytest.mark.parametrize("name", ["pst_nano", "uniform"])
def test_shipped_curricula_fit_the_nano_space(name: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(CONF / "space" / "nano.yaml"))
    nano = evonet_space(**{key: value for key, value in node.items() if key != "_target_"})
    curriculum = read(name, nano)
    for step in curriculum.steps:
        assert len(curriculum.sampler(step).genotypes(0)) == step.num_subnets
    assert curriculum.steps[-1].opened == {}
