"""Rows of the table of speed that are about evaluating and searching, on the demo's networks."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from engine import PARTS, PRINTS, ready, two_workers
from engine_jobs import Timed
from engine_sharing import bundled, evaluator_of, overhead, searched
from paired import Row, at_least, at_most, exponent, least, ratios, seconds
from speed_train import BLOCKS, CHOICE
from torch import nn

from evonas.archive import Archive
from evonas.nn.initialise import initialise
from evonas.objectives.error import Error
from evonas.objectives.evaluator import Evaluator
from evonas.objectives.zero_cost import ZeroCost
from evonas.randomness import generator
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.generational import search
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.block import Block
from evonas.supernets.evonet.space import evonet_space

POPULATION, GENERATIONS = 96, 200
# images that the demo looks at
HOLDOUT = 64
# training images of a search's batch-norm statistics
RENEWED = 32
# generations after which a search has settled
LATE = 60


def rows(repeats: int, is_small: bool) -> Iterator[Row]:
    """All rows; with `is_small` few images, small populations and no second worker."""
    with tempfile.TemporaryDirectory() as folder:
        made = evaluator_of(None, Path(folder))
        own = made if is_small else evaluator_of(None, Path(folder), HOLDOUT)
        found = overhead(own, _random(own, repeats))
        yield at_most("one evaluation / the bare forwards of its network", found, 1.10)
        yield _renewed(own, repeats)
        yield from _evaluations(made, repeats, is_small)
        yield from _bookkeeping(own, 5 if is_small else GENERATIONS)
        yield from _images(Path(folder), (4, 8) if is_small else (8, 16, 32, 64))
    yield _depths(repeats, (2, 4, 8, 16))
    if not is_small:
        yield at_least(
            "evaluations a second, two workers / one", two_workers("computing", True, repeats)["ratio"], 1.9
        )
    for words, limit in ((["--help"], 2.0), (["--cfg", "job", "+task=synthetic"], 2.0)):
        yield _started(words, repeats, limit)


def _random(made: Evaluator, number: int) -> list[Genotype]:
    space, rng = made._context.space, generator(0, "speed/networks")
    return [space.sample(rng) for _ in range(number)]


def _renewed(made: Evaluator, repeats: int) -> Row:
    """What batch-norm statistics of a subnet's own cost."""
    bench = made._context
    points = sorted(_random(made, 8), key=bench.family.path)

    def measured(recalibrate: int) -> None:
        error = Error(recalibrate)
        error.prepare(bench)
        error.measure_together(points)

    measured(RENEWED)
    found = ratios(lambda: measured(RENEWED), lambda: measured(0), repeats)
    images = f"{RENEWED} images for statistics, {made.num_images} for errors"
    return Row(f"evaluations with statistics of their own / with the supernet's ({images})", found)


def _evaluations(made: Evaluator, repeats: int, is_small: bool) -> Iterator[Row]:
    population, generations = (8, 4) if is_small else (POPULATION, LATE)
    late = searched(made, population, generations, 1.0)[-1]
    together = ratios(
        lambda: bundled(made, late, len(late)),
        lambda: [made.measure(point, "shared") for point in late],
        repeats if is_small else 3,
    )
    yield at_most(f"a late generation of {population} / one by one", together, 0.5)
    proxy = ZeroCost("synflow", weights="inherited")
    proxy.prepare(made._context)
    few = late[:5]
    scored = ratios(
        lambda: [proxy.measure(point) for point in few],
        lambda: [made.measure(point, "shared") for point in few],
        repeats,
    )
    yield Row("score without training (synflow) / inherited evaluation of 8 images", scored)


def _bookkeeping(made: Evaluator, generations: int) -> Iterator[Row]:
    """What searcher, engine and archive take of a search of 96 x 200, and how the searcher's part grows."""
    points = _random(made, 8)
    measured = seconds(lambda: [made.measure(point, "shared") for point in points]) / len(points)
    own = _searched_for_nothing(generations) / (POPULATION * generations)
    about = f"{POPULATION} x {generations}, {made.num_images} images"
    what = f"searcher, engine and archive, % of a search of {about}"
    yield at_most(what, [100 * own / (own + measured)], 1.0)
    sizes = (24, 48, 96)
    times = [_asked_and_told(size, generations) for size in sizes]
    yield Row("time of NSGA-II a generation: exponent in the population", [exponent(sizes, times)])


def _searched_for_nothing(generations: int) -> float:
    """Seconds of a whole search whose measurements take no time, in a worker of its own, with an archive."""
    space, points = evonet_space(), POPULATION * generations
    searcher = NSGA2(space, 0, POPULATION, points)
    with tempfile.TemporaryDirectory() as folder, closing(ready(Timed(0.0, 0.0), 1)) as engine:
        archive = Archive.open(Path(folder) / "archive.sqlite", {"seed": 0}, resume=False)
        with closing(archive):
            return seconds(lambda: search(searcher, engine, archive, space, PARTS, PRINTS))


def _asked_and_told(population: int, generations: int) -> float:
    space = evonet_space()
    searcher = NSGA2(space, 0, population, population * generations)

    def go() -> None:
        while points := searcher.ask():
            searcher.tell(
                [Observation(point, (float(sum(point.genes)), -float(point.genes[0]))) for point in points]
            )

    return seconds(go)


def _images(folder: Path, numbers: Sequence[int]) -> Iterator[Row]:
    times = []
    for number in numbers:
        made = evaluator_of(None, folder, number)
        largest = made._context.space.largest()
        made.measure(largest, "shared")
        times.append(
            min(seconds(lambda made=made, point=largest: made.measure(point, "shared")) for _ in range(3))
        )
    yield Row("time of an evaluation: exponent in the images", [exponent(numbers, times)])


def _depths(repeats: int, numbers: Sequence[int]) -> Row:
    """Blocks of the widest kind, one after the other, forwards."""
    width, heads, images, side = BLOCKS["nano"]
    blocks = nn.Sequential(*[Block(width, heads, CHOICE) for _ in range(max(numbers))]).eval()
    initialise(blocks, 0)
    x = torch.randn(images, side, side, width, generator=torch.Generator().manual_seed(0))

    def through(number: int) -> None:
        y = x
        for block in blocks[:number]:
            y = block(y)

    with torch.inference_mode():
        times = [least(partial(through, number), repeats) for number in numbers]
    return Row("time of blocks: exponent in their number", [exponent(numbers, times)])


def _started(words: Sequence[str], repeats: int, limit: float) -> Row:
    command = [sys.executable, "-m", "evonas", *words]
    found = [
        seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(repeats)
    ]
    row = at_most(f"python -m evonas {' '.join(words)}, s", found, limit)
    return Row(row.what, row.values, f"< {limit:g} s", " s", row.is_met)
