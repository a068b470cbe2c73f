"""Logging of trainings: the progress that a person sees, and the numbers that a tracker keeps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evonas.stages.base import Context
from evonas.stages.tracking import trackers
from evonas.track.base import TrackerGroup
from evonas.track.progress import Progress

EVERY = 10


class TrainingLogger:
    """A listener for `evonas.train.fit` that counts steps over several trainings.

    Args:
        progress: advanced at every step.
        tracker: given the numbers of every tenth step.
    """

    def __init__(self, progress: Progress, tracker: TrackerGroup) -> None:
        self.progress, self.tracker = progress, tracker
        self._before = self._now = 0

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Steps count from the start of the current training."""
        shown = {"loss": values["loss"]} if "loss" in values else {}
        self.progress.advance(self._before + step - self._now, **shown)
        self._now = self._before + step
        if values and self._now % EVERY == 0:
            self.tracker.scalars(self._now, values)

    def finish_training(self, steps: int) -> None:
        """A training of `steps` has ended, here or in an earlier attempt."""
        missing = self._before + steps - self._now
        if missing:
            self.progress.advance(missing)
        self._before += steps
        self._now = self._before

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Track numbers that belong to the current step."""
        self.tracker.scalars(self._now, values)


@contextmanager
def training_logger(
    context: Context, stage: str, title: str, steps: int, folder: Path
) -> Iterator[TrainingLogger]:
    """A progress bar and the configured trackers for one training stage."""
    with trackers(context, stage, folder) as group, Progress(title, steps) as progress:
        yield TrainingLogger(progress, group)
