"""Dangerous acts have one door each."""

import ast

import pytest
import source

DOORS = {
    "weights.py": (
        "torch.load",
        "safetensors.torch.load_file",
        "safetensors.torch.load",
        "safetensors.safe_open",
        # a pickle for programs of others; evonas writes none for itself
        "torch.save",
    ),
    "config.py": ("hydra.utils.instantiate", "hydra.utils.call", "hydra.utils.get_method"),
    # what a file shows, its orientation, depth and transparency, is decided in one place
    "data/io/pictures.py": ("evonas.data.io.safe.open_image", "safe.open_image"),
    "data/io/safe.py": ("PIL.Image.open", "Image.open", "tarfile.open", "zipfile.ZipFile"),
}
NEVER = (
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "dill.load", "marshal.loads",
    "yaml.load", "yaml.unsafe_load",
    "numpy.random.seed", "np.random.seed", "random.seed", "torch.manual_seed",
    "torch.hub.load", "warnings.filterwarnings", "warnings.simplefilter",
)  # fmt: skip
EXCEPTIONS = {
    (
        "train/loop/data.py",
        "torch.manual_seed",
    ): "inside fork_rng: torch's own initialisers take no generator",
    (
        "supernets/elastic_timm/model.py",
        "torch.manual_seed",
    ): "inside fork_rng: timm's initialisers take no generator",
    ("train/module.py", "torch.manual_seed"): "dropout takes no generator; drawn anew at every step",
    ("train/fit.py", "warnings.filterwarnings"): "inside catch_warnings, for Lightning's advice alone",
}


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_one_door_each(path: source.Path) -> None:
    called = set(source.calls(path))
    for door, names in DOORS.items():
        if source.relative(path) != door:
            assert called.isdisjoint(names), f"only {door} may do this"


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_never_called(path: source.Path) -> None:
    called = {name for name in source.calls(path) if name in NEVER}
    excused = {name for where, name in EXCEPTIONS if where == source.relative(path)}
    assert called - excused == set()


@pytest.mark.parametrize("path", source.files(), ids=source.relative)
def test_no_shell(path: source.Path) -> None:
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


def test_the_detector_sees_through_aliases(tmp_path: source.Path) -> None:
    sneaky = tmp_path / "sneaky.py"
    sneaky.write_text("from torch import load as harmless\nimport os as o\nharmless('x')\no.system('y')\n")
    assert set(source.calls(sneaky)) == {"torch.load", "os.system"}


def test_weights_are_loaded_without_pickle() -> None:
    for node in ast.walk(source.tree(source.PACKAGE / "weights.py")):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            assert given.get("weights_only") == "True"
