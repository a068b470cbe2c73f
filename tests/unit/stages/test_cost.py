"""What a network costs, without a run: every family, published networks by name, and wrong words in one sentence."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = (
    "ofa_mbv3:d=2,3,3,3,4/k=3,3,3,3,3,3,3,3,5,5,3,3,5,5,5,3,5,5,3,3"
    "/e=3,3,3,3,3,4,4,3,4,4,3,3,4,3,3,3,6,6,6,6/r=224"
)


def _values(out: str) -> dict[str, str]:
    [line] = out.splitlines()
    words = line.split()
    return dict(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("words", "params", "macs"),
    [
        (("network=ofa_mbv3", "genotype=NAT-M1"), 6_067_408, 222_557_600),
        (("network=ofa_mbv3", "genotype=pets"), 5_004_405, 384_082_056),
        (("network=ofa_mbv3", "genotype=smallest", "classes=1000"), 3_410_792, 41_476_224),
        (("network=ofa_mbv3", "network.width=1.2", "classes=1000"), 10_701_632, 1_099_061_760),
        (("network=elasticvit", "genotype=T1"), 8_915_808, 64_899_104),
        (("network=elasticvit", "genotype=l1.5", "classes=1000"), 14_706_044, 626_031_104),
        (("network=elasticvit", "genotype=smallest", "classes=1000"), 5_644_427, 38_286_208),
        (("network=fasterseg", "genotype=fasterseg", "size=[1024,2048]"), 3_421_875, 27_770_486_784),
        (
            ("network=fasterseg", "genotype=FasterSeg_Teacher", "size=[1024,2048]", "classes=19"),
            22_115_203,
            107_778_932_736,
        ),
        (("network=evonet", "genotype=nyu-base", "size=[480,640]"), 16_759_974, 23_657_011_200),
        (("network=nano_cnn", "classes=10"), 856_298, 442_707_104),
    ],
)
def test_one_line_says_it(
    evonas_command: Callable, tmp_path: Path, words: tuple[str, ...], params: int, macs: int
) -> None:
    ended = evonas_command("cost", *words)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"params {params} macs {macs} ")
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


def test_a_text_is_read_as_it_is_printed(evonas_command: Callable) -> None:
    printed = _values(evonas_command("cost", "network=ofa_mbv3", "genotype=nat-m1").out)
    assert printed["genotype"] == TEXT
    alone = _values(evonas_command("cost", "network=ofa_mbv3", f"genotype={TEXT}").out)
    assert alone["params"] == alone["backbone_params"] == printed["backbone_params"]
    assert alone["genotype"] == TEXT and alone["input"] == "224x224"


def test_the_published_counter_stands_beside_ours(evonas_command: Callable) -> None:
    for name, macs in (("t1", 62_915_120), ("L3", 815_399_296), ("min400", 159_924_302)):
        values = _values(evonas_command("cost", "network=elasticvit", f"genotype={name}").out)
        assert int(values["published_macs"]) == macs != int(values["macs"])
    assert "published_macs" not in evonas_command("cost", "network=ofa_mbv3").out


def test_names_belong_to_their_family(evonas_command: Callable) -> None:
    for family, name in (("ofa_mbv3", "T1"), ("elasticvit", "nat-m1")):
        ended = evonas_command("cost", f"network={family}", f"genotype={name}")
        assert ended.code == 2 and f"{name!r} is not a network of space {family}." in ended.err


def test_models_of_timm_too(evonas_command: Callable) -> None:
    ended = evonas_command("cost", "network=timm", "network.name=test_resnet", "size=[64,64]", "classes=10")
    assert ended.code == 0, ended.err
    values = _values(ended.out)
    assert int(values["params"]) > int(values["backbone_params"]) > 100_000


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("genotype=nat-m5", "error: 'nat-m5' is not a network of space ofa_mbv3."),
        ("genotype=nyu-base", "nat-m4"),
        ("genotype=ofa_mbv3:d=2", "error: The groups are d, not d, k, e, r."),
        ("size=224", "size=224 is not a list."),
        ("size=[0,224]", "got [0, 224]"),
        ("classes=0", "error: classes must be at least 1 or null, got 0."),
        ("classes=many", "got many"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(evonas_command: Callable, word: str, said: str) -> None:
    ended = evonas_command("cost", "network=ofa_mbv3", word)
    assert ended.code == 2 and said in ended.err and not ended.out
    assert "Traceback" not in ended.err


def test_a_published_network_keeps_its_settings(evonas_command: Callable) -> None:
    ended = evonas_command("cost", "network=ofa_mbv3", "genotype=nat-m2", "network.width=1.0")
    assert ended.code == 2 and "nat-m2 has network.width=1.2, not 1.0." in ended.err
    assert evonas_command("cost", "network=ofa_mbv3", "genotype=nat-m2", "network.width=1.20").code == 0


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from evonas.cli import main; sys.argv = ['evonas', 'cost', 'network=ofa_mbv3'];"
        "assert main() == 0; assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
