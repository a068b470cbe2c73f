"""Sentences about results that disappoint: fine-tuning that harmed, and networks that a trivial predictor beats."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evonas.metric import Metric, metric_of

Metrics = Mapping[str, float | None]
# a difference that readers of four digits would not see
_SAME = 5e-5


def fine_tuning_harm(error_name: str, nets: Iterable[tuple[str, Metrics | None, Metrics | None]]) -> str:
    """Which networks err more after fine-tuning than with the weights they began with; empty for none.

    Args:
        error_name: key of the metric that the task minimises.
        nets: name, metrics with inherited weights and metrics after retraining, on one split.
    """
    known = [
        (name, before, after)
        for name, before, after in nets
        if before and after and before.get(error_name) is not None and after.get(error_name) is not None
    ]
    worse = [each for each in known if _number(each[2], error_name) > _number(each[1], error_name) + _SAME]
    if not worse:
        return ""
    metric = _metric(error_name, worse[0][1])
    told = ", ".join(
        f"{name} ({metric.name} {_read(metric, before, error_name):.4f} before, "
        f"{_read(metric, after, error_name):.4f} after)"
        for name, before, after in worse
    )
    count = f"{len(worse)} of {len(known)} networks"
    return f"Fine-tuning made {count} worse: {told}. Try a smaller train.retrain.lr, or more train.retrain.epochs."


def losing_to_trivial(test: Mapping[str, Any]) -> str:
    """Which networks are no better than a predictor that looks at no image; empty for none.

    Args:
        test: content of the test results' file.
    """
    error_name, trivial = str(test["error_name"]), test["baseline"]
    bound = trivial["metrics"].get(error_name)
    rows: Sequence[tuple[str, Metrics]] = [
        (str(net["name"]), net["retrained"] or net["inherited"]) for net in test["nets"]
    ]
    if bound is None or not rows:
        return ""
    # a network without a finite error is no better than anything
    losing = [name for name, found in rows if found.get(error_name) is None or found[error_name] >= bound]
    if not losing:
        return ""
    metric = _metric(error_name, trivial["metrics"])
    value = _read(metric, trivial["metrics"], error_name)
    than = f"{trivial['name']}, which looks at no image ({metric.name} {value:.4f})"
    if len(losing) == len(rows):
        return f"No network is better on the test split than {than}: nothing useful was learnt."
    return (
        f"{', '.join(losing)} {'is' if len(losing) == 1 else 'are'} no better on the test split than {than}."
    )


def _metric(error_name: str, metrics: Metrics) -> Metric:
    return metric_of(error_name, metrics)


def _number(metrics: Metrics | None, key: str) -> float:
    value = (metrics or {}).get(key)
    assert value is not None
    return value


def _read(metric: Metric, metrics: Metrics | None, error_name: str) -> float:
    return metric.read(_number(metrics, error_name), metrics)
