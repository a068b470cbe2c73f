"""stage=export: files that stand for themselves."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import torch
import yaml

import evonas
from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.nn.classifier import Classifier
from evonas.stages import export
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.export import Export
from evonas.stages.networks import export_formats
from evonas.stages.networks.exported import CONFIG, FORMAT, MODEL, describe, load_exported
from evonas.stages.networks.model_card import card
from evonas.stages.select import Select
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import extract

FRESH = """
import sys, torch
from pathlib import Path
from evonas.stages.networks.exported import load_exported
folder = Path(sys.argv[1])
torch.save(load_exported(folder)(torch.load(folder / "images.pt", weights_only=True)), folder / "outputs.pt")
print("lightning" in sys.modules or "hydra.main" in sys.modules)
"""

INT8 = {"_target_": "evonas.runtimes.quantisation.Quantisation", "images": 2}
# what somebody has who never heard of evonas
STRANGER = """
import sys, torch
class NoEvonas:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("evonas", "timm", "lightning"):
            raise SystemExit(f"{name} was imported")
sys.meta_path.insert(0, NoEvonas())
net = torch.export.load("model.pt2").module()
for images in torch.load("images.pt", weights_only=True):
    torch.save(net(images), f"answer{len(images)}.pt")
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
    supernet = factory.load_supernet(made)
    static = extract(supernet, supernet.space.parse(net["genotype"]))
    factory.load_into(static, made.run.need("retrain/knee/model.safetensors", made_by="retrain"))
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


def test_a_loaded_network_answers_at_the_size_of_the_picture(folder: Path) -> None:
    assert evonas.load(folder)(torch.zeros(1, 3, 100, 130)).shape[-2:] == (100, 130)


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


def test_the_graph_runs_where_evonas_is_not(made: Context, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes((folder / "model.pt2").read_bytes())
    random = torch.Generator().manual_seed(2)
    asked = [torch.randn(count, 3, 32, 64, generator=random) for count in (1, 3)]
    torch.save(asked, tmp_path / "images.pt")
    words = [sys.executable, "-c", STRANGER]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    net = retrained(made)
    for images in asked:
        found = torch.load(tmp_path / f"answer{len(images)}.pt", weights_only=True)
        with torch.no_grad():
            assert (found - net(images)).abs().max() <= 1e-6
    assert files.read_json(folder / "config.json")["graph_difference"] <= 1e-6


def test_the_backbone_is_used_as_one_of_timm(folder: Path) -> None:
    images = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    net, whole = evonas.load(folder, features_only=True), evonas.load(folder)
    maps = net(images)
    assert [each.shape[1] for each in maps] == net.feature_info.channels() == [8, 8, 16, 16]
    assert [64 // each.shape[3] for each in maps] == net.feature_info.reduction() == [4, 8, 16, 32]
    assert all(map(torch.equal, maps, whole.features(images))) and not net.training
    last = evonas.load(folder, features_only=True, out_indices=[1, 3])
    assert last.feature_info.channels() == [8, 16] and torch.equal(last(images)[1], maps[3])
    assert set(net.feature_info.module_name()) <= dict(net.named_modules()).keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features_only": True, "out_indices": [4]}, "a backbone with 4 levels"),
        ({"features_only": True, "out_indices": []}, "a backbone with 4 levels"),
        ({"out_indices": [1]}, "out_indices chooses among feature maps"),
    ],
)
def test_levels_that_are_not_there_are_refused(folder: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        evonas.load(folder, **options)


def test_the_command_for_tensorrt_has_the_shapes_of_the_onnx_file(folder: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    [image] = session.get_inputs()
    [line] = [each for each in (folder / "tensorrt.sh").read_text().splitlines() if each.startswith("exec")]
    words = dict(word.partition("=")[::2] for word in shlex.split(line)[2:])
    assert (folder / words["--onnx"]).exists() and words["--saveEngine"] == "model.plan"
    for name, count in (("min", 1), ("opt", 1), ("max", 8)):
        asked, _, shape = words[f"--{name}Shapes"].partition(":")
        assert asked == image.name and shape.split("x") == [str(count), *map(str, image.shape[1:])]
    assert subprocess.run(["sh", "-n", "tensorrt.sh"], cwd=folder, check=False).returncode == 0


def test_the_card_has_the_header_of_model_hubs(folder: Path) -> None:
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(header)
    assert about["library_name"] == "evonas" and "synthetic" in about["tags"]
    assert "license" not in about, "whose weights they are is not ours to say"
    assert text.startswith("# knee")


def test_the_batch_axis_of_onnx_has_a_name_that_people_know(folder: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    [image], [output] = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape[0], output.name, output.shape[0]) == ("image", "batch", "output", "batch")


def test_the_card_says_what_goes_in_and_how_long_it_takes(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "| mean | 0.485, 0.456, 0.406 |" in text and "| deviation | 0.229, 0.224, 0.225 |" in text
    assert "net.train()" in text and "latency" not in text and "Debug run" not in text
    timed = {"ms": 7.2081, "runtime": "torch", "threads": 2, "device": "A CPU"}
    told = card({**config, "latency": timed, "shortened": "Debug run (limits=debug): x."})
    assert "| latency, one image | 7.208 ms (torch, 2 threads, A CPU) |" in told
    assert "**Debug run (limits=debug): x.**" in told


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
    with pytest.raises(DataError, match="not an exported network"):
        load_exported(tmp_path)


def test_without_onnx_it_says_what_to_install(
    made: Context, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the same network, so the same graph, which takes long to capture
    monkeypatch.setattr(export, "capture", lambda *_: torch.export.load(folder / "model.pt2"))
    monkeypatch.setattr(export_formats, "ONNX_PACKAGES", ("onnx", "no_such_package"))
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
    assert not (tmp_path / "tensorrt.sh").exists() and "onnx" not in (tmp_path / "README.md").read_text()
    assert (tmp_path / "model.pt2").exists()


def test_a_network_that_is_not_retrained_names_the_command(tmp_path: Path) -> None:
    context = small_run.context(tmp_path / "run")
    small_run.search(context)
    Select().run(context)
    with pytest.raises(UserError) as caught:
        Export().run(context)
    assert "stage=retrain run=run" in caught.value.hint


def test_a_file_in_int8_stands_beside(made: Context, folder: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made.cfg.runtime = {"_target_": "evonas.runtimes.choice.Auto", "int8": INT8}
    said = export.write_int8(made, "knee", load_exported(folder), folder)
    assert said.startswith("knee: model.int8.onnx has")
    sessions = [
        onnxruntime.InferenceSession((folder / name).read_bytes(), providers=["CPUExecutionProvider"])
        for name in ("model.onnx", "model.int8.onnx")
    ]
    assert (folder / "model.int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size
    dataset = made.setup.task.dataset("holdout")
    images = np.stack([dataset[index]["image"].numpy() for index in range(2)])
    exact, small = (session.run(["output"], {"image": images})[0] for session in sessions)
    assert 0 < np.abs(exact - small).max() < 0.2 * np.abs(exact).max()
    assert files.read_json(folder / CONFIG)["int8"]["images"] == 2


def test_other_precisions_are_not_written() -> None:
    with pytest.raises(UserError, match="'fp16' is unknown"):
        Export(["fp16"])
