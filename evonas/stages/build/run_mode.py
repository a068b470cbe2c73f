"""What a run works on: subnets of its own supernet, a table, supernets of other runs, or given networks."""

from enum import Enum

from omegaconf import DictConfig


class RunMode(Enum):
    """The four kinds of runs; `mode_of` tells them apart."""

    SUPERNET = "supernet"
    # `evaluator=` measures genotypes, such as by a table, and no network is trained
    TABLE = "table"
    # `joint=` names runs whose supernets are searched together
    JOINT = "joint"
    # `genotype=` names the networks, and nothing is searched
    NAMED = "named"

    @property
    def has_network(self) -> bool:
        """Whether the run trains networks itself."""
        return self in (RunMode.SUPERNET, RunMode.NAMED)


def mode_of(cfg: DictConfig) -> RunMode:
    """The mode of a config; an evaluator decides before the others, and joint before genotypes."""
    if cfg.get("evaluator"):
        return RunMode.TABLE
    if cfg.get("joint") is not None:
        return RunMode.JOINT
    return RunMode.SUPERNET if cfg.get("genotype") is None else RunMode.NAMED
