"""The doctor looks, and says what to type."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from evonas.errors import EngineError
from evonas.files import file_system
from evonas.run import Run
from evonas.runtimes.choice import RUNTIMES
from evonas.stages import doctor
from evonas.stages.base import Context
from evonas.stages.doctor import Doctor, Finding

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/x /home nfs4 rw 0 0
/dev/sdb1 /home/me/fast xfs rw 0 0
server:/y /mnt/my\\040disk cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/x", "ext4"),
        ("/home/me", "nfs4"),
        ("/home/me/fast/x", "xfs"),
        ("/homely", "ext4"),
        ("/mnt/my disk/a", "cifs"),
    ],
)
def test_the_closest_mount_decides(folder: str, kind: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system(Path(folder), mounts) == kind


def test_an_unknown_system_has_no_mounts(tmp_path: Path) -> None:
    assert file_system(Path("/x"), tmp_path / "absent") == ""


def context(outputs: Path) -> Context:
    return Context(OmegaConf.create({"outputs": str(outputs)}), Run(outputs, ""))


def test_json_has_every_finding_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "SECRETxyz")
    text = Doctor(json=True).run(context(tmp_path))
    found = {each["name"]: each for each in json.loads(text)}
    assert {"evonas", "torch", "devices", "sqlite", "disk", "file system", "wandb login"} <= found.keys()
    assert found["wandb login"]["detail"] == "yes"
    assert "SECRETxyz" not in text
    for each in found.values():
        assert set(each) == {"name", "state", "detail", "fix"}
        assert all(isinstance(value, str) for value in each.values()) and each["name"] and each["detail"]
        assert each["state"] in doctor.MARKS
        assert each["state"] == "ok" or (each["fix"] and "\n" not in each["fix"]), each
    assert [name for name in found if name.startswith("ops/")]
    assert found["runtime=torch"]["detail"].endswith("fp32 on cpu, fp16 on cpu, bf16 on cpu")
    assert {f"runtime={name}" for name in RUNTIMES} <= found.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_network_disk_and_a_full_one_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.files, "file_system", lambda _: "nfs")
    monkeypatch.setattr(doctor, "ROOM_GB", 1e9)
    states = {each.name: each for each in doctor._outputs(tmp_path / "not" / "there")}
    assert {each.state for each in states.values()} == {"warning"}
    assert all("outputs=" in each.fix for each in states.values())


def test_what_every_run_needs_must_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [Finding("torch", "problem", "absent", "pip install torch"), Finding("x", "ok", "fine")]
    monkeypatch.setattr(doctor, "findings", lambda _: iter(broken))
    with pytest.raises(EngineError, match="1 of 2") as caught:
        Doctor().run(context(tmp_path))
    assert caught.value.hint == "pip install torch"


@pytest.mark.parametrize(
    ("line", "missing"),
    [("numpy>=1", ""), ("numpy>=999", "numpy is "), ("no-such-thing>=1", "no-such-thing is not installed")],
)
def test_requirements_are_compared(line: str, missing: str) -> None:
    assert doctor._missing(doctor.Requirement(line)).startswith(missing)
    assert bool(doctor._missing(doctor.Requirement(line))) == bool(missing)


def test_every_missing_extra_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [doctor.Requirement('no-such-thing>=1; extra == "wandb"'), doctor.Requirement("numpy>=999")]
    monkeypatch.setattr(doctor, "_requirements", lambda: needed)
    found = {each.name: each for each in doctor._packages()}
    assert found["[wandb]"].state == "optional"
    assert found["[wandb]"].fix == "pip install 'evonas[wandb]'"
    assert found["numpy"].state == "problem"


def a_package(folder: Path, name: str, version: str) -> None:
    """What pip would have noted of a package."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_packages_that_do_not_fit_are_named_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_package(tmp_path, "onedl-mmdetection", "3.5.1")
    a_package(tmp_path, "onedl-mmengine", "0.10.12")
    a_package(tmp_path, "onedl-mmcv", "1.7.2")
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv/__init__.py").write_text("raise ImportError('undefined symbol')")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = doctor._openmm()
    assert found.state == "warning" and "evonas[det-mm,seg-mm]" in found.fix
    assert "onedl-mmdetection 3.5.1 needs mmcv >=2.0.0, not onedl-mmcv 1.7.2" in found.detail
