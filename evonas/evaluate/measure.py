"""Guarded measurements: every exception of an evaluator becomes a failure with a reason."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from evonas import config, fault_injection
from evonas.errors import EngineError, EvoNASError
from evonas.evaluate.engine import BatchEvaluator, EvaluatorLike, Measurement, Part
from evonas.space.genotype import Genotype

EvaluatorSpec = Mapping[str, Any] | Callable[[], EvaluatorLike]

_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")
_REASON_LENGTH = 500


def make_evaluator(spec: EvaluatorSpec) -> EvaluatorLike:
    """Build an evaluator from config (a mapping with `_target_`) or a factory, without setting it up."""
    return config.build(spec) if isinstance(spec, Mapping) else spec()


def ready_evaluator(spec: EvaluatorSpec) -> EvaluatorLike:
    """Build an evaluator and set it up; raises an EngineError with the message of any exception."""
    try:
        evaluator = make_evaluator(spec)
        evaluator.setup()
    except EvoNASError as error:
        raise EngineError(f"The evaluator cannot start. {error.message}", error.hint) from error
    except Exception as error:
        raise EngineError(f"The evaluator cannot start. {explain(error)}") from error
    return evaluator


def attempt(evaluator: EvaluatorLike, genotype: Genotype, part: Part) -> tuple[Measurement | None, str]:
    """Measure once; returns the measurement and an empty reason, or None and the reason of the failure.

    The reason becomes part of the archive and is therefore equal on all machines and in all runs.
    """
    try:
        return checked(evaluator.measure(genotype, part)), ""
    except Exception as error:
        return None, explain(error)


def attempt_together(
    evaluator: EvaluatorLike, genotypes: Sequence[Genotype], part: Part, images: int | None = None
) -> list[tuple[Measurement | None, str]]:
    """`attempt` for several genotypes, in one pass if the evaluator is a `BatchEvaluator`.

    Raises:
        EngineError: `images` is set, but the evaluator is not a `BatchEvaluator`.
    """
    if not isinstance(evaluator, BatchEvaluator):
        if images is not None:
            raise no_images(images)
        return [attempt(evaluator, genotype, part) for genotype in genotypes]
    try:
        answers = evaluator.measure_together(genotypes, part, images)
        if len(answers) != len(genotypes):
            raise ValueError(f"the evaluator gave {len(answers)} answers for {len(genotypes)} genotypes")
    except Exception as error:
        if len(genotypes) == 1:
            return [(None, explain(error))]
        # measured alone, the faulty genotype fails and the others succeed, also after a lack of memory
        return [attempt_together(evaluator, [genotype], part, images)[0] for genotype in genotypes]
    return [_checked_answer(answer) for answer in answers]


def no_images(images: int) -> EngineError:
    """The error for an evaluator that cannot measure on part of the images."""
    return EngineError(
        f"This evaluator cannot measure on {images} images only.", "Measure on all images with: fidelity=full"
    )


def answer(evaluator: EvaluatorLike, request: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's answer to a `Pass.request`: values or a reason per genotype, in order."""
    fault_injection.point("worker.before_measure")
    genotypes = [Genotype(space, tuple(genes)) for space, genes in request["genotypes"]]
    found = attempt_together(evaluator, genotypes, request["part"], request["images"])
    fault_injection.point("worker.before_answer")
    answers: list[dict[str, Any]] = []
    for measurement, reason in found:
        if measurement is None:
            answers.append({"reason": reason})
        else:
            answers.append({"objectives": dict(measurement.objectives), "extra": dict(measurement.extra)})
    return {"answers": answers}


def greeting(evaluator: EvaluatorLike) -> dict[str, Any]:
    """A worker's first message: it is ready, and whether its evaluator is a `BatchEvaluator`."""
    return {"ready": True, "together": isinstance(evaluator, BatchEvaluator)}


def _checked_answer(answer: Measurement | Exception) -> tuple[Measurement | None, str]:
    if isinstance(answer, Exception):
        return None, explain(answer)
    try:
        return checked(answer), ""
    except (ValueError, TypeError) as error:
        return None, explain(error)


def parse_answer(data: bytes | str) -> dict[str, Any] | None:
    """Parse a worker's message; None if it is invalid."""
    try:
        message = json.loads(data)
    except ValueError:
        return None
    if not isinstance(message, dict) or not message.keys() & {"ready", "answers"}:
        return None
    answers = message.get("answers", [])
    is_whole = isinstance(answers, list) and all(isinstance(each, dict) for each in answers)
    return message if is_whole else None


def checked(value: Any) -> Measurement:
    """Return the measurement with plain floats and JSON data; raises a ValueError for anything else."""
    if not isinstance(value, Measurement):
        raise ValueError(f"the evaluator returned {type(value).__name__}, not a Measurement")
    if not isinstance(value.objectives, Mapping) or not value.objectives:
        raise ValueError("the evaluator returned no objectives by name")
    numbers = {str(name): _finite(str(name), number) for name, number in value.objectives.items()}
    return Measurement(numbers, json.loads(json.dumps(dict(value.extra), allow_nan=False)))


def explain(error: BaseException) -> str:
    """Describe an exception in one line of bounded length; every lack of memory starts with "out of memory"."""
    text = " ".join(str(error).split())[:_REASON_LENGTH]
    if isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in _MEMORY_PHRASES):
        return f"out of memory: {text}".rstrip(": ")
    return f"{type(error).__name__}: {text}".rstrip(": ")


def _finite(name: str, number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"objective '{name}' is {number!r:.60}, not a number")
    if not math.isfinite(number):
        raise ValueError(f"objective '{name}' is {float(number)}, not a finite number")
    return float(number)
