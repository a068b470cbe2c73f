"""What reports are tested with: searches, networks and pictures, and a reader of pages."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.report.page.sources import Sources
from evonas.report.results import Cost, SearchResults
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.space.space import Space
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space

GENOTYPE = "nano:m=3.5,4,1,3.5/s=64,64,48/e=0.5,4,0.5/d=11.01.101.01"
STEPS = ["warm-max", "free-depth", "free-ratio", "free-state", "free-expand", "free-all", "refine", "last"]
NETS = ("knee", "spread1", "budget", "max")
METRICS = {"abs_rel": 0.112, "rmse": 1.31, "d1": 0.893}
POPULATION = 16


def command(stage: str) -> str:
    return f"python -m evonas +task=synthetic stage={stage} run=demo"


def searched(count: int, seed: int = 0) -> SearchResults:
    """A search whose points move towards the front x y z = const while it goes on."""
    rng = np.random.default_rng(seed)
    u = rng.random((count, 2))
    far = rng.exponential(0.6 / (1 + 4 * np.linspace(0, 1, count)))
    macs = 0.1 + u[:, 0] ** 2
    latency = 3 + 14 * (0.7 * u[:, 0] + 0.3 * u[:, 1]) * (1 + 0.3 * far)
    error = 0.08 + 0.25 * np.exp(-2.2 * (0.6 * u[:, 0] + 0.4 * u[:, 1])) * (1 + far)
    return SearchResults(
        ("error", "latency", "macs"),
        tuple(f"{GENOTYPE}-{row}" for row in range(count)),
        np.stack([error, latency, macs], axis=1),
        units={"latency": "ms", "macs": "GMAC"},
        reference=(0.6, 30.0, 2.0),
        failures={"timeout after 3 tries": 2},
    )


def space() -> Space:
    """A small space of networks with stages."""
    return evonet_space("nano", (0.5, 1, 2, 3), (8, 16, 24, 32), (0.5, 1, 2), (2, 2, 4, 2))


def family() -> EvoNet:
    """The family of the networks of `space()`."""
    return EvoNet(space(), (24, 48, 96, 192), (2, 4, 8, 8))


def bred(count: int) -> SearchResults:
    """What a real search of closed forms finds in `space()`, generation by generation."""
    of, names = space(), ("error", "latency", "macs")
    form = AnalyticEvaluator(of, names)
    form.setup()
    searcher, told = NSGA2(of, seed=1, population=POPULATION, evaluations=count), list[Observation]()
    while asked := searcher.ask():
        found = [form.values(point) for point in asked]
        facts = [
            Observation(point, tuple(value[name] for name in names))
            for point, value in zip(asked, found, strict=True)
        ]
        searcher.tell(facts)
        told += facts
    return replace(
        searched(1),
        genotypes=tuple(of.format(each.genotype) for each in told),
        values=np.array([each.objectives for each in told]),
        asked=range(len(told)),
        identity={"searcher": {"population": POPULATION}, "fingerprints": {"shared": "f"}},
        costs=[Cost("shared", "f", len(told) + 2, 2, 61.5)],
    )


def png() -> bytes:
    """A small picture of all greys."""
    stream = io.BytesIO()
    shade = np.linspace(0, 255, 96).astype(np.uint8)
    Image.fromarray(np.broadcast_to(shade[None, :, None], (64, 96, 3)).copy()).save(stream, format="PNG")
    return stream.getvalue()


def chosen(facts: SearchResults, names: tuple[str, ...] = NETS) -> list[dict[str, Any]]:
    """Networks from everywhere in the search, the first one and the last one among them."""
    rows = np.linspace(0, len(facts.values) - 1, len(names)).astype(int)
    return [
        {"name": name, "genotype": facts.genotypes[row], "objectives": facts.objectives(row), "reason": "why"}
        for name, row in zip(names, rows, strict=True)
    ]


def tested(names: tuple[str, ...]) -> dict[str, Any]:
    """The result on the test split, with three rows of pictures."""
    picture = {"image": "one.png", "truth": "one.png", "teacher": "one.png"}
    measured = {"params": 1_234_567, "macs": 812_345_678, "inherited": METRICS, "retrained": METRICS}
    baseline = {"name": "constant depth 6.5 m", "metrics": {"abs_rel": 0.41, "rmse": 4.2, "d1": None}}
    return {
        "split": "test",
        "error_name": "abs_rel",
        "num_images": 96,
        "baseline": baseline,
        "teacher": METRICS,
        "nets": [{"name": name, **measured, "scratch": None} for name in names],
        "pictures": [{**picture, "nets": dict.fromkeys(names, "one.png")}] * 3,
    }


def panel() -> dict[str, Any]:
    """Errors of four subnets that fall over eight steps of a curriculum."""
    names = ("max", "min", "random1", "random2")
    return {
        "error_name": "abs_rel",
        "steps": [
            {
                "name": step,
                "panel": [
                    {
                        "name": name,
                        "genotype": GENOTYPE,
                        "metrics": {"abs_rel": 0.5 / (at + 1) + 0.02 * place},
                    }
                    for place, name in enumerate(names)
                ],
            }
            for at, step in enumerate(STEPS)
        ],
    }


def rank() -> dict[str, Any]:
    """A ranking check of twelve networks."""
    pairs = [
        {
            "genotype": GENOTYPE,
            "inherited": 0.2 + 0.01 * i,
            "retrained": 0.15 + 0.008 * i + 0.01 * (i % 3),
            "macs": i,
        }
        for i in range(12)
    ]
    found = {"tau": 0.82, "low": 0.55, "high": 0.96, "tau_macs": -0.61}
    return {"error_name": "abs_rel", "steps": 56, "pairs": pairs, **found}


def whole(folder: Path, facts: SearchResults, names: tuple[str, ...] = NETS) -> Sources:
    """Sources with every part of a finished run; what genes mean is known of `bred` searches only."""
    (folder / "one.png").write_bytes(png())
    result = {"inherited": {"abs_rel": 0.15}, "retrained": METRICS, "scratch": None}
    return Sources(
        run="demo",
        task="synthetic",
        command=command,
        results=facts,
        selected={"error_name": "abs_rel", "nets": chosen(facts, names)},
        retrained={name: {"name": name, **result} for name in names},
        test=tested(names),
        panel=panel(),
        rank=rank(),
        pictures=folder,
        attempts=["python -m evonas +task=synthetic run=demo seed=1"],
        environment=[("evonas", "0.1.0"), ("torch", "2.11")],
        times=[("stage teacher", "2 min 4 s")],
        space=space() if facts.identity else None,
        family=family() if facts.identity else None,
    )


class Page(HTMLParser):
    """Collects tags, attributes and scripts, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "br", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
