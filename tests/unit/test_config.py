"""The one door to objects, and what never leaves: secrets."""

import functools
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from evonas import config
from evonas.errors import UserError
from evonas.track.base import Silent

SILENT = {"_target_": "evonas.track.base.Silent"}
GIVEN: dict[str, Any] = {"folder": Path(), "run": "r", "stage": "s"}

HOSTILE = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "pathlib.Path.write_text",
    "shutil.copy",
    "webbrowser.open",
    "evonas.search.os.getcwd",
    "evonas.track.console.os.system",
    "evonas.track.csv.Path",
    "evonas.track.csv.csv.writer",
    "evonas.search.base.Sequence",
    "evonas.files.write_text",
    "evonas.config.build",
    "evonas.weights.load",
    "evonas.cli.main",
    "evonas.data.io.safe.open_image",
    "evonas.track.base",
    "evonas.track.progress._bar",
    "evonas.track.base.Silent.__init__",
    "evonas.track.base.Silent.__class__",
    "evonas.track.base.Silent.scalars",
    "torch.load",
    "torch.hub.load",
    "torch.optim.sgd.torch.load",
    "torch.optim.lr_scheduler.warnings.warn",
    "torchmetrics.os.system",
    "evonas..track",
    "evonas.track.base.Silent; import os",
    "",
    7,
    None,
    ["evonas.track.base.Silent"],
]


@pytest.mark.parametrize("target", HOSTILE, ids=str)
@pytest.mark.parametrize("place", ["root", "nested", "in a list", "partial", "interpolated"])
def test_hostile_targets_are_refused(target: Any, place: str) -> None:
    bad = {"_target_": target}
    node = {
        "root": bad,
        "nested": {**SILENT, "folder": {"deep": bad}},
        "in a list": {**SILENT, "folder": [1, [bad]]},
        "partial": {**bad, "_partial_": True},
        "interpolated": OmegaConf.create({"bad": target, "node": {"_target_": "${bad}"}}),
    }[place]
    with pytest.raises(UserError):
        config.build(node["node"] if place == "interpolated" else node)


def test_hostile_targets_have_no_effect(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    node = {
        "_target_": "pathlib.Path.write_text",
        "_args_": [{"_target_": "pathlib.Path", "_args_": [str(marker)]}, "x"],
    }
    with pytest.raises(UserError):
        config.build(node)
    assert not marker.exists()


def test_a_module_that_is_not_ours_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sneaky.py").write_text("import pathlib; pathlib.Path('imported').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        config.build({"_target_": "sneaky.Thing"})
    assert not Path("imported").exists()


def test_ours_is_built_from_plain_and_from_composed_config() -> None:
    assert isinstance(config.build(SILENT, **GIVEN), Silent)
    assert isinstance(config.build(OmegaConf.create(SILENT), **GIVEN), Silent)


def test_arguments_reach_the_object_as_they_are() -> None:
    made = config.build({**SILENT, "_partial_": True}, folder=GIVEN["folder"])
    assert isinstance(made, functools.partial)
    assert made.keywords["folder"] is GIVEN["folder"]


def test_config_among_the_arguments_is_data() -> None:
    hostile = {"_target_": "os.getcwd"}
    made = config.build({**SILENT, "_partial_": True}, folder=hostile)
    assert made.keywords["folder"] is hostile


def test_an_unknown_argument_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        config.build({**SILENT, "foldre": "x"}, run="r", stage="s")
    assert "folder" in caught.value.hint
    assert "evonas.track.base.Silent" in caught.value.message


BANKS = "evonas.train.sampling.performance_aware.PerformanceAwareSampling"
CURRICULUM = {"_target_": "evonas.train.curriculum.Curriculum", "chain": "best", "steps": [{"name": "a"}]}


@pytest.mark.parametrize("wrong", [{"exploit": [[], []]}, {"window": "wide"}])
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_value_of_the_wrong_kind_is_a_user_error(wrong: dict[str, object], is_nested: bool) -> None:
    draw = {"_target_": BANKS, **wrong}
    with pytest.raises(UserError, match=f"^{BANKS} cannot be made of its config: ") as caught:
        config.build({**CURRICULUM, "draw": draw} if is_nested else draw)
    assert "kinds" in caught.value.hint and isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("value", [0.5, "wide", 3])
def test_a_single_value_where_a_list_is_wanted_is_a_user_error(value: object) -> None:
    with pytest.raises(UserError, match=f"^{BANKS}: exploit={value} is not a list") as caught:
        config.build({"_target_": BANKS, "exploit": value})
    assert caught.value.hint == f"A list has brackets: exploit=[{value}]"


@pytest.mark.parametrize(
    "target", ["evonas.track.base.Sillent", "evonas.track.bass.Silent", "evonas.trackk.X"]
)
def test_a_target_that_is_not_there_is_a_user_error(target: str) -> None:
    with pytest.raises(UserError, match="trac"):
        config.build({"_target_": target})


def test_the_environment_is_read_by_paths_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "SECRETxyz")
    cfg = OmegaConf.create(
        {
            "paths": {"data": "${oc.env:PLANTED}"},
            "good": {**SILENT, "run": "${paths.data}"},
            "bad": {**SILENT, "run": "${oc.env:PLANTED}"},
            "sly": {**SILENT, "run": "${oc.decode:${oc.env:PLANTED}}"},
        }
    )
    assert config.to_plain(cfg.good)["run"] == "SECRETxyz"
    for name in ("bad", "sly"):
        with pytest.raises(UserError, match="environment") as caught:
            config.build(cfg[name])
        assert "SECRETxyz" not in str(caught.value)
    with pytest.raises(UserError, match="environment"):
        config.to_plain(cfg)


def test_an_escaped_interpolation_does_not_wake_up_later() -> None:
    cfg = OmegaConf.create({**SILENT, "run": r"\${oc.env:HOME}"})
    with pytest.raises(UserError):
        config.build(cfg)
    with pytest.raises(UserError, match="interpolation"):
        config.build({**SILENT, "run": "${oc.env:HOME}"})


def test_a_missing_value_is_a_user_error() -> None:
    with pytest.raises(UserError, match="x"):
        config.to_plain(OmegaConf.create({"x": "???"}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key", "SECRETxyz"),
        ("WANDB_API_KEY", "SECRETxyz"),
        ("key", "SECRETxyz"),
        ("password", "SECRETxyz"),
        ("auth-token", "SECRETxyz"),
        ("client_secret", "SECRETxyz"),
        ("url", "https://me:SECRETxyz@example.org/x"),
        ("note", "hf_SECRETxyz0123456789"),
        ("note", "ghp_SECRETxyz0123456789"),
        ("note", "tracker.password=SECRETxyz"),
        ("note", '{"api_key": "SECRETxyz"}'),
    ],
)
def test_secrets_are_hidden_wherever_they_are(key: str, value: str) -> None:
    hidden = config.redact({"a": [{key: value}], "b": (value if key == "note" else "",)})
    assert "SECRETxyz" not in str(hidden)


def test_a_hash_of_forty_signs_is_hidden() -> None:
    assert config.redact("sha " + "0123456789" * 4) == "sha ***"


@pytest.mark.parametrize(
    "value", ["num_keys=3", "max_tokens", "a" * 64, "key=seed", "monkey=1", 3, None, 2.5, True]
)
def test_ordinary_values_are_left_alone(value: Any) -> None:
    assert config.redact({"x": value}) == {"x": value}


def test_redact_does_not_change_its_argument() -> None:
    value = {"token": "t", "a": [1]}
    config.redact(value)
    assert value == {"token": "t", "a": [1]}
