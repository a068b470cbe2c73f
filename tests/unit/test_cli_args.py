"""What is typed and what is meant: networks= as it is printed, and choices that bring others along."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from evonas.cli_args import rewrite
from evonas.errors import UserError

TEXT = "nano:m=3,0.5,3,2/s=16,32,32/e=2,1,0.5/d=11.10.1000.10"


def read(*words: str) -> object:
    """What Hydra makes of the last word."""
    [*_, last] = [word for word in rewrite(words) if word.startswith("networks=")]
    override = OverridesParser.create().parse_override(last)
    value = override.value()
    return [str(each) for each in value] if isinstance(value, list) else value and str(value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("run:a#knee", "run:a#knee"),
        (TEXT, TEXT),
        ("/disk/run 1/selected.json#max", "/disk/run 1/selected.json#max"),
        ("/disk/a.sqlite#macs<=0.7", "/disk/a.sqlite#macs<=0.7"),
        ("'run:a#knee'", "run:a#knee"),
        ("null", None),
    ],
)
def test_one_network(typed: str, meant: str | None) -> None:
    assert read("+task=shapes", f"networks={typed}") == meant


def test_several_networks() -> None:
    assert read("+task=shapes", f"networks=[run:a#knee, {TEXT},b/selected.json#max]") == [
        "run:a#knee",
        TEXT,
        "b/selected.json#max",
    ]


WORDS = "fasterseg:a=d4-11/q=conv2,zoom,zoom2/e=skip,conv/u=4,8"


def test_choices_that_are_words_stay_in_their_network() -> None:
    short = "nb201:op=conv,skip"
    typed = f"networks=[{WORDS},{WORDS},run:a#knee,{short}, {short},b/selected.json#max,./c,{WORDS}]"
    assert read("+task=shapes", typed) == [
        WORDS, WORDS, "run:a#knee", short, short, "b/selected.json#max", "./c", WORDS
    ]  # fmt: skip
    words = rewrite(["-m", "+task=shapes", f"networks={WORDS},{short},run:a#knee"])
    assert f"networks='{WORDS}','{short}','run:a#knee'" in words


def test_a_sweep_over_networks() -> None:
    words = rewrite(["-m", "+task=shapes", f"networks=run:a#knee,{TEXT}"])
    assert f"networks='run:a#knee','{TEXT}'" in words


def test_what_hydra_reads_in_files_alone_is_refused() -> None:
    with pytest.raises(UserError, match=r"hydra\.sweeper\.params cannot be typed"):
        rewrite(["-m", "hydra.sweeper.params={seed: '1,2'}"])


def test_a_preview_brings_its_search_and_trains_nothing_unless_told() -> None:
    words = rewrite(["preview", "+task=synthetic", "sampler=largest"])
    assert {"stage=preview", "search=nested", "sampler=largest", "distill=none"} <= set(words)
    assert "sampler=none" not in words
    assert "sampler=none" in rewrite(["+task=synthetic", "stage=preview"])


@pytest.mark.parametrize(
    ("words", "brought"),
    [
        (["+task=shapes", "network=elasticvit_nano"], ["sampler=elasticvit_nano"]),
        (["+task=coco", "network=timm", "network.name=resnet18"], ["sampler=pst_timm"]),
        (["+task=shapes", "network=ofa_nano"], ["sampler=ofa_mbv3_nano"]),
        (["+task=shapes", "network=nb201_nano"], ["sampler=none"]),
        # curricula that open the same genes, and those that open none
        (["+task=coco", "network=evonet"], []),
        (["+task=ade20k", "network=nano"], []),
        (["+task=image_classification", "network=timm"], []),
        # what is typed, what the network brings by itself, and names of other folders
        (["+task=shapes", "network=timm", "sampler=uniform"], []),
        (["+task=kitti", "network=timm"], []),
        (["+task=shapes", "network=mine"], []),
        (["-m", "+task=shapes", "network=nano,timm"], []),
    ],
)
def test_a_network_brings_its_sampler_where_the_task_has_one_for_others(
    words: list[str], brought: list[str]
) -> None:
    assert [word for word in rewrite(words) if word.startswith("sampler=")] == [
        *(word for word in words if word.startswith("sampler=")),
        *brought,
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("[knee,latency<=20]", ["knee", "latency<=20"]),
        ("[latency<=20&params<=5, mIoU>=0.6]", ["latency<=20&params<=5", "mIoU>=0.6"]),
        ("[knee,asf:error=20,macs=1.5,spread:2]", ["knee", "asf:error=20,macs=1.5", "spread:2"]),
        ("[knee,\"spread:1\",'latency<=20']", ["knee", "spread:1", "latency<=20"]),
        ("[knee]", ["knee"]),
        ("[]", []),
        ("latency<=20", "latency<=20"),
    ],
)
def test_selection_rules_need_no_quotes(typed: str, meant: object) -> None:
    [word] = [word for word in rewrite(["+task=shapes", f"select.rules={typed}"]) if "rules" in word]
    value = OverridesParser.create().parse_override(word).value()
    assert ([str(each) for each in value] if isinstance(value, list) else str(value)) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("runtime.device=http://10.0.0.7:1", ["runtime.device=http://10.0.0.7:1", "runtime=remote"]),
        ("runtime=onnxruntime runtime.device=here", ["runtime=remote", "runtime.device=here"]),
        ("runtime.device=here runtime=openvino", ["runtime.device=here", "runtime=openvino"]),
        ("runtime=openvino", ["runtime=openvino"]),
        (
            "devices.phone=http://h:1 +devices.pi=ssh://pi@pi",
            ["+devices.phone=http://h:1", "+devices.pi=ssh://pi@pi"],
        ),
    ],
)
def test_an_address_chooses_the_runtime_of_devices(typed: str, meant: list[str]) -> None:
    assert rewrite(["+task=synthetic", *typed.split()]) == ["+task=synthetic", *meant]


def test_a_hyphen_in_a_command_is_an_underscore() -> None:
    assert rewrite(["serve-latency"]) == ["stage=serve_latency"]
    with pytest.raises(UserError, match="'serve-latencies' is not a command"):
        rewrite(["serve-latencies"])
