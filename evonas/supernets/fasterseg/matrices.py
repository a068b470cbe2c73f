"""FasterSeg's matrices: decoding of published architectures, and writing of the same layout.

A file holds, for an architecture a (0 is the teacher, 1 the student), `alpha_a_s` (16 - s rows, one for each layer from
s on at scale s; a column for each operator), `beta_a_1` and `beta_a_2` (14 and 13 rows; was a map halved, or kept?),
`ratio_a_s` (15, 15 and 14 rows; a column for each width, or one if widths are not searched), and the numbers `mIoU02`,
`mIoU12`, `latency02` and `latency12`, which decide between the branches (32, 8) and (32, 16).

The decoding is that of the published networks with its peculiarities: a row of `beta_a_1` is its own layer for the
branch to stride 16, and the next one for the branch to stride 32; betas go through a softmax once more for every
branch; a skip is protected in place, so that branches decoded later see it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import DataError, UserError
from evonas.supernets.fasterseg.published import PUBLISHED_OPERATORS
from evonas.supernets.fasterseg.space import SKIP, WIDTHS, Architecture, Cell

LAYERS = 16
TEACHER = 0
Array = NDArray[np.float32]
_SKIP = PUBLISHED_OPERATORS.index(SKIP)
_ALPHA = re.compile(r"alpha_(\d+)_0\Z")
# latency in ms to which a network's is compared, and the weight of that comparison
_REFERENCE_MS, _LATENCY_POWER = 8.3, -0.07
_NUMBERS = ("mIoU02", "mIoU12", "latency02", "latency12")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What matrices say.

    Args:
        branches: cells of the branch to each scale.
        targets: the branches of the network: (2, 1) or (2, 0).
        is_teacher: whether they are a teacher's: nothing is left out, and stem and head have the whole width.
    """

    branches: tuple[tuple[Cell, ...], ...]
    targets: tuple[int, int]
    is_teacher: bool

    @property
    def architecture(self) -> Architecture:
        """The network."""
        first, second = self.targets
        return Architecture(self.targets, (self.branches[first], self.branches[second]))


def decode(values: Mapping[str, Any], number: int | None = None) -> Decoded:
    """The network of matrices.

    Args:
        values: arrays and numbers of a file by name; without the numbers the branches are (32, 16).
        number: which architecture of the file; None for the only one.

    Raises:
        DataError: a matrix is missing or of another shape, or not finite.
        UserError: the file has several architectures and none is named.
    """
    found = sorted({int(match[1]) for name in values if (match := _ALPHA.match(name))})
    if number is None and len(found) > 1:
        raise UserError(
            f"The file has the architectures {', '.join(map(str, found))}.", "Leave all but one in it."
        )
    if not found or (number is not None and number not in found):
        raise DataError(
            "The file has no matrices of FasterSeg: alpha_1_0, beta_1_1, ratio_1_0 and so on, or alpha_0_0 and so on.",
            f"It has: {', '.join(sorted(values)[:6])}.",
        )
    at = found[0] if number is None else number
    alphas = [
        _matrix(values, f"alpha_{at}_{scale}", LAYERS - scale, len(PUBLISHED_OPERATORS)) for scale in range(3)
    ]
    betas = [_matrix(values, f"beta_{at}_{scale}", LAYERS - 1 - scale, 2) for scale in (1, 2)]
    ratios = [
        _matrix(values, f"ratio_{at}_{scale}", LAYERS - max(1, scale), len(WIDTHS), 1) for scale in range(3)
    ]
    is_teacher = at == TEACHER
    if is_teacher:
        for alpha in alphas:
            alpha[:, _SKIP] = -np.inf
    branches: list[tuple[Cell, ...]] = []
    for target in range(3):
        betas = [_softmax(beta) for beta in betas]
        downs = _downs(target, betas)
        branches.append(_branch(target, downs, alphas, ratios, is_teacher))
    return Decoded(tuple(branches), _targets(values), is_teacher)


