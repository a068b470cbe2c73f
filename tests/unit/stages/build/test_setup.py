"""What a config is about is built when it is asked for, and once; how a run is told from others."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_run
import small_stages
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from evonas import schema
from evonas.run import Run
from evonas.schema import Budget
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.setup import RunMode, Setup, complete, mode_of
from evonas.stages.search import Search
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.supernet import Supernet
from evonas.tasks.depth import Depth

PARTS = (Space, Depth, EvoNet, Supernet)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many of each part were made since the test began."""
    count = Counter[str]()

    def counted(part: type, init: Callable[..., None]) -> Callable[..., None]:
        def begin(self: Any, *args: Any, **kwargs: Any) -> None:
            count[part.__name__] += 1
            init(self, *args, **kwargs)

        return begin

    for part in PARTS:
        monkeypatch.setattr(part, "__init__", counted(part, part.__init__))
    return count


def test_parts_are_built_when_asked_for_and_once(made: Counter[str]) -> None:
    setup = Setup(small_run.config())
    assert not made
    assert setup.family is setup.family
    assert setup.family.space is setup.space
    assert made == {"Space": 1, "EvoNet": 1}
    assert setup.task is setup.task
    assert made == {"Space": 1, "EvoNet": 1, "Depth": 1}


def test_a_context_has_one_setup(tmp_path: Path) -> None:
    context = small_run.context(tmp_path)
    assert context.setup is context.setup
    assert context.setup.cfg is context.cfg


@pytest.mark.parametrize(("batch_size", "tasks"), [(8, 1), (None, 2)])
def test_the_driver_of_a_search_builds_no_part_twice(
    tmp_path: Path, made: Counter[str], batch_size: int | None, tasks: int
) -> None:
    searcher = {"_target_": "evonas.search.baselines.random.RandomSearch", "population": 2, "evaluations": 2}
    trained = small_run.context(
        tmp_path,
        budget=OmegaConf.structured(Budget(2, 2)),
        search=searcher,
        objective={"error": {"_target_": "evonas.objectives.error.Error"}},
        tracker={"_target_": "evonas.track.base.Silent"},
    )
    small_run.train(trained)
    trained.cfg.hardware.eval_batch_size = batch_size
    # a process of its own, whose parts are not counted
    trained.cfg.hardware.workers = 1
    made.clear()
    Search().run(Context(trained.cfg, Run(tmp_path, "synthetic")))
    # one task is the evaluator's, whose identity names the data
    assert made == {"Space": 1, "EvoNet": 1, "Depth": tasks}


@pytest.mark.parametrize(
    ("settings", "mode", "has_network"),
    [
        ({}, RunMode.SUPERNET, True),
        ({"networks": None, "multi_task_runs": None, "evaluator": None}, RunMode.SUPERNET, True),
        ({"networks": "run:a#knee"}, RunMode.NAMED, True),
        ({"multi_task_runs": []}, RunMode.JOINT, False),
        ({"evaluator": {"_target_": "evaluator/table"}}, RunMode.TABLE, False),
        ({"evaluator": {"_target_": "evaluator/table"}, "networks": "x"}, RunMode.TABLE, False),
        ({"multi_task_runs": ["a", "b"], "networks": "x"}, RunMode.JOINT, False),
    ],
)
def test_the_mode_of_a_run(settings: dict[str, Any], mode: RunMode, has_network: bool) -> None:
    found = mode_of(OmegaConf.create(settings))
    assert found is mode
    assert found.has_network == has_network


def test_options_of_spaces_are_named_by_identities_only_where_they_are_used() -> None:
    def completed(*more: str) -> Any:
        schema.register()
        with initialize_config_dir(str(small_stages.CONF), version_base="1.3"):
            words = ["+task=synthetic", "network=timm", "network.name=test_resnet", *more]
            cfg = compose("config", overrides=words)
        complete(cfg)
        return cfg

    plain, given = completed(), completed("space.streams=[0.5,1.0]")
    # runs were recorded before there were streams
    assert "streams" not in plain.space and "streams" not in OmegaConf.to_container(plain.network)["space"]
    assert given.space.streams == [0.5, 1.0]
    assert plain.network.structure == completed("space.streams=[1.0]").network.structure
    assert plain.network.structure != given.network.structure
