"""Batch-norm statistics of their own for subnets of a trained supernet, as a search measures them."""

from functools import partial

from evonas import weights
from evonas.data.loading.batches import calibration
from evonas.nn.bn_calibration import BNCalibration
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.batch_size import eval_batch_size
from evonas.tasks.base import Task


def bn_calibration(context: Context, of: Task) -> BNCalibration | None:
    """What renews a subnet's statistics, kept in statistics/; None where the supernet's are used as they are.

    That is with `train.recalibrate=0`, and in a run whose networks start from other weights.
    """
    number, start = int(context.cfg.train.recalibrate), context.run.find(factory.SUPERNET)
    if not number or start is None:
        return None
    images, size = of.dataset("train"), eval_batch_size(context.setup)
    about: dict[str, str | int] = {
        "weights": weights.digest(start),
        "data": images.manifest(),
        "number": number,
        "batch": size,
    }
    folder = context.run.path("statistics")
    return BNCalibration(partial(calibration, images, number, size), min(number, len(images)), folder, about)


def origin(renewal: BNCalibration | None) -> dict[str, int]:
    """What a training depends on that starts from renewed statistics, as plain data."""
    return {} if renewal is None else {"recalibrate": renewal.number}
