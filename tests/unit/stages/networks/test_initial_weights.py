"""networks=: networks of other runs, archives and texts, and the weights that they bring to another task."""

from pathlib import Path

import pytest
import small_run
import small_stages
import torch
from omegaconf import OmegaConf

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.networks import selected
from evonas.stages.networks.initial_weights import initial_network, load_initial_supernet
from evonas.stages.networks.references import NetworkRef, referenced_networks
from evonas.stages.pretrain import Pretrain
from evonas.stages.retrain import Retrain
from evonas.stages.run import is_wanted, settings
from evonas.stages.select import Select

TEXT = "tiny:m=3,0.5,3,2/s=16,32,32/e=4,1,4/d=1.1.10.1"
OTHER = "tiny:m=4,2,4,3/s=32,32,48/e=3,2,3/d=1.1.11.1"


def source(folder: Path, retrained: bool = True, **nets: str) -> Context:
    """A run that chose networks and retrained them."""
    made = small_run.context(folder)
    about = dict.fromkeys(("task", "seed", "space", "network", "data"))
    files.write_json(folder / "run.json", {"created": f"2026-01-0{_number(folder)}", **about})
    entries = [
        {"name": name, "genotype": text, "objectives": {}, "reason": "-"} for name, text in nets.items()
    ]
    files.write_json(folder / "selected.json", {"error_name": "abs_rel", "nets": entries})
    small_run.train(made)
    if retrained:
        small_run.retrain(made)
    return made


def _number(folder: Path) -> int:
    return len(list(folder.parent.iterdir()))


def asking(folder: Path, genotype: object, **changes: object) -> Context:
    """A fresh run of other outputs that is given networks."""
    return small_run.context(folder, networks=genotype, **changes)


def test_a_run_is_asked_by_name(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT, max=OTHER)
    [net] = referenced_networks(asking(tmp_path / "b", "run:a#knee"))
    assert net == NetworkRef(
        "knee", TEXT, "knee of run a", "a", tmp_path / "a/retrain/knee/model.safetensors"
    )
    assert [each.name for each in referenced_networks(asking(tmp_path / "b", "run:a#all"))] == ["knee", "max"]


@pytest.mark.parametrize("way", ["{0}/a#max", "{0}/a/selected.json#max"])
def test_a_folder_and_a_file_mean_the_same(way: str, tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT, max=OTHER)
    [net] = referenced_networks(asking(tmp_path / "b", way.format(tmp_path)))
    assert (net.name, net.genotype, net.source_run) == ("max", OTHER, "a")
    assert net.weights is not None


def test_an_archive_is_asked_by_a_rule(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "a")
    small_run.search(made)
    path = tmp_path / "a/search/archive.sqlite"
    [knee] = referenced_networks(asking(tmp_path / "b", f"{path}#knee"))
    assert (knee.name, knee.genotype, knee.weights) == ("knee", TEXT, None)
    [cheap] = referenced_networks(asking(tmp_path / "b", f"{path}#macs<=0.7"))
    assert cheap.name == "budget"
    with pytest.raises(UserError, match="many networks") as caught:
        referenced_networks(asking(tmp_path / "b", str(path)))
    assert "#knee" in caught.value.hint


def test_a_text_is_a_network_and_a_list_several(tmp_path: Path) -> None:
    [net] = referenced_networks(asking(tmp_path / "b", TEXT))
    assert (net.name, net.genotype, net.weights) == ("given", TEXT, None)
    both = referenced_networks(asking(tmp_path / "b", [TEXT, OTHER]))
    assert [each.name for each in both] == ["given1", "given2"]


def test_equal_names_are_told_apart_by_their_runs(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT, max=OTHER)
    source(tmp_path / "b", knee=OTHER)
    found = referenced_networks(
        asking(tmp_path / "c", OmegaConf.create(["run:a#knee", "run:b", "run:a#max"]))
    )
    assert [each.name for each in found] == ["a_knee", "b_knee", "max"]
    with pytest.raises(UserError, match="a_knee twice"):
        referenced_networks(asking(tmp_path / "c", ["run:a#knee", "run:a#knee"]))


