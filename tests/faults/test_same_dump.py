"""The same search by every engine ends in the same archive; on Ray also when a machine is lost (R11, R24)."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from witnessed import Witnessed, WitnessedTogether

from evonas.archive import Archive
from evonas.evaluate.backlog import Order
from evonas.evaluate.engine import Engine, Job, Outcome
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.evaluate.ray import RayEngine
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.generational import search
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="needs pip install 'evonas[ray]'")
PARTS = {"error": "shared", "macs": "shared", "latency": "exclusive"}
FINGERPRINTS = {"shared": "analytic-1", "exclusive": "analytic-2"}


def reversed_genes(genotype: Genotype) -> tuple[int, ...]:
    """An order of genotypes that is not the one in which they are asked."""
    return genotype.genes[::-1]


def searched(
    folder: Path,
    make: Callable[[Witnessed], Engine],
    evaluations: int = 72,
    witness: type[Witnessed] = Witnessed,
) -> str:
    """The canonical dump of a search by one engine."""
    folder.mkdir(exist_ok=True)
    engine = make(witness(str(folder / "events"), tuple(PARTS), seconds=0.005))
    space = evonet_space()
    with Archive.open(folder / "archive.sqlite", {"seed": 1}, resume=False) as archive:
        try:
            found = NSGA2(space, seed=1, population=24, evaluations=evaluations)
            search(found, engine, archive, space, PARTS, FINGERPRINTS)  # type: ignore[arg-type]
            return archive.dump()
        finally:
            engine.close()


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> str:
    return searched(tmp_path_factory.mktemp("inline"), InlineEngine)


@pytest.mark.parametrize("workers", [1, 2])
def test_local_engines_agree_with_inline(tmp_path: Path, inline: str, workers: int) -> None:
    assert searched(tmp_path, lambda spec: LocalEngine(spec, workers=workers)) == inline
    assert len(inline.splitlines()) == 144


@pytest.mark.parametrize(
    "make", [InlineEngine, partial(LocalEngine, workers=1), partial(LocalEngine, workers=2)]
)
@pytest.mark.parametrize("order", [None, reversed_genes])
def test_passes_over_several_genotypes_agree_with_one_by_one(
    tmp_path: Path, inline: str, make: Callable[..., Engine], order: Order | None
) -> None:
    found = searched(tmp_path, partial(make, subnets_per_pass=5, order=order), witness=WitnessedTogether)
    assert found == inline


@NEEDS_RAY
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("witness", [Witnessed, WitnessedTogether])
def test_ray_agrees_with_inline(tmp_path: Path, inline: str, witness: type[Witnessed]) -> None:
    assert searched(tmp_path, lambda spec: RayEngine(spec, workers=2), witness=witness) == inline


class Losing:
    """An engine that loses a machine of its cluster after some outcomes."""

    def __init__(self, engine: Engine, lose: Callable[[], None], after: int) -> None:
        self.engine, self.lose, self.left = engine, lose, after

    def run(self, jobs: list[Job]) -> Iterator[Outcome]:
        for outcome in self.engine.run(jobs):
            self.left -= 1
            if self.left == 0:
                self.lose()
            yield outcome

    def close(self) -> None:
        self.engine.close()


@NEEDS_RAY
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_machine_killed_in_mid_search_loses_nothing(
    tmp_path: Path, inline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    # the machines of a cluster have evonas installed; here they have the tests' modules as well
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1, resources={"other": 1})
    killed = []

    def lose() -> None:
        for process in other.all_processes["raylet"]:
            process.process.send_signal(signal.SIGKILL)
            killed.append(process.process.pid)

    def make(spec: Witnessed) -> Engine:
        engine = RayEngine(spec, workers=3, address=cluster.address, setup_s=60)
        # one actor surely lives on the machine that will be lost
        engine._shared[0]._options["resources"] = {"other": 1}  # type: ignore[attr-defined]
        return Losing(engine, lose, after=30)

    try:
        assert searched(tmp_path, make) == inline
        assert killed
    finally:
        cluster.shutdown()
