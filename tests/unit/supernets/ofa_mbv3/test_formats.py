"""Files of Once-for-All, NSGANetV2 and NAT: what is read is what is written."""

import copy
import json

import numpy as np
import pytest

from evonas.errors import DataError, UserError
from evonas.supernets.base import classifier_cost, cost
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.formats import NetConfig, read_config, read_subnet, write_config, write_subnet
from evonas.supernets.ofa_mbv3.published import PUBLISHED
from evonas.supernets.ofa_mbv3.space import ofa_space

SPACE = ofa_space()
# the file of NAT's network for Stanford Cars
CARS = (
    '{"ks": [3, 5, 7, 3, 7, 5, 3, 5, 7, 5, 3], "e": [3, 3, 4, 4, 3, 4, 3, 3, 3, 3, 4], "d": [2, 2, 3, 2, 2],'
    ' "r": 256, "w": 1.0}'
)


def test_a_subnet_of_nat() -> None:
    found = json.loads(CARS)
    genotype, width = read_subnet(SPACE, found)
    assert width == 1.0
    assert SPACE.format(genotype) == OFAMobileNetV3(SPACE).published["cars"].genotype
    assert write_subnet(SPACE, genotype, width) == found


def test_any_subnet_comes_back() -> None:
    rng = np.random.default_rng(0)
    for genotype in (SPACE.sample(rng) for _ in range(50)):
        written = json.loads(json.dumps(write_subnet(SPACE, genotype)))
        assert read_subnet(SPACE, written) == (genotype, None)
        assert len(written["ks"]) == len(written["e"]) == sum(written["d"])


def test_lists_of_all_blocks_and_a_list_of_one_size_are_read() -> None:
    found = json.loads(CARS)
    padded = {**found, "ks": [], "e": [], "r": [256]}
    at = 0
    for depth in found["d"]:
        for key in ("ks", "e"):
            padded[key] += found[key][at : at + depth] + [{"ks": 7, "e": 6}[key]] * (4 - depth)
        at += depth
    assert read_subnet(SPACE, padded) == read_subnet(SPACE, found)


