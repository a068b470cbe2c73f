"""Distinct steps of a family's subnets with sample inputs, for separate timing.

Legend: H W space.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.supernets.base import SupernetFamily, column, head_label, level_channels
from evonas.supernets.elastic_head import subnet_head
from evonas.supernets.resolution import head_output
from evonas.supernets.slices import bind
from evonas.supernets.step import Step
from evonas.supernets.supernet import Supernet

# combinations of genes at one place that are tried
_MOST = 10**7


@dataclass(frozen=True, slots=True)
class ProfiledStep:
    """A step and its input; the label is empty for steps that all subnets share."""

    label: str
    run: Callable[[Tensor], object]
    given: Tensor


def distinct_steps(family: SupernetFamily) -> Iterator[tuple[Step, Genotype]]:
    """Yields a step for each label of the family, and each step without label, with a genotype that runs it.

    A family whose steps depend on too many genes to try all of their combinations has a method `distinct_steps`.

    Raises:
        UserError: the family has none, and the genes of some place have too many combinations.
    """
    own = getattr(family, "distinct_steps", None)
    if own is not None:
        yield from own()
        return
    seen: set[Step | str] = set()
    for at, genes in family.places.items():
        counts = [family.space.cardinalities[column(family.space, gene)] for gene in genes]
        if prod(counts) > _MOST:
            raise UserError(
                f"One step of {family.space.name} is one of {prod(counts)} by its {len(genes)} genes, too many to time "
                "each.",
                "Measure networks instead: objective=[error,latency].",
            )
        for genotype in _variants(family, genes):
            for step in family.path(genotype):
                if step.at == at and (step.label or step) not in seen:
                    seen.add(step.label or step)
                    yield step, genotype


def _variants(family: SupernetFamily, genes: tuple[str, ...]) -> Iterator[Genotype]:
    """Yields genotypes with every combination of `genes`; all other genes are smallest."""
    space = family.space
    base = list(space.smallest().genes)
    places = [column(space, gene) for gene in genes]
    for values in product(*(range(space.cardinalities[place]) for place in places)):
        vector = base.copy()
        for place, value in zip(places, values, strict=True):
            vector[place] = value
        with suppress(UserError):
            yield space.from_vector(vector)


@torch.no_grad()
def profile(supernet: Supernet, image: Tensor) -> Iterator[ProfiledStep]:
    """Yields every distinct step of the family once, and the head at each of its input sizes.

    Args:
        supernet: the supernet, in eval mode, on the image's device.
        image: 1 3 H W.
    """
    family, heads = supernet.family, set[str]()
    height, width = image.shape[-2:]
    for step, genotype in distinct_steps(family):
        backbone = bind(family, supernet.backbone, genotype)
        index = backbone.path.index(step)
        reached = backbone.begin(image)
        for before in range(index):
            reached = backbone.run(before, reached)
        given = torch.randn_like(reached.map)
        yield ProfiledStep(
            step.label,
            lambda x, run=backbone.run, at=index, before=reached: run(at, replace(before, map=x)),  # type: ignore[misc]
            given,
        )
        label = head_label((height, width), backbone.input_size((height, width)))
        if label not in heads:
            heads.add(label)
            maps = backbone(image)
            head = subnet_head(supernet.head, level_channels(family, genotype))
            yield ProfiledStep(
                label,
                lambda x, maps=maps, net=backbone, head=head: head_output(head, maps, net, x.shape[-2:]),  # type: ignore[misc]
                image,
            )
