"""The VSS-ViT space agrees with the published one."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from evonas.config import build
from evonas.errors import UserError
from evonas.space.declared import declared_space
from evonas.supernets.evonet.space import architecture, evonet_space

LINE = "evonet:m=3.5,4,1,3.5/s=64,64,48/e=0.5,4,0.5/d=11.0001.10011101.0111"
# an example of the layout: [m1 s1 e1 m2 s2 e2 m3 s3 e3 m4] and 18 depth bits
PUBLISHED = [1, 3, 4, 2, 3, 0, 2, 2, 4, 3, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1]


def test_size_and_bounds() -> None:
    space = evonet_space()
    assert space.size() == 1_784_592_000_000
    assert space.upper == (5, 3, 4, 5, 3, 4, 5, 3, 4, 5, *[1] * 18)
    assert space.lower == (0,) * 28


def test_the_published_example_decodes() -> None:
    space = evonet_space()
    point = space.from_vector(PUBLISHED)
    stages = architecture(space, point).stages
    assert [stage.mlp_ratio for stage in stages] == [1, 2, 2, 3]
    assert [stage.d_state for stage in stages] == [64, 64, 48, None]
    assert [stage.expand for stage in stages] == [4, 0.5, 4, None]
    assert [sum(stage.blocks) for stage in stages] == [2, 1, 4, 3]
    assert stages[1].blocks == (False, False, True, False)
    assert space.to_vector(point) == PUBLISHED


def test_text_is_exact_both_ways() -> None:
    space = evonet_space()
    assert space.format(space.parse(LINE)) == LINE


def test_an_empty_stage_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="d2=0000"):
        evonet_space().parse(LINE.replace("0001", "0000"))


def test_architectures_are_hashable_and_cached() -> None:
    space = evonet_space()
    first, second = (architecture(space, space.largest()) for _ in range(2))
    assert first is second and hash(first) == hash(second)


def test_another_layout_is_no_architecture() -> None:
    space = declared_space("other", {"k1": [3]}, {"d1": 2})
    with pytest.raises(UserError, match="k1, d1"):
        architecture(space, space.largest())


def test_samples_follow_the_rule() -> None:
    space = evonet_space()
    rng = np.random.default_rng(0)
    genes = np.array([space.sample(rng).genes for _ in range(1500)])
    assert abs((genes[:, 0] == 5).mean() - 1 / 6) < 0.04
    # stage 3 has eight bits, so the repair hardly moves its coins; a stage of two gains 1/8 per bit
    assert abs(genes[:, 16:24].mean() - 0.5) < 0.025
    assert abs(genes[:, 10:12].mean() - 0.625) < 0.04


def test_the_shipped_spaces_build(root: Path) -> None:
    for name, size in (("evonet", 1_784_592_000_000), ("nano", 4**4 * 4**3 * 3**3 * 3 * 3 * 15 * 3)):
        space = build(OmegaConf.load(root / "conf" / "space" / f"{name}.yaml"))
        assert space.name == name and space.size() == size
