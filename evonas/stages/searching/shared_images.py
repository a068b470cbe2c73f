"""What the workers of one search share: the decoded images, once per machine."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from evonas.stages.base import Context
from evonas.stages.build.engine import worker_count
from evonas.stages.build.run_mode import RunMode

IMAGES = "search/workers/images"


@contextmanager
def share_images(context: Context, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The evaluator's config with a folder for decoded images, which is gone afterwards.

    A single worker, and a table, share nothing. A search that is killed leaves the folder in its run; the
    next one that resumes uses and removes it.
    """
    hardware = context.cfg.hardware
    is_alone = hardware.engine == "inline" or worker_count(hardware) < 2
    if context.setup.mode is RunMode.TABLE or is_alone:
        yield dict(spec)
        return
    folder = context.run.directory / IMAGES
    try:
        yield {**spec, "shared_dir": str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
