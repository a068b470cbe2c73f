"""stage=export: files that stand for themselves."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch

import evonas
from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.nn.classifier import Classifier
from evonas.nn.extract import StaticNet, extract
from evonas.stages import assembly, export
from evonas.stages.base import Context
from evonas.stages.export import Export
from evonas.stages.exported import CONFIG, FORMAT, MODEL, describe, load_exported
from evonas.stages.select import Select

FRESH = """
import sys, torch
from pathlib import Path
from evonas.stages.exported import load_exported
folder = Path(sys.argv[1])
torch.save(load_exported(folder)(torch.load(folder / "images.pt", weights_only=True)), folder / "outputs.pt")
print("lightning" in sys.modules or "hydra.main" in sys.modules)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Context:
    context = small_run.context(tmp_path_factory.mktemp("runs") / "run")
    context.cfg.select.rules, context.cfg.select.include_max = ["knee"], False
    small_run.search(context)
    small_run.train(context)
    Select().run(context)
    small_run.retrain(context)
    assert "ONNX differs from torch" in Export().run(context)
    return context


@pytest.fixture(scope="module")
def folder(made: Context) -> Path:
    return made.run.need("export/knee", made_by="export")


def retrained(made: Context) -> torch.nn.Module:
    (net,) = files.read_json(made.run.need("selected.json", made_by="select"))["nets"]
    supernet = assembly.load_supernet(made)
    static = extract(supernet, supernet.space.parse(net["genotype"]))
    assembly.load_into(static, made.run.need("retrain/knee/model.safetensors", made_by="retrain"))
    return static.eval()


def test_the_library_loads_by_run_and_name(made: Context, folder: Path) -> None:
    outputs, name = made.run.directory.parent, made.run.name
    (made.run.directory / "run.json").touch()
    images = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    for net in (evonas.load(f"run:{name}#knee", outputs), evonas.load(folder)):
        assert isinstance(net, StaticNet) and not net.training
        assert torch.equal(net(images), load_exported(folder)(images))
    with pytest.raises(UserError, match="has exported no 'nobody'") as caught:
        evonas.load(f"run:{name}#nobody", outputs)
    assert caught.value.hint == "It has: knee"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        evonas.lode  # noqa: B018


def test_a_fresh_process_gives_the_same_outputs(made: Context, folder: Path) -> None:
    images = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    torch.save(images, folder / "images.pt")
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    with torch.no_grad():
        expected = retrained(made)(images)
    found = torch.load(folder / "outputs.pt", weights_only=True)
    assert (found - expected).abs().max() <= 1e-6


def test_onnx_gives_the_same_outputs_for_any_batch(made: Context, folder: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    net = retrained(made)
    for count in (1, 3):
        images = torch.randn(count, 3, 32, 64, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            expected = net(images).numpy()
        (found,) = session.run(None, {"image": images.numpy()})
        assert np.abs(found - expected).max() <= 1e-4
    assert files.read_json(folder / "config.json")["onnx_difference"] <= 1e-4


def test_config_and_card_tell_the_facts(folder: Path) -> None:
    config = files.read_json(folder / "config.json")
    assert config["sha256"] == files.sha256(folder / "model.safetensors")
    assert config["task"] == "synthetic" and config["input_size"] == [32, 64]
    assert config["holdout"]["abs_rel"] == 0.3 and config["test"] is None
    assert "_target_" not in json.dumps(config)
    card = (folder / "README.md").read_text()
    assert (
        config["genotype"] in card and config["sha256"] in card and "Not measured on the test split" in card
    )


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("config.json", "model.safetensors", "model.safetensors.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


@pytest.mark.parametrize("norm", [False, True])
def test_a_classifier_is_built_again(made: Context, tmp_path: Path, norm: bool) -> None:
    trunk = retrained(made).backbone
    net = StaticNet(trunk, Classifier(trunk.levels, 5, norm=norm, seed=1)).eval()
    digest = weights.save(tmp_path / MODEL, net.state_dict())
    files.write_json(tmp_path / CONFIG, {**describe(net), "format": FORMAT, "sha256": digest})
    images = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = load_exported(tmp_path)(images), net(images)
    assert found.shape == (2, 5) and torch.equal(found, expected)


def test_an_altered_file_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path / "copy")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        load_exported(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"architecture": [{"blocks": [1]}]},
        {"network": {"_target_": "os.system"}},
        {"head": None},
        {"head": {"kind": "no_such_head"}},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    copy = copied(folder, tmp_path / "copy")
    files.write_json(copy / "config.json", {**files.read_json(copy / "config.json"), **change})
    with pytest.raises(DataError):
        load_exported(copy)


def test_an_empty_folder_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no exported network"):
        load_exported(tmp_path)


def test_without_onnx_it_says_what_to_install(
    made: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    about = {
        "name": "knee",
        "run": "r",
        "task": "t",
        "input_size": [32, 64],
        "genotype": "g",
        "error_name": "e",
    }
    line = export.export(
        retrained(made), tmp_path, {**about, "objectives": {}, "holdout": None, "test": None}
    )
    assert "pip install 'evonas[export]'" in line
    assert not (tmp_path / "model.onnx").exists() and load_exported(tmp_path)


def test_a_network_that_is_not_retrained_names_the_command(tmp_path: Path) -> None:
    context = small_run.context(tmp_path / "run")
    small_run.search(context)
    Select().run(context)
    with pytest.raises(UserError) as caught:
        Export().run(context)
    assert "stage=retrain run=run" in caught.value.hint
