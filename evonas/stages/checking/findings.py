"""What the surveys of a data set mean: what would stop a training, and what a person should know before one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from evonas.data.base import Images, Split
from evonas.data.io.groups import EXAMPLES
from evonas.data.near_duplicates import Pair, mean_thumbnail, near_duplicates
from evonas.data.statement import (
    DEEP_FIX,
    DEPTH_SCALE,
    SPLIT_NAMES,
    ClassCounts,
    CountsClasses,
    DepthCounts,
)
from evonas.data.survey import SplitSurvey
from evonas.errors import DataError

State = Literal["problem", "warning"]
# correlation of thumbnails from which images count as nearly equal
ALIKE = 0.95
# names and values in one finding
_SHOWN = 5
# single files with a finding of their own, for each split
_FILES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Args:
        state: `problem` stops a training or an evaluation; a `warning` does not.
        where: the split, or two of them.
        text: what it is.
        fix: what to type or to do; empty if nothing is to be done.
    """

    state: State
    where: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Nearly equal images of two splits, the most similar first."""

    first: Split
    second: Split
    pairs: Sequence[Pair]


def findings(
    surveys: Mapping[Split, SplitSurvey], images: Mapping[Split, Images], likenesses: Sequence[Likeness]
) -> list[Finding]:
    """What the surveys show, problems first."""
    found: list[Finding] = []
    for split, survey in surveys.items():
        found += _files(survey)
        found += _unknown(survey)
        found += _classes(survey, images[split])
        found += _depths(survey)
        if survey.repeated:
            names = listed([f"{name} and {first}" for name, first in survey.repeated], at_most=3)
            text = f"{len(survey.repeated)} of {survey.read} images are other names of one file: {names}."
            found.append(Finding("warning", split, text, "Remove the links, or the lines that name them."))
        if survey.deep.sentence(split):
            found.append(Finding("warning", split, survey.deep.sentence(split), DEEP_FIX))
        if survey.empty:
            what = {"pixel": "masks in which every pixel is ignored", "depth": "depth maps without a depth"}
            kind = what.get(survey.unit, "images without an object")
            text = f"{len(survey.empty)} of {survey.read} are {kind}: {listed(survey.empty)}."
            found.append(Finding("warning", split, text, "Check whether this is meant."))
    found += _groups(surveys)
    for each in likenesses:
        found += _likeness(each, surveys)
    return sorted(found, key=lambda one: one.state != "problem")


def joined(found: Sequence[Finding]) -> list[Finding]:
    """The findings, each once with all the splits that it was found in."""
    places: dict[tuple[State, str, str], list[str]] = {}
    for each in found:
        places.setdefault((each.state, each.text, each.fix), []).append(each.where)
    return [
        Finding(state, ", ".join(filter(None, dict.fromkeys(where))), text, fix)
        for (state, text, fix), where in places.items()
    ]


def likenesses(surveys: Mapping[Split, SplitSurvey]) -> list[Likeness]:
    """Nearly equal images of any two splits."""
    features = {split: np.array(survey.thumbnails) for split, survey in surveys.items() if survey.thumbnails}
    if not features:
        return []
    mean = mean_thumbnail(np.concatenate(list(features.values())))
    found = (
        Likeness(one, other, near_duplicates(features[one], features[other], mean, ALIKE))
        for one, other in combinations(features, 2)
    )
    return [each for each in found if each.pairs]


def unreadable(split: Split, error: DataError) -> Finding:
    """A split that cannot be listed."""
    return Finding("problem", split, error.message, error.hint)


def _files(survey: SplitSurvey) -> Iterator[Finding]:
    for _, error in survey.errors[:_FILES]:
        yield Finding("problem", survey.split, error.message, error.hint)
    more = len(survey.errors) - _FILES
    if more > 0:
        text = f"{more} more images cannot be used, {len(survey.errors)} of {survey.read} in all."
        yield Finding("problem", survey.split, text, "Correct the first ones, and check again.")


def _unknown(survey: SplitSurvey) -> Iterator[Finding]:
    if not survey.unknown:
        return
    what = "colour" if " " in next(iter(survey.unknown)) else "class id"
    each = [
        f"{value} ({counted(pixels, 'pixel')} in {counted(survey.unknown_in[value], 'mask')})"
        for value, pixels in survey.unknown.most_common()
    ]
    verb = "contains" if len(survey.unknown_masks) == 1 else "contain"
    text = (
        f"{len(survey.unknown_masks)} of {counted(survey.read, 'mask')} {verb} "
        f"{counted(len(each), f'unknown {what}')}: {', '.join(each)}. In: {listed(survey.unknown_masks)}."
    )
    yield Finding("problem", survey.split, text, survey.hint)


def _classes(survey: SplitSurvey, images: Images) -> Iterator[Finding]:
    if not survey.class_names or survey.unit == "depth" or not survey.names:
        return
    names, counts = survey.class_names, tuple(int(each) for each in survey.counts)
    seen = ClassCounts(names, counts, survey.unit, survey.read, survey.total)
    if not seen.absent:
        return
    hint = ""
    if isinstance(images, CountsClasses) and not survey.unknown and not survey.errors:
        hint = images.class_counts().hint
    is_problem = survey.split == "train" and seen.is_too_few
    more = " There is nothing to learn." if is_problem else ""
    yield Finding(
        "problem" if is_problem else "warning",
        survey.split,
        f"{seen.sentence(survey.split)}{more}",
        hint or "They cannot be learned, and a score without them says nothing about them."
        if survey.split == "train"
        else hint or "Scores on this split say nothing about them.",
    )


def _depths(survey: SplitSurvey) -> Iterator[Finding]:
    if not survey.sampled_depths:
        return
    counts = DepthCounts.of(
        np.concatenate(survey.sampled_depths), survey.limits, len(survey.names), survey.total
    )
    sentence = counts.sentence(survey.split)
    if sentence:
        is_problem = survey.split == "train" and not counts.within
        yield Finding("problem" if is_problem else "warning", survey.split, sentence, DEPTH_SCALE)


def _groups(surveys: Mapping[Split, SplitSurvey]) -> Iterator[Finding]:
    for one, other in combinations(surveys, 2):
        shared = sorted(surveys[one].groups.keys() & surveys[other].groups.keys())
        if shared:
            text = f"{len(shared)} groups have images in both splits: {listed(shared)}."
            yield Finding("warning", f"{one}, {other}", text, "Move each group into one split.")


def _likeness(each: Likeness, surveys: Mapping[Split, SplitSurvey]) -> Iterator[Finding]:
    first, second = surveys[each.first], surveys[each.second]
    shown = [f"{second.names[pair.second]} and {first.names[pair.first]}" for pair in list(each.pairs)[:3]]
    text = (
        f"{len(each.pairs)} of {len(second.names)} {SPLIT_NAMES[each.second]} images are nearly equal to "
        f"{SPLIT_NAMES[each.first]} images: {'; '.join(shown)}."
    )
    fix = (
        f"If they are frames of one video, keep it in one split. {EXAMPLES}"
        if each.second == "holdout"
        else "Scores on them say little about new images."
    )
    yield Finding("warning", f"{each.first}, {each.second}", text, fix)


def counted(number: int, what: str) -> str:
    """A number of things, such as `1 mask` or `2 masks`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], at_most: int = _SHOWN) -> str:
    """The first names, and how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")
