"""Latency by a published table: names of FasterSeg and NSGANetV2, known errors, and files that are not read."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evonas.errors import DataError, UserError
from evonas.objectives.base import Objective
from evonas.objectives.latency.published_table import PublishedLatency, read_times
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.published import PUBLISHED
from evonas.supernets.fasterseg.space import fasterseg_space, genotype_of
from evonas.supernets.mbconv.family import MBConv
from evonas.supernets.mbconv.space import mbconv_space
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space

SPACE = fasterseg_space()
FAMILY = FasterSeg(SPACE)
STUDENT = genotype_of(SPACE, PUBLISHED["fasterseg"].architecture)
FULL = (1024, 2048)
WIDTHS = (4, 6, 8, 10, 12)
# names of the published table, with the number of its entries for each
CELLS = {
    "FactorizedReduce": ("", 125),
    "BasicResidual1x": ("_dilation1", 125),
    "BasicResidual_downup_1x": ("_dilation1", 125),
    "BasicResidual2x": ("_dilation1", 129),
    "BasicResidual_downup_2x": ("_dilation1", 125),
}


def _names() -> list[str]:
    found: list[str] = []
    for name, (ending, count) in CELLS.items():
        rows: list[str] = []
        for stride, step in ((8, 1), (16, 1), (32, 1), (8, 2), (16, 2)):
            for one in WIDTHS:
                for two in WIDTHS:
                    channels = f"Cin{stride * one}_Cout{stride * step * two}"
                    rows.append(f"{name}_H{1024 // stride}_W{2048 // stride}_{channels}_stride{step}{ending}")
        if name == "BasicResidual2x":
            # the stems of student and teacher
            rows += [
                f"{name}_H512_W1024_Cin32_Cout64_stride2_dilation1",
                f"{name}_H256_W512_Cin64_Cout64_stride2_dilation1",
                f"{name}_H512_W1024_Cin48_Cout96_stride2_dilation1",
                f"{name}_H256_W512_Cin96_Cout96_stride2_dilation1",
            ]
        assert len(rows) == count
        found += rows
    for width, stem in ((8, 32), (12, 48)):
        fine, middle, coarse = (stride * width for stride in (8, 16, 32))
        found += [
            f"ConvNorm_H1024_W2048_Cin3_Cout{stem}_kernel3_stride2",
            f"ConvNorm_H32_W64_Cin{coarse}_Cout{middle}_kernel1_stride1",
            f"ConvNorm_H64_W128_Cin{middle}_Cout{fine}_kernel1_stride1",
        ]
        for own in WIDTHS:
            found.append(f"ConvNorm_H64_W128_Cin{middle + 16 * own}_Cout{middle}_kernel3_stride1")
            found.append(f"ConvNorm_H128_W256_Cin{fine + 8 * own}_Cout{fine}_kernel3_stride1")
    channels = sorted({count * width for count in (1, 2, 3) for width in (64, 96)})
    found += [f"ff_H128_W256_C{each}" for each in channels]
    found += [f"head_H128_W256_Cin{each}_Cout19" for each in channels]
    assert len(set(found)) == len(found)
    return found


TIMES = dict(zip(_names(), np.random.default_rng(0).uniform(0.01, 1, len(_names())).tolist(), strict=True))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "latency_lookup_table.json"
    path.write_text(json.dumps(TIMES))
    return path


def _context(size: tuple[int, int] = FULL, family: Any = FAMILY) -> Any:
    return SimpleNamespace(family=family, space=family.space, input_size=size)


def _prepared(table: Path, images: tuple[int, int] = FULL, **arguments: Any) -> PublishedLatency:
    made = PublishedLatency(str(table), **arguments)
    made.prepare(_context(images))
    return made


def test_the_entries_of_the_published_student(table: Path) -> None:
    names = list(FAMILY.latency_keys(STUDENT, FULL, 19, False))
    wanted = [
        "ConvNorm_H1024_W2048_Cin3_Cout32_kernel3_stride2",
        "BasicResidual2x_H512_W1024_Cin32_Cout64_stride2_dilation1",
        "BasicResidual2x_H256_W512_Cin64_Cout64_stride2_dilation1",
        # shared
        "BasicResidual2x_H128_W256_Cin64_Cout32_stride1_dilation1",
        "BasicResidual2x_H128_W256_Cin32_Cout32_stride1_dilation1",
        "BasicResidual_downup_2x_H128_W256_Cin32_Cout32_stride1_dilation1",
        # one cell of each branch
        "BasicResidual_downup_1x_H128_W256_Cin32_Cout128_stride2_dilation1",
        "BasicResidual_downup_2x_H128_W256_Cin32_Cout32_stride1_dilation1",
    ]
    assert names[: len(wanted)] == wanted
    assert names[-8:] == [
        "ConvNorm_H32_W64_Cin256_Cout128_kernel1_stride1",
        "ConvNorm_H64_W128_Cin192_Cout128_kernel3_stride1",
        "ConvNorm_H64_W128_Cin128_Cout64_kernel1_stride1",
        "ConvNorm_H128_W256_Cin96_Cout64_kernel3_stride1",
        "ConvNorm_H64_W128_Cin128_Cout64_kernel1_stride1",
        "ConvNorm_H128_W256_Cin96_Cout64_kernel3_stride1",
        "ff_H128_W256_C128",
        "head_H128_W256_Cin128_Cout19",
    ]
    # stem, three shared cells, seven and six of the branches, and the end
    assert len(names) == 3 + 3 + 7 + 6 + 8
    value, extra = _prepared(table, as_published=False).measure(STUDENT)
    assert value == pytest.approx(sum(TIMES[name] for name in names), rel=1e-15)
    assert extra == {"latency_entries": 27}


def test_the_published_error_takes_the_whole_map_for_half_of_it(table: Path) -> None:
    names = [name.replace("_downup_2x", "2x") for name in FAMILY.latency_keys(STUDENT, FULL, 19, False)]
    assert list(FAMILY.latency_keys(STUDENT, FULL, 19, True)) == names
    published, right = (_prepared(table, as_published=each) for each in (True, False))
    assert published.measure(STUDENT)[0] == pytest.approx(sum(TIMES[name] for name in names), rel=1e-15)
    assert published.measure(STUDENT)[0] != right.measure(STUDENT)[0]
    assert published.identity(_context()) != right.identity(_context())
    assert isinstance(published, Objective)


def test_every_network_has_entries() -> None:
    rng = np.random.default_rng(0)
    for family, space in ((FAMILY, SPACE), (FasterSeg(SPACE, stem_width=12, head_width=12), SPACE)):
        for genotype in (space.sample(rng) for _ in range(60)):
            for as_published in (True, False):
                assert set(family.latency_keys(genotype, FULL, 19, as_published)) <= set(TIMES)


def test_tables_in_npz(table: Path, tmp_path: Path) -> None:
    named, paired = tmp_path / "named.npz", tmp_path / "paired.npz"
    np.savez(named, **TIMES)
    np.savez(paired, keys=np.array(list(TIMES)), values=np.array(list(TIMES.values())))
    assert read_times(named) == read_times(paired) == read_times(table) == TIMES


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "latency_lookup_table.npy"
    np.save(path, np.array(TIMES, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="may be a pickle") as caught:
        read_times(path)
    assert "json.dump(numpy.load('latency_lookup_table.npy', allow_pickle=True).item()" in caught.value.hint
    objects = tmp_path / "objects.npz"
    np.savez(objects, table=np.array(TIMES, dtype=object))
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        read_times(objects)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": -1}', "has no time in ms at 'a'"),
        ('{"a": "1"}', "has no time in ms at 'a'"),
        ('{"a": true}', "has no time in ms at 'a'"),
        ("[1, 2]", "has no times"),
        ("{}", "has no times"),
    ],
)
def test_damaged_tables(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_times(path)


def test_wrong_uses(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="latency_published has no table"):
        PublishedLatency()
    with pytest.raises(UserError, match="must be height and width in pixels"):
        PublishedLatency(str(table), size=[1024])
    with pytest.raises(DataError, match="There is no latency table at"):
        _prepared(tmp_path / "none.json")
    with pytest.raises(UserError, match="has no entry ConvNorm_H128_W256_Cin3"):
        _prepared(table, (128, 256))
    assert _prepared(table, (128, 256), size=[1024, 2048]).measure(STUDENT)[0] > 0
    other = MBConv(mbconv_space("other", ((8,),) * 4, ((1,),) * 4, (3,), (1,), (1.0,)), (8, 8, 8, 8), 8)
    with pytest.raises(UserError, match="Space other has no published latency table"):
        PublishedLatency(str(table)).prepare(_context(family=other))


# entries of NSGANetV2's i7-8700K_lut.yaml (Apache-2.0) for the smallest network and NAT-M1, as means in ms
LUT = """\
first_conv-input:192x192x3-output:96x96x16: 0.15677261352539062
MBConv-input:96x96x16-output:96x96x16-expand:1-kernel:3-stride:1-idskip:1-se:0: 0.417038656771183
MBConv-input:96x96x16-output:48x48x24-expand:3-kernel:3-stride:2-idskip:0-se:0: 0.4787759780883789
MBConv-input:48x48x24-output:48x48x24-expand:3-kernel:3-stride:1-idskip:1-se:0: 0.5154173374176025
MBConv-input:48x48x24-output:24x24x40-expand:3-kernel:3-stride:2-idskip:0-se:1: 0.45020198822021484
MBConv-input:24x24x40-output:24x24x40-expand:3-kernel:3-stride:1-idskip:1-se:1: 0.5116907060146332
MBConv-input:24x24x40-output:12x12x80-expand:3-kernel:3-stride:2-idskip:0-se:0: 0.36014223098754883
MBConv-input:12x12x80-output:12x12x80-expand:3-kernel:3-stride:1-idskip:1-se:0: 0.3659094204194844
MBConv-input:12x12x80-output:12x12x112-expand:3-kernel:3-stride:1-idskip:0-se:1: 0.5167890787124634
MBConv-input:12x12x112-output:12x12x112-expand:3-kernel:3-stride:1-idskip:1-se:1: 0.601736132055521
MBConv-input:12x12x112-output:6x6x160-expand:3-kernel:3-stride:2-idskip:0-se:1: 0.5152040719985962
MBConv-input:6x6x160-output:6x6x160-expand:3-kernel:3-stride:1-idskip:1-se:1: 0.5438845347612187
final_expand_layer-input:6x6x160-output:6x6x960: 0.163970947265625
feature_mix_layer-input:1x1x960-output:1x1x1280: 0.26094818115234375
classifier-input:1280-output:1000: 0.029542922973632812
first_conv-input:224x224x3-output:112x112x16: 0.18288516998291016
MBConv-input:112x112x16-output:112x112x16-expand:1-kernel:3-stride:1-idskip:1-se:0: 0.5345912463963032
MBConv-input:112x112x16-output:56x56x24-expand:3-kernel:3-stride:2-idskip:0-se:0: 0.6090917587280273
MBConv-input:56x56x24-output:56x56x24-expand:3-kernel:3-stride:1-idskip:1-se:0: 0.6842367649078369
MBConv-input:56x56x24-output:28x28x40-expand:3-kernel:3-stride:2-idskip:0-se:1: 0.49595069885253906
MBConv-input:28x28x40-output:28x28x40-expand:4-kernel:3-stride:1-idskip:1-se:1: 0.6986737549304962
MBConv-input:28x28x40-output:14x14x80-expand:4-kernel:5-stride:2-idskip:0-se:0: 0.47052526473999023
MBConv-input:14x14x80-output:14x14x80-expand:4-kernel:5-stride:1-idskip:1-se:0: 0.6688653570599854
MBConv-input:14x14x80-output:14x14x80-expand:3-kernel:3-stride:1-idskip:1-se:0: 0.4124791375361383
MBConv-input:14x14x80-output:14x14x112-expand:4-kernel:5-stride:1-idskip:0-se:1: 0.83647620677948
MBConv-input:14x14x112-output:14x14x112-expand:3-kernel:5-stride:1-idskip:1-se:1: 0.8446842981502414
MBConv-input:14x14x112-output:7x7x160-expand:6-kernel:5-stride:2-idskip:0-se:1: 0.8221102952957153
MBConv-input:7x7x160-output:7x7x160-expand:6-kernel:5-stride:1-idskip:1-se:1: 0.9090891172288593
MBConv-input:7x7x160-output:7x7x160-expand:6-kernel:3-stride:1-idskip:1-se:1: 0.7996852761935997
final_expand_layer-input:7x7x160-output:7x7x960: 0.17389297485351562
"""


@pytest.fixture
def lut(tmp_path: Path) -> Path:
    path = tmp_path / "i7-8700K_lut.yaml"
    entries = [line.rpartition(": ") for line in LUT.splitlines()]
    path.write_text("".join(f"{name}:\n  mean: {mean}\n  var: 1.0e-05\n" for name, _, mean in entries))
    return path


def test_the_published_latencies_of_once_for_all(lut: Path) -> None:
    family = OFAMobileNetV3(ofa_space(resolutions=(192, 224)))
    made = PublishedLatency(str(lut))
    made.prepare(_context((256, 256), family))
    milliseconds, about = made.measure(family.space.smallest())
    assert (milliseconds, about) == (5.888024800363837, {"latency_entries": 15})
    nat = family.space.parse(OFAMobileNetV3(family.space).published["nat-m1"].genotype)
    assert made.measure(nat) == (11.776771755035952, {"latency_entries": 20})
    identity = made.identity(_context((256, 256), family))
    assert identity["classes"] == 1000
    with pytest.raises(
        UserError, match=r"has no entry MBConv-input:96x96x16-output:48x48x24-expand:6-kernel:7"
    ):
        made.measure(family.space.encode({**family.space.decode(family.space.largest()), "r1": 192}))


def test_names_of_wide_networks_on_odd_maps() -> None:
    family = OFAMobileNetV3(ofa_space(resolutions=(196,)), width=1.2)
    names = list(family.latency_keys(family.space.largest(), (256, 256), 10, True))
    assert names[:3] == [
        "first_conv-input:196x196x3-output:98x98x24",
        "MBConv-input:98x98x24-output:98x98x24-expand:1-kernel:3-stride:1-idskip:1-se:0",
        "MBConv-input:98x98x24-output:49x49x32-expand:6-kernel:7-stride:2-idskip:0-se:0",
    ]
    # the map of 49 is halved to 25; the fourth stage keeps its size
    assert "MBConv-input:49x49x32-output:25x25x48-expand:6-kernel:7-stride:2-idskip:0-se:1" in names
    assert "MBConv-input:13x13x96-output:13x13x136-expand:6-kernel:7-stride:1-idskip:0-se:1" in names
    assert names[-3:] == [
        "final_expand_layer-input:7x7x192-output:7x7x1152",
        "feature_mix_layer-input:1x1x1152-output:1x1x1536",
        "classifier-input:1536-output:10",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: &x {mean: 1}\nb: *x\n", "alias"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("a: {mean: fast}\n", "has no time in ms at 'a'"),
        ("a: {var: 1}\n", "has no time in ms at 'a'"),
        ("[1, 2]\n", "has no times"),
        ("a: [\n", "is no YAML"),
    ],
)
def test_a_yaml_that_is_no_table_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises((DataError, UserError), match=said):
        read_times(path)
