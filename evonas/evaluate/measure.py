"""Guarded measurements: every exception of an evaluator becomes a failure with a reason and, if known, an owner."""

import json
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from evonas import config, fault_injection
from evonas.errors import DisturbedError, EngineError, EvoNASError, InfeasibleError, UserError
from evonas.evaluate.code import code_digest
from evonas.evaluate.engine import (
    BatchEvaluator,
    EvaluatorLike,
    Measurement,
    Owner,
    Part,
)
from evonas.space.genotype import Genotype
from evonas.version import __version__

EvaluatorSpec = Mapping[str, Any] | Callable[[], EvaluatorLike]

_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")
_REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed measurement.

    Args:
        reason: becomes part of the archive and is therefore equal on all machines and in all runs.
        owner: None if another worker must show whether the genotype or the machine is to blame.
    """

    reason: str
    owner: Owner | None = None


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


def attempt(evaluator: EvaluatorLike, genotype: Genotype, part: Part) -> Measurement | Failure:
    """Measure once."""
    try:
        answer = evaluator.measure(genotype, part)
    except Exception as error:
        return _raised(error)
    return _checked_answer(answer)


def attempt_together(
    evaluator: EvaluatorLike, genotypes: Sequence[Genotype], part: Part, images: int | None = None
) -> list[Measurement | Failure]:
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
            return [_raised(error)]
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
    for each in found:
        if isinstance(each, Failure):
            answers.append({"reason": each.reason, "owner": each.owner})
        else:
            answers.append({"objectives": dict(each.objectives), "extra": dict(each.extra)})
    return {"answers": answers}


def greeting(evaluator: EvaluatorLike, spec: EvaluatorSpec) -> dict[str, Any]:
    """A worker's first message: it is ready, whether its evaluator is a `BatchEvaluator`, and which code it runs."""
    return {
        "ready": True,
        "together": isinstance(evaluator, BatchEvaluator),
        "host": socket.gethostname(),
        "version": __version__,
        "code": code_digest(spec),
    }


def _raised(error: Exception) -> Failure:
    # errors of evonas that say what to type are about the genotype; those about data may be the disk's
    if isinstance(error, UserError):
        return Failure(explain(error), "genotype")
    return Failure(explain(error), "machine" if isinstance(error, DisturbedError) else None)


def _checked_answer(answer: Measurement | Exception) -> Measurement | Failure:
    if isinstance(answer, Exception):
        return _raised(answer)
    try:
        return checked(answer)
    except (ValueError, TypeError) as error:
        return Failure(explain(error), "genotype")


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
    # whose sentence says all
    if isinstance(error, InfeasibleError | DisturbedError):
        return error.message[:_REASON_LENGTH]
    text = " ".join(str(error).split())[:_REASON_LENGTH]
    if isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in _MEMORY_PHRASES):
        return f"out of memory: {text}".rstrip(": ")
    return f"{type(error).__name__}: {text}".rstrip(": ")


def _finite(name: str, number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"objective '{name}' is {number!r:.60}, not a number")
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"objective '{name}' is {found}, not a finite number")
    return found
