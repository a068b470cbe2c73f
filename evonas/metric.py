"""How people read a task's numbers: mIoU, mAP, PSNR, top-1, with their direction. Searches minimise errors instead.

Archives and JSON files hold errors and metrics under the keys of the tasks (`one_minus_miou`, `miou`). A task states
its metric by `error_name` and the keys of its meter: the error `one_minus_<key>` stands for the metric `<key>`, and
`error` and `rmse` stand for `top1` and `psnr` where the meter computes these. Any other error is read as it is, so that
a task of one's own needs nothing more.
"""

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

COMPLEMENT = "one_minus_"


def _same(value: float) -> float:
    return value


def _complement(value: float) -> float:
    return 1.0 - value


def _psnr(rmse: float) -> float:
    return -20.0 * math.log10(max(rmse, 1e-12))


def _rmse(psnr: float) -> float:
    return float(10.0 ** (-psnr / 20.0))


@dataclass(frozen=True, slots=True)
class Metric:
    """A number as people read it.

    Args:
        name: as papers write it, such as mIoU.
        higher_is_better: its direction.
        unit: such as dB; empty for fractions.
        key: its key among a task's metrics; empty for an objective such as latency.
        from_error: maps a minimised error to this metric, strictly monotone.
        to_error: the inverse.
        is_exact: whether `from_error` gives the recorded metric. It does not for PSNR, a mean over views, since the
            PSNR of the mean RMSE is lower; recorded metrics therefore take precedence.
    """

    name: str
    higher_is_better: bool = False
    unit: str = ""
    key: str = ""
    from_error: Callable[[float], float] = _same
    to_error: Callable[[float], float] = _same
    is_exact: bool = True

    @property
    def label(self) -> str:
        """Name with its unit in parentheses."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def direction(self) -> str:
        """In words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def arrow(self) -> str:
        """The name with the arrow of its direction, as in the tables of papers."""
        return f"{self.label} " + ("\u2191" if self.higher_is_better else "\u2193")

    def read(self, error: float, metrics: Mapping[str, float | None] | None = None) -> float:
        """The value for an error: the recorded one, if `metrics` has it, else converted."""
        recorded = (metrics or {}).get(self.key) if self.key else None
        return self.from_error(float(error)) if recorded is None else float(recorded)

    def best(self, values: ArrayLike) -> float:
        """The best of at least one value."""
        return float(np.max(values) if self.higher_is_better else np.min(values))

    def worst(self, values: ArrayLike) -> float:
        """The worst of at least one value."""
        return float(np.min(values) if self.higher_is_better else np.max(values))


# key of a task's metric -> name, whether higher is better, unit
_KNOWN: Mapping[str, tuple[str, bool, str]] = {
    "miou": ("mIoU", True, ""),
    "pixel_accuracy": ("pixel accuracy", True, ""),
    "map": ("mAP", True, ""),
    "map_50": ("mAP50", True, ""),
    "map_75": ("mAP75", True, ""),
    "map_small": ("mAP small", True, ""),
    "map_medium": ("mAP medium", True, ""),
    "map_large": ("mAP large", True, ""),
    "top1": ("top-1", True, ""),
    "top5": ("top-5", True, ""),
    "psnr": ("PSNR", True, "dB"),
    "ssim": ("SSIM", True, ""),
    "lpips": ("LPIPS", False, ""),
    "abs_rel": ("AbsRel", False, ""),
    "sq_rel": ("SqRel", False, ""),
    "rms": ("RMSE", False, "m"),
    "log_rms": ("RMSE log", False, ""),
    "rmse": ("RMSE", False, ""),
    "silog": ("SILog", False, ""),
    "log10": ("log10", False, ""),
    "d1": ("delta1", True, ""),
    "d2": ("delta2", True, ""),
    "d3": ("delta3", True, ""),
    "angle": ("mean angle", False, "deg"),
    "within_11": ("within 11.25 deg", True, ""),
}
# error -> key of the metric that it stands for, conversion and its inverse
_STANDS_FOR: Mapping[str, tuple[str, Callable[[float], float], Callable[[float], float]]] = {
    "error": ("top1", _complement, _complement),
    "rmse": ("psnr", _psnr, _rmse),
}


def metric_of(error_name: str, metrics: Container[str]) -> Metric:
    """The metric by which people know an error; the error itself if its meter computes no such metric.

    Args:
        error_name: the minimised metric of a task.
        metrics: the keys of all metrics of the task.
    """
    is_complement = error_name.startswith(COMPLEMENT)
    complement = error_name.removeprefix(COMPLEMENT), _complement, _complement
    key, convert, invert = (
        complement if is_complement else _STANDS_FOR.get(error_name, (error_name, _same, _same))
    )
    if key == error_name or not (is_complement or key in metrics):
        return known_metric(error_name)
    name, _, unit = _KNOWN.get(key, (key, True, ""))
    return Metric(name, True, unit, key, convert, invert, is_exact=convert is _complement)


def converted(error_name: str, metrics: Container[str]) -> Metric:
    """The same where only errors are at hand: the error itself if the metric does not follow from it exactly."""
    metric = metric_of(error_name, metrics)
    return metric if metric.is_exact else known_metric(error_name)


def reading(error_name: str, metrics: Mapping[str, float]) -> tuple[Metric, float]:
    """The metric by which people know a task's error, and its value for one network's metrics."""
    metric = metric_of(error_name, metrics)
    return metric, metric.read(metrics[error_name], metrics)


def known_metric(key: str) -> Metric:
    """A metric of a task by its key; an unknown one is read as it is."""
    if key.startswith("mask_"):
        name, higher, unit = _KNOWN.get(key.removeprefix("mask_"), (key, False, ""))
        return Metric(f"mask {name}" if name != key else key, higher, unit, key)
    if key.startswith("iou_"):
        return Metric(f"IoU {key.removeprefix('iou_')}", True, "", key)
    return Metric(*_KNOWN.get(key, (key, False, "")), key)


def readable(error_name: str, metrics: Mapping[str, float | None]) -> list[tuple[Metric, float | None]]:
    """All metrics of a network as people read them: the task's own first, and none that is one minus another one."""
    main, error = metric_of(error_name, metrics), metrics.get(error_name)
    value = metrics.get(main.key)
    if value is None and error is not None and main.is_exact:
        value = main.from_error(error)
    complements = {key for key in metrics if key.startswith(COMPLEMENT)} | (
        {"error"} if main.key == "top1" else set()
    )
    others = sorted(key for key in metrics if key != main.key and key not in complements)
    return [(main, value), *((known_metric(key), metrics[key]) for key in others)]
