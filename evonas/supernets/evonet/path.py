"""What an image meets in an EvoNet, step by step."""

from functools import lru_cache

from evonas.supernets.evonet.space import Architecture, StageChoice
from evonas.supernets.step import Step

STEM = Step((0, 0))


@lru_cache(maxsize=65536)
def path(of: Architecture) -> tuple[Step, ...]:
    """The stem, then per stage its blocks that are on, and its end at the place after the last block.

    Stages count from 1. What a stage chose is part of each of its blocks.
    """
    steps = [STEM]
    for stage, choice in enumerate(of.stages, start=1):
        step = (choice.mlp_ratio, choice.d_state or 0, choice.expand or 0)
        steps += [
            Step((stage, place), step, label(stage, choice)) for place, on in enumerate(choice.blocks) if on
        ]
        steps.append(Step((stage, len(choice.blocks))))
    return tuple(steps)


def label(stage: int, choice: StageChoice) -> str:
    """The name of a block's work, as latency tables file it: `stage2/m=2/s=16/e=1`."""
    mixer = "" if choice.d_state is None else f"/s={choice.d_state}/e={choice.expand:g}"
    return f"stage{stage}/m={choice.mlp_ratio:g}{mixer}"
