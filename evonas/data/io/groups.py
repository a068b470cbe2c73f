"""Groups of images that must lie in one split, such as the frames of a video, and the cut between whole groups.

Neighbouring frames are nearly equal, so that a validation split cut by image would be half training images.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evonas.errors import DataError, UserError
from evonas.randomness import generator

# what to type
EXAMPLES = (
    "For the images of one folder: data.validation_groups=1. For what stands before the last _ of a name, as in "
    "clip7_0012.png: 'data.validation_groups=\"(.+)_\"'"
)


class Grouping:
    """Names the group of an image by its path.

    Args:
        by: `data.validation_groups`. A number n of folders: images below one folder, the n-th above them, are one
            group, so 1 means the images of a folder. Or a regular expression that is searched in the path: the group
            is what its parentheses match, or without any its whole match.

    Raises:
        UserError: the number is below 1, or the expression is invalid.
    """

    def __init__(self, by: str | int) -> None:
        self.by = by
        self._pattern: re.Pattern[str] | None = None
        if isinstance(by, str):
            try:
                self._pattern = re.compile(by)
            except re.error as error:
                raise UserError(
                    f"data.validation_groups={by} is not a regular expression: {error}.",
                    EXAMPLES,
                ) from error
        elif isinstance(by, bool) or by < 1:
            raise UserError(
                f"data.validation_groups must be a number of folders from 1 or a regular expression, got {by}.",
                EXAMPLES,
            )

    @property
    def levels(self) -> int:
        """How many folders deep images are looked for."""
        return 0 if isinstance(self.by, str) else self.by

    def group(self, path: str) -> str:
        """The group of an image.

        Args:
            path: its path below the data's root, with `/`.

        Raises:
            DataError: the expression does not match.
        """
        if self._pattern is None:
            parts = path.split("/")
            return "/".join(parts[: max(0, len(parts) - self.levels)])
        match = self._pattern.search(path)
        if match is None:
            raise DataError(
                f"{path} does not match data.validation_groups={self.by}, so its group is unknown.",
                EXAMPLES,
            )
        found = match.groups() or (match[0],)
        return "/".join(part or "" for part in found)


def grouping(by: str | int | None) -> Grouping | None:
    """The grouping of `data.validation_groups`; None where images are cut one by one or as the data set says."""
    return None if by is None else Grouping(by)


def held_groups(
    groups: Sequence[str], share: float, seed: int, classes: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """The mask of held-out images, cut between whole groups.

    Groups are visited in a random order; a group is held out if the held-out images of each class stay within `share`
    of all. If no group of a class is small enough, its smallest one is, unless a class would lose all its images.

    Args:
        groups: group of each image.
        share: maximum share of held-out images, in (0, 1).
        seed: seed of the order.
        classes: class of each image; None if all count alike.
    """
    labels = [0] * len(groups) if classes is None else list(classes)
    content: dict[str, Counter[int]] = {}
    for name, label in zip(groups, labels, strict=True):
        content.setdefault(name, Counter())[label] += 1
    total = Counter(labels)
    names, held = sorted(content), set[str]()
    room = {label: share * count for label, count in total.items()}
    # groups of each class that stay in training
    kept = Counter(label for counts in content.values() for label in counts)

    def hold(name: str) -> None:
        held.add(name)
        for label, count in content[name].items():
            room[label] -= count
            kept[label] -= 1

    for place in generator(seed, "holdout").permutation(len(names)).tolist():
        name = names[place]
        if all(count <= room[label] for label, count in content[name].items()):
            hold(name)
    for label in sorted(total):
        of_class = [name for name in names if label in content[name]]
        if held.isdisjoint(of_class):
            movable = [name for name in of_class if all(kept[other] > 1 for other in content[name])]
            if movable:
                hold(min(movable, key=lambda name: (content[name].total(), name)))
    return np.array([name in held for name in groups], dtype=np.bool_)


def refuse_one_group(groups: Sequence[str], by: str | int | None) -> None:
    """Raises a DataError if all training images are of one group, so that no validation split can be cut."""
    found = set(groups)
    if len(found) > 1:
        return
    rule = "" if by is None else f" by data.validation_groups={by}"
    raise DataError(
        "The validation split needs training images of at least two groups (single images, drives, scenes); all are "
        f"of {next(iter(found), 'none') or 'one folder'}{rule}.",
        "Add images of another group."
        if by is None
        else f"Leave it out to cut between single images, or use another rule. {EXAMPLES}",
    )
