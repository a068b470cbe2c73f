"""mmseg's UPerNet behind the contract of our heads, and our own beside it on the same weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from evonas.errors import UserError
from evonas.mm.installed import packages
from evonas.mm.upernet import MMSegUPerNet
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.level import Level
from evonas.nn.upernet import CONTEXTS, UPerNet

if "mmseg" not in packages():
    pytest.skip("mmseg is not installed", allow_module_level=True)

LEVELS = [Level(8, 4), Level(12, 8), Level(16, 16), Level(24, 32)]
# what our parts are called in mmseg
PARTS = {
    "ppm": {
        "top_down.pools.{}.0": "head.psp_modules.{}.1.conv",
        "top_down.pools.{}.1": "head.psp_modules.{}.1.bn",
        "top_down.join.0": "head.bottleneck.conv",
        "top_down.join.1": "head.bottleneck.bn",
        "top_down.laterals.{}.0": "head.lateral_convs.{}.conv",
        "top_down.laterals.{}.1": "head.lateral_convs.{}.bn",
    },
    "mamba": {"top_down": "head.top_down"},
}
SHARED = {
    "leaves.{}.0": "head.fpn_convs.{}.conv",
    "leaves.{}.1": "head.fpn_convs.{}.bn",
    "join.0": "head.fpn_bottleneck.conv",
    "join.1": "head.fpn_bottleneck.bn",
    "predict": "head.conv_seg",
    "side.conv.0": "side.convs.0.conv",
    "side.conv.1": "side.convs.0.bn",
    "side.predict": "side.conv_seg",
}


def maps(seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    sides = [(-(-70 // each.stride), -(-100 // each.stride)) for each in LEVELS]
    return [
        torch.randn(2, level.channels, *side, generator=random)
        for level, side in zip(LEVELS, sides, strict=True)
    ]


def pair(context: str) -> tuple[UPerNet, MMSegUPerNet]:
    """Ours and mmseg's, with the weights of mmseg's."""
    options = {"width": 16, "side_width": 8, "context": context, "dropout": 0.0}
    ours, theirs = UPerNet(LEVELS, 5, seed=1, **options), MMSegUPerNet(LEVELS, 5, seed=2, **options)
    copied: set[str] = set()
    for mine, other in {**PARTS[context], **SHARED}.items():
        for index in range(4):
            part, source = submodule(ours, mine.format(index)), submodule(theirs, other.format(index))
            if part is not None and source is not None:
                part.load_state_dict(source.state_dict())
                copied |= {f"{mine.format(index)}.{name}" for name in part.state_dict()}
    assert copied == set(ours.state_dict())
    return ours, theirs


def submodule(net: nn.Module, name: str) -> nn.Module | None:
    try:
        return net.get_submodule(name)
    except AttributeError:
        return None


@pytest.mark.parametrize("context", CONTEXTS)
def test_ours_equals_mmsegs(context: str) -> None:
    ours, theirs = pair(context)
    assert_close(ours.eval()(maps()), theirs.eval()(maps()), rtol=1e-5, atol=1e-6)
    mine, other = ours.train()(maps()), theirs.train()(maps())
    assert isinstance(mine, AuxiliaryOutput) and isinstance(other, AuxiliaryOutput)
    assert_close(mine.main, other.main, rtol=1e-4, atol=1e-5)
    assert_close(mine.auxiliary, other.auxiliary, rtol=1e-4, atol=1e-5)
    assert mine.weight == other.weight == 0.4


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_published_head_has_the_published_size(context: str) -> None:
    levels = [Level(64, 4), Level(128, 8), Level(256, 16), Level(512, 32)]
    sizes = [
        sum(each.numel() for each in made(levels, 150, context=context).parameters())
        for made in (MMSegUPerNet, UPerNet)
    ]
    assert sizes[0] == sizes[1] and (context == "ppm" or sizes[0] == 17_595_679 + 628_886)


def test_settings_make_the_head_again() -> None:
    head = MMSegUPerNet(LEVELS, 5, width=16, side_width=8)
    again = MMSegUPerNet(LEVELS, **head.settings)
    again.load_state_dict(head.state_dict())
    assert torch.equal(head.eval()(maps()), again.eval()(maps()))


def test_weights_are_a_function_of_the_seed() -> None:
    before = torch.random.get_rng_state()
    one, same = (MMSegUPerNet(LEVELS, 5, width=16, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_context_is_refused() -> None:
    with pytest.raises(UserError, match="crf"):
        MMSegUPerNet(LEVELS, 5, context="crf")
