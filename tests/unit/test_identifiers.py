"""Ids of what configs name: complete, unique, and good for everything that a path is good for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_run

from evonas import config
from evonas.config import conf_dir
from evonas.errors import UserError
from evonas.identifiers import (
    FIRST_RELEASE,
    MOVED,
    as_first_release,
    identified,
    identifier,
    named,
    naming_of,
    present_path,
)
from evonas.objectives.evaluator import Evaluator
from evonas.run import _question
from evonas.search.loop.evaluation import Full
from evonas.space.space import Space
from evonas.track.base import GuardedTracker

SUPERNET = {
    "_target_": "evaluator/supernet",
    "space": {"_target_": "evonas.space.evonet.evonet_space"},
    "network": {"_target_": "network/evonet"},
    "task": config.to_plain(small_run.config().task),
    "weights": "none",
}
SILENT = "evonas.track.base.Silent"
_TARGET = re.compile(r"_target_['\"]?\s*:\s*['\"]?(evonas\.\w[\w.]*\w)")


def written() -> Iterator[str]:
    """Every target that a file of ours names."""
    paths = [*conf_dir().rglob("*.yaml"), *Path(config.__file__).parent.rglob("*.py")]
    for path in paths:
        yield from _TARGET.findall(path.read_text(encoding="utf-8"))


def test_every_target_of_ours_has_an_id() -> None:
    found = set(written())
    assert len(found) > 120
    assert {target for target in found if identifier(target) not in FIRST_RELEASE} == set()


def test_ids_are_short_words_and_unique() -> None:
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9_]+", name) for name in FIRST_RELEASE)
    assert set(MOVED) <= set(FIRST_RELEASE)
    paths = [*FIRST_RELEASE.values(), *(path for name, path in MOVED.items() if path != FIRST_RELEASE[name])]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("name", FIRST_RELEASE)
def test_every_id_is_a_public_object(name: str) -> None:
    found = config.allowed(name)
    assert found is config.allowed(present_path(name)) is config.allowed(FIRST_RELEASE[name])


def test_both_namings_are_inverse_and_leave_strangers_alone() -> None:
    paths: dict[str, Any] = {
        "_target_": "evonas.search.guided.GuidedSearch",
        "surrogate": [{"_target_": "evonas.search.interpolants.RBF", "note": "evonas.search.nsga.NSGA2"}],
        "proposer": {"_target_": "climber.search.Climber", "inner": {"_target_": SILENT}},
        "optimizer": {"_target_": "torch.optim.Adam"},
        "number": 3,
    }
    ids = identified(paths)
    assert ids["_target_"] == "search/guided"
    assert ids["surrogate"] == [{"_target_": "surrogate/rbf", "note": "evonas.search.nsga.NSGA2"}]
    assert ids["proposer"] == {"_target_": "climber.search.Climber", "inner": {"_target_": "tracker/none"}}
    assert ids["optimizer"] == {"_target_": "torch.optim.Adam"} and ids["number"] == 3
    assert identified(ids) == ids and as_first_release(paths) == paths == as_first_release(ids)


def test_what_has_moved_is_found_under_all_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    now = "evonas.track.base.GuardedTracker"
    monkeypatch.setitem(MOVED, "tracker/none", now)
    for target in ("tracker/none", SILENT, now):
        assert config.allowed(target) is GuardedTracker
        assert identified({"_target_": target}) == {"_target_": "tracker/none"}
        assert as_first_release({"_target_": target}) == {"_target_": SILENT}


def test_ids_build_at_any_depth_and_nothing_of_the_caller_is_changed() -> None:
    node = {"_target_": "evaluator/analytic", "space": {"_target_": "space/evonet"}, "_partial_": True}
    before = json.dumps(node)
    assert isinstance(config.build(node)()._space, Space)
    assert isinstance(config.build({"_target_": "evaluate/full"}), Full)
    assert json.dumps(node) == before


def test_what_stays_config_is_left_as_it_is_written() -> None:
    objectives = {"macs": {"_target_": "evonas.objectives.analytic_costs.Macs"}}
    made = config.build({**SUPERNET, "_recursive_": False, "objectives": objectives})
    assert made.identity("shared")["space"] == SUPERNET["space"]
    assert made.identity("shared")["network"] == SUPERNET["network"]


@pytest.mark.parametrize("target", ["tracker/nonesuch", "space/../os", "/", "tracker/none.__init__"])
def test_what_only_looks_like_an_id_is_refused(target: str) -> None:
    with pytest.raises(UserError, match="is not allowed"):
        config.build({"_target_": target})


def test_an_archive_says_how_it_names() -> None:
    about = {"searcher": {"_target_": "evonas.search.nsga.NSGA2"}}
    assert naming_of(named(about, identified)) is identified
    assert named(about, as_first_release) == about and naming_of(about) is as_first_release


def test_a_space_within_a_network_is_no_part_of_identities() -> None:
    cfg = small_run.config()
    plain = config.to_plain(cfg)
    repeated = {**plain["network"], "space": plain["space"]}

    def prints(network: dict[str, Any]) -> str:
        objectives = {"params": {"_target_": "objective/params"}}
        return Evaluator(plain["space"], network, plain["task"], objectives, "none").fingerprint("shared")

    assert prints(repeated) == prints(plain["network"])
    before = _question(cfg, [])
    cfg.network = repeated
    assert _question(cfg, []) == before and "space" not in before["network"]
