"""stage=measure: measure networks again and compare with the values that the search recorded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas import files
from evonas.archive import Archive
from evonas.config import build
from evonas.report.results import SearchResults, measured_with
from evonas.runtimes.device import HERE
from evonas.stages.base import Context
from evonas.stages.build.evaluator import archive_naming, evaluator_config, parts_of
from evonas.stages.networks.selected import SelectedNetwork
from evonas.stages.searching.reuse import ARCHIVE
from evonas.stages.show import requested_networks
from evonas.track.console import print_table

if TYPE_CHECKING:
    from evonas.objectives.evaluator import Evaluator

MEASURED = "measure/measured.json"
PROFILE = "measure/profile.json"
# operations of a profile
SHOWN = 12
# key of a row -> column of the table
COLUMNS = {
    "name": "name",
    "metric": "metric",
    "recorded_metric": "recorded",
    "measured_metric": "measured",
    "note": "note",
}


class Measure:
    """Measures each network of `networks=`, or each selected one, in this process and one after another.

    Objectives other than latencies reproduce the recorded numbers bit for bit on the same device. If the fingerprint
    differs, something that the numbers depend on has changed, and the table says so.

    Args:
        profile: show in which operations of ONNX Runtime the time of each network goes.
    """

    needs_task = True

    def __init__(self, profile: bool = False) -> None:
        self.profile = profile

    def run(self, context: Context) -> str:
        """Print recorded and new values side by side, and how latencies were measured; write measure/measured.json."""
        naming = archive_naming(context.run.find(ARCHIVE))
        evaluator: Evaluator = build(naming(evaluator_config(context)))
        evaluator.setup()
        nets = requested_networks(context, lambda: context.setup.space)
        rows = [row for net in nets for row in _rows(context, evaluator, net)]
        path = context.run.path(MEASURED)
        files.write_json(path, rows)
        shown = [["-" if row[key] is None else str(row[key]) for key in COLUMNS] for row in rows]
        print_table("", list(COLUMNS.values()), shown)
        for line in dict.fromkeys(str(row["measured_with"]) for row in rows if row["measured_with"]):
            print(line)
        if self.profile:
            _profile(context, evaluator, nets)
        return f"Measured: {path}"


def _profile(context: Context, evaluator: "Evaluator", nets: Sequence[SelectedNetwork]) -> None:
    """Print the operations of each network by their time, and write all nodes to measure/profile.json."""
    from evonas.objectives.footprint import in_own_process
    from evonas.objectives.latency.measured import Latency
    from evonas.runtimes.onnx_profile import by_operation, profiled
    from evonas.runtimes.remote import RemoteNetwork

    runtime = in_own_process(build(context.cfg.runtime), "a profile")
    latency = Latency(runtime=replace(runtime, device=HERE), reference=False)
    latency.prepare(evaluator.context)
    found: dict[str, Any] = {}
    for net in nets:
        prepared = latency.prepared(context.setup.space.parse(net.genotype))
        assert isinstance(prepared, RemoteNetwork)
        nodes = profiled(prepared.model, runtime.threads)
        operations = by_operation(nodes)
        found[net.name] = {
            "genotype": net.genotype,
            "runtime": latency.runtime_on(evaluator.context).version(),
            "threads": runtime.threads,
            "operations": [asdict(each) for each in operations],
            "nodes": [asdict(each) for each in nodes],
        }
        rows = [
            [each.operation, str(each.nodes), f"{each.ms:.3f}", f"{each.share:.1%}", each.provider]
            for each in operations[:SHOWN]
        ]
        title = f"{net.name}: {sum(each.ms for each in nodes):.3f} ms in {len(nodes)} nodes of ONNX Runtime"
        print_table(title, ["operation", "nodes", "ms", "share", "run by"], rows)
    path = context.run.path(PROFILE)
    files.write_json(path, found)
    print(f"All nodes: {path}")


def _rows(context: Context, evaluator: "Evaluator", net: SelectedNetwork) -> Iterator[dict[str, object]]:
    for part in parts_of(evaluator.objectives):
        fingerprint = evaluator.fingerprint(part)
        answer = evaluator.measure(context.setup.space.parse(net.genotype), part)
        found = _single(net.genotype, answer.objectives, answer.extra)
        conditions = measured_with(found)
        before, note = _recorded(context, part, fingerprint, net.genotype)
        for column, (name, value) in enumerate(answer.objectives.items()):
            known, known_metric = before.get(name, (None, None))
            yield {
                "name": net.name,
                "genotype": net.genotype,
                "objective": name,
                "recorded": known,
                "measured": value,
                "metric": found.metrics[column].name,
                "recorded_metric": known_metric,
                "measured_metric": float(found.shown[0, column]),
                "note": note or ("equal" if known == value else ""),
                "measured_with": " ".join(conditions) if name in answer.extra else "",
            }


def _single(genotype: str, objectives: Mapping[str, float], extra: Mapping[str, Any]) -> SearchResults:
    """The results of one network."""
    return SearchResults(
        tuple(objectives), (genotype,), np.array([list(objectives.values())], dtype=float), extras=[extra]
    )


def _recorded(
    context: Context, part: str, fingerprint: str, genotype: str
) -> tuple[dict[str, tuple[float, float]], str]:
    """Value and metric of each recorded objective of a part, and a note why they may not be comparable."""
    path = context.run.find(ARCHIVE)
    if path is None:
        return {}, "no search"
    with Archive.read(path) as archive:
        own = archive.meta["fingerprints"].get(part, "")
        fact = archive.lookup(own, genotype)
    if fact is None or not fact.objectives:
        return {}, "not searched"
    found = _single(genotype, fact.objectives, fact.extra)
    pairs = zip(found.values[0].tolist(), found.shown[0].tolist(), strict=True)
    return dict(zip(found.names, pairs, strict=True)), "" if own == fingerprint else "another fingerprint"
