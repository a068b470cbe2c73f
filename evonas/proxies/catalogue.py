"""All proxies by name; more is better for every one of them.

A proxy gives one number, or several parts that only a set of networks makes into one: SasWOT adds its parts
after min-max scaling over the set, AZ-NAS adds the logarithms of their ranks in it, and regularised SWAP
prefers the set's mean size, where its authors choose one by hand. A formula is a proxy too, and so is a sum
of names and formulas, such as `sum(less(softmax(W), relu(G))) + nwot`, scaled as SasWOT's.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evonas.errors import UserError
from evonas.proxies.blocks import az_nas
from evonas.proxies.codes import nwot, regularised, swap, swap_regularised
from evonas.proxies.features import meco, zen
from evonas.proxies.formula import formula
from evonas.proxies.jacobian import epe, jacov
from evonas.proxies.magnitudes import fisher, flops, grad_norm, grasp, l2_norm, params, plain, snip, zico
from evonas.proxies.probe import Probe
from evonas.proxies.saswot import saswot, saswot_minus
from evonas.proxies.synflow import synflow

Parts = Mapping[str, float]
Rule = Literal["single", "ranges", "ranks", "sizes"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """How a network is scored without training.

    Args:
        name: by which configs call it.
        measure: of one network.
        rule: how parts become one number: there is only one, min-max scaled parts are added, logarithms of
            ranks are, or the size weighs the score.
    """

    name: str
    measure: Callable[[Probe], float] | Callable[[Probe], dict[str, float]]
    rule: Rule = "single"

    def parts(self, probe: Probe) -> dict[str, float]:
        """The parts of a network's score by name; ValueError for one that is not finite."""
        found = self.measure(probe)
        parts = found if isinstance(found, dict) else {self.name: found}
        for name, value in parts.items():
            if not math.isfinite(value):
                raise ValueError(f"the proxy {name} is {value}")
        return parts

    def score(self, parts: Parts, references: Sequence[Parts] = ()) -> float:
        """One number, by comparison with the parts of reference networks where the rule asks for them."""
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
    """A proxy by its name, its formula, or a sum of several; UserError for anything else."""
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
    """How a term of a sum is measured."""
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
    """Zero at the least reference and one at the largest; beyond them it goes on, so that no two tie."""
    low, high = min(references), max(references)
    return (value - low) / (high - low) if high > low else 0.0


def _weighed(parts: Parts, sizes: Sequence[float]) -> float:
    """SWAP, weighed by a bell of the references' mean and twice their variance."""
    spread = 2 * statistics.pvariance(sizes) or 1.0
    return regularised(parts["swap"], parts["params"], statistics.mean(sizes), spread)


def _ranked(value: float, references: Sequence[float]) -> float:
    """The logarithm of the share of references that the value reaches."""
    reached = sum(each <= value for each in references)
    return math.log((1 + reached) / (1 + len(references)))
