"""The fronts that searchers find on a fixed problem, written down.

Objectives are integer sums, so no rounding is involved, and the generators of NumPy are the
same everywhere. The baselines were taken with CPython 3.11, NumPy 2 and pymoo 0.6.2 on Linux
x86-64. Another pymoo may draw in another order, so the exact test needs 0.6.2; a change of the
baseline with the same pymoo means that searches of users no longer replay, and is a breaking change.

Searchers that fit models solve linear systems, whose last digits differ between computers; of these
the quality of the front is written down, and the questions they begin with.
To write the baselines anew: python tests/golden/test_fronts.py
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from pymoo.indicators.hv import HV

from evonas import config, schema
from evonas.cli import conf_dir
from evonas.search.base import Observation, Searcher
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.fasterseg.space import fasterseg_space
from evonas.supernets.ofa_mbv3.space import ofa_space

SPACE = evonet_space()
FILE = Path(__file__).parent / "fronts.json"
BASELINES = json.loads(FILE.read_text(encoding="utf-8"))
NAMES = sorted(path.stem for path in (conf_dir() / "search").glob("*.yaml"))
MODELLED = {"nsganetv2", "linas", "model_based", "ehvi", "neighbourhood", "ednag_mbv3", "ednag_nb201"}
# of searches that not every space has
SPACES = {
    "ednag_mbv3": ofa_space(resolutions=(224,)),
    "saswot_matrices": fasterseg_space("saswot", widths=(4,), shared=3),
}
# a smaller inner search and fewer facts at first, so that there are several batches in a second
SMALLER = ["search.initial=60", "search.population=30"]
INNER = "search.proposer.evaluations=200"
REFERENCE = np.array([80.0, 200.0])


def searcher(name: str) -> Searcher:
    """As `search=<name>` would make it, with seed 1 and 240 evaluations."""
    schema.register()
    overrides = [
        "+task=synthetic",
        "network=nano",
        f"search={name}",
        "budget.population=24",
        "budget.evaluations=240",
    ]
    overrides += SMALLER if name in MODELLED else []
    # neighbourhood has no inner search
    overrides += [INNER] if name in MODELLED - {"neighbourhood"} else []
    overrides += ["+search.windows.0=[20,40]"] if name in ("constrained", "elasticvit") else []
    overrides += ["search.compete=[1]", "search.initial=100"] if name == "elasticvit" else []
    overrides += ["search.compete=[1]"] if name == "saswot_matrices" else []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        chosen = compose("config", overrides=overrides).search
    built: Searcher = config.build(chosen, space=SPACES.get(name, SPACE), seed=1)
    return built


def objectives(genotype: Genotype) -> tuple[float, float]:
    """A cost, and a distance from a target that costs more the nearer it is."""
    target = [index % 3 + 2 if index < 10 else 1 for index in range(len(genotype.genes))]
    distance = sum((gene - wanted) ** 2 for gene, wanted in zip(genotype.genes, target, strict=True))
    return float(sum(genotype.genes)), float(distance)


def outcome(name: str) -> dict[str, Any]:
    """The front, and a digest of every question in order; for models the volume and the first questions."""
    asked: list[Observation] = []
    made, batches = searcher(name), []
    while batch := made.ask():
        told = [Observation(point, objectives(point)) for point in batch]
        made.tell(told)
        asked += told
        batches.append(digest(asked, SPACES.get(name, SPACE)))
    values = sorted({told.objectives for told in asked if told.objectives is not None})
    front = [list(a) for a in values if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in values)]
    if name in MODELLED:
        return {"volume": round(float(HV(ref_point=REFERENCE)(np.array(front)))), "opening": batches[0]}
    return {"front": front, "asked": batches[-1]}


def digest(asked: list[Observation], space: Space) -> str:
    """Of the questions so far, in order."""
    text = "\n".join(space.format(told.genotype) for told in asked)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.skipif(not version("pymoo").startswith("0.6.2"), reason="baselines were taken with pymoo 0.6.2")
@pytest.mark.parametrize("name", NAMES)
def test_front_is_as_written_down(name: str) -> None:
    found, written = outcome(name), BASELINES[name]
    if name in MODELLED:
        assert found.pop("volume") == pytest.approx(written.pop("volume"), rel=0.03)
    assert found == written


def test_no_searcher_is_without_a_baseline() -> None:
    assert set(BASELINES) == set(NAMES)


if __name__ == "__main__":
    lines = [f"  {json.dumps(name)}: {json.dumps(outcome(name))}" for name in NAMES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
