"""Structures as plain data: cuts, texts, and what a stranger's structure may say."""

import json

import pytest

from evonas.errors import UserError
from evonas.supernets.base import Cut
from evonas.supernets.elastic_timm import structure_store
from evonas.supernets.elastic_timm.structure import (
    HEADS,
    ROTATED,
    WIDTH,
    Group,
    Setting,
    UnitAxis,
    centred,
    check_model_name,
    cuts_of,
    structure_from,
)
from evonas.supernets.elastic_timm.structure_store import structure_of


def _group(units, *axes):
    return Group(WIDTH, units, tuple(UnitAxis(*axis) for axis in axes))


def test_rotated_heads_lose_channels():
    plain, made = structure_of("test_vit"), structure_of("test_vit", variant="rotated")
    heads = [group for group in plain.groups if group.kind == HEADS]
    channels = [group for group in made.groups if group.kind == ROTATED]
    assert len(made.rotated) == len(channels) == len(heads) > 0
    assert not any(group.kind == HEADS for group in made.groups)
    for before, after in zip(heads, channels, strict=True):
        width = before.axes[0].length
        assert after.units == width
        # together their units own what all heads own
        for axis in after.axes[:-1]:
            [same] = [each for each in before.axes if (each.tensor, each.axis) == (axis.tensor, axis.axis)]
            owned = {start + at for start in axis.starts for at in range(width)}
            assert owned == {start + at for start in same.starts for at in range(width * before.units)}
    assert structure_of("test_vit", made.digest) == made


def test_a_recorded_variant_is_found_again_where_nothing_is_stored(tmp_path, monkeypatch):
    made = structure_of("test_vit", variant="rotated")
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    structure_store._read.cache_clear()
    try:
        assert structure_of("test_vit", made.digest) == made
    finally:
        structure_store._read.cache_clear()


def test_models_without_plain_attention_are_not_rotated():
    with pytest.raises(UserError, match=r"network\.order=rotated needs attention.*test_resnet has none"):
        structure_of("test_resnet", variant="rotated")


def test_centring_is_recorded_only_where_it_is_chosen():
    plain = structure_of("test_vit")
    made = centred(plain)
    assert "centred" not in plain.plain() and made.digest != plain.digest
    assert structure_from(json.loads(made.text())) == made
    # the layers behind heads and neurons of every block, and nothing else
    assert len(made.centred) == 2 * len([block for block in plain.blocks if block.groups])
    assert {name: shape for name, shape in made.tensors if name.endswith(".mean")} == {
        f"{name}.mean": plain.shapes[f"{name}.weight"][1:] for name in made.centred
    }


def test_first_units_are_kept_in_every_segment():
    heads = _group(4, ("qkv", 0, (0, 8, 16), 2), ("proj", 1, (0,), 2))
    shapes = {"qkv": (24, 8), "proj": (8, 8)}
    assert cuts_of([(heads, 3)], shapes) == {
        "proj": (Cut(1, ((0, 6),)),),
        "qkv": (Cut(0, ((0, 6), (8, 6), (16, 6))),),
    }
    assert cuts_of([(heads, 4)], shapes) == {}


def test_positions_of_no_group_are_kept():
    # two groups on one axis, with two positions behind them that belong to neither
    one, other = _group(3, ("fc", 0, (0,), 1)), _group(3, ("fc", 0, (3,), 1))
    assert cuts_of([(one, 1), (other, 2)], {"fc": (8,)}) == {"fc": (Cut(0, ((0, 1), (3, 2), (6, 2))),)}


def test_settings_shrink_with_every_group():
    row = Setting("block", "split_indices", (6, 4, 2), ((0, (1, 1, 0)), (1, (1, 0, 1))), True)
    assert row.at({0: 2, 1: 1}) == (3, 2, 1)
    assert Setting("attn", "num_heads", (4,), ((0, (1,)),), False).at({0: 3}) == 1


def test_structures_are_plain_data():
    found = structure_of("test_resnet")
    again = structure_from(json.loads(json.dumps(found.plain())))
    assert again == found and again.digest == found.digest
    assert structure_of("test_resnet", found.digest) == found


def test_the_digest_is_of_what_networks_depend_on():
    plain = structure_of("test_resnet").plain()
    digest = structure_of("test_resnet").digest
    assert structure_from({**plain, "timm": "0"}).digest == digest
    assert structure_from({**plain, "multiple": 32}).digest != digest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attribute", "__class__"),
        ("attribute", "forward"),
        ("run", [":__init__"]),
        ("format", 0),
        ("arguments", [["checkpoint_path", "x"]]),
    ],
)
def test_a_strangers_structure_says_nothing_else(key, value):
    plain = json.loads(structure_of("test_resnet").text())
    if key in ("format", "arguments"):
        plain[key] = value
    elif key == "run":
        plain["stages"][0]["blocks"][0]["run"] = value
    else:
        plain["settings"][0][key] = value
    with pytest.raises(ValueError, match="structure"):
        structure_from(plain)


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "../x", "", "a b"])
def test_only_names_of_timm_are_names(name):
    with pytest.raises(UserError, match=r"network\.name"):
        check_model_name(name)
    with pytest.raises(UserError, match="not a model of timm"):
        structure_of("resnet1000")
