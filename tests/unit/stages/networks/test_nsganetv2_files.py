"""Files of NSGANetV2 out of a run and into another: the archive, starting points, and weights of a network."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_run
import small_stages
import torch

from evonas import weights
from evonas.archive import Archive
from evonas.errors import DataError, UserError
from evonas.report.archive_reader import read
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.export import Export, write_foreign
from evonas.stages.networks.initial_weights import initial_network, load_initial_supernet
from evonas.stages.networks.references import referenced_networks, starting_points
from evonas.stages.networks.selected import need_retrained, selected_networks
from evonas.stages.pretrain import Pretrain
from evonas.stages.search import ARCHIVE, Search, write_search_file
from evonas.stages.select import Select
from evonas.supernets.supernet import extract

WORDS = (
    "+task=shapes",
    "network=ofa_nano",
    "head=mobilenet_v3",
    "space.resolutions=[32,48]",
    "data.train=8",
    "data.validation=8",
    "data.test=4",
    "objective=[error,macs]",
    "budget.population=4",
    "budget.evaluations=7",
    "select.rules=[knee]",
    "select.include_max=false",
    "train.bn_calibration_images=0",
    "hardware.engine=inline",
    "tracker=none",
    "distill=none",
)


def context(folder: Path, *words: str) -> Context:
    folder.mkdir(parents=True, exist_ok=True)
    return Context(small_stages.composed_alone(*WORDS, *words), Run(folder, "shapes"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Context:
    made = context(tmp_path_factory.mktemp("runs") / "first")
    small_run.train(made)
    Search().run(made)
    Select().run(made)
    small_run.retrain(made)
    write_search_file(made, made.run.path("export/."))
    supernet = load_initial_supernet(made)
    for net in selected_networks(made.run):
        static = extract(supernet, supernet.space.parse(net.genotype))
        factory.load_into(static, need_retrained(made.run, net))
        write_foreign(made, supernet, net, static, made.run.path(f"export/{net.name}/net.init").parent)
    return made


def _file(made: Context, name: str) -> Path:
    return made.run.need(f"export/{name}", made_by="export")


@pytest.mark.slow
def test_the_stage_writes_them(exported: Context) -> None:
    folder = exported.run.need("export", made_by="export")
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    Export().run(exported)
    assert {"iter_1.stats", "net.subnet", "net.config", "net.inherited", "net.init"} <= before.keys()
    for name in ("iter_1.stats", "net.subnet", "net.config"):
        assert next(folder.rglob(name)).read_bytes() == before[name]


def test_the_archive_is_written_as_nsganetv2_reads_it(exported: Context) -> None:
    results = read(exported.run.need(ARCHIVE, made_by="search"))
    # a first archive of four, and one batch of three
    written = json.loads(_file(exported, "iter_1.stats").read_text())
    beside = exported.run.need("search/iter_1.stats", made_by="search")
    assert json.loads(beside.read_text()) == written
    assert [entry[1:] for entry in written["archive"]] == [
        [pytest.approx(100 * error), pytest.approx(1e3 * macs)] for error, macs in results.values.tolist()
    ]
    assert set(written["archive"][0][0]) == {"ks", "e", "d", "r"}
    assert written["candidates"] == written["archive"][4:]


def test_a_search_begins_with_the_networks_of_an_archive(exported: Context, tmp_path: Path) -> None:
    path = _file(exported, "iter_1.stats")
    results = read(exported.run.need(ARCHIVE, made_by="search"))
    made = context(tmp_path / "second", f"start=[{str(path)!r}]")
    space = made.setup.space
    texts = [space.format(each) for each in starting_points(made)]
    assert set(texts) == set(results.genotypes)
    small_run.train(made)
    Search().run(made)
    found = read(made.run.need(ARCHIVE, made_by="search"))
    assert list(found.genotypes[:4]) == texts[:4]
    assert found.identity["start"] == texts
    # what another project measured is no fact here
    [knee] = starting_points(context(tmp_path / "third", f"start=[{str(path) + '#knee'!r}]"))
    assert space.format(knee) in results.genotypes
    named = context(tmp_path / "fourth", f"networks=[{str(path) + '#best:macs'!r}]")
    [cheapest] = referenced_networks(named)
    assert cheapest.genotype == results.genotypes[int(results.values[:, 1].argmin())]


def test_a_folder_of_a_search_is_read(exported: Context, tmp_path: Path) -> None:
    entries = json.loads(_file(exported, "iter_1.stats").read_text())["archive"]
    folder = tmp_path / "search"
    for number, (config, error, macs) in enumerate(entries):
        batch = folder / f"iter_{number // 4}"
        batch.mkdir(parents=True, exist_ok=True)
        (batch / f"net_{number % 4}.subnet").write_text(json.dumps(config))
        stats = {"params": 1.0, "flops": macs, "gpu": None, "cpu": None, "top1": 100 - error, "top5": 0}
        if number != 2:
            (batch / f"net_{number % 4}.stats").write_text(json.dumps(stats))
    (folder / "iter_0/run_bash.sh").write_text("touch executed")
    few = starting_points(context(tmp_path / "a", f"start={folder}"))
    assert len(few) == len(entries) - 1
    # the last file is the whole search
    for batch, count in ((2, 5), (10, len(entries))):
        content = {"archive": [*entries[:count], [entries[0][0], 100, 1000]]}
        (folder / f"iter_{batch}.stats").write_text(json.dumps(content))
    made = context(tmp_path / "b", f"networks=[{str(folder) + '#best:macs'!r}]")
    [cheapest] = referenced_networks(made)
    best = min(entries, key=lambda entry: entry[2])[0]
    assert made.setup.family.network_files(made.setup.space.parse(cheapest.genotype), None)["net.subnet"] == {
        **best,
        "w": 0.35,
    }


def test_weights_of_a_network_go_out_and_come_back(exported: Context, tmp_path: Path) -> None:
    retrained = weights.load(exported.run.need("retrain/knee/model.safetensors", made_by="retrain"))
    for name, factor in (("net.init", 1.0), ("net.inherited", 1.05)):
        made = context(tmp_path / name, f"networks=[{str(_file(exported, f'knee/{name}'))!r}]")
        Pretrain(train=False).run(made)
        Select().run(made)
        [net] = selected_networks(made.run)
        assert "with its weights" in made.run.need("selected.json", made_by="select").read_text()
        found = initial_network(made.run, load_initial_supernet(made), net).state_dict()
        # the retrained weights are 1.05 times those of the supernet; extracted kernels are the same functions of them
        assert found.keys() == retrained.keys()
        for key, tensor in found.items():
            expected = tensor * 1.05 if factor != 1.0 and tensor.is_floating_point() else tensor
            torch.testing.assert_close(retrained[key].to(expected.dtype), expected)


def test_a_head_for_other_classes_stays_fresh(exported: Context, tmp_path: Path) -> None:
    path = _file(exported, "knee/net.inherited")
    for name in ("net.subnet", "net.inherited"):
        (tmp_path / name).write_bytes(path.with_name(name).read_bytes())
    found = weights.load_foreign(path)
    found["classifier.linear.weight"] = torch.zeros(7, found["classifier.linear.weight"].shape[1])
    found["classifier.linear.bias"] = torch.zeros(7)
    weights.save_pickled(tmp_path / "net.inherited", found)
    made = context(tmp_path / "run", f"networks=[{str(tmp_path / 'net.inherited')!r}]")
    Pretrain(train=False).run(made)
    Select().run(made)
    [net] = selected_networks(made.run)
    assert set(net.transferred) == {"from", "sha256"}
    # transfer=false takes the network and leaves the weights
    alone = context(tmp_path / "alone", f"networks=[{str(tmp_path / 'net.inherited')!r}]", "transfer=false")
    Select().run(alone)
    assert selected_networks(alone.run)[0].transferred == {}


def test_files_that_cannot_be_read_are_refused(exported: Context, tmp_path: Path) -> None:
    def asked(text: str, *words: str) -> Any:
        return starting_points(context(tmp_path / "run", f"start=[{text!r}]", *words))

    path = _file(exported, "knee/net.inherited")
    lonely = tmp_path / "net.inherited"
    lonely.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"neither net\.subnet nor net\.config"):
        asked(str(lonely))
    with pytest.raises(UserError, match=r"There is no file .*iter_9\.stats"):
        asked(str(tmp_path / "iter_9.stats"))
    (tmp_path / "iter_3.stats").write_text("[]")
    with pytest.raises(DataError, match="is not a JSON object"):
        asked(str(tmp_path / "iter_3.stats"))
    stats = _file(exported, "iter_1.stats")
    with pytest.raises(UserError, match="has many networks"):
        referenced_networks(context(tmp_path / "run", f"networks=[{str(stats)!r}]"))
    with pytest.raises(UserError, match="are not read from files"):
        asked(str(stats), "network=nano_cnn", "head=classifier", "space.resolutions=[1.0]")
    with pytest.raises(UserError, match="not in the space"):
        asked(str(stats), "space.resolutions=[64]")
    content = json.loads(stats.read_text())
    content["archive"][0][0]["w"] = 1.2
    (tmp_path / "iter_4.stats").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"has network.width=1.2, not 0.35"):
        asked(str(tmp_path / "iter_4.stats"))
    (tmp_path / "net.subnet").write_bytes(path.with_name("net.subnet").read_bytes())
    lonely.write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    made = context(tmp_path / "run", f"networks=[{str(lonely)!r}]")
    with pytest.raises(DataError, match="holds tensors alone"):
        Select().run(made)


def test_a_search_whose_networks_all_failed_starts_none(tmp_path: Path) -> None:
    subnet = {"ks": [3] * 5, "e": [3] * 5, "d": [1] * 5, "r": 48}
    path = tmp_path / "iter_1.stats"
    path.write_text(json.dumps({"archive": [[subnet, 100, 1000]], "second_objective": "flops"}))
    with pytest.raises(UserError, match="has no network that was measured without a failure"):
        starting_points(context(tmp_path / "run", f"start=[{str(path)!r}]"))


def test_a_searcher_without_starting_points_says_so(exported: Context, tmp_path: Path) -> None:
    path = _file(exported, "iter_1.stats")
    made = context(tmp_path / "run", f"start=[{str(path)!r}]", "search=nested")
    small_run.train(made)
    with pytest.raises(UserError, match=r"\(NestedOrder\) takes no starting points"):
        Search().run(made)


def test_a_resumed_search_has_the_same_starting_points(exported: Context, tmp_path: Path) -> None:
    made = context(tmp_path / "run", f"start=[{str(_file(exported, 'iter_1.stats'))!r}]")
    small_run.train(made)
    Search().run(made)
    digest = Archive.read(made.run.need(ARCHIVE, made_by="search")).digest()
    again = Context(made.cfg, Run(made.run.directory, "shapes", resume=True))
    Search().run(again)
    assert Archive.read(again.run.need(ARCHIVE, made_by="search")).digest() == digest
    other = small_stages.composed_alone(*WORDS)
    with pytest.raises(UserError, match="start"):
        Search().run(Context(other, Run(made.run.directory, "shapes", resume=True)))
