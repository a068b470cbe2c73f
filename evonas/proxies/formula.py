"""Formulas as proxies."""

from collections.abc import Callable

from evonas.proxies.expression import Calculator, parse
from evonas.proxies.probe import Probe
from evonas.proxies.sampling import sampled

# default number of sampled elements per tensor
SAMPLE = 512


def formula(text: str) -> Callable[[Probe], float]:
    """The measuring function of a formula such as `sum(less(softmax(W), relu(G)))`.

    Raises:
        UserError: the text is not a formula.
    """
    node = parse(text)

    def measure(probe: Probe) -> float:
        samples = sampled(probe.statistics, SAMPLE, probe.seed)
        return float(Calculator(samples).score(node)[0])

    return measure
