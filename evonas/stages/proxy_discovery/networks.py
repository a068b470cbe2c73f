"""The trained networks that proxy discovery ranks, each with its error after separate training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import nn

from evonas import files
from evonas.config import build
from evonas.errors import UserError
from evonas.objectives.tabular.evaluator import words_of
from evonas.randomness import derive, generator
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import RunMode
from evonas.supernets.static_net import static_net
from evonas.supernets.supernet import Supernet

if TYPE_CHECKING:
    from evonas.objectives.tabular.evaluator import TableEvaluator

RANK = "rank/rank.json"
FEWEST = 6
# most samples for each network of a table
_DRAWS = 50


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network with a known error.

    Args:
        genotype: as text.
        error: after separate training.
        make: builds the untrained network.
    """

    genotype: str
    error: float
    make: Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class TrainedNetworks:
    """Some networks of one table or one run, in random order.

    Args:
        error_name: the metric of their errors.
        all: the networks.
        origin: what they depend on, as plain data.
    """

    error_name: str
    all: Sequence[TrainedNetwork]
    origin: dict[str, Any]


def trained_networks(context: Context, count: int) -> TrainedNetworks:
    """Networks of the task's table, or those that the run's ranking check trained.

    Args:
        count: number of networks; a ranking check may have fewer.

    Raises:
        UserError: there are too few, or no network is known for the table.
    """
    is_table = context.setup.mode is RunMode.TABLE
    found = _of_table(context, count) if is_table else _of_run(context, count)
    if len(found.all) < FEWEST:
        raise UserError(
            f"{len(found.all)} trained networks are too few to discover a proxy.",
            f"Give a table with {found.error_name} of more networks of its space."
            if is_table
            else "Train more of them: stage=rank rank.subnets=24",
        )
    return found


def _of_run(context: Context, count: int) -> TrainedNetworks:
    path = context.run.need(RANK, made_by="rank")
    rank, seed = files.read_json(path), context.cfg.seed
    supernet = factory.supernet(context.setup)
    pairs = sorted(rank["pairs"], key=lambda pair: str(pair["genotype"]))
    order = generator(seed, "discover/subjects").permutation(len(pairs))[:count]
    every = [
        TrainedNetwork(
            pairs[i]["genotype"],
            float(pairs[i]["retrained"]),
            partial(_subnet, supernet, pairs[i]["genotype"], derive(seed, "discover/network")),
        )
        for i in order
    ]
    return TrainedNetworks(rank["error_name"], every, {"rank": files.sha256(path), "seed": seed})


def _subnet(supernet: Supernet, genotype: str, seed: int) -> nn.Module:
    return static_net(supernet.family, supernet.head, supernet.space.parse(genotype), seed)


def _of_table(context: Context, count: int) -> TrainedNetworks:
    cfg = context.cfg
    evaluator: TableEvaluator = build(cfg.evaluator)
    cells = context.setup.cells
    if cells is None:
        raise UserError(
            f"Nothing builds the networks of {evaluator.table.name}.",
            "Choose a table whose networks are known: +task=nb201, +task=transnas_micro or +task=transnas_macro",
        )
    every = list(islice(_rows(evaluator, cells, cfg.seed, count), count))
    error = evaluator.objectives[0].name
    return TrainedNetworks(error, every, {"table": evaluator.weights_digest, "seed": cfg.seed})


def _rows(evaluator: "TableEvaluator", cells: Any, seed: int, count: int) -> Iterator[TrainedNetwork]:
    """Distinct random networks of the table that have an error."""
    rng = generator(seed, "discover/subjects")
    name, space, seen = evaluator.objectives[0].name, evaluator.space, set()
    for _ in range(_DRAWS * count):
        point = space.sample(rng)
        text, words = space.format(point), words_of(space, point)
        if text in seen:
            continue
        seen.add(text)
        try:
            error = evaluator.table.values(words, (name,))[name]
        except ValueError:
            continue
        make = partial(build, cells, words=list(words), seed=derive(seed, "discover/network"))
        yield TrainedNetwork(text, error, make)
