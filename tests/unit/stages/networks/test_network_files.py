"""Networks of other projects' files and of publications: what is read is what is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_stages

from evonas.errors import DataError, UserError
from evonas.nn.heads import DenseHead
from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.networks.network_files import network_files
from evonas.stages.networks.references import referenced_networks

# NAT's network for Stanford Cars
CARS = {
    "ks": [3, 5, 7, 3, 7, 5, 3, 5, 7, 5, 3],
    "e": [3, 3, 4, 4, 3, 4, 3, 3, 3, 3, 4],
    "d": [2, 2, 3, 2, 2],
    "r": 256,
    "w": 1.0,
}


def asking(folder: Path, text: str, *words: str) -> Context:
    cfg = small_stages.composed_alone(
        "+task=image_classification", "network=ofa_mbv3", "head=mobilenet_v3", f"networks=[{text!r}]", *words
    )
    return Context(cfg, Run(folder, "image_classification"))


def given(folder: Path, content: Any, name: str = "net.subnet") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_subnet_a_config_and_a_name_mean_one_network(tmp_path: Path) -> None:
    context = asking(tmp_path, str(given(tmp_path, CARS)))
    [from_subnet] = referenced_networks(context)
    family = context.setup.family
    genotype = family.space.parse(from_subnet.genotype)
    head = MobileNetV3Head(family.levels, 196, dropout=0.2)
    written = network_files(family, genotype, head)
    assert written["net.subnet"] == CARS and set(written) == {"net.subnet", "net.config"}
    config = written["net.config"]
    assert (config["img_size"], config["classifier"]["out_features"]) == (256, 196)
    assert config["classifier"]["dropout_rate"] == 0.2
    [from_config] = referenced_networks(asking(tmp_path, str(given(tmp_path, config, "net.config"))))
    [from_name] = referenced_networks(asking(tmp_path, "Cars"))
    assert from_subnet.genotype == from_config.genotype == from_name.genotype
    assert (from_name.name, from_name.reason) == ("cars", "the published network cars")
    # there is no net.config for another head, and no file for other families
    assert set(network_files(family, genotype, DenseHead(family.levels, 1))) == {"net.subnet"}
    other = small_stages.context(tmp_path).setup.family
    assert network_files(other, other.space.largest(), head) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**CARS, "w": 1.2}, "has network.width=1.2, not 1.0"),
        ({**CARS, "ks": CARS["ks"][:-1]}, "ks has 10 entries for 11 blocks"),
        ({**CARS, "r": 300}, "300"),
        ({**CARS, "r": 256.5}, r"net\.subnet: .* 256\.5 is not a whole number"),
        ({**CARS, "e": "3 3 4 4.5"}, r"net\.subnet: .* 4\.5 is not a whole number"),
        ({**CARS, "r": 10**400}, "net.subnet has the number 10000000000000000000,"),
        ({**CARS, "ks": [float("inf")]}, "net.subnet has the number inf"),
        ({**CARS, "w": float("nan")}, "net.subnet has the number nan"),
        ([1], "is not a JSON object"),
        ({"blocks": []}, "not the content of a net.config file"),
        ("{", "net.subnet"),
    ],
)
def test_a_file_that_means_no_network_here_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises((UserError, DataError), match=said):
        referenced_networks(asking(tmp_path, str(given(tmp_path, content))))


def test_names_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file .*net\.subnet"):
        referenced_networks(asking(tmp_path, str(tmp_path / "net.subnet")))
    with pytest.raises(UserError, match="boats"):
        referenced_networks(asking(tmp_path, "boats"))
    dense = asking(tmp_path, str(given(tmp_path, CARS)), "space=ofa_mbv3_dense")
    with pytest.raises(UserError, match="256"):
        referenced_networks(dense)
    assert network_files(dense.setup.family, dense.setup.space.largest(), None) == {}
