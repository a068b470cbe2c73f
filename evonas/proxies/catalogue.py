"""Registry of zero-cost proxies by name; a higher score is better for all of them.

A proxy returns one number, or several parts that are combined by comparison with a set of networks: SasWOT sums parts
after min-max scaling over the set, AZ-NAS sums the logarithms of their ranks, and regularised SWAP prefers the mean
size of the set, which its authors choose by hand. Formulas are proxies, and so are sums of names and formulas, such as
`sum(less(softmax(W), relu(G))) + nwot`, whose parts are scaled as SasWOT's.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evonas.errors import InfeasibleError, UserError
from evonas.proxies.blocks import az_nas
from evonas.proxies.codes import nwot, regularised, saswot, swap, swap_regularised
from evonas.proxies.features import meco, zen
from evonas.proxies.formula import formula
from evonas.proxies.jacobian import epe, jacov
from evonas.proxies.magnitudes import (
    fisher,
    flops,
    grad_norm,
    grasp,
    l2_norm,
    params,
    plain,
    saswot_minus,
    snip,
    zico,
)
from evonas.proxies.probe import Probe
from evonas.proxies.synflow import synflow

Parts = Mapping[str, float]
Rule = Literal["single", "ranges", "ranks", "sizes"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A zero-cost proxy.

    Args:
        name: name in configs.
        measure: computes the parts of one network.
        rule: combination of the parts: a single part, the sum of min-max scaled parts, the sum of log ranks, or
            the score weighted by the size.
    """

    name: str
    measure: Callable[[Probe], float] | Callable[[Probe], dict[str, float]]
    rule: Rule = "single"

    def parts(self, probe: Probe) -> dict[str, float]:
        """The parts of a network's score by name.

        Raises:
            ValueError: a part is not finite.
        """
        found = self.measure(probe)
        parts = found if isinstance(found, dict) else {self.name: found}
        for name, value in parts.items():
            if not math.isfinite(value):
                raise InfeasibleError(f"the proxy {name} is {value}")
        return parts

    def score(self, parts: Parts, references: Sequence[Parts] = ()) -> float:
        """The score from the parts of a network and, depending on the rule, of reference networks."""
        if self.rule == "single":
            return parts[self.name]
        assert references, f"{self.name} needs references"
        if self.rule == "sizes":
            return _weighed(parts, [each["params"] for each in references])
        combined = _scaled if self.rule == "ranges" else _ranked
        return sum(combined(value, [each[name] for each in references]) for name, value in parts.items())


_SINGLE: tuple[Callable[[Probe], float], ...] = (
    params, flops, grad_norm, l2_norm, plain, snip, grasp, fisher, synflow, jacov, nwot, epe, zen, zico, meco,
    swap, saswot_minus,
)  # fmt: skip
PROXIES: Mapping[str, Proxy] = {
    **{function.__name__: Proxy(function.__name__, function) for function in _SINGLE},
    "saswot": Proxy("saswot", saswot, "ranges"),
    "az_nas": Proxy("az_nas", az_nas, "ranks"),
    "swap_regularised": Proxy("swap_regularised", swap_regularised, "sizes"),
}


def proxy(name: str) -> Proxy:
    """A proxy by its name, its formula, or a sum of several.

    Raises:
        UserError: the name or formula is unknown.
    """
    if not isinstance(name, str):
        raise UserError(
            f"{name} is not one proxy.", "Give a name, a formula, or a sum such as 'swap + nwot'."
        )
    terms = [term.strip() for term in name.split("+")]
    if len(terms) == 1:
        return PROXIES[name] if name in PROXIES else Proxy(name, _single(name))
    measures = {term: _single(term) for term in terms}
    return Proxy(name, lambda probe: {term: each(probe) for term, each in measures.items()}, "ranges")


def _single(term: str) -> Callable[[Probe], float]:
    """The measuring function of a term of a sum."""
    if "(" in term:
        return formula(term)
    for function in _SINGLE:
        if function.__name__ == term:
            return function
    if term in PROXIES:
        single = ", ".join(name for name, each in PROXIES.items() if each.rule == "single")
        raise UserError(f"{term} is a sum already and cannot be part of one.", f"Add up some of {single}.")
    raise UserError(f"There is no proxy '{term}'.", f"Choose among {', '.join(PROXIES)}, or give a formula.")


def _scaled(value: float, references: Sequence[float]) -> float:
    """Min-max scaling to [0, 1] over the references, without clipping, so that values beyond do not tie."""
    low, high = min(references), max(references)
    return (value - low) / (high - low) if high > low else 0.0


def _weighed(parts: Parts, sizes: Sequence[float]) -> float:
    """SWAP, weighted by a Gaussian of the size with the references' mean and twice their variance."""
    spread = 2 * statistics.pvariance(sizes) or 1.0
    return regularised(parts["swap"], parts["params"], statistics.mean(sizes), spread)


def _ranked(value: float, references: Sequence[float]) -> float:
    """The logarithm of the share of references with at most this value."""
    reached = sum(each <= value for each in references)
    return math.log((1 + reached) / (1 + len(references)))
