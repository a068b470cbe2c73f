"""stage=check: looks at all of a data set before anything is trained, and writes one page about it."""

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evonas import files
from evonas.config import build, redact, to_plain
from evonas.data.base import SPLITS, Images, Split
from evonas.data.survey import SplitSurvey, survey
from evonas.errors import DataError, UserError
from evonas.stages.base import Context
from evonas.stages.checking import page
from evonas.stages.checking.findings import Finding, findings, joined, likenesses, unreadable
from evonas.track.console import print_table
from evonas.track.progress import Progress

_MARKS = {"problem": "x", "warning": "!"}


class Check:
    """Looks at every image of every split with its ground truth; changes nothing in the data.

    Args:
        images: number of evenly spaced images of each split that are looked at; None for all.
        shown: number of images of each split on the page.
        page: the file that is written; None for one below outputs/check, named by task and data.
        json: print what was found as JSON.
    """

    needs_task = True

    def __init__(
        self, images: int | None = None, shown: int = 12, page: str | None = None, json: bool = False
    ) -> None:
        if images is not None and images < 1:
            raise UserError(f"stage.images must be at least 1, got {images}.", "Leave it out to look at all.")
        if shown < 0:
            raise UserError(f"stage.shown must not be negative, got {shown}.", "Try stage.shown=12.")
        self.images, self.shown, self.page, self.json = images, shown, page, json

    def run(self, context: Context) -> str:
        """Print counts and findings, and write the page; returns its path.

        Raises:
            UserError: the task has no images.
            DataError: something was found that would stop a training or the evaluation of its networks.
        """
        cfg, started = context.cfg, time.monotonic()
        if not context.setup.mode.has_network or not hasattr(context.setup.task, "dataset"):
            raise UserError(f"Task {cfg.task.name} has no images to check.", "Try: +task=masks stage=check")
        name = str(cfg.task.name)
        with _warnings_collected() as said:
            images, found = self._listed(context)
            names = tuple(getattr(context.setup.task, "classes", ()))
            surveys = {split: self._surveyed(each, names) for split, each in images.items()}
        limit = getattr(context.setup.task, "max_depth", None)
        for each in surveys.values():
            if limit is not None:
                each.limits = each.limits[0], min(each.limits[1], float(limit))
        alike = likenesses(surveys)
        found += findings(surveys, images, alike)
        # several splits read one folder or document, and say the same of it
        found = joined(found)
        found += [Finding("warning", "", text) for text in dict.fromkeys(said)]
        path = Path(self.page) if self.page else _path(context)
        seconds = time.monotonic() - started
        files.write_text(path, page.render(name, surveys, images, found, alike, seconds))
        text = json.dumps(_plain(surveys, found, path, seconds), indent=2) if self.json else ""
        if not self.json:
            _print(surveys, found)
        problems = [each for each in found if each.state == "problem"]
        if problems:
            if self.json:
                print(text, flush=True)
            first = problems[0]
            raise DataError(
                f"{len(problems)} finding{'s' * (len(problems) > 1)} would stop a training of {name}; the first: "
                f"{first.where}: {first.text}",
                f"{first.fix}\nAll of them, with images: {path}".lstrip(),
            )
        count = f"{len(found)} warning{'' if len(found) == 1 else 's'}"
        return text or f"{count}. Images, histograms and findings: {path}"

    def _listed(self, context: Context) -> tuple[dict[Split, Images], list[Finding]]:
        """The splits that can be listed, and what is wrong with the others."""
        images: dict[Split, Images] = {}
        found: list[Finding] = []
        for split in SPLITS:
            try:
                images[split] = _whole(context.setup.task.dataset(split))
            except DataError as error:
                found.append(unreadable(split, error))
                try:
                    # a source of its own does not compare this split with the others, whose images it may share
                    images[split] = _whole(build(context.cfg.task).dataset(split))
                except DataError:
                    continue
        return images, found

    def _surveyed(self, images: Images, class_names: tuple[str, ...]) -> SplitSurvey:
        total = len(images) if self.images is None else min(len(images), self.images)
        # JSON stands alone on standard output
        stream = sys.stderr if self.json else None
        with Progress(f"{images.split} images", total, "image", stream) as progress:
            return survey(images, self.images, self.shown, step=progress.advance, class_names=class_names)


def _whole(images: Images) -> Images:
    """The split, after its files were listed and their sizes read."""
    len(images)
    images.manifest()
    images.augment = False
    return images


@contextmanager
def _warnings_collected() -> Iterator[list[str]]:
    """What data sources warn of, such as files that they skip, instead of its lines on the console."""
    said: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, handler = logging.getLogger("evonas.data"), Collecting(logging.WARNING)
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield said
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)


def _path(context: Context) -> Path:
    """The page of this task and data, which the same command writes again."""
    plain = redact(to_plain(context.cfg.task))
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()
    name = str(context.cfg.task.name).replace("/", "-")
    return Path(context.cfg.outputs) / "check" / f"{name}-{digest[:8]}.html"


def _print(surveys: dict[Split, SplitSurvey], found: list[Finding]) -> None:
    rows = []
    for split, each in surveys.items():
        sizes = each.sizes.most_common(1)
        size = (
            "-"
            if not sizes
            else f"{sizes[0][0][0]}x{sizes[0][0][1]}"
            + (f" and {len(each.sizes) - 1} more" if len(each.sizes) > 1 else "")
        )
        kinds = ", ".join(each.kinds) or "-"
        classes = f"{len(each.class_names) - len(each.absent)} of {len(each.class_names)}"
        rows.append(
            [
                split,
                str(each.total),
                str(each.read),
                str(len(each.errors)),
                size,
                kinds,
                "-" if each.unit == "depth" else classes,
                str(len(each.empty)),
            ]
        )
    columns = ("split", "images", "looked at", "unusable", "height x width", "files", "classes", "empty")
    print_table("", columns, rows)
    for one in found:
        print(f" {_MARKS[one.state]}  {f'{one.where}: ' if one.where else ''}{one.text}", flush=True)
        if one.fix:
            print(f"      {one.fix}", flush=True)


def _plain(
    surveys: dict[Split, SplitSurvey], found: list[Finding], path: Path, seconds: float
) -> dict[str, Any]:
    """What was found as JSON data."""
    splits = {}
    for split, each in surveys.items():
        splits[split] = {
            "images": each.total,
            "looked_at": each.read,
            "unusable": len(each.errors),
            "sizes": {f"{height}x{width}": count for (height, width), count in each.sizes.most_common()},
            "files": dict(each.kinds),
            "truth_files": dict(each.truth_kinds),
            "orientations": {str(turn): count for turn, count in each.orientations.items()},
            "unit": each.unit,
            "classes": {
                name: {"count": int(count), "images": int(number)}
                for name, count, number in zip(each.class_names, each.counts, each.images_with, strict=True)
            },
            "unknown": dict(each.unknown),
            "empty": each.empty,
        }
    return {
        "splits": splits,
        "findings": [asdict(each) for each in found],
        "page": str(path),
        "seconds": round(seconds, 2),
    }
