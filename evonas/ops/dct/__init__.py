"""dct: the two-dimensional discrete cosine transform; see `reference.py` for the scaling."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops.dct import reference
from evonas.ops.dct.reference import Norm

FORWARD: backend.Implementations = {"reference": reference.dct2}
INVERSE: backend.Implementations = {"reference": reference.idct2}


def dct2(x: Float[Tensor, "*batch H W"], norm: Norm = "ortho") -> Float[Tensor, "*batch H W"]:
    """Runs `reference.dct2`, or the implementation chosen by `evonas.ops.backend`."""
    return backend.run(FORWARD, {}, (x,), norm)


def idct2(x: Float[Tensor, "*batch H W"], norm: Norm = "ortho") -> Float[Tensor, "*batch H W"]:
    """Runs `reference.idct2`, or the implementation chosen by `evonas.ops.backend`."""
    return backend.run(INVERSE, {}, (x,), norm)


__all__ = ["Norm", "dct2", "idct2"]
