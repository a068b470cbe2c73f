"""FasterSeg's matrices as what a search evolves (`search/evolution/matrices.py`), as SasWOT does.

Torch-free.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.fasterseg.matrices import LAYERS, decode
from evonas.supernets.fasterseg.published import PUBLISHED_OPERATORS
from evonas.supernets.fasterseg.space import SKIP, WIDTHS, TwoBranchSpace, genotype_of

Array = NDArray[np.float64]
# of the student's architecture, whose skips leave layers out
_NUMBER = 1


class FasterSegMatrices:
    """Groups alpha (operators by layer and stride), beta (halve or keep) and, if widths are searched, ratio.

    Rows are standard normal; operators and widths that the space does not offer are never chosen. Matrices that decode
    to no network of the space, such as one whose branches share other than the wanted number of cells, say nothing: of
    random ones of `space=fasterseg_saswot` about one in six says a network.
    """

    def draw(self, space: Space, rng: np.random.Generator) -> dict[str, list[Array]]:
        """Random matrices; see `matrices.py` for their shapes.

        Raises:
            UserError: the space is not one of FasterSeg's with 16 layers.
        """
        of = _checked(space)
        offered = {str(choice) for choice in of.axes[of.columns["q1"]].choices} | {SKIP}
        widths = _widths(of)
        alpha = [
            _rows(rng, LAYERS - scale, [each in offered for each in PUBLISHED_OPERATORS])
            for scale in range(3)
        ]
        beta = [_rows(rng, LAYERS - 1 - scale, [True, True]) for scale in (1, 2)]
        if widths == WIDTHS[:1]:
            return {"alpha": alpha, "beta": beta}
        ratio = [
            _rows(rng, LAYERS - max(1, scale), [each in widths for each in WIDTHS]) for scale in range(3)
        ]
        return {"alpha": alpha, "beta": beta, "ratio": ratio}

    def decode(self, space: Space, groups: Mapping[str, Sequence[Array]]) -> Genotype | None:
        """The network that the matrices say by the published rules; None if it is not one of the space."""
        of = _checked(space)
        values: dict[str, object] = {}
        for group, first in (("alpha", 0), ("beta", 1), ("ratio", 0)):
            for scale, rows in enumerate(groups.get(group, ()), start=first):
                values[f"{group}_{_NUMBER}_{scale}"] = rows
        if "ratio" not in groups:
            # one column says that widths are not searched
            for scale in range(3):
                values[f"ratio_{_NUMBER}_{scale}"] = np.zeros((LAYERS - max(1, scale), 1))
        if of.targets == (2, 0):
            # the faster pair of branches of equal quality
            values |= {"mIoU02": 1.0, "mIoU12": 1.0, "latency02": 1.0, "latency12": 2.0}
        with suppress(UserError):
            return genotype_of(of, decode(values, _NUMBER).architecture)
        return None


def _checked(space: Space) -> TwoBranchSpace:
    if not isinstance(space, TwoBranchSpace):
        raise UserError(
            f"FasterSeg's matrices say no network of space {space.name}.",
            "Choose network=fasterseg_saswot, or another search, such as search=saswot.",
        )
    of = space
    if of.layers != LAYERS or not set(_widths(of)) <= set(WIDTHS):
        raise UserError(
            f"FasterSeg's matrices have {LAYERS} layers and widths of {', '.join(map(str, WIDTHS))} twelfths; "
            f"space {of.name} has {of.layers} layers and widths of {', '.join(map(str, _widths(of)))}.",
            "Use space=fasterseg_saswot or space=fasterseg, or search=saswot, which needs no matrices.",
        )
    return of


def _widths(of: TwoBranchSpace) -> tuple[int, ...]:
    found = {int(choice) for axis in of.axes if axis.name[0] == "v" for choice in axis.choices}
    return tuple(sorted(found))


def _rows(rng: np.random.Generator, count: int, offered: Sequence[bool]) -> Array:
    rows = rng.standard_normal((count, len(offered)))
    rows[:, ~np.array(offered)] = -np.inf
    return rows