def test_last_is_the_newest_other_run(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT)
    source(tmp_path / "b", knee=OTHER)
    own = source(tmp_path / "c", knee=TEXT)
    own.cfg.networks = "run:last"
    assert referenced_networks(own)[0].source_run == "b"
    own.cfg.networks = "run:c"
    with pytest.raises(UserError, match="this run itself"):
        referenced_networks(own)


@pytest.mark.parametrize(
    ("genotype", "said", "hinted"),
    [
        ("run:nobody#knee", "no run 'nobody'", "a"),
        ("run:a#spread1", "no network 'spread1'", "knee, max"),
        ("run:a", "several networks: knee, max", "run:a#knee"),
        ("nowhere/selected.json", "There is no nowhere/selected.json", "networks="),
        ("run:none", "has chosen no network yet", "stage=select run=none"),
        ("run:broad#knee", "space evonet, and this run's space is tiny", "space=evonet network=evonet"),
        ("tiny:m=9,0.5,3,2/s=16,32,32/e=4,1,4/d=1.1.10.1", "m1", "4"),
        ("evonet:m=1", "not a point of space tiny", "tiny:m="),
        # longer than a file's name may be
        ("x" * 5000, "not a point of space tiny", "tiny:m="),
    ],
)
def test_what_cannot_be_meant_is_said(genotype: str, said: str, hinted: str, tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT, max=OTHER)
    source(tmp_path / "broad", retrained=False, knee=TEXT)
    entry = {"name": "knee", "genotype": TEXT.replace("tiny", "evonet"), "objectives": {}}
    files.write_json(tmp_path / "broad/selected.json", {"nets": [entry]})
    source(tmp_path / "none", retrained=False, knee=TEXT)
    (tmp_path / "none/selected.json").unlink()
    with pytest.raises(UserError) as caught:
        referenced_networks(asking(tmp_path / "b", genotype))
    assert said in caught.value.message and hinted in caught.value.hint


@pytest.mark.parametrize("content", ["{", "[]", '{"nets": [{"name": "knee"}]}', '{"nets": 3}'])
def test_a_file_that_lists_no_networks_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "selected.json"
    path.write_text(content)
    with pytest.raises((DataError, UserError), match="list of networks"):
        referenced_networks(asking(tmp_path / "b", f"{path}#knee"))


def other_task(folder: Path, genotype: object, **changes: object) -> Context:
    """The same network under the head of another task."""
    made = asking(folder, genotype, **changes)
    made.cfg.task = {
        "_target_": "evonas.tasks.segmentation.Segmentation",
        "name": "scenes",
        "data": small_run.DATA,
        "head": small_run.HEAD,
        "classes": ["sky", "ground", "wall", "sphere", "box", "cylinder"],
    }
    return made


def test_the_backbone_comes_along_and_the_head_is_fresh(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT, max=OTHER)
    made = other_task(tmp_path / "b", "run:a#knee")
    Pretrain().run(made)
    Select().run(made)
    [net] = selected.selected_networks(made.run)
    static = initial_network(made.run, load_initial_supernet(made), net)
    theirs = weights.load(tmp_path / "a/retrain/knee/model.safetensors")
    fresh = weights.load(tmp_path / "b/pretrain/supernet.safetensors")
    for name, tensor in static.state_dict().items():
        wanted = theirs[name] if name.startswith("backbone.") else fresh[name]
        assert torch.equal(tensor, wanted), name
    assert theirs["head.predict.weight"].shape != static.head.predict.weight.shape


