"""The tables of a report: numbers as text, ready to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.pareto import front
from evonas.report.results import Facts

MOST_ROWS = 12
KINDS = ("inherited", "retrained", "scratch")
DASH = "-"


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; `keys` gives a marker to rows whose first cell has that name."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def compact(value: Any) -> str:
    """A number with four significant digits, or a dash where there is none."""
    return DASH if value is None else f"{float(value):.4g}"


def scaled(count: Any) -> str:
    """A count with k, M or G."""
    if count is None:
        return DASH
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def generations(facts: Facts) -> Table:
    """The state of the search after evenly spaced counts of evaluated networks."""
    total = len(facts.values)
    most = min(MOST_ROWS, total)
    counts = [total * (row + 1) // most for row in range(most)]
    reference, rows = facts.reference, []
    for count in counts:
        seen = facts.values[:count]
        share = [] if reference is None else [f"{hypervolume(seen, reference, facts.ideal):.4f}"]
        best = [compact(value) for value in seen.min(axis=0)]
        rows.append([str(count), str(len(front(seen))), *share, *best])
    columns = ["evaluated", "on the front", *(["hypervolume"] if reference is not None else [])]
    return Table([*columns, *(f"best {facts.label(name)}" for name in facts.names)], rows)


def nets(
    chosen: Sequence[Mapping[str, Any]],
    retrained: Mapping[str, Mapping[str, Any]],
    error: str,
    facts: Facts | None,
    keys: Mapping[str, str],
) -> Table:
    """Objectives of the chosen networks, and their holdout errors before and after training alone."""
    names = list(facts.names) if facts else sorted({name for net in chosen for name in net["objectives"]})
    labels = [facts.label(name) if facts else name for name in names]
    kinds = [kind for kind in KINDS if any(result.get(kind) for result in retrained.values())]
    rows = []
    for net in chosen:
        result = retrained.get(net["name"], {})
        measured = [compact((result.get(kind) or {}).get(error)) for kind in kinds]
        rows.append([net["name"], *[compact(net["objectives"].get(name)) for name in names], *measured])
    return Table(["network", *labels, *(f"{error}, {kind}" for kind in kinds)], rows, keys)


def tested(test: Mapping[str, Any], keys: Mapping[str, str]) -> list[Table]:
    """Every metric on the test split: networks, baseline and teacher side by side."""
    error, baseline = test["error_name"], test["baseline"]
    metrics = [error, *sorted(name for name in baseline["metrics"] if name != error)]
    rows = [_row(f"baseline: {baseline['name']}", None, baseline["metrics"], metrics)]
    if test.get("teacher"):
        rows.append(_row("teacher", None, test["teacher"], metrics))
    for net in test["nets"]:
        rows += [_row(_title(net, kind), net, net[kind], metrics) for kind in KINDS if net.get(kind)]
    note = "A network's name alone stands for its retrained weights, where there are some."
    return [Table(["network", "parameters", "multiply-adds", *metrics], rows, keys, note)]


def measured(facts: Facts) -> Table:
    """How many measurements each part of the search took, how many failed, and for how long."""
    known = facts.identity.get("fingerprints", {})
    names = {fingerprint: f"{part} part" for part, fingerprint in known.items()}
    rows = []
    for cost in facts.costs:
        # other fingerprints are those of a race, which looks at some images first
        name = names.get(cost.fingerprint, f"{cost.part} part, on some of the images")
        each = compact(cost.seconds / max(1, cost.measured))
        rows.append([name, str(cost.measured), str(cost.failed), f"{cost.seconds:.1f}", each])
    note = (
        "Accuracy and closed forms are the shared part; latency, measured alone on its device, the exclusive."
    )
    columns = ["measured in the search", "measurements", "failed", "summed over workers (s)", "each (s)"]
    return Table(columns, rows, note=note)


def discovered(found: Mapping[str, Any]) -> Table:
    """How a discovered formula and known ones rank the networks it was found on, and others."""
    rows = []
    for name, row in {**found["found"], **found["known"]}.items():
        unseen = row["held_out"]
        bounds = f"{compact(unseen['tau_low'])} to {compact(unseen['tau_high'])}"
        rows.append([name, compact(row["training"]["tau"]), compact(unseen["tau"]), bounds])
    columns = [
        "score",
        f"tau, {found['training']} networks",
        f"tau, {found['held_out']} others",
        "95 % interval",
    ]
    return Table(
        columns, rows, note="Kendall's tau with the quality after training; the others were not used."
    )


def ranked(rank: Mapping[str, Any]) -> Table:
    """How well the inherited error and each cost rank the networks, side by side."""
    columns = ["ranked by", "tau", "rho", "tau at equal cost", f"regret of the best {rank['top']}"]
    rows = [
        [
            name,
            *(_with_interval(found, key) for key in ("tau", "rho", "tau_at_cost")),
            compact(found["regret"]),
        ]
        for name, found in rank["predictors"].items()
    ]
    note = (
        f"Intervals are 95 % of a bootstrap; equal cost means within one of {rank['bins']} bins by MACs; "
        f"regret is the {rank['error_name']} lost by training only the best-ranked networks."
    )
    return Table(columns, rows, note=note)


def _with_interval(found: Mapping[str, Any], key: str) -> str:
    if found[key] is None:
        return DASH
    ends = (found[f"{key}_low"], found[f"{key}_high"])
    return f"{found[key]:.2f}" + ("" if None in ends else f" ({ends[0]:.2f} to {ends[1]:.2f})")


def _title(net: Mapping[str, Any], kind: str) -> str:
    best = "retrained" if net.get("retrained") else "inherited"
    return str(net["name"]) if kind == best else f"{net['name']}, {kind}"


def _row(
    name: str, net: Mapping[str, Any] | None, found: Mapping[str, Any], metrics: Sequence[str]
) -> list[str]:
    costs = [scaled(net.get("params") if net else None), scaled(net.get("macs") if net else None)]
    return [name, *costs, *[compact(found.get(metric)) for metric in metrics]]
