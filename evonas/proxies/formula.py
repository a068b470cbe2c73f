"""A formula as a proxy: what a discovery finds, used to score any network."""

from collections.abc import Callable

from evonas.proxies.expression import Calculator, parse
from evonas.proxies.probe import Probe
from evonas.proxies.sampling import sampled

# elements that are kept of each tensor, here and in a discovery unless it says otherwise
SAMPLE = 512


def formula(text: str) -> Callable[[Probe], float]:
    """The measuring function of a formula such as `sum(less(softmax(W), relu(G)))`.

    Raises:
        UserError: the text is no formula.
    """
    node = parse(text)

    def measure(probe: Probe) -> float:
        samples = sampled(probe.statistics, SAMPLE, probe.seed)
        return float(Calculator(samples).score(node)[0])

    return measure
