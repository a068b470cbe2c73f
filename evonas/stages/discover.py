"""stage=discover: proxy discovery, the evolution of a formula that ranks untrained networks as training does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas import files
from evonas.errors import UserError
from evonas.identifiers import identified
from evonas.proxies.catalogue import PROXIES
from evonas.proxies.discovery import FormulaEvaluator, Schedule, ScoredFormula, added, discover, filled
from evonas.proxies.expression import Calculator, Node, NotFiniteError, parse
from evonas.proxies.samples import LayerSamples
from evonas.randomness import generator
from evonas.report.analysis.rank_correlation import Scores, ranking_statistics
from evonas.report.charts.plots import two_digits
from evonas.stages.base import Context
from evonas.stages.build.setup import RunMode
from evonas.stages.proxy_discovery.networks import FEWEST, TrainedNetworks, trained_networks
from evonas.stages.proxy_discovery.statistics import NetworkStatistics, network_statistics
from evonas.track.progress import Progress

RESULT = "discover/formula.json"
FITNESS = "discover/fitness.json"
# published proxies that are formulas, for comparison
KNOWN: Mapping[str, str] = {
    "grad_norm": "sum(l2(G))",
    "l2": "sum(l2(W))",
    "plain": "sum(mul(W, G))",
    "snip": "sum(abs(mul(W, G)))",
    "saswot_minus": "sum(less(softmax(W), relu(G)))",
}
_TOP = 10


class Discover:
    """Evolves formulas on some trained networks, and tests how well the best one ranks others.

    The statistics of the networks and the fitness of every formula are stored in the run, so that a stopped discovery
    continues with `resume=true`.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Write discover/formula.json; returns how to use the formula."""
        settings = context.cfg.discover
        single = [name for name, proxy in PROXIES.items() if proxy.rule == "single"]
        for name in settings.beside:
            if name not in single:
                raise UserError(f"discover.beside names '{name}'.", f"Choose among {', '.join(single)}.")
        found = trained_networks(context, settings.networks + settings.held_out)
        known = network_statistics(context, found)
        errors = np.array([subject.error for subject in found.all])
        number = _training(len(found.all), settings)
        best = _evolve(context, known.samples.some(range(number)), -errors[:number], found)
        if best[0].fitness is None:
            raise UserError("No formula tells these networks apart.", "Try discover.formulas=2000.")
        result = _result(context, found, known, best, number)
        files.write_json(context.run.path(RESULT), result)
        print(sentence(result), flush=True)
        return _usage(context, result["proxy"])


def _usage(context: Context, proxy: str) -> str:
    """The overrides that search with a proxy."""
    line = f'"objective=[zero_cost,macs]" "objective.zero_cost.proxy=\'{proxy}\'"'
    if context.setup.mode is not RunMode.TABLE:
        return f"Use it: {line}"
    space = context.cfg.task.name
    if space not in ("transnas_micro", "transnas_macro"):
        return f"Use it on a task with images: {line}"
    chosen = "" if space == "transnas_micro" else f" space={space} data={space}"
    scores = f"+task=transnas_scores{chosen} \"evaluator.proxies=['{proxy}']\""
    return f"Use it on these networks: {scores}\nand on images: {line}"


def sentence(result: Mapping[str, Any]) -> str:
    """The result in one sentence, with the best known proxy."""
    known = {name: row["held_out"]["tau"] for name, row in result["known"].items()}
    name = max(known, key=lambda each: _rank(known[each]))
    trained, unseen = (result["found"][result["proxy"]][part] for part in ("training", "held_out"))
    bounds = f"95 % interval {two_digits(unseen['tau_low'])} to {two_digits(unseen['tau_high'])}"
    return (
        f"{result['proxy']} ranks {result['training']} networks "
        f"with Kendall tau {two_digits(trained['tau'])} "
        f"and {result['held_out']} others with {two_digits(unseen['tau'])} ({bounds}); "
        f"the best known one there is {name} with {two_digits(known[name])}."
    )


def _training(number: int, settings: Any) -> int:
    """Number of networks that formulas are fitted on, out of `number` that are known."""
    share = settings.networks / (settings.networks + settings.held_out)
    return min(settings.networks, max(FEWEST, round(number * share)), number)


def _evolve(
    context: Context, samples: LayerSamples, quality: NDArray[np.float64], found: TrainedNetworks
) -> list[ScoredFormula]:
    settings, path = context.cfg.discover, context.run.path(FITNESS)
    identity = {
        **found.origin,
        "quality": quality.tolist(),
        "cells": identified(context.setup.cells),
        **{key: settings[key] for key in ("networks", "held_out", "images", "size")},
    }
    evaluator = FormulaEvaluator(samples, quality, _known(path, identity) if context.run.resume else {})
    schedule = Schedule(settings.population, settings.parents, patience=settings.patience)
    with Progress("discover", settings.formulas, unit="formula") as progress:
        done = 0

        def after(count: int, best: ScoredFormula) -> None:
            nonlocal done
            files.write_json(path, {"identity": identity, "fitness": evaluator.known})
            progress.advance(count - done, tau=best.rank)
            done = count

        return discover(evaluator, settings.formulas, context.cfg.seed, schedule, after)


def _known(path: Path, identity: Mapping[str, Any]) -> dict[str, float | None]:
    """The fitness of formulas from an earlier attempt on the same networks."""
    left = files.read_json(path) if path.exists() else {"identity": None, "fitness": {}}
    is_same = identified(left["identity"]) == identity
    known: dict[str, float | None] = left["fitness"] if is_same else {}
    return known


def _result(
    context: Context, found: TrainedNetworks, known: NetworkStatistics, best: list[ScoredFormula], number: int
) -> dict[str, Any]:
    text, calculator = str(best[0].formula), Calculator(known.samples)
    errors = np.array([subject.error for subject in found.all])
    own = {text: filled(_each(calculator, best[0].formula), slice(number))}
    scored = {name: other for name, other in known.scores.items() if np.isfinite(other[:number]).any()}
    sums = {f"{text} + {name}": added(own[text], other, slice(number)) for name, other in scored.items()}
    others = {name: _scores(calculator, parse(each)) for name, each in KNOWN.items()} | known.scores
    rng = generator(context.cfg.seed, "discover/bootstrap")
    rows = {name: _rows(scores, errors, number, rng) for name, scores in (own | sums | others).items()}
    chosen = max(own | sums, key=lambda name: _rank(rows[name]["training"]["tau"]))
    return {
        "formula": text,
        "proxy": chosen,
        "error_name": found.error_name,
        "training": number,
        "held_out": len(found.all) - number,
        "formulas": len(best),
        "rejected": sum(one.fitness is None for one in best),
        "found": {name: rows[name] for name in own | sums},
        "known": {name: rows[name] for name in others},
        "best": [{"formula": str(one.formula), "tau": one.fitness} for one in best[:_TOP]],
        "networks": [
            {
                "genotype": subject.genotype,
                "error": subject.error,
                "score": float(score) if np.isfinite(score) else None,
            }
            for subject, score in zip(found.all, (own | sums)[chosen], strict=True)
        ],
    }


def _each(calculator: Calculator, formula: Node) -> NDArray[np.float64]:
    """The score of every network, NaN for a network without one."""
    found = _scores(calculator, formula)
    if np.isfinite(found).all():
        return found
    samples = calculator.samples
    alone = [Calculator(samples.some([place])) for place in range(samples.num_networks)]
    return np.concatenate([_scores(each, formula) for each in alone])


def _rows(
    scores: NDArray[np.float64], errors: NDArray[np.float64], number: int, rng: np.random.Generator
) -> dict[str, Any]:
    parts = {"training": slice(number), "held_out": slice(number, None)}
    return {name: _correlation(scores[part], errors[part], rng) for name, part in parts.items()}


def _scores(calculator: Calculator, formula: Node) -> NDArray[np.float64]:
    """Scores of all networks; NaN for all if one network has none."""
    try:
        return calculator.score(formula)
    except NotFiniteError:
        return np.full(calculator.samples.num_networks, np.nan)


def _correlation(
    scores: NDArray[np.float64], errors: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, float | None]:
    """Tau between scores and quality with its interval; None where it is not defined."""
    if len(scores) < 2 or not np.isfinite(scores).all():
        return dict.fromkeys(("tau", "tau_low", "tau_high", "rho"))
    told = ranking_statistics(Scores(-scores, errors, np.zeros(len(scores), dtype=np.intp)), rng, 1)
    return {key: told[key] for key in ("tau", "tau_low", "tau_high", "rho")}


def _rank(tau: float | None) -> float:
    return -np.inf if tau is None else tau
