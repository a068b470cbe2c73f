"""stage=measure: the profile of a network by ONNX Runtime."""

from pathlib import Path

import pytest
import small_stages

from evonas import files, weights
from evonas.errors import UserError
from evonas.stages.build import factory
from evonas.stages.measure import Measure

NET = "networks='nano:m=1,1,1,1/s=16,16,16/e=1,1,1/d=11.11.1000.10'"
SETTINGS = ("objective=[macs]", "data.train=4", "data.validation=4", NET)


def test_a_profile_says_where_the_time_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = small_stages.context(tmp_path, *SETTINGS)
    weights.save(made.run.path(factory.SUPERNET), factory.supernet(made.setup).state_dict())
    Measure(profile=True).run(made)
    said = capsys.readouterr().out
    assert "nodes of ONNX Runtime" in said and "CPUExecutionProvider" in said
    [net] = files.read_json(tmp_path / "measure/profile.json").values()
    assert sum(each["share"] for each in net["operations"]) == pytest.approx(1.0)
    assert sum(each["nodes"] for each in net["operations"]) == len(net["nodes"])
    assert any("Conv" in each["operation"] for each in net["operations"])


def test_a_profile_of_another_runtime_is_refused_by_name(tmp_path: Path) -> None:
    made = small_stages.context(tmp_path, *SETTINGS, "runtime=torch")
    weights.save(made.run.path(factory.SUPERNET), factory.supernet(made.setup).state_dict())
    with pytest.raises(UserError, match="a profile is measured in ONNX Runtime, not in runtime=torch"):
        Measure(profile=True).run(made)
