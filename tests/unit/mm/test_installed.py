"""Which OpenMMLab packages fit one another, and what is said where they do not or are absent."""

import ast
from pathlib import Path

import pytest

import evonas
from evonas.errors import UserError
from evonas.mm import extension, installed
from evonas.mm.installed import Package
from evonas.mm.rcnn import MMDetRCNN
from evonas.mm.upernet import MMSegUPerNet
from evonas.nn.level import Level
from evonas.nn.necks.fpn import FPN
from evonas.stages import doctor

LEVELS = [Level(8, 4), Level(16, 8)]


def packages(**versions: str) -> dict[str, Package]:
    named = {"mmdet": "mmdet", "mmcv": "mmcv", "mmengine": "mmengine", "mmseg": "mmsegmentation"}
    return {name: Package(name, named[name], version) for name, version in versions.items()}


def forks(**versions: str) -> dict[str, Package]:
    named = {"mmdet": "onedl-mmdetection", "mmcv": "onedl-mmcv", "mmengine": "onedl-mmengine"}
    return {name: Package(name, named[name], version) for name, version in versions.items()}


def test_pairs_that_fit() -> None:
    assert (
        list(installed.misfits(packages(mmdet="3.3.0", mmcv="2.1.0", mmengine="0.10.7", mmseg="1.2.2"))) == []
    )
    assert list(installed.misfits(forks(mmdet="3.5.1", mmcv="2.3.6", mmengine="0.10.12"))) == []
    assert list(installed.misfits({})) == []


def test_the_originals_refuse_a_newer_mmcv() -> None:
    (said,) = installed.misfits(packages(mmdet="3.3.0", mmcv="2.2.0", mmengine="0.10.7"))
    assert said == "mmdet 3.3.0 needs mmcv >=2.0.0rc4,<2.2.0, not mmcv 2.2.0"


def test_what_is_missing_is_named() -> None:
    (said,) = installed.misfits(forks(mmdet="3.5.1", mmengine="0.10.12"))
    assert said == "onedl-mmdetection 3.5.1 needs mmcv, which is not installed"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MMDetRCNN(LEVELS, 3, FPN, masks=True), "head=mmdet_mask_rcnn needs mmdet"),
        (lambda: MMDetRCNN(LEVELS, 3, FPN), "head=mmdet_faster_rcnn needs mmdet"),
        (lambda: MMSegUPerNet(LEVELS, 3), "head=mmseg_upernet needs mmseg"),
    ],
)
def test_heads_name_the_command_where_their_package_is_absent(
    monkeypatch: pytest.MonkeyPatch, make: object, said: str
) -> None:
    monkeypatch.setattr(installed, "packages", dict)
    with pytest.raises(UserError, match=said) as caught:
        make()
    assert "make openmm" in str(caught.value.hint)


def test_packages_that_do_not_fit_are_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        installed, "packages", lambda: packages(mmdet="3.3.0", mmcv="2.2.0", mmengine="0.10.7")
    )
    with pytest.raises(UserError, match=r"do not fit: mmdet 3\.3\.0 needs mmcv"):
        extension.load("mmdet", "head=mmdet_mask_rcnn")


def test_the_doctor_says_which_pair_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "packages", dict)
    assert next(each for each in doctor.findings(Path()) if each.name == "OpenMMLab").fix == "make openmm"
    monkeypatch.setattr(installed, "has_compiled_ops", lambda: False)
    for found, state, said in (
        (forks(mmdet="3.5.1", mmcv="2.3.6", mmengine="0.10.12"), "ok", "onedl-mmcv 2.3.6, "),
        (packages(mmdet="3.3.0", mmcv="2.2.0", mmengine="0.10.7"), "warning", "not mmcv 2.2.0"),
    ):
        monkeypatch.setattr(installed, "packages", lambda found=found: found)
        finding = doctor._openmm()
        assert finding.state == state and said in finding.detail


NAMES = ("mmcv", "mmengine", "mmdet", "mmseg")
# what a configuration of OpenMMLab imports, and what is imported after the packages were loaded
THEIRS = {
    "mm/decode_heads.py",
    "mm/necks.py",
    "stages/networks/openmmlab.py",
    "stages/openmm.py",
}


def imported_at_once(path: Path) -> set[str]:
    """What importing a file imports."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def test_evonas_imports_nothing_of_openmmlab_by_itself() -> None:
    package = Path(evonas.__file__).parent
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        if name not in THEIRS:
            found = imported_at_once(path)
            assert not [each for each in found if each.split(".")[0] in NAMES], name
            modules = {f"evonas.{each.removesuffix('.py').replace('/', '.')}" for each in THEIRS}
            assert not modules & found, name
