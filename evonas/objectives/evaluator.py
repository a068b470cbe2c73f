"""The evaluator: runs the objectives of one search inside a worker."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.base import Objective
from evonas.objectives.bench import Bench


class Evaluator:
    """Measures genotypes by name of part; built from plain config, so that any process can make its own.

    Building it is cheap: nothing is loaded before `setup`, and `fingerprint` loads neither network nor image.
    Build it with `_recursive_: false`, because its arguments are configs.

    Args:
        space: config of the space.
        network: config of the backbone, without `space`.
        task: config of the task.
        objectives: config of each objective by name, in the order of the search's vectors.
        weights: path of the supernet's weights.
        batch_size: images at a time on the holdout split.
        device: torch's name of a device.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        network: Mapping[str, Any],
        task: Mapping[str, Any],
        objectives: Mapping[str, Mapping[str, Any]],
        weights: str,
        batch_size: int = 8,
        device: str = "cpu",
        precision: str = "32-true",
    ) -> None:
        if not objectives:
            raise UserError("No objective is chosen.", "Try: 'objective=[error,latency,macs]'")
        self._configs = objectives
        self._bench = Bench(space, network, task, weights, batch_size, device, precision)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, in order."""
        return tuple(build(config) for config in self._configs.values())

    @property
    def weights_digest(self) -> str:
        """The sha256 of the weights file."""
        return self._bench.weights_digest

    def setup(self) -> None:
        """Load the supernet and the holdout split."""
        for objective in self.objectives:
            objective.prepare(self._bench)

    def measure(self, genotype: str, part: Part) -> Measurement:
        """Values of the part's objectives; what they found besides is merged."""
        point = self._bench.space.parse(genotype)
        values: dict[str, float] = {}
        extra: dict[str, Any] = {}
        for objective in self._of(part):
            values[objective.name], facts = objective.measure(point)
            extra.update(facts)
        return Measurement(values, extra)

    def identity(self, part: Part) -> dict[str, Any]:
        """Everything the part's numbers depend on besides the genotype, as plain JSON data."""
        bench = self._bench
        return {
            "space": dict(bench.space_config),
            "network": dict(bench.network_config),
            "objectives": {objective.name: dict(objective.identity(bench)) for objective in self._of(part)},
        }

    def fingerprint(self, part: Part) -> str:
        """The sha256 of the part's identity: facts may be shared where it is equal."""
        text = json.dumps(self.identity(part), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _of(self, part: Part) -> list[Objective]:
        return [objective for objective in self.objectives if objective.part == part]
