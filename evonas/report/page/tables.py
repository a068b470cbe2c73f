"""Tables of a report, with formatted numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evonas.metric import Metric, readable
from evonas.report.analysis.baseline_gain import Gain
from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.pareto import front
from evonas.report.results import SearchResults, latency_labels

MAX_ROWS = 12
KINDS = ("inherited", "retrained", "scratch")
DASH = "-"


@dataclass(frozen=True)
class Table:
    """A table of text; `keys` maps the first cell of a row to its marker."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def compact(value: Any) -> str:
    """Format a number with four significant digits, None as a dash."""
    return DASH if value is None else f"{float(value):.4g}"


def scaled(count: Any) -> str:
    """Format a count with k, M or G, None as a dash."""
    if count is None:
        return DASH
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def generations(results: SearchResults) -> Table:
    """Progress of the search at evenly spaced numbers of evaluations."""
    total = len(results.values)
    most = min(MAX_ROWS, total)
    counts = [total * (row + 1) // most for row in range(most)]
    reference, rows = results.reference, []
    for count in counts:
        seen = results.values[:count]
        share = [] if reference is None else [f"{hypervolume(seen, reference, results.ideal):.4f}"]
        best = [
            compact(metric.best(column))
            for metric, column in zip(results.metrics, results.shown[:count].T, strict=True)
        ]
        rows.append([str(count), str(len(front(seen))), *share, *best])
    columns = ["evaluated", "Pareto front", *(["hypervolume"] if reference is not None else [])]
    return Table([*columns, *(f"best {metric.arrow}" for metric in results.metrics)], rows)


def nets(
    chosen: Sequence[Mapping[str, Any]],
    retrained: Mapping[str, Mapping[str, Any]],
    error: str,
    metric: Metric,
    results: SearchResults | None,
    keys: Mapping[str, str],
    rivals: Sequence[Mapping[str, Any]] = (),
) -> Table:
    """Objectives of the selected networks and their validation metric before and after retraining.

    Baselines (`rivals`) have costs, and their metric after the longest training in the column of retrained networks.
    """
    names = [] if results else sorted({name for net in chosen for name in net["objectives"]})
    labels = [each.arrow for each in results.metrics] if results else names
    kinds = [kind for kind in KINDS if any(result.get(kind) for result in retrained.values())]
    rows = []
    for net in chosen:
        result, objectives = retrained.get(net["name"], {}), net["objectives"]
        found = (
            results.read(objectives, net["genotype"]) if results else [objectives.get(name) for name in names]
        )
        trained = [
            compact(metric.read(metrics[error], metrics) if (metrics := result.get(kind)) else None)
            for kind in kinds
        ]
        marks = (
            [results.mark(name, net["genotype"]) for name in results.names] if results else [""] * len(names)
        )
        cells = [f"{compact(value)}{mark}" for value, mark in zip(found, marks, strict=True)]
        rows.append([net["name"], *cells, *trained])
    for each in rivals:
        objectives = {name: value for name, value in each["objectives"].items() if name != "error"}
        costs = results.read(objectives) if results else [objectives.get(name) for name in names]
        value = compact(metric.read(each["metrics"][error], each["metrics"]))
        trained = [value if kind == "retrained" else DASH for kind in kinds]
        rows.append([f"{each['name']} (baseline)", *map(compact, costs), *trained])
    return Table(["network", *labels, *(f"{metric.arrow}, {kind}" for kind in kinds)], rows, keys)


def baselines(found: Mapping[str, Any], metric: Metric, results: SearchResults | None) -> Table:
    """Costs of the baselines and their metric after each training."""
    error, budgets = found["error_name"], list(found["steps"])
    measured = sorted({name for each in found["networks"] for name in each["objectives"]} - {"error"})
    rows = []
    for each in found["networks"]:
        scores = [each["trained"].get(name, {}).get("metrics") for name in budgets]
        costs = [compact(each["objectives"].get(name)) for name in measured]
        read = [compact(metric.read(known[error], known) if known else None) for known in scores]
        rows.append([each["name"], scaled(each["params"]), scaled(each["macs"]), *costs, *read])
    units = results.units if results else {}
    labels = [f"{name} ({units[name]})" if units.get(name) else name for name in measured]
    columns = [f"{metric.arrow}, {name} ({found['steps'][name]} steps)" for name in budgets]
    notes = [f"{each['name']}: {each['matched']}." for each in found["networks"] if each.get("matched")]
    return Table(["baseline", "parameters", "MACs", *labels, *columns], rows, note=" ".join(notes))


def gained(gain: Gain) -> Table:
    """Each selected network beside the baselines at its cost."""
    read = gain.metric.from_error
    rows = []
    for row in gain.rows:
        beside = None if row.baseline is None else read(row.baseline)
        # positive where the network is better, whatever the direction of the metric
        better = (
            None if beside is None else abs(read(row.error) - beside) * (1 if (row.gain or 0) > 0 else -1)
        )
        rows.append([row.name, compact(row.cost), compact(read(row.error)), compact(beside), compact(better)])
    cost = f"{gain.cost} ({gain.unit})" if gain.unit else gain.cost
    columns = [
        "network",
        cost,
        gain.metric.arrow,
        f"baselines' {gain.metric.name} at this {gain.cost}",
        "gain",
    ]
    note = (
        "The baselines are interpolated on their own Pareto front; a dash means that none is as cheap. A positive gain "
        "means that the network is better than the baselines."
    )
    return Table(columns, rows, note=note)


def tested(test: Mapping[str, Any], keys: Mapping[str, str]) -> list[Table]:
    """Costs and metrics of the networks, the baselines, a trivial predictor and the teacher on the test split."""
    baseline, rivals = test["baseline"], test.get("baselines", ())
    known = [test.get("teacher_costs") or {}, *rivals, *test["nets"]]
    timed = any("latency" in each.get("objectives", {}) for each in known)
    metrics = [metric for metric, _ in readable(test["error_name"], baseline["metrics"])]

    def row(name: str, net: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
        costs = [scaled(net.get("params")), scaled(net.get("macs"))]
        costs += [compact(net.get("objectives", {}).get("latency"))] if timed else []
        read = {metric.name: value for metric, value in readable(test["error_name"], found)}
        return [name, *costs, *[compact(read.get(metric.name)) for metric in metrics]]

    rows = [row(f"baseline: {baseline['name']}", {}, baseline["metrics"])]
    if test.get("teacher"):
        rows.append(row("teacher", test.get("teacher_costs") or {}, test["teacher"]))
    for each in rivals:
        for budget, found in each["trained"].items():
            rows.append(row(f"{each['name']} (baseline, {budget})", each, found))
    for net in test["nets"]:
        best = "retrained" if net.get("retrained") else "inherited"
        for kind in KINDS:
            if net.get(kind):
                rows.append(row(net["name"] if kind == best else f"{net['name']}, {kind}", net, net[kind]))
    note = "A name without a suffix means retrained weights, if available."
    labels = dict.fromkeys(label for each in known for label in latency_labels(each.get("measured")))
    note = " ".join([note, *labels])
    columns = ["network", "parameters", "MACs", *(["latency (ms)"] if timed else [])]
    found = [Table([*columns, *(metric.arrow for metric in metrics)], rows, keys, note)]
    if test.get("shipped"):
        said = "As runtimes compute the networks on the CPU, one image a pass; times without a reference network."
        found.append(Table(*shipped_rows(test["shipped"], test["error_name"]), keys, said))
    return found


def shipped_rows(rows: Sequence[Mapping[str, Any]], error: str) -> tuple[list[str], list[list[str]]]:
    """Columns and cells of networks as runtimes compute them; one that is not to be had has the reason.

    Args:
        rows: `shipped` of the test's results.
        error: the error's name.
    """
    metric, cells = None, []
    for row in rows:
        about = [row["name"], row["runtime"], row["precision"]]
        if "reason" in row:
            cells.append([*about, *[DASH] * 3, row["reason"]])
            continue
        metric, value = readable(error, row["metrics"])[0]
        threads = f"{row['runtime']} {row['version']}, {row['threads']} thread{'s' * (row['threads'] != 1)}"
        cells.append([*about, compact(value), compact(row["ms"]), compact(row["mb"]), threads])
    columns = ["network", "runtime", "precision", metric.arrow if metric else error, "ms", "MB", ""]
    return columns, cells


def measured(results: SearchResults) -> Table:
    """Number of evaluations, failures and wall-clock time of each part of the search."""
    known = results.identity.get("fingerprints", {})
    names = {fingerprint: f"{part} part" for part, fingerprint in known.items()}
    rows = []
    for cost in results.costs:
        # other fingerprints belong to racing rungs
        name = names.get(cost.fingerprint, f"{cost.part} part, racing rung")
        each = compact(cost.seconds / max(1, cost.measured))
        rows.append([name, str(cost.measured), str(cost.failed), f"{cost.seconds:.1f}", each])
    note = (
        "The shared part measures the task's metric and analytic objectives; the exclusive part measures latency, "
        "alone on its device."
    )
    columns = ["part", "evaluations", "failed", "total, summed over workers (s)", "mean (s)"]
    return Table(columns, rows, note=note)


def discovered(found: Mapping[str, Any]) -> Table:
    """Rank correlation of the discovered and of known proxies on training and held-out networks."""
    rows = []
    for name, row in {**found["found"], **found["known"]}.items():
        unseen = row["held_out"]
        bounds = f"{compact(unseen['tau_low'])} to {compact(unseen['tau_high'])}"
        rows.append([name, compact(row["training"]["tau"]), compact(unseen["tau"]), bounds])
    columns = [
        "score",
        f"tau, {found['training']} training networks",
        f"tau, {found['held_out']} held-out networks",
        "95 % interval",
    ]
    return Table(columns, rows, note="Kendall's tau with the quality after training.")


def ranked(rank: Mapping[str, Any], metric: Metric) -> Table:
    """Rank correlation of the inherited metric and of each cost with the metric after retraining."""
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
        f"95 % bootstrap intervals; equal cost means within one of {rank['bins']} bins by MACs; regret is the "
        f"{metric.label} lost by training only the best-ranked networks."
    )
    return Table(columns, rows, note=note)


def _with_interval(found: Mapping[str, Any], key: str) -> str:
    if found[key] is None:
        return DASH
    ends = (found[f"{key}_low"], found[f"{key}_high"])
    return f"{found[key]:.2f}" + ("" if None in ends else f" ({ends[0]:.2f} to {ends[1]:.2f})")
