"""Poly and multi-step schedules and lengths in optimizer steps, worked out by hand."""

from dataclasses import replace

import pytest

from evonas.errors import UserError
from evonas.schema import Recipe
from evonas.train.optim.lr_schedule import Duration, Schedule
from evonas.train.recipe import decisive_settings, duration, schedule
from evonas.train.sampling.step import CurriculumStep

ADE_BATCHES, COCO_BATCHES = 1263, 7330
ADE = Recipe(
    epochs=None,
    iterations=160_000,
    warmup_iterations=1500,
    schedule="poly",
    lr=6e-5,
    lr_start=6e-11,
    lr_min=0.0,
)
COCO = Recipe(
    epochs=12,
    warmup_iterations=1000,
    schedule="multistep",
    milestones=[8, 11],
    lr=1e-4,
    lr_start=1e-7,
    lr_min=0.0,
)


def rates(recipe: Recipe, batches: int) -> Schedule:
    return schedule(recipe, duration(recipe), batches)


def test_the_published_rates_of_ade20k() -> None:
    """Linear from a millionth to 6e-5 within 1500 iterations, then linear to 0 at 160 000."""
    found = rates(ADE, ADE_BATCHES)
    assert (found.total_steps, found.warmup_steps) == (160_000, 1500)
    assert found.at(0) == 6e-11
    assert found.at(750) == pytest.approx((6e-11 + 6e-5) / 2)
    assert found.at(1500) == 6e-5
    # half of the 158 500 iterations after the warm-up
    assert found.at(80_750) == pytest.approx(3e-5)
    assert found.at(160_000) == 0.0


def test_the_power_bends_poly_and_the_floor_holds_it() -> None:
    found = Schedule(110, 10, peak=1.0, start=0.0, minimum=0.2, shape="poly", power=2.0)
    # progress 1/2: 0.2 + 0.8 / 4
    assert found.at(60) == pytest.approx(0.4)
    assert found.at(110) == pytest.approx(0.2)
    assert found.at(1000) == pytest.approx(0.2)


def test_the_published_rates_of_coco() -> None:
    """1e-4 after 1000 iterations, a tenth from epoch 8 and a hundredth from epoch 11."""
    found = rates(COCO, COCO_BATCHES)
    assert found.at(0) == 1e-7 and found.at(1000) == 1e-4
    assert found.at(8 * COCO_BATCHES - 1) == 1e-4
    assert found.at(8 * COCO_BATCHES) == pytest.approx(1e-5)
    assert found.at(11 * COCO_BATCHES - 1) == pytest.approx(1e-5)
    assert found.at(11 * COCO_BATCHES) == pytest.approx(1e-6)
    assert found.at(12 * COCO_BATCHES) == pytest.approx(1e-6)


def test_no_step_falls_below_the_floor() -> None:
    found = Schedule(10, 0, peak=1.0, start=0.0, minimum=0.5, shape="multistep", milestones=(3,), gamma=0.1)
    assert [found.at(step) for step in (0, 2, 3, 9)] == [1.0, 1.0, 0.5, 0.5]


def test_step_and_exponential_decay_by_gamma_every_so_many_epochs() -> None:
    """FasterSeg: 0.01 times .992 after each of 600 epochs; timm's MobileNetV3: .97 every 2.4 epochs."""
    fasterseg = Recipe(
        epochs=600, warmup_epochs=0, schedule="step", gamma=0.992, lr=0.01, lr_min=0.0, batch_size=12
    )
    found = rates(fasterseg, 1000)
    assert found.at(0) == found.at(999) == 0.01
    assert found.at(1000) == pytest.approx(0.01 * 0.992)
    assert found.at(599_999) == pytest.approx(0.01 * 0.992**599)
    mobile = replace(fasterseg, gamma=0.97, decay_epochs=2.4, warmup_epochs=3, lr_start=1e-6)
    found = rates(mobile, 100)
    assert (found.at(0), found.at(299)) == (1e-6, pytest.approx(0.01, rel=0.01))
    assert found.at(480) == pytest.approx(0.01 * 0.97**2)
    even = rates(replace(fasterseg, schedule="exponential"), 1000)
    assert even.at(500) == pytest.approx(0.01 * 0.992**0.5) and even.at(2000) == pytest.approx(
        0.01 * 0.992**2
    )
    assert rates(replace(fasterseg, lr_min=0.005), 1000).at(599_999) == 0.005


def test_a_curriculum_step_may_have_milestones_of_its_own() -> None:
    step = CurriculumStep("state2", epochs=8, milestones=(5, 7))
    found = schedule(COCO, step.length, 10, step.milestones)
    assert found.milestones == (50, 70)
    assert schedule(COCO, step.length, 10).milestones == (80, 110)
    bare = replace(COCO, milestones=[])
    assert schedule(bare, Duration(24, None), 10, step.milestones).milestones == (50, 70)
    assert schedule(bare, Duration(24, None), 10).milestones == (160, 220)
    assert step.plain()["milestones"] == [5, 7]
    assert "milestones" not in CurriculumStep("plain", epochs=8).plain()


@pytest.mark.parametrize(
    ("length", "steps", "warmup"),
    [
        (Duration(3, None, 0.5), 300, 50),
        (Duration(None, 80, 0.5, 7), 80, 7),
        (Duration(3, 80, 1.0), 80, 80),
        (Duration(3, 8000), 300, 0),
        (Duration(1, None, 0.0, 1500), 100, 100),
    ],
)
def test_the_shorter_length_counts_and_a_warm_up_fits_into_it(
    length: Duration, steps: int, warmup: int
) -> None:
    assert (length.optimizer_steps(100), length.warmup_steps(100)) == (steps, warmup)


def test_unknown_and_empty_schedules_are_the_users_errors() -> None:
    with pytest.raises(UserError, match="schedule=stairs"):
        Schedule(10, 0, peak=1.0, start=0.0, minimum=0.0, shape="stairs")
    for gamma, steps in ((1.2, 5), (0.0, 5), (0.5, 0)):
        with pytest.raises(UserError, match=f"gamma={gamma}"):
            Schedule(10, 0, 1.0, 0.0, 0.0, shape="exponential", gamma=gamma, decay_steps=steps)
    for milestones in ((), (5, 3)):
        with pytest.raises(UserError, match="multistep"):
            Schedule(10, 0, peak=1.0, start=0.0, minimum=0.0, shape="multistep", milestones=milestones)


def test_what_a_schedule_does_not_look_at_is_no_part_of_a_trainings_identity() -> None:
    plain = decisive_settings(Recipe())
    unused = {
        "iterations",
        "warmup_iterations",
        "schedule",
        "power",
        "milestones",
        "gamma",
        "checkpoint_steps",
    }
    assert not unused & plain.keys()
    assert decisive_settings(Recipe(power=3.0, milestones=[4.0])) == plain
    assert decisive_settings(ADE)["power"] == 1.0 and "gamma" not in decisive_settings(ADE)
    assert decisive_settings(COCO)["milestones"] == [8, 11] and "power" not in decisive_settings(COCO)
    stairs = decisive_settings(
        Recipe(schedule="step", gamma=0.9, decay_epochs=2.4, optimizer="sgd", ema_decay=0.9)
    )
    assert (stairs["gamma"], stairs["decay_epochs"], stairs["optimizer"]) == (0.9, 2.4, "sgd")
    assert stairs["ema_decay"] == 0.9 and "milestones" not in stairs
    # what came later is named where it is used alone
    assert decisive_settings(Recipe(grad_clip_mode="agc", ema_warmup=False, decay_epochs=3.0)) == plain