def test_the_run_keeps_what_it_took(tmp_path: Path) -> None:
    """What becomes of the other run afterwards does not matter."""
    source(tmp_path / "a", knee=TEXT)
    made = other_task(tmp_path / "b", "run:a")
    Pretrain().run(made)
    Select().run(made)
    (tmp_path / "a/retrain/knee/model.safetensors").unlink()
    [net] = selected.selected_networks(made.run)
    assert net.transferred["from"] == "knee of run a"
    initial_network(made.run, load_initial_supernet(made), net)


def kept(made: Context) -> dict[str, str]:
    """Select, and what is noted of the weights."""
    Pretrain().run(made)
    Select().run(made)
    return dict(selected.selected_networks(made.run)[0].transferred)


def test_weights_that_the_run_has_come_first_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT)
    assert kept(other_task(tmp_path / "b", "run:a"))
    assert not kept(other_task(tmp_path / "c", "run:a", transfer=False))
    trained = other_task(tmp_path / "d", "run:a")
    weights.save(trained.run.path(factory.SUPERNET), factory.supernet(trained.setup).state_dict())
    assert not kept(trained)
    trained.cfg.transfer = True
    assert kept(trained)


def test_starting_weights_of_a_file_come_before_those_of_the_other_run(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT)
    made = other_task(tmp_path / "b", "run:a")
    Pretrain(str(tmp_path / "a" / factory.SUPERNET)).run(made)
    Select().run(made)
    assert not selected.selected_networks(made.run)[0].transferred


def test_weights_that_are_wanted_must_be_there_and_fit(tmp_path: Path) -> None:
    source(tmp_path / "a", retrained=False, knee=TEXT)
    assert not kept(other_task(tmp_path / "b", "run:a"))
    with pytest.raises(UserError, match="knee of run a was never retrained") as caught:
        kept(other_task(tmp_path / "c", "run:a", transfer=True))
    assert "stage=retrain run=a" in caught.value.hint
    source(tmp_path / "d", knee=TEXT)
    wide = other_task(tmp_path / "e", "run:d")
    wide.cfg.network.dims = [16, 16, 16, 16]
    with pytest.raises(DataError, match="knee of run d do not fit") as refused:
        kept(wide)
    assert "transfer=false" in refused.value.hint


def test_only_what_is_given_is_kept_and_nothing_is_searched(tmp_path: Path) -> None:
    source(tmp_path / "a", knee=TEXT)
    made = asking(tmp_path / "b", "run:a")
    made.cfg.select.genotypes = {"mine": OTHER}
    assert made.cfg.select.rules and made.cfg.select.include_max
    Pretrain().run(made)
    Select().run(made)
    assert [net.name for net in selected.selected_networks(made.run)] == ["mine", "knee"]
    wanted = [
        name for name in ("pretrain", "supernet", "search", "select", "retrain") if is_wanted(made.cfg, name)
    ]
    assert wanted == ["pretrain", "select", "retrain"]


def test_runs_from_before_there_were_given_networks_are_still_done() -> None:
    cfg = small_stages.composed()
    assert set(settings(cfg, "select")) == {"select", "stage.steps.select"}
    cfg.networks = "run:a"
    assert settings(cfg, "select")["genotype"] == "run:a"


def test_another_network_of_the_same_name_is_trained_again(tmp_path: Path) -> None:
    """The identity of a retraining holds the weights that it started from."""
    source(tmp_path / "a", knee=TEXT)
    small = ("data.train=4", "data.validation=2", "data.test=2", "distill=none", "train.retrain.epochs=1")
    made = small_stages.context(tmp_path / "b", *small, "tracker=csv", "space.name=tiny", resume=True)
    made.cfg.space = small_run.config().space
    made.cfg.network = small_run.config().network
    made.cfg.networks = "run:a"
    metas = []
    for transfer in (None, False):
        made.cfg.transfer = transfer
        Pretrain().run(made)
        Select().run(made)
        Retrain().run(made)
        metas.append(weights.load_meta(tmp_path / "b/retrain/knee/model.safetensors")["identity"])
    assert "transferred" in metas[0] and "transferred" not in metas[1]
