"""The error after a short training: that of a retraining, whoever measures and in which order."""

from typing import Any

import pytest
import small_stages
import torch

from evonas.archive import Archive
from evonas.config import build
from evonas.errors import InfeasibleError, UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.objectives.evaluator import Evaluator
from evonas.objectives.finetuned_error import FinetunedError
from evonas.report.archive_reader import read
from evonas.report.results import measured_with
from evonas.stages.base import Context
from evonas.stages.build.evaluator import evaluator_config
from evonas.stages.build.factory import SUPERNET
from evonas.stages.pretrain import Pretrain
from evonas.stages.search import ARCHIVE, Search
from evonas.stages.supernet import Supernet

RECIPE = {"epochs": 6, "batch_size": 4, "warmup_epochs": 0.0, "lr": 4e-3}
RUN = (
    "data.train=8",
    "data.validation=4",
    "sampler=none",
    "distill=none",
    "tracker=none",
    "fidelity=finetune",
    "objective=[error,macs]",
    "train.finetune={epochs: 1, batch_size: 4, warmup_epochs: 0}",
    "train.bn_calibration_images=4",
    "hardware.workers=1",
    "budget={population: 4, evaluations: 4}",
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A supernet with random weights, which trainings of a few steps improve for sure."""
    made = small_stages.context(tmp_path_factory.mktemp("run"), *RUN)
    Pretrain().run(made)
    Supernet().run(made)
    return made


@pytest.fixture(scope="module")
def bench(run: Context) -> EvaluationContext:
    spec = evaluator_config(run)
    return EvaluationContext(
        spec["space"], spec["network"], spec["task"], run.run.directory / SUPERNET, batch_size=4
    )


def objective(bench: EvaluationContext, **changes: Any) -> FinetunedError:
    made = FinetunedError({**RECIPE, **changes}, seed=3, bn_calibration_images=4)
    made.prepare(bench)
    return made


def test_a_short_training_lowers_the_error_and_changes_no_inherited_weight(bench: EvaluationContext) -> None:
    inherited = Error(bn_calibration_images=4)
    inherited.prepare(bench)
    genotype = bench.space.largest()
    before = {name: tensor.clone() for name, tensor in bench.supernet.state_dict().items()}
    error, facts = objective(bench).measure(genotype)
    assert error < 0.8 * inherited.measure(genotype)[0]
    assert facts["metrics"]["abs_rel"] == error
    assert all(torch.equal(before[name], tensor) for name, tensor in bench.supernet.state_dict().items())


def test_the_value_depends_on_seed_and_genotype_alone(bench: EvaluationContext) -> None:
    largest, smallest = bench.space.largest(), bench.space.smallest()
    first = objective(bench, epochs=1)
    values = first.measure(largest)[0], first.measure(smallest)[0]
    torch.manual_seed(99)
    again = objective(bench, epochs=1)
    assert (again.measure(smallest)[0], again.measure(largest)[0]) == values[::-1]
    other = FinetunedError({**RECIPE, "epochs": 1}, seed=4, bn_calibration_images=4)
    other.prepare(bench)
    assert other.measure(largest)[0] != values[0]


def test_the_identity_names_recipe_and_seed(bench: EvaluationContext) -> None:
    of = {**FinetunedError(RECIPE, 3).identity(bench)}
    assert of["recipe"]["epochs"] == 6 and of["seed"] == 3
    for other in (FinetunedError({**RECIPE, "lr": 1e-4}, 3), FinetunedError(RECIPE, 4)):
        assert dict(other.identity(bench)) != of
    saved = FinetunedError({**RECIPE, "checkpoint_steps": 5}, 3)
    assert dict(saved.identity(bench)) == of


def test_a_diverging_training_is_the_genotypes_failure(bench: EvaluationContext) -> None:
    with pytest.raises(InfeasibleError, match="The loss is"):
        objective(bench, lr=1e30, lr_min=1e30, optimizer="momentum").measure(bench.space.smallest())


def test_no_steps_are_the_users_error() -> None:
    with pytest.raises(UserError, match=r"train\.finetune has no steps"):
        FinetunedError({"epochs": 0}, 0)


def test_a_search_trains_every_point_in_its_workers(run: Context) -> None:
    assert run.cfg.hardware.timeout_s == 7200 and run.cfg.hardware.subnets_per_pass == 1
    Search().run(run)
    with Archive.read(run.run.directory / ARCHIVE) as archive:
        [found] = [each for each in archive.evaluations() if each.seq == 0 and each.state == "done"]
        evaluator: Evaluator = build(evaluator_config(run))
        evaluator.setup()
        mine = evaluator.measure(evaluator._context.space.parse(found.genotype), "shared")
    assert found.objectives["error"] == mine.objectives["error"]
    assert measured_with(read(run.run.directory / ARCHIVE)) == [
        "Errors are measured after a training of 2 steps of each network alone."
    ]
    limited = small_stages.context(run.run.directory, *RUN, "limits.max_batches=1")
    assert evaluator_config(limited)["objectives"]["error"]["recipe"]["max_batches"] == 1