def _matrix(values: Mapping[str, Any], name: str, rows: int, *columns: int) -> Array:
    if name not in values:
        raise DataError(f"The file has no matrix {name}.", f"It has: {', '.join(sorted(values)[:6])}.")
    try:
        found = np.array(values[name], dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not a matrix of numbers.") from error
    wanted = [(rows, count) for count in columns]
    if found.shape not in wanted:
        shapes = " or ".join(str(shape) for shape in wanted)
        raise DataError(f"{name} has the shape {found.shape}, not {shapes}.", "Give matrices of 16 layers.")
    if np.isnan(found).any():
        raise DataError(f"{name} has entries that are not numbers.", "Write the file again.")
    return found


def _softmax(rows: Array) -> Array:
    raised = np.exp(rows - rows.max(axis=1, keepdims=True))
    found: Array = raised / raised.sum(axis=1, keepdims=True)
    return found


def _downs(target: int, betas: Sequence[Array]) -> tuple[int, ...]:
    """The layers at which the branch to a scale halves its map."""
    one, two = (beta[:, 0] for beta in betas)
    if target == 0:
        return ()
    if target == 1:
        return (1 + int(np.argmax(one[1 : LAYERS - 3])),)
    most, found = -np.inf, (0, 0)
    for second in range(LAYERS - 4):
        for first in range(1, second - 1):
            score = one[first] * two[second]
            if score > most:
                most, found = score, (first + 1, second + 2)
    return found


def _branch(
    target: int, downs: Sequence[int], alphas: Sequence[Array], ratios: Sequence[Array], is_teacher: bool
) -> tuple[Cell, ...]:
    """The cells of the branch to a scale; protects layers in place."""
    scales = [sum(down < layer for down in downs) for layer in range(LAYERS)]
    rows = [alphas[scale][layer - scale] for layer, scale in enumerate(scales)]
    removable = set() if is_teacher else _removable(target, downs, rows)
    cells: list[Cell] = []
    for layer, (scale, row) in enumerate(zip(scales, rows, strict=True)):
        best = int(np.argmax(row))
        if best == _SKIP and layer in removable:
            continue
        if best == _SKIP:
            others = row.copy()
            others[_SKIP] = -np.inf
            best = int(np.argmax(others))
        width = None
        if layer < LAYERS - 1:
            after = scales[layer + 1]
            ratio = ratios[after][layer + 1 - max(1, after)]
            width = (
                WIDTHS[int(np.argmax(ratio))] if len(ratio) > 1 else WIDTHS[-1] if is_teacher else WIDTHS[0]
            )
        cells.append(Cell(layer, scale, layer in downs, PUBLISHED_OPERATORS[best], width))
    last = cells[-1]
    cells[-1] = Cell(last.layer, last.scale, last.is_down, last.operator, None)
    return tuple(cells)


def _removable(target: int, downs: Sequence[int], rows: Sequence[Array]) -> set[int]:
    """The layers that are left out if their operator is a skip."""
    skips = {
        layer: float(_softmax(row[None])[0, _SKIP])
        for layer, row in enumerate(rows)
        if layer not in downs and int(np.argmax(row)) == _SKIP
    }
    for start, stop in pairwise((*downs, LAYERS)):
        inside = range(start + 1, stop)
        if len(inside) and all(layer in skips for layer in inside):
            kept = min(reversed(inside), key=skips.__getitem__)
            rows[kept][_SKIP] = -np.inf
    most = LAYERS - (round(LAYERS / 3) + 2 * target)
    ordered = sorted(skips, key=skips.__getitem__, reverse=True)
    return set(ordered[:most])


def _targets(values: Mapping[str, Any]) -> tuple[int, int]:
    """The branches whose quality and latency are better together."""
    if any(name not in values for name in _NUMBERS):
        return 2, 1
    try:
        quality = {name: float(np.asarray(values[name])) for name in _NUMBERS}
        to_8, to_16 = (
            quality[f"mIoU{pair}"] * (quality[f"latency{pair}"] / _REFERENCE_MS) ** _LATENCY_POWER
            for pair in ("02", "12")
        )
        is_finer = to_8 > to_16
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"One of {', '.join(_NUMBERS)} is not a number above 0.") from error
    return (2, 0) if is_finer else (2, 1)


def encode(of: Architecture, is_teacher: bool = False) -> dict[str, Array]:
    """Matrices that decode to an architecture; widths have one column if they are those of that column.

    Args:
        of: of 16 layers.
        is_teacher: whether they are written as those of the teacher.

    Raises:
        UserError: no matrices decode to it, such as those whose branches have different operators at one layer and
            stride.
    """
    number = TEACHER if is_teacher else 1
    fixed = WIDTHS[-1] if is_teacher else WIDTHS[0]
    widths = {cell.width for branch in of.branches for cell in branch if cell.width is not None}
    columns = 1 if widths == {fixed} else len(WIDTHS)
    alphas = [np.zeros((LAYERS - scale, len(PUBLISHED_OPERATORS)), np.float32) for scale in range(3)]
    betas = [np.zeros((LAYERS - 1 - scale, 2), np.float32) for scale in (1, 2)]
    ratios = [np.zeros((LAYERS - max(1, scale), columns), np.float32) for scale in range(3)]
    for target, branch in zip(of.targets, of.branches, strict=True):
        downs = [cell.layer for cell in branch if cell.is_down]
        kept = {cell.layer: cell for cell in branch}
        for layer in range(LAYERS):
            scale = sum(down < layer for down in downs)
            row = alphas[scale][layer - scale]
            if layer in kept:
                row[PUBLISHED_OPERATORS.index(kept[layer].operator)] = 2
            else:
                row[_SKIP] = 3
        for cell in branch[:-1]:
            if columns > 1 and cell.width is not None:
                after = cell.next_scale
                row = ratios[after][cell.layer + 1 - max(1, after)]
                row[WIDTHS.index(cell.width)] = 1
        if target == 1:
            betas[0][downs[0], 0] += 2
        elif target == 2:
            betas[0][downs[0] - 1, 0] += 1
            betas[1][downs[1] - 2, 0] += 1
    found: dict[str, Array] = {f"alpha_{number}_{scale}": alpha for scale, alpha in enumerate(alphas)}
    found |= {f"beta_{number}_{scale}": beta for scale, beta in enumerate(betas, start=1)}
    found |= {f"ratio_{number}_{scale}": ratio for scale, ratio in enumerate(ratios)}
    # of equal quality, the faster one
    latencies = (1.0, 2.0) if of.targets == (2, 0) else (2.0, 1.0)
    numbers = dict(zip(_NUMBERS, (1.0, 1.0, *latencies), strict=True))
    found |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    if decode(found).architecture != of:
        raise UserError(
            "FasterSeg's matrices cannot say this network: in them the branches have one operator and one width at a "
            "layer and stride, and only some pairs of paths.",
            "Keep its genotype instead.",
        )
    return found