def test_holes_and_texts_are_read() -> None:
    found = json.loads(CARS)
    at, holed = 0, {**found, "ks": [], "e": []}
    for depth in found["d"]:
        for key in ("ks", "e"):
            holed[key] += [*found[key][at : at + depth], *[None] * (4 - depth)]
        at += depth
    texts = {**found, "ks": "[3 5 7 3 7 5 3 5 7 5 3]", "d": "2, 2, 3, 2, 2"}
    assert read_subnet(SPACE, holed) == read_subnet(SPACE, texts) == read_subnet(SPACE, found)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"ks": [3, 5]}, DataError, "ks has 2 entries for 11 blocks"),
        ({"d": [2, 2]}, DataError, "d has 2 entries, not 5"),
        ({"r": None}, DataError, "not the content of a net.subnet file"),
        ({"r": []}, DataError, "not the content of a net.subnet file"),
        ({"e": 3}, DataError, "not the content of a net.subnet file"),
        ({"r": 100}, UserError, "r1=100 is not in the space"),
        ({"ks": [9, *[3] * 10]}, UserError, "k1=9 is not in the space"),
        ({"d": [5, 2, 3, 2, 2], "ks": [3] * 14, "e": [3] * 14}, UserError, "d1=5 is not in the space"),
    ],
)
def test_damaged_subnets_are_refused(change: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_subnet(SPACE, {**json.loads(CARS), **change})


def _config(name: str) -> dict:
    net = PUBLISHED[name]
    genotype = SPACE.parse(OFAMobileNetV3(SPACE).published[name].genotype)
    about = {"name": "NATNet", "url": "https://example.org", "img_size": net.resolution}
    bn = {"momentum": 0.1, "eps": 1e-5}
    found = NetConfig(genotype, net.width, net.act_func, net.classes, 0.2, bn, True, about)
    return json.loads(json.dumps(write_config(SPACE, found)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_config_is_read_as_it_is_written(name: str) -> None:
    written = _config(name)
    net = read_config(SPACE, written)
    assert write_config(SPACE, net) == written
    assert (net.width, net.act_func) == (PUBLISHED[name].width, PUBLISHED[name].act_func)
    # a literal reading of the layers costs what the family says
    family = OFAMobileNetV3(SPACE, **net.settings)
    total = cost(family, net.genotype, (224, 224)) + classifier_cost(
        family, net.genotype, (224, 224), net.classes
    )
    assert _literal(written) == (total.params, total.macs)


def _literal(config: dict) -> tuple[int, int]:
    side = -(-config["img_size"] // 2)
    first = config["first_conv"]["out_channels"]
    params, macs = 27 * first + 2 * first, 27 * first * side**2
    for block in config["blocks"]:
        of = block["mobile_inverted_conv"]
        given, out, kernel = of["in_channels"], of["out_channels"], of["kernel_size"]
        hidden = of["mid_channels"] or given * of["expand_ratio"]
        if of["expand_ratio"] > 1:
            params, macs = params + given * hidden + 2 * hidden, macs + given * hidden * side**2
        side = -(-side // of["stride"])
        weights = kernel**2 * hidden + hidden * out
        params, macs = params + weights + 2 * hidden + 2 * out, macs + weights * side**2
        if of["use_se"]:
            squeezed = max(8, (hidden // 4 + 4) // 8 * 8)
            squeezed += 8 if squeezed < 0.9 * (hidden // 4) else 0
            params, macs = params + 2 * hidden * squeezed + hidden + squeezed, macs + 2 * hidden * squeezed
    expand, mix = config["final_expand_layer"], config["feature_mix_layer"]
    weights = expand["in_channels"] * expand["out_channels"]
    params, macs = params + weights + 2 * expand["out_channels"], macs + weights * side**2
    weights = mix["in_channels"] * mix["out_channels"]
    classes = config["classifier"]["out_features"]
    last = mix["out_channels"] * classes
    return params + weights + last + classes, macs + weights + last


def _later(config: dict) -> dict:
    """The file as Once-for-All writes it from release 0.1 on."""
    later = {key: copy.deepcopy(value) for key, value in config.items() if key != "blocks"}
    later["bn"]["ws_eps"] = None
    for key in ("first_conv", "final_expand_layer", "feature_mix_layer"):
        later[key]["use_se"] = False
    later["blocks"] = []
    for block in copy.deepcopy(config["blocks"]):
        shortcut = block["shortcut"]
        if shortcut is not None:
            shortcut |= {key: shortcut[key][0] for key in ("in_channels", "out_channels")}
        conv = {**block["mobile_inverted_conv"], "name": "MBConvLayer", "groups": None}
        later["blocks"].append({"name": "ResidualBlock", "conv": conv, "shortcut": shortcut})
    return later


def test_later_spellings_are_read() -> None:
    written = _config("cars")
    later = _later(written)
    assert read_config(SPACE, later) == read_config(SPACE, written)
    assert write_config(SPACE, read_config(SPACE, later)) == written
    later["blocks"][3]["conv"]["groups"] = 2
    with pytest.raises(DataError, match=r"mobile_inverted_conv\.groups is 2"):
        read_config(SPACE, later)


def test_optional_entries_may_be_missing() -> None:
    written = _config("cars")
    for block in written["blocks"]:
        block["mobile_inverted_conv"]["mid_channels"] = None
    del written["bn"], written["img_size"], written["url"]
    net = read_config(SPACE, written, resolution=256)
    assert write_config(SPACE, net) == written
    assert net.bn is None and "bn_eps" not in net.settings
    with pytest.raises(DataError, match="no image size"):
        read_config(SPACE, written)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("blocks", 3, "mobile_inverted_conv", "mid_channels"), 100, "mid_channels is 100"),
        (("blocks", 3, "mobile_inverted_conv", "use_se"), False, "use_se is False"),
        (("blocks", 2, "shortcut"), None, "shortcut is None"),
        (("first_conv", "act_func"), "relu", "act_func"),
        (("feature_mix_layer", "use_bn"), True, "feature_mix_layer.use_bn is True"),
        (("classifier",), None, "not the content of a net.config file"),
        (("blocks",), [], "not the content of a net.config file"),
        (("blocks",), [5], "not the content of a net.config file"),
        (("bn",), 5, "not the content of a net.config file"),
    ],
)
def test_other_networks_are_refused(path: tuple, value: object, said: str) -> None:
    config = copy.deepcopy(_config("cars"))
    *above, last = path
    node = config
    for key in above:
        node = node[key]
    node[last] = value
    with pytest.raises(DataError, match=said):
        read_config(SPACE, config)
