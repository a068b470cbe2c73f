"""The page of `stage=check`: findings, counts, histograms, and a contact sheet with the ground truth laid over."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from evonas.data.base import Images, Split
from evonas.data.examined import IGNORE, Examined, examine
from evonas.data.statement import SPLIT_NAMES
from evonas.data.survey import DEPTH_BOUNDS, SplitSurvey
from evonas.report.charts.bars import Bar, bars
from evonas.report.charts.plots import Figure
from evonas.report.page.html import render_sections
from evonas.report.page.sources import Picture, Section
from evonas.report.page.tables import Table
from evonas.stages.checking.findings import Finding, Likeness
from evonas.tasks.drawing import CLASS_COLOURS, boxes_drawn, captioned, class_picture, depth_picture

# opacity of masks and depth over the image
_OVER = 0.55
_SIDE = 320
# classes in one chart
_CLASSES = 40
_PAIRS = 6
_PER_ROW = 4


def render(
    task: str,
    surveys: Mapping[Split, SplitSurvey],
    images: Mapping[Split, Images],
    found: Sequence[Finding],
    alike: Sequence[Likeness],
    seconds: float,
) -> str:
    """The page as one HTML file that loads nothing."""
    problems = sum(each.state == "problem" for each in found)
    lead = (
        f"Data of task {task}: nothing would stop a training."
        if not problems
        else f"Data of task {task}: {problems} finding{'s' * (problems > 1)} would stop a training."
    )
    read, total = (sum(getattr(each, key) for each in surveys.values()) for key in ("read", "total"))
    figures = [
        *((f"{SPLIT_NAMES[split]} images", str(each.total)) for split, each in surveys.items()),
        ("looked at", f"{read} of {total}"),
        ("problems", str(problems)),
        ("warnings", str(len(found) - problems)),
        ("seconds", f"{seconds:.1f}"),
    ]
    sections = [
        Section(
            "Findings",
            texts=[] if found else ["None."],
            tables=[
                Table(
                    ("state", "split", "what", "what to do"),
                    [(each.state, each.where, each.text, each.fix) for each in found],
                )
            ]
            if found
            else [],
        ),
        Section("Files", tables=list(_files(surveys))),
        Section("Ground truth", figures=list(_histograms(surveys)), tables=list(_class_table(surveys))),
    ]
    for split, survey in surveys.items():
        if survey.examples:
            shown = [_shown(each, survey) for each in survey.examples]
            rows = [shown[start : start + _PER_ROW] for start in range(0, len(shown), _PER_ROW)]
            sections.append(Section(f"Images: {SPLIT_NAMES[split]}", texts=[_reading(survey)], pictures=rows))
    for each in alike:
        rows = [_pair(each, number, surveys, images) for number in range(min(_PAIRS, len(each.pairs)))]
        title = f"Nearly equal: {SPLIT_NAMES[each.first]} and {SPLIT_NAMES[each.second]}"
        sections.append(Section(title, texts=["The most similar first."], pictures=rows))
    return render_sections(f"Check of {task}", lead, figures, sections)


def overlay(found: Examined, class_names: Sequence[str], limits: tuple[float, float]) -> np.ndarray:
    """The image H W 3 with its ground truth: coloured classes or depth, masks and boxes, or the name of its class."""
    picture = found.picture
    assert picture is not None
    if found.classes is not None:
        ignored = found.classes == IGNORE
        colours = class_picture(np.where(ignored, 0, found.classes).astype(np.int64), ignored)
        return _blended(picture, colours)
    if found.depth is not None:
        valid = found.depth > 0
        known = found.depth[valid]
        far = limits[1] if np.isfinite(limits[1]) else float(np.quantile(known, 0.99)) if len(known) else 1.0
        # where depth is sparse, unknown pixels show the image
        colours = depth_picture(found.depth, far, valid)
        return np.where(valid[..., None], _blended(picture, colours), picture)
    if found.boxes is not None and found.labels is not None:
        import torch

        if (covered := found.covered) is not None:
            colours = class_picture(covered.astype(np.int64))
            picture = np.where((covered >= 0)[..., None], _blended(picture, colours), picture)
        return boxes_drawn(picture, torch.from_numpy(found.boxes), torch.from_numpy(found.labels))
    if found.label is not None:
        return captioned(picture, found.label, class_names[found.label])
    return picture


def _blended(picture: np.ndarray, colours: np.ndarray) -> np.ndarray:
    mixed: np.ndarray = np.rint((1 - _OVER) * picture + _OVER * colours).astype(np.uint8)
    return mixed


def _shown(found: Examined, survey: SplitSurvey) -> Picture:
    drawn = overlay(found, survey.class_names, survey.limits)
    about = ""
    if found.labels is not None:
        counts = Counter(survey.class_names[label] for label in found.labels.tolist())
        about = ", ".join(f"{count} {name}" for name, count in counts.most_common(4)) or "no object"
    elif found.classes is not None:
        ids, pixels = np.unique(found.classes[found.classes != IGNORE], return_counts=True)
        order = np.argsort(-pixels)[:4]
        # classes that a source has beside what its task learns may have no names
        known = dict(enumerate(survey.class_names))
        names = [known.get(number, f"class {number}") for number in ids[order].tolist()]
        about = ", ".join(names) or "all ignored"
    elif found.depth is not None:
        valid = found.depth[found.depth > 0]
        about = f"median {np.median(valid):.3g} m" if len(valid) else "no depth"
    return Picture(found.name, _encoded(drawn), about)


def _encoded(image: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _reading(survey: SplitSurvey) -> str:
    if survey.unit == "depth":
        return "Near is yellow, far is dark blue; pixels without a depth show the image."
    if survey.unit == "pixel":
        return "Colours are those of the classes above, ignored pixels are dark, and the largest classes are named."
    return "Colours are those of the classes above."


def _pair(
    each: Likeness, number: int, surveys: Mapping[Split, SplitSurvey], images: Mapping[Split, Images]
) -> list[Picture]:
    pair, row = each.pairs[number], []
    for split, place in ((each.first, pair.first), (each.second, pair.second)):
        found = examine(images[split], surveys[split].places[place]).reduced(_SIDE)
        assert found.picture is not None
        row.append(Picture(f"{split}: {found.name}", _encoded(found.picture), f"{pair.similarity:.3f}"))
    return row


def _files(surveys: Mapping[Split, SplitSurvey]) -> list[Table]:
    rows = []
    for split, each in surveys.items():
        sizes = each.sizes.most_common()
        shown = ", ".join(f"{height}x{width}: {count}" for (height, width), count in sizes[:4])
        more = f" and {len(sizes) - 4} more sizes" if len(sizes) > 4 else ""
        upright = each.orientations[1]
        turned = sum(each.orientations.values()) - upright
        rows.append(
            (
                split,
                str(each.total),
                str(each.read),
                str(len(each.errors)),
                f"{shown}{more}",
                _counted(each.kinds),
                _counted(each.truth_kinds),
                str(turned),
            )
        )
    columns = (
        "split",
        "images",
        "looked at",
        "unusable",
        "height x width",
        "files",
        "ground truth",
        "turned by EXIF",
    )
    return [Table(columns, rows)]


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()) or "-"


def _histograms(surveys: Mapping[Split, SplitSurvey]) -> list[Figure]:
    figures = []
    for split, each in surveys.items():
        if each.depths.any():
            share = each.depths / each.depths.sum()
            used = np.flatnonzero(each.depths)
            rows = [
                Bar(
                    f"{DEPTH_BOUNDS[place]:.3g} m",
                    100 * share[place],
                    "s0",
                    f"{share[place]:.1%}",
                    f"{DEPTH_BOUNDS[place]:.3g} to {DEPTH_BOUNDS[place + 1]:.3g} m: {each.depths[place]} pixels",
                )
                for place in range(used[0], used[-1] + 1)
            ]
            caption = f"{split}: depths from these bounds upwards, in % of the measured pixels."
            figures.append(Figure(bars(rows, "%", f"Histogram of depth in {split}"), caption))
        elif len(each.counts) and each.counts.any():
            share = each.counts / each.counts.sum()
            order = np.argsort(-each.counts)[:_CLASSES] if len(share) > _CLASSES else range(len(share))
            rows = [
                Bar(
                    each.class_names[place][:12],
                    100 * share[place],
                    "s0" if each.counts[place] else "s1",
                    f"{share[place]:.2%}",
                    f"{each.class_names[place]}: {each.counts[place]} in {each.images_with[place]} images",
                )
                for place in order
            ]
            caption = f"{split}: {each.unit}s of each class, in % of all."
            figures.append(Figure(bars(rows, "%", f"Histogram of classes in {split}"), caption))
    return figures


def _class_table(surveys: Mapping[Split, SplitSurvey]) -> list[Table]:
    tables = []
    names = max((each.class_names for each in surveys.values()), key=len, default=())
    if names:
        unit = next(iter(surveys.values())).unit
        columns = [column for split in surveys for column in (f"{split} {unit}s", f"{split} images with it")]
        rows = []
        for place, name in enumerate(names):
            cells = []
            for each in surveys.values():
                is_known = place < len(each.counts)
                cells += [
                    str(int(values[place])) if is_known else "0" for values in (each.counts, each.images_with)
                ]
            rows.append((name, *cells))
        keys = {name: _swatch(place) for place, name in enumerate(names)}
        tables.append(Table(("class", *columns), rows, keys))
    unlabelled = [
        (split, f"{each.ignored / each.pixels:.1%}", str(len(each.empty)))
        for split, each in surveys.items()
        if each.pixels
    ]
    if unlabelled:
        what = "without a depth" if not names else "ignored"
        tables.append(Table(("split", f"pixels {what}", "images with nothing else"), unlabelled))
    objects = [
        (
            split,
            str(min(each.objects)),
            f"{sum(count * number for count, number in each.objects.items()) / each.objects.total():.1f}",
            str(max(each.objects)),
            str(each.objects[0]),
        )
        for split, each in surveys.items()
        if each.objects
    ]
    if objects:
        tables.append(
            Table(("split", "least objects in an image", "mean", "most", "images without"), objects)
        )
    return tables


def _swatch(place: int) -> str:
    """The colour of a class as SVG."""
    red, green, blue = CLASS_COLOURS[place % len(CLASS_COLOURS)]
    return (
        '<svg class="key" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect width="10" height="10" fill="rgb({red},{green},{blue})"/></svg>'
    )
