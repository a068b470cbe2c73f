"""Every file of conf/sampler trains in the real stage, and stage=cost_levels lists what the walk draws from."""

import shutil
from pathlib import Path

import pytest
import small_stages
import small_supernet
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from evonas import files, schema
from evonas.config import build
from evonas.errors import UserError
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.cost_levels import CostLevels
from evonas.stages.pretrain import Pretrain
from evonas.stages.run import Pipeline
from evonas.stages.search import Search
from evonas.stages.supernet import Supernet
from evonas.stages.training.supernet_trainer import SupernetTrainer
from evonas.supernets.supernet import extract
from evonas.train.distillation.inplace import InPlaceDistillation
from evonas.train.optim.gradient_merge import Merge, PcGrad
from evonas.train.sampling.complexity_aware import ComplexityAwareSampler

OPTIONS = (
    "data.train=8",
    "data.validation=2",
    "data.test=1",
    "train.panel_random=0",
    "train.supernet.batch_size=4",
    "limits.max_epochs=1",
    "distill=none",
    "tracker=csv",
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with starting weights."""
    folder = tmp_path_factory.mktemp("started")
    Pretrain().run(small_stages.context(folder, *OPTIONS))
    return folder


# what differs from another in its distillation or merging alone, or takes longer
SLOW = ("alphanet", "nasvit", "best_up", "worst_up", "ofa_nano")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in small_supernet.NAMES
        if name != "ofa"
    ],
)
def test_every_strategy_trains_in_its_stage(started: Path, tmp_path: Path, name: str) -> None:
    more = {
        "sandwich": ["+sampler/merge=monitored_sum"],
        "nsas": [],
        "alphanet": [],
        "nasvit": [],
        "ofa_nano": [],
    }
    levels = more.get(name, ["+sampler.strategy.size=16", "sampler.strategy.levels=3"])
    levels = ["+sampler.strategy.levels=3", *levels[:1]] if name.endswith("_up") else levels
    context = small_stages.context(
        tmp_path, *OPTIONS, "train.supernet.max_batches=1", f"sampler={name}", *levels, inputs=started
    )
    assert "Supernet" in Supernet().run(context)
    panel = files.read_json(tmp_path / "supernet/panel.json")
    assert all(row["metrics"]["abs_rel"] > 0 for step in panel["steps"] for row in step["panel"])
    if name == "performance_aware":
        again = Run(tmp_path, "synthetic", resume=True, inputs=started)
        assert "is trained" in Supernet().run(Context(context.cfg, again))


def test_what_a_later_step_cannot_do_is_said_before_the_first(started: Path, tmp_path: Path) -> None:
    shutil.copytree(started, tmp_path, dirs_exist_ok=True)
    steps = "sampler.steps=[{name: a, num_subnets: 2, epochs: 1},{name: b, num_subnets: 1, epochs: 1}]"
    made = small_stages.context(tmp_path, *OPTIONS, "sampler=complexity_aware", steps)
    with pytest.raises(UserError, match="step 'b' leaves no subnet to sample"):
        Supernet().run(made)
    assert not list(tmp_path.glob("supernet/*.safetensors"))
    # a whole pipeline says it before it has trained a teacher
    fresh = small_stages.context(tmp_path / "fresh", *OPTIONS, "sampler=complexity_aware", steps)
    with pytest.raises(UserError, match="step 'b' leaves no subnet to sample"):
        Pipeline({"pretrain": Pretrain(), "supernet": Supernet()}).run(fresh)
    twins = "+objective.flops={_target_: evonas.objectives.analytic_costs.Macs}"
    fresh = small_stages.context(tmp_path / "fresh", *OPTIONS, "objective=[error,macs]", twins)
    with pytest.raises(UserError, match=r"objective\.macs and objective\.flops are both called 'macs'"):
        Pipeline({"pretrain": Pretrain(), "supernet": Supernet(), "search": Search()}).run(fresh)
    assert not list(tmp_path.glob("fresh/**/*.safetensors"))


def test_a_random_teacher_is_warned_of(
    started: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(started, tmp_path, dirs_exist_ok=True)
    steps = "sampler.steps=[{name: free, num_subnets: 2, epochs: 1}]"
    Supernet().run(small_stages.context(tmp_path, *OPTIONS, "sampler=sandwich", steps))
    assert "step 'free' others learn from a random subnet" in caplog.text


def test_a_strategy_is_part_of_the_question(started: Path, tmp_path: Path) -> None:
    def identity(*choice: str) -> object:
        context = small_stages.context(tmp_path, *OPTIONS, *choice, inputs=started)
        return SupernetTrainer(context, "supernet", None).identity()

    assert identity("sampler=sandwich") != identity("sampler=sandwich", "sampler/inplace_distillation=alpha")
    assert set(identity("sampler=uniform")["steps"][0]) & {"draw", "lesson", "merge"} == set()


def test_distillation_and_merges_go_with_any_curriculum() -> None:
    schema.register()
    with initialize_config_dir(str(small_stages.CONF), version_base="1.3"):
        words = [
            "+task=synthetic",
            "network=nano",
            "+sampler/inplace_distillation=previous_step",
            "+sampler/merge=pcgrad",
        ]
        cfg = compose("config", overrides=words)
    made = factory.curriculum(cfg, Setup(cfg).space)
    assert len(made.steps) == 5 and made.strategy is None
    assert made.inplace_distillation is not None and made.inplace_distillation.needs_initial_network
    assert isinstance(made.merge, PcGrad)


@pytest.mark.parametrize("number", [0, 4])
def test_a_network_that_is_kept_to_teach_has_statistics_of_its_own(
    number: int, started: Path, tmp_path: Path
) -> None:
    words = (*OPTIONS, "sampler=ofa_nano", f"train.bn_calibration_images={number}")
    context = small_stages.context(tmp_path, *words, inputs=started)
    walk = SupernetTrainer(context, "supernet", None)
    step = walk.curriculum.steps[2]
    assert walk._initial_network(0, step) is None
    kept = walk._initial_network(2, step)
    assert kept is not None
    shared = extract(walk.net, walk.curriculum.sampler(step).corner("largest"))
    same = [torch.equal(one, other) for one, other in zip(kept.buffers(), shared.buffers(), strict=True)]
    assert all(same) == (number == 0)
    assert all(map(torch.equal, kept.parameters(), shared.parameters()))


@pytest.mark.parametrize("path", sorted(small_supernet.CONF.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_every_distillation_and_merge_can_be_made(path: Path) -> None:
    made = build(OmegaConf.load(path))
    assert isinstance(made, InPlaceDistillation if path.parent.name == "inplace_distillation" else Merge)


def test_levels_are_those_of_the_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = [f"sampler.strategy.{each}" for each in ("levels=4", "window=0.2", "groups=2")]
    context = small_stages.context(
        tmp_path, *OPTIONS, "sampler=complexity_aware", *plan, "+sampler.strategy.size=64"
    )
    path = Path(CostLevels(levels=4, window=0.2, size=64, groups=2).run(context))
    assert path == tmp_path / "levels/levels.json"
    written = files.read_json(path)
    walk = SupernetTrainer(context, "supernet", None)
    sampler = walk.curriculum.training_sampler(walk.curriculum.steps[0], walk._costs, 10)
    assert isinstance(sampler, ComplexityAwareSampler)
    assert [level["macs"] for level in written["levels"]] == [level.macs for level in sampler.table.levels]
    for mine, theirs in zip(written["levels"], sampler.table.levels, strict=True):
        assert walk.net.space.parse(mine["smallest"]) == theirs.smallest
        assert [[int(gene) for gene in row] for row in mine["rows"]] == theirs.rows.tolist()
    assert capsys.readouterr().out.count("subnets, smallest") == len(written["levels"])
    assert written["input_size"] == [32, 32] and written["low"] < written["high"]
